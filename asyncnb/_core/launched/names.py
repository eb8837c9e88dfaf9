"""What can name a task."""

from __future__ import annotations


def invalid_name_reason(text: str, what: str = "task") -> str | None:
    """Return why ``text`` cannot name a ``what``, as a sentence; None if it can."""
    if not text.strip() or text != text.strip():
        return f"a {what}'s name cannot be empty or begin or end with a space."
    for char in "*?[]":
        if char in text:
            return (
                f"{text!r} is no name for a {what}: {char!r} makes it a pattern. "
                f"Write, say, {text.translate(dict.fromkeys(map(ord, '*?[]'), '_'))!r}."
            )
    if not text.isprintable():
        return f"a {what}'s name must be printable, not {text!r}."
    return None
