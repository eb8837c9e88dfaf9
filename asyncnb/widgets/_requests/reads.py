"""Questions about tasks that are answered once, with names where a subscription sends columns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from asyncnb._core.base.errors import CommandError
from asyncnb._core.base.text import count
from asyncnb._core.introspection.info import STATES
from asyncnb._core.launched import commands
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import registry
from asyncnb.widgets._detail import detail_of, waits_for
from asyncnb.widgets._rows import Calls, Row, cut, row_of

#: The most tasks in the answer to ``list``.
MAX_LISTED: Final = 1000

Message = dict[str, Any]


def list_tasks(
    limit: int, offset: int, since: float | None, state: str | None, cell_id: str | None
) -> Message:
    """Return the tasks, the oldest first; ``total`` is how many there are of those asked for.

    ``since``: those only that live or have ended since then. ``state``: those in it.
    ``cell_id``: those that the cell with this id has launched.
    """
    found = registry.records()
    if since is not None:
        found = [r for r in found if r.ended is None or r.ended >= since]
    if state is not None:
        found = [r for r in found if r.state() == state]
    if cell_id is not None:
        found = [r for r in found if r.cell is not None and r.cell.id == cell_id]
    now = time.time()
    tasks = [_facts(record, now) for record in found[offset : offset + min(limit, MAX_LISTED)]]
    return {"now": now, "total": len(found), "tasks": tasks}


def describe(task: int | str) -> Message:
    """Return all that is known of one task, by its id or name."""
    record = _record(task)
    return {"task": _facts(record, time.time()) | detail_of(record)}


def output(task: int | str, cursor: int) -> Message:
    """Return what a task has printed since ``cursor``, as far as it is kept.

    A cursor is a number of characters. ``cursor`` of the answer is for the next question; ``gone``
    is how many characters before ``text`` are no longer kept.
    """
    record = _record(task)
    state = record.state()  # first: what has ended prints no more
    text, end, gone = "", 0, 0
    if record.output is not None:
        text, end, gone = record.output.since(cursor)
    if cursor > end:
        raise CommandError(
            f"{record.name!r} has printed {count(end, 'character')}, so it has no output from "
            f"{cursor} on. Ask from 0 on: it may be another task."
        )
    return {"id": record.id, "state": state, "text": text, "cursor": end, "gone": gone}


def _record(task: int | str) -> TaskRecord:
    return commands.with_id(task) if isinstance(task, int) else commands.launched_named(task)


def _facts(record: TaskRecord, now: float) -> Message:
    row: Row = row_of(record, now)
    found: Message = row.numbers._asdict() | row.texts._asdict()
    found["state"] = STATES[row.numbers.state]
    found["waits_for"] = "" if record.ended is not None else cut(waits_for(record))
    if row.calls is not None:
        found["calls"] = {name: getattr(row.calls, name) for name in Calls._fields[1:]}
    return found


#: What answers each of these verbs.
READS: Final[Mapping[str, Callable[..., Message]]] = {
    "list": list_tasks,
    "describe": describe,
    "output": output,
}
