"""Tables of tasks: aligned text for a terminal, HTML for a notebook."""

from __future__ import annotations

import time
from collections.abc import Sequence

from asyncnb._core.base.text import seconds, terminal_columns, truncate_columns, visible, width
from asyncnb._core.introspection.info import ENDED, TaskInfo
from asyncnb._core.launched.record import TaskRecord
from asyncnb._kernel.tables.note import note

#: Rows of a table at most: more is nothing to read, and takes time to make.
MOST_ROWS = 100

#: Columns that may be cut where there is no room, and what must stay of each.
LEAST = {"task": 14, "group": 6, "waits for": 12, "note": 12}

#: Levels of the tree that are indented; what lies deeper stands below the last of them.
DEEPEST = 7

#: Whether each task from the root down to this one is the last of its siblings; empty at the root.
Branch = tuple[bool, ...]

#: The columns, and whether one is left out where it says nothing.
COLUMNS = {
    "task": False,
    "state": False,
    "time": False,
    "group": True,
    "cell": False,
    "on": False,
    "waits for": True,
    "note": True,
}


class Row:
    """One task in the words of the table, and where it stands in the tree of tasks.

    ``branch`` says of each task above it, then of itself, whether it is the last of its parent's.
    """

    __slots__ = ("branch", "info", "texts")

    def __init__(self, info: TaskInfo, branch: Branch, now: float) -> None:
        self.info = info
        self.branch = branch
        elapsed = info.elapsed
        if elapsed is None and info.started is not None:
            elapsed = now - info.started
        waits = info.waiting_on if info.state not in ENDED else None
        self.texts = {
            "task": visible(info.name, 40),
            "state": info.state,
            "time": "" if elapsed is None else seconds(elapsed),
            "group": visible(info.group or "", 24),
            "cell": str(info.cell or ""),
            "on": info.kind,
            "waits for": visible(waits or "", 40),
            "note": visible(note(info), 60),
        }


class TaskTable:
    """What ``%tasks`` returns: one row a task, as it was at that moment.

    Oldest first, and below a task those that belong to it. ``left_out`` says what is not shown.
    """

    def __init__(
        self, infos: Sequence[TaskInfo], empty: str = "No tasks.", left_out: str = ""
    ) -> None:
        self.infos = tuple(infos)
        self.empty = empty
        self.left_out = left_out
        now = time.time()
        self.rows = [Row(info, branch, now) for info, branch in as_tree(self.infos)]

    def columns(self) -> list[str]:
        """Return the columns that say something."""
        return [
            name
            for name, optional in COLUMNS.items()
            if not optional or any(row.texts[name] for row in self.rows)
        ]

    def __repr__(self) -> str:
        # In a terminal a line that is too long would be broken, and no column be one any more.
        return self.text(terminal_columns())

    def text(self, room: int | None = None) -> str:
        """Return the table as text; with ``room``, in at most so many columns where that can be."""
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
        """Return the head and the rows of these columns, and how wide each column is."""
        lines = [names]
        for row in self.rows:
            line = [row.texts[name] for name in names]
            line[0] = indented(line[0], row.branch)
            lines.append(line)
        return lines, [max(map(width, column)) for column in zip(*lines, strict=True)]

    def _repr_html_(self) -> str:
        from asyncnb._kernel.tables.html import render  # only front ends that show HTML ask

        return render(self)


def as_bundle(records: Sequence[TaskRecord]) -> dict[str, str]:
    """Return the table of ``records`` as text and as HTML, by mime type."""
    shown, left_out = choose(records)
    table = TaskTable([record.info() for record in shown], left_out=left_out)
    return {"text/plain": repr(table), "text/html": table._repr_html_()}


def one_line(info: TaskInfo) -> dict[str, str]:
    """Return a task as one line, as text and as HTML: what stays true for a while, so no times."""
    import html  # as above

    text = f"Task {info.name!r}: {info.state}"
    if info.error:
        text += f" ({visible(info.error.partition(chr(10))[0], 200)})"
    if info.cell is not None and str(info.cell):
        text += f", {info.cell}"
    return {"text/plain": text, "text/html": f"<span>{html.escape(text)}</span>"}


def choose(records: Sequence[TaskRecord], most: int = MOST_ROWS) -> tuple[list[TaskRecord], str]:
    """Return at most ``most`` of ``records``, in their order, and a sentence on what is left out.

    Failures come first, in at most half of the room, then the living, then the others; of each
    kind the latest.
    """
    if len(records) <= most:
        return list(records), ""
    # Not state(), which takes too long to ask of 100,000 tasks.
    living = [record for record in records if record.ended is None]
    ended = [record for record in records if record.ended is not None]
    failed = [record for record in ended if record.state() == "failed"]
    kept = failed[-(most // 2) :]
    kept += living[-(most - len(kept)) :]
    if len(kept) < most:
        taken = {record.id for record in failed}
        others = [record for record in ended if record.id not in taken]
        kept += others[-(most - len(kept)) :]
    alive = len(living) - sum(record.ended is None for record in kept)
    parts = [f"{alive:,} living"] if alive else []
    if over := len(records) - len(kept) - alive:
        parts.append(f"{over:,} ended")
    names = "`%tasks PATTERN` shows those whose names match."
    return sorted(kept, key=lambda record: record.id), f"Not shown: {' and '.join(parts)}. {names}"


def as_tree(infos: Sequence[TaskInfo]) -> list[tuple[TaskInfo, Branch]]:
    """Return the tasks, each followed by those whose parent it is, with their branches."""
    known = {info.id for info in infos}
    children: dict[int | None, list[TaskInfo]] = {}
    for info in infos:
        children.setdefault(info.parent if info.parent in known else None, []).append(info)
    found: list[tuple[TaskInfo, Branch]] = []
    todo: list[tuple[TaskInfo, Branch]] = [(info, ()) for info in reversed(children.pop(None, []))]
    while todo:
        info, branch = todo.pop()
        found.append((info, branch))
        below = children.pop(info.id, [])
        # The last of them goes in first, and comes out last.
        todo += [(child, (*branch, child is below[-1])) for child in reversed(below)]
    return found


def indented(name: str, branch: Branch) -> str:
    """Return ``name`` as it stands in a tree of text."""
    if not branch:
        return name
    above = "".join("   " if last else "│  " for last in branch[:-1][:DEEPEST])
    return f"{above}{'└─' if branch[-1] else '├─'} {name}"


def fitted(names: Sequence[str], widths: Sequence[int], room: int) -> list[int]:
    """Return ``widths`` made less, the widest first, until the table fits in ``room`` columns.

    Columns of words alone, and none to less than can be read: it may not fit even then.
    """
    found = list(widths)
    while (more := over(found, room)) > 0:
        spare = {i: found[i] - LEAST[name] for i, name in enumerate(names) if name in LEAST}
        widest = max(spare, key=lambda i: spare[i], default=None)
        if widest is None or spare[widest] <= 0:
            break
        rest = max((room for i, room in spare.items() if i != widest), default=0)
        found[widest] -= min(more, max(1, spare[widest] - max(0, rest)))
    return found


def over(widths: Sequence[int], room: int) -> int:
    """Return by how many columns such a table is wider than ``room``; 0 if it fits."""
    return max(0, sum(widths) + 2 * (len(widths) - 1) - room)
