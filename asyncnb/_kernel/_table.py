"""Tables of tasks: aligned text for a terminal, HTML for a notebook."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Sequence

from asyncnb._core._info import ENDED, TaskInfo
from asyncnb._core._registry import TaskRecord
from asyncnb._core._words import brief, seconds
from asyncnb._kernel._notes import note

#: Rows of a table at most: more is nothing to read, and takes time to make.
MOST_ROWS = 100

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
    """One task in the words of the table, and how deep it stands below the task it belongs to."""

    __slots__ = ("depth", "info", "texts")

    def __init__(self, info: TaskInfo, depth: int, now: float) -> None:
        self.info = info
        self.depth = depth
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
        self.rows = [Row(info, depth, now) for info, depth in as_tree(self.infos)]

    def columns(self) -> list[str]:
        """Return the columns that say something."""
        return [
            name
            for name, optional in COLUMNS.items()
            if not optional or any(row.texts[name] for row in self.rows)
        ]

    def __repr__(self) -> str:
        if not self.rows:
            return self.empty
        names = self.columns()
        lines = [names]
        for row in self.rows:
            line = [row.texts[name] for name in names]
            line[0] = indented(line[0], row.depth)
            lines.append(line)
        widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
        text = "\n".join(
            "  ".join(
                cell + " " * (w - width(cell)) for cell, w in zip(line, widths, strict=True)
            ).rstrip()
            for line in lines
        )
        return f"{text}\n{self.left_out}" if self.left_out else text

    def _repr_html_(self) -> str:
        from asyncnb._kernel._table_html import render  # only front ends that show HTML ask

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


def as_tree(infos: Sequence[TaskInfo]) -> list[tuple[TaskInfo, int]]:
    """Return the tasks with their depth, each followed by those whose parent it is."""
    known = {info.id for info in infos}
    children: dict[int | None, list[TaskInfo]] = {}
    for info in infos:
        children.setdefault(info.parent if info.parent in known else None, []).append(info)
    found: list[tuple[TaskInfo, int]] = []
    todo = [(info, 0) for info in reversed(children.pop(None, []))]
    while todo:
        info, depth = todo.pop()
        found.append((info, depth))
        todo += [(child, depth + 1) for child in reversed(children.pop(info.id, []))]
    return found


def indented(name: str, depth: int) -> str:
    """Return ``name`` as it stands in a tree of text."""
    return f"{'   ' * (min(depth, 8) - 1)}└─ {name}" if depth else name


def visible(text: str, most: int) -> str:
    """Return ``text`` on one line, without what would move the cursor or turn the line around."""
    if not text.isprintable():
        text = "".join(
            " " if char in "\r\n\t" else char if _harmless(char) else f"\\u{ord(char):04x}"
            for char in text
        )
    return brief(text, most)


def _harmless(char: str) -> bool:
    # Joiners make one sign of several; the other format characters turn text around or hide it.
    return char.isprintable() or char in "\u200c\u200d" or unicodedata.category(char) == "Zs"


def width(text: str) -> int:
    """Return how many columns ``text`` takes in a terminal."""
    if text.isascii():
        return len(text)
    columns, joined = 0, False
    for char in text:
        if char == "\ufe0f":  # asks for the wide form of the sign before it
            columns += 1
        elif not (joined or unicodedata.combining(char) or unicodedata.category(char) in _NARROW):
            columns += 2 if unicodedata.east_asian_width(char) in "WF" else 1
        joined = char == "\u200d" or (joined and char == "\ufe0f")
    return columns


_NARROW = ("Mn", "Me", "Cf")
