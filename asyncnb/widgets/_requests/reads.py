"""Questions about tasks that are answered once, with names where a subscription sends columns."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from asyncnb._core import frontend
from asyncnb._core.base.errors import CommandError
from asyncnb._core.base.text import count
from asyncnb._core.introspection.info import ENDED
from asyncnb._core.introspection.stack import await_chain
from asyncnb._core.launched import commands
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import registry
from asyncnb._core.listing.detail import MAX_FRAMES, detail_of
from asyncnb._core.listing.facts import facts_of
from asyncnb._core.listing.rows import cut

if TYPE_CHECKING:
    from asyncnb._core.launched.inside import InnerTask

#: The most tasks in the answer to ``list``.
MAX_LISTED: Final = 1000

Message = dict[str, Any]


def list_tasks(
    limit: int, offset: int, since: float | None, state: str | None, cell_id: str | None
) -> Message:
    """Return the tasks, the oldest first; ``total`` is how many there are of those asked for.

    ``failures`` is how many have ever failed, of the tasks that are no longer listed, too.

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
    tasks = [facts_of(record, now) for record in found[offset : offset + min(limit, MAX_LISTED)]]
    return {"now": now, "total": len(found), "failures": registry.failures, "tasks": tasks}


def overview(limit: int, offset: int, match: str, order: str) -> Message:
    """Return the tasks that one screen shows, and how many there are in each state.

    ``match`` is a part of their names, groups or states; ``order`` one of ORDERS.
    """
    now = time.time()
    found = [(record, record.state()) for record in registry.records()]
    counts = dict(collections.Counter(state for _, state in found))
    if match:
        part = match.casefold()
        found = [
            (record, state)
            for record, state in found
            if part in record.name.casefold() or part in (record.group or "").casefold()
            or part in state
        ]  # fmt: skip
    found.reverse()  # the newest first
    if order != "newest":
        found.sort(key=lambda pair: _ORDER_KEYS[order](pair[0], pair[1], now))
    tasks = [facts_of(each, now) for each, _ in found[offset : offset + min(limit, MAX_LISTED)]]
    return {"now": now, "counts": counts, "total": len(found), "tasks": tasks}


def _runtime(record: TaskRecord, state: str, now: float) -> float:
    return (record.ended or now) - (record.began(state) or now)


_ORDER_KEYS: Final[Mapping[str, Callable[[TaskRecord, str, float], Any]]] = {
    "living": lambda record, state, now: state in ENDED,
    "name": lambda record, state, now: record.name.casefold(),
    "time": lambda record, state, now: (state in ENDED, -_runtime(record, state, now)),
}


def find(patterns: list[str], group: str | None, limit: int) -> Message:
    """Return the tasks that ``patterns`` name, in the group if one is given; some have to.

    Of a task inside another one, only ``id``, ``name`` (its path) and ``state``.
    """
    if not patterns and group is None:
        raise CommandError("No name, pattern or id was given.")
    found = commands.chosen(patterns, group)
    now = time.time()
    tasks = [
        facts_of(each, now)
        if isinstance(each, TaskRecord)
        else {"id": each.id, "name": cut(each.name), "state": each.state()}
        for each in found[: min(limit, MAX_LISTED)]
    ]
    return {"total": len(found), "tasks": tasks}


def describe(task: int | str) -> Message:
    """Return all that is known of one task, by its id or name."""
    record = record_of(task)
    return {"task": facts(record) | detail_of(record)}


def stack(task: int | str | None) -> Message:
    """Return where a task is, or the main thread: as text, and its frames."""
    from asyncnb._core.listing import stack_text

    if task is None:
        places, text = stack_text.foreground_places(), stack_text.describe_foreground()
        return {"id": None, "text": text, "frames": [list(at) for at in places]}
    one = _one(task)
    info = one.info()._replace(name=one.name)
    frames = [list(at) for at in await_chain(one.task)[-MAX_FRAMES:]]
    return {"id": one.id, "text": stack_text.describe_stack(one.task, info), "frames": frames}


def _one(task: int | str) -> TaskRecord | InnerTask:
    """Return the task with this id or name: a launched one, or by its path one inside it."""
    if isinstance(task, str) and "/" in task and not any(registry.match(task)):
        from asyncnb._core.launched import inside  # seldom needed

        return inside.find_one(task)
    return record_of(task)


def output(task: int | str, cursor: int) -> Message:
    """Return what a task has printed since ``cursor``, as far as it is kept.

    A cursor is a number of characters. ``cursor`` of the answer is for the next question; ``gone``
    is how many characters before ``text`` are no longer kept.
    """
    record = record_of(task)
    state = record.state()  # first: what has ended prints no more
    text, end, gone = "", 0, 0
    if record.output is not None:
        text, end, gone = record.output.since(cursor)
    if cursor > end:
        raise past_the_end(record, cursor, end)
    return {"id": record.id, "state": state, "text": text, "cursor": end, "gone": gone}


def past_the_end(record: TaskRecord, cursor: int, end: int) -> CommandError:
    """Return the error for a cursor that is beyond what a task has printed."""
    return CommandError(
        f"{record.name!r} has printed {count(end, 'character')}, so it has no output from "
        f"{cursor} on. Ask from 0 on: it may be another task."
    )


def record_of(task: int | str) -> TaskRecord:
    """Return the launched task with this id or name; raise CommandError if there is none."""
    return commands.with_id(task) if isinstance(task, int) else commands.launched_named(task)


def facts(record: TaskRecord) -> Message:
    """Return a task as ``list`` has it."""
    return facts_of(record, time.time())


def variables(pattern: str, limit: int) -> Message:
    """Return the variables of the notebook whose names match a glob pattern."""
    return frontend.current.variables(pattern, limit)


#: What answers each of these verbs.
READS: Final[Mapping[str, Callable[..., Message]]] = {
    "list": list_tasks,
    "overview": overview,
    "find": find,
    "describe": describe,
    "stack": stack,
    "output": output,
    "variables": variables,
}
