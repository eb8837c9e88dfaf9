"""The rows of a table of tasks: which, in what order, and the words in each column."""

from __future__ import annotations

from collections.abc import Sequence

from asyncnb._core.base.text import duration, escape_control_chars
from asyncnb._core.introspection.info import ENDED, TaskInfo
from asyncnb._core.launched.record import TaskRecord
from asyncnb._kernel.tables.note import note

#: Rows of a table at most: more is nothing to read, and takes time to make.
MAX_ROWS = 100

#: Levels of the tree that are indented; what lies deeper stands below the last of them.
MAX_DEPTH = 7

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
            "task": escape_control_chars(info.name, 40),
            "state": info.state,
            "time": "" if elapsed is None else duration(elapsed),
            "group": escape_control_chars(info.group or "", 24),
            "cell": str(info.cell or ""),
            "on": info.kind,
            "waits for": escape_control_chars(waits or "", 40),
            "note": escape_control_chars(note(info), 60),
        }


def choose(records: Sequence[TaskRecord], most: int = MAX_ROWS) -> tuple[list[TaskRecord], str]:
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
    above = "".join("   " if last else "│  " for last in branch[:-1][:MAX_DEPTH])
    return f"{above}{'└─' if branch[-1] else '├─'} {name}"
