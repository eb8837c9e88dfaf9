"""Which strings are valid task names."""

from __future__ import annotations


def invalid_name_reason(text: str, what: str = "task") -> str | None:
    """Return why ``text`` is not a valid name of a ``what``, as a sentence; None if it is."""
    if not text.strip() or text != text.strip():
        return f"a {what} name cannot be empty, or begin or end with a space."
    for char in "*?[]":
        if char in text:
            return (
                f"invalid {what} name {text!r}: {char!r} is a glob character. "
                f"Use, for example, {text.translate(dict.fromkeys(map(ord, '*?[]'), '_'))!r}."
            )
    if not text.isprintable():
        return f"a {what} name must be printable, not {text!r}."
    return None
