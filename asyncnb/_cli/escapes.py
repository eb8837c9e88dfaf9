"""Makes what tasks print safe for a terminal: nothing of it moves the cursor or sets a title."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from asyncnb._core.base.text import escape_control_chars

#: Colours and the like, which pass.
_COLOUR: Final = re.compile(r"\x1b\[[0-9;:]*m")
#: What may be the start of a colour, or of a line end, whose rest has not arrived yet.
_UNFINISHED: Final = re.compile(r"(\x1b(\[[0-9;:]{0,30})?|\r)\Z")
RESET: Final = "\x1b[0m"


class SafeText:
    """Escapes a text that arrives in pieces.

    Colours pass. A lone carriage return, with which a progress bar overwrites its line, starts a
    new line. Any other control character is shown as its number, as are those that reverse the
    direction of text.
    """

    def __init__(self) -> None:
        self._rest = ""
        self._coloured = False

    def add(self, piece: str) -> str:
        """Return what to write for ``piece``."""
        text = self._rest + piece
        self._rest = ""
        if (end := _UNFINISHED.search(text)) is not None:
            text, self._rest = text[: end.start()], end.group()
        return self._escape(text)

    def end(self) -> str:
        """Return what to write at the end: the rest, and the terminal's own colours."""
        text = self._escape("" if self._rest == "\r" else self._rest)
        self._rest = ""
        return text + RESET if self._coloured else text

    def _escape(self, text: str) -> str:
        if text.isascii() and text.replace("\n", "").isprintable():
            return text
        written = []
        position = 0
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        for colour in _COLOUR.finditer(text):
            self._coloured = True
            written += [_plain(text[position : colour.start()]), colour.group()]
            position = colour.end()
        written.append(_plain(text[position:]))
        return "".join(written)


def _plain(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if _harmless(char) else _number(char) for char in text)


def _harmless(char: str) -> bool:
    # Joiners combine several characters into one; other format characters reverse or hide text.
    return char in "\n\t\u200c\u200d" or char.isprintable() or unicodedata.category(char) == "Zs"


def _number(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def escape_lines(text: str) -> str:
    """Return ``text`` with its lines and their indentation, and no other control characters."""
    lines = text.split("\n")
    indents = [line[: len(line) - len(line.lstrip(" "))] for line in lines]
    return "\n".join(
        indent + escape_control_chars(line) for indent, line in zip(indents, lines, strict=True)
    )
