"""Readable text: durations, counts, shortened names, columns of a terminal."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Collection


def duration(seconds: float, *, fine: bool = False) -> str:
    """Return a duration as text: ``0.42 s``, ``12.3 s``, ``3 min 05 s``, ``2 h 07 min``.

    ``fine``: below a tenth of a second in milliseconds or microseconds (``4.2 ms``, ``0 s``).
    """
    if fine and seconds < 0.1:
        if seconds < 0.001:
            return f"{seconds * 1e6:.0f} µs" if seconds else "0 s"
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 60:
        return f"{seconds:.{2 if seconds < 10 else 1}f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def count(number: int, noun: str) -> str:
    """Return ``1 task``, ``3 tasks``, ``0 tasks``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def truncate(text: str, most: int) -> str:
    """Return ``text`` cut to ``most`` characters; the last one is an ellipsis if it was cut."""
    return text if len(text) <= most else text[: most - 1] + "…"


def one_line(text: str, most: int = 60) -> str:
    """Return ``text`` on one line and in at most ``most`` characters."""
    return truncate(" ".join(text.split()), most)


def brief(value: object, most: int = 60) -> str:
    """Return the repr of ``value`` cut to ``most`` characters, for a message."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number that long"  # Python raises ValueError for the repr of a very long one
    return truncate(repr(value[:most] if isinstance(value, str) else value), most)


def escape_control_chars(text: str, most: int | None = None) -> str:
    """Return ``text`` on one line; characters that move the cursor or reverse text are escaped."""
    if not text.isprintable():
        text = "".join(
            " " if char in "\r\n\t" else char if _harmless(char) else f"\\u{ord(char):04x}"
            for char in text
        )
    return one_line(text, len(text) + 1 if most is None else most)


def _harmless(char: str) -> bool:
    # Joiners combine several characters into one; other format characters reverse or hide text.
    return char.isprintable() or char in "\u200c\u200d" or unicodedata.category(char) == "Zs"


def shown_as(text: str, names: Collection[str]) -> set[str]:
    """Return those of ``names`` that a table shows as ``text``: escaped, or cut with an ellipsis.

    Empty if several different names are cut to the same text.
    """
    text = text.strip()
    found = {name for name in names if escape_control_chars(name).strip() == text}
    if found or not text.endswith("…"):
        return found
    found = {name for name in names if escape_control_chars(name).startswith(text[:-1])}
    return found if len(found) == 1 else set()


def replace_surrogates(text: str) -> str:
    """Return ``text`` with each lone surrogate, which UTF-8 cannot encode, as its escape.

    A message with a lone surrogate cannot be sent, and ipykernel then loses the output of other
    cells along with it.
    """
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def width(text: str) -> int:
    """Return the number of columns that ``text`` takes in a terminal."""
    if text.isascii():
        return len(text)
    columns, joined = 0, False
    for char in text:
        if char == "\ufe0f":  # selects the wide form of the character before it
            columns += 1
        elif not (joined or unicodedata.combining(char) or unicodedata.category(char) in _NARROW):
            columns += 2 if unicodedata.east_asian_width(char) in "WF" else 1
        joined = char == "\u200d" or (joined and char == "\ufe0f")
    return columns


_NARROW = ("Mn", "Me", "Cf")


def truncate_columns(text: str, most: int) -> str:
    """Return ``text`` cut to ``most`` columns of a terminal."""
    if width(text) <= most:
        return text
    while text and width(text) > most - 1:
        text = text[:-1]
    return text + "…"


def terminal_columns() -> int | None:
    """Return the width of the terminal that stdout writes to, None if it is not a terminal."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else None
    except (AttributeError, OSError, ValueError):  # a stream without a file
        return None


def brief_value(value: object) -> str:
    """Return ``brief(value)`` and its type, for an error message."""
    return f"{brief(value)} ({type(value).__name__})"
