"""Facts in the words that people read: durations, shortened names."""

from __future__ import annotations


def seconds(value: float) -> str:
    """Return a duration as a person reads it: ``0.42 s``, ``12.3 s``, ``3 min 05 s``."""
    if value < 60:
        return f"{value:.{2 if value < 10 else 1}f} s"
    minutes, rest = divmod(int(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def brief(text: str, most: int = 60) -> str:
    """Return ``text`` on one line and in at most ``most`` characters."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def encodable(text: str) -> str:
    """Return ``text`` as UTF-8 can say it: half of a surrogate pair as its escape.

    A message that holds one cannot be sent, and ipykernel loses with it what other cells said.
    """
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
