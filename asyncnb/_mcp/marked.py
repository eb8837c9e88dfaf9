"""Errors as an agent can use them: type, message, and the cell's lines with the one that failed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

#: Lines before and after the marked one.
AROUND: Final = 3
#: Characters of a message.
MAX_MESSAGE: Final = 2000

#: The head of a frame in a traceback of IPython's: that of a cell, and any.
_CELL = re.compile(r"^\s*Cell In ?\[(\d+)\], line (\d+)")
_FRAME = re.compile(r"^(\s*Cell In ?\[\d+\], line \d+|File .+:\d+, in |  File \".+\", line \d+)")
_ARROW = re.compile(r"^-+> ?(\d+) ?(.*)$")
_NUMBERED = re.compile(r"^ *(\d+) (.*)$")


@dataclass
class Place:
    """A line of a cell."""

    #: n of ``In[n]``.
    cell: int
    #: The number of the line, as in the code that was given, from 1 on.
    line: int
    #: The lines around it, numbered, the line itself marked with ``-->``.
    lines: str


def place_in_cell(traceback: str, code: str = "", offset: int = 0) -> Place | None:
    """Return the innermost line of a cell in a traceback without colours; None if there is none.

    ``code`` is that of the cell that failed, if it is known; its lines are then returned, and
    counted. ``offset``: how many lines the kernel saw before it.
    """
    found: tuple[int, int] | None = None
    shown: list[tuple[int, str]] = []
    block: list[tuple[int, str]] = []
    inside = False
    for line in traceback.splitlines():
        if _FRAME.match(line):
            cell = _CELL.match(line)
            inside = cell is not None
            if cell is not None:
                found = int(cell[1]), int(cell[2])
                shown = block = []
            continue
        if inside and (numbered := _ARROW.match(line) or _NUMBERED.match(line)):
            block.append((int(numbered[1]), numbered[2]))
    if found is None:
        return None
    number, at = found
    given = code.splitlines()
    index = at - offset
    source = dict(shown).get(at)
    if given and 1 <= index <= len(given) and source in (None, given[index - 1]):
        numbered_lines = list(enumerate(given, 1))[max(0, index - 1 - AROUND) : index + AROUND]
        return Place(number, index, _marked(numbered_lines, index))
    return Place(number, at, _marked(shown, at))


def _marked(lines: list[tuple[int, str]], at: int) -> str:
    width = len(str(max((number for number, _ in lines), default=0)))
    return "\n".join(
        f"{'-->' if number == at else '   '} {number:{width}} {text}".rstrip()
        for number, text in lines
    )
