"""Tables of tasks: aligned text for a terminal, HTML for a notebook."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence

from asyncnb._core._info import TaskInfo
from asyncnb._kernel._notes import note

_HEAD = ("task", "state", "time", "cell", "on", "note")


class TaskTable:
    """What ``%tasks`` returns: one row a task, oldest first, as it was at that moment."""

    def __init__(self, infos: Sequence[TaskInfo], empty: str = "No tasks.") -> None:
        self.infos = tuple(infos)
        self._empty = empty
        now = time.time()
        self._rows = [_row(info, now) for info in self.infos]

    def __repr__(self) -> str:
        if not self._rows:
            return self._empty
        rows = [_HEAD, *self._rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
        lines = ["  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        if not self._rows:
            return f"<p>{html.escape(self._empty)}</p>"
        cell = "text-align:left;padding:2px 12px 2px 0;white-space:pre"
        head = "".join(f'<th scope="col" style="{cell}">{name}</th>' for name in _HEAD)
        rows = "".join(
            "<tr>" + "".join(f'<td style="{cell}">{html.escape(c)}</td>' for c in row) + "</tr>"
            for row in self._rows
        )
        return (
            '<table style="border-collapse:collapse"><thead>'
            f"<tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )


def as_bundle(infos: Sequence[TaskInfo]) -> dict[str, str]:
    """Return the table as text and as HTML, by mime type."""
    table = TaskTable(infos)
    return {"text/plain": repr(table), "text/html": table._repr_html_()}


def _row(info: TaskInfo, now: float) -> tuple[str, ...]:
    elapsed = info.elapsed
    if elapsed is None and info.started is not None:
        elapsed = now - info.started
    name = info.name if len(info.name) <= 40 else info.name[:39] + "…"
    text = note(info)
    return (
        name.replace("\n", " "),
        info.state,
        "" if elapsed is None else seconds(elapsed),
        str(info.cell or ""),
        info.kind,
        text if len(text) <= 60 else text[:59] + "…",
    )


def seconds(value: float) -> str:
    """Return a duration as a person reads it: ``0.42 s``, ``12.3 s``, ``3 min 05 s``."""
    if value < 60:
        return f"{value:.{2 if value < 10 else 1}f} s"
    minutes, rest = divmod(int(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
