"""Tables of tasks: aligned text for a terminal, HTML for a notebook."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from asyncnb._core.base.text import escape_control_chars, terminal_columns, truncate_columns, width
from asyncnb._core.introspection.info import TaskInfo
from asyncnb._kernel.tables.rows import COLUMNS, Row, as_tree, indented

#: Columns that may be cut if there is not enough room, and the width that each keeps.
MIN_WIDTHS = {"task": 14, "group": 6, "waits for": 12, "note": 12}


class TaskTable:
    """The table that ``%tasks`` returns: one row for each task, as it was at that moment.

    Oldest first, with the children of a task below it. ``left_out`` says what is not shown, and
    ``inside`` what the rows say of the tasks inside theirs, by the ids of their tasks. ``facts`` is
    the same for programs.
    """

    def __init__(
        self,
        infos: Sequence[TaskInfo],
        empty: str = "No tasks.",
        left_out: str = "",
        inside: Mapping[int, str] = MappingProxyType({}),
        facts: dict[str, Any] | None = None,
    ) -> None:
        self.infos = tuple(infos)
        self.empty = empty
        self.left_out = left_out
        self.facts = facts
        now = time.time()
        self.rows = [
            Row(info, branch, now, inside.get(info.id, "")) for info, branch in as_tree(self.infos)
        ]

    def columns(self) -> list[str]:
        """Return the names of the columns to show."""
        return [
            name
            for name, optional in COLUMNS.items()
            if not optional or any(row.texts[name] for row in self.rows)
        ]

    def __repr__(self) -> str:
        # A terminal wraps longer lines, and the columns would no longer line up.
        return self.text(terminal_columns())

    def text(self, room: int | None = None) -> str:
        """Return the table as text, in at most ``room`` terminal columns if that is possible."""
        if not self.rows:
            return self.empty
        lines, widths = self._lines(self.columns())
        if room is not None and over(fitted(lines[0], widths, room), room):
            lines, widths = self._lines([name for name in lines[0] if name != "on"])
        if room is not None:
            widths = fitted(lines[0], widths, room)
            lines = [
                [truncate_columns(*cell) for cell in zip(line, widths, strict=True)]
                for line in lines
            ]
        text = "\n".join(
            "  ".join(
                cell + " " * (w - width(cell)) for cell, w in zip(line, widths, strict=True)
            ).rstrip()
            for line in lines
        )
        return f"{text}\n{self.left_out}" if self.left_out else text

    def _lines(self, names: list[str]) -> tuple[list[list[str]], list[int]]:
        """Return the heading and the rows of these columns, and the width of each column."""
        lines = [names]
        for row in self.rows:
            line = [row.texts[name] for name in names]
            line[0] = indented(line[0], row.branch)
            lines.append(line)
        return lines, [max(map(width, column)) for column in zip(*lines, strict=True)]

    def _repr_html_(self) -> str:
        from asyncnb._kernel.tables.html import render  # needed only where HTML is shown

        return render(self.rows, self.columns(), self.left_out if self.rows else self.empty)


def as_one_line(info: TaskInfo) -> dict[str, str]:
    """Return a task as one line of text and of HTML, without times, which would soon be wrong."""
    import html  # needed only where HTML is shown

    text = f"Task {info.name!r}: {info.state}"
    if info.error:
        text += f" ({escape_control_chars(info.error.partition(chr(10))[0], 200)})"
    if info.cell is not None and str(info.cell):
        text += f", {info.cell}"
    return {"text/plain": text, "text/html": f"<span>{html.escape(text)}</span>"}


def fitted(names: Sequence[str], widths: Sequence[int], room: int) -> list[int]:
    """Return ``widths`` reduced, the widest first, until the table fits in ``room`` columns.

    Only columns of words are reduced, and none below a readable width: it may still not fit.
    """
    found = list(widths)
    while (more := over(found, room)) > 0:
        spare = {
            i: found[i] - MIN_WIDTHS[name] for i, name in enumerate(names) if name in MIN_WIDTHS
        }
        widest = max(spare, key=lambda i: spare[i], default=None)
        if widest is None or spare[widest] <= 0:
            break
        rest = max((room for i, room in spare.items() if i != widest), default=0)
        found[widest] -= min(more, max(1, spare[widest] - max(0, rest)))
    return found


def over(widths: Sequence[int], room: int) -> int:
    """Return by how many columns such a table is wider than ``room``; 0 if it fits."""
    return max(0, sum(widths) + 2 * (len(widths) - 1) - room)
