"""The rows of a table of tasks: which, in what order, and the words in each column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from asyncnb._core.base.text import duration, escape_control_chars
from asyncnb._core.introspection.info import ENDED, TaskInfo
from asyncnb._core.launched.record import TaskRecord
from asyncnb._kernel.tables.note import note

if TYPE_CHECKING:
    from asyncnb._core.introspection.counts import Counts

#: Rows of a table at most: longer ones are not read, and take time to make.
MAX_ROWS = 100

#: Levels of the tree that are indented; deeper ones are shown at the last of these.
MAX_DEPTH = 7

#: Whether each task from the root down to this one is the last of its siblings; empty at the root.
Branch = tuple[bool, ...]

#: The columns, and whether a column is left out if it is empty in every row.
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
    """One task as the texts of the table's columns, with its place in the tree of tasks.

    ``branch`` says of each of its ancestors, then of itself, whether it is its parent's last child.
    """

    __slots__ = ("branch", "info", "texts")

    def __init__(self, info: TaskInfo, branch: Branch, now: float, inside: str = "") -> None:
        self.info = info
        self.branch = branch
        elapsed = info.elapsed
        if elapsed is None and info.started is not None:
            elapsed = now - info.started
        waits = info.waiting_on if info.state not in ENDED else None
        self.texts = {
            "task": escape_control_chars(info.name, 40),
            "state": info.state,
            "time": "" if elapsed is None else duration(elapsed),
            "group": escape_control_chars(info.group or "", 24),
            "cell": str(info.cell or ""),
            "on": info.kind,
            "waits for": escape_control_chars(waits or "", 40),
            "note": escape_control_chars(", ".join(filter(None, (inside, note(info)))), 60),
        }


def choose(records: Sequence[TaskRecord], most: int = MAX_ROWS) -> tuple[list[TaskRecord], str]:
    """Return at most ``most`` of ``records``, in their order, and a sentence about the others.

    Failures have precedence, for at most half of the rows, then living tasks, then the others; of
    each kind the newest are kept.
    """
    if len(records) <= most:
        return list(records), ""
    # Not by state(), which takes too long for 100,000 tasks.
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
    names = "`%tasks PATTERN` shows the tasks whose names match."
    return sorted(kept, key=lambda record: record.id), f"Not shown: {' and '.join(parts)}. {names}"


def folded(counts: Counts) -> str:
    """Return what a row says of the tasks inside its task: ``3 inside: 1 running, 2 done``."""
    ended = f": {counts}" if counts.total > counts.running else ""
    return f"{counts.total:,} inside{ended}"


def as_tree(infos: Sequence[TaskInfo]) -> list[tuple[TaskInfo, Branch]]:
    """Return the tasks with their branches, each task followed by its children."""
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
        # A stack: the last child is pushed first and popped last.
        todo += [(child, (*branch, child is below[-1])) for child in reversed(below)]
    return found


def indented(name: str, branch: Branch) -> str:
    """Return ``name`` with the lines of the tree before it."""
    if not branch:
        return name
    above = "".join("   " if last else "│  " for last in branch[:-1][:MAX_DEPTH])
    return f"{above}{'└─' if branch[-1] else '├─'} {name}"
