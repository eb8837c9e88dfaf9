"""Open groups by name: open, find and list them."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

from asyncnb._core.base.seconds import check_timeout
from asyncnb._core.introspection.counts import Counts
from asyncnb._core.launched.group_facts import GroupFacts
from asyncnb._core.launched.open_group import OpenGroup, lock, named
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import registry
from asyncnb._core.launched.start import launch_record, run_body
from asyncnb._core.loop.current import embedded_loop
from asyncnb._core.primitives.awaitables import iscoroutine
from asyncnb._core.primitives.tasks import Task, explain_no_coroutine, no_context


def open_group(name: str, *, on_error: str = "cancel", timeout: float | None = None) -> OpenGroup:
    """Open the task group ``name``, or return it if it is already open, so you can re-run a cell.

    ``on_error="cancel"`` cancels all tasks when one fails, and waiting for the group raises an
    ExceptionGroup; ``"continue"`` reports each failure at once, and the other tasks keep running.
    ``timeout`` seconds from now all tasks are cancelled, and waiting for the group raises
    TimeoutError; None leaves the deadline as it is.

    Raises ValueError for an ``on_error`` that differs from the open group's, or an invalid timeout;
    TypeError for a name that is not a string or a timeout that is not a number. Any thread; the
    group lives on the embedded loop.

    >>> group = asyncnb.open_group("pages")
    >>> tasks = [group.create_task(asyncio.sleep(0.01, n)) for n in (1, 2)]
    >>> await group  # closes the group and waits for all of its tasks
    >>> [task.result() for task in tasks]
    [1, 2]
    """
    if not isinstance(name, str):
        raise TypeError(f"open_group() takes a name, not {name!r}; use open_group('downloads')")
    timeout = check_timeout(timeout)
    embedded_loop()  # before the lock is taken, as this may have to start a loop
    with lock:
        group = named.get(name)
        while group is None or not group._open or group._exiting or group._loop.is_closed():
            new = _make_group(name, on_error=on_error)
            # A finaliser or a signal handler that also opens this group may have been faster.
            if group is None:
                group = named.setdefault(name, new)
            elif name in named and named[name] is group:
                group = named[name] = new
            else:
                group = named.get(name)
        if group.on_error != on_error:
            raise ValueError(
                f"group {name!r} is already open with on_error={group.on_error!r}: close it first "
                "(`await group`), or use another name"
            )
    if timeout is not None:
        group.reschedule(group._loop.time() + timeout)
    return group


def new_group(name: str, *, on_error: str = "cancel") -> OpenGroup:
    """Open a new group ``name``, even if an older group has that name."""
    group = _make_group(name, on_error=on_error)
    with lock:
        named[name] = group
    return group


def _make_group(name: str, *, on_error: str) -> OpenGroup:
    group = OpenGroup(name, loop=embedded_loop(), on_error=on_error)
    group._start = _starter(group)
    group._count = group_counts
    return group


def group_counts(facts: GroupFacts) -> Counts:
    """Return how many tasks of a group run and have ended, as far as they are still listed.

    ``%tasks clear`` and the limit of the history remove ended ones. Any thread.
    """
    states = dict.fromkeys(("running", "done", "failed", "cancelled"), 0)
    for record in registry.records():
        if record.group_facts is facts:
            states["running" if record.ended is None else record.state()] += 1
    group = facts.group()
    if group is not None:
        others = (task for task in group.members() if not getattr(task, "_launched", False))
        states["running"] += sum(not task.done() for task in others)
    return Counts(**states)


def group_named(name: str) -> OpenGroup:
    """Return the open group ``name``, whatever its ``on_error``, or open it.

    Unlike open_group(), this also returns a group that is already being waited for: it does not end
    before the new task.
    """
    with lock:
        group = named.get(name)
        if group is not None and group._open and not group._loop.is_closed():
            return group
        return open_group(name)


def find_group(name: str) -> OpenGroup | None:
    """Return the group ``name`` that has not ended, or None."""
    with lock:
        return named.get(name)


def open_groups() -> list[OpenGroup]:
    """Return the groups that have not ended, in the order they were opened in."""
    with lock:
        return list(named.values())


def _starter(group: OpenGroup) -> Callable[..., Task[Any]]:
    """Return what starts a group's tasks: launched ones, recorded, with output in their cell."""

    def start(
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        timeout: float | None = None,
        eager_start: bool | None = None,
        **unknown: Any,
    ) -> Task[Any]:
        # eager_start is accepted for code written for any task group: on a loop in another thread
        # no task can start before this call returns.
        if unknown:
            raise TypeError(
                "a task of an open group takes name, context, timeout and eager_start, not "
                + ", ".join(sorted(unknown))
            )
        if not iscoroutine(coro):
            raise TypeError(explain_no_coroutine(coro))
        if context is not None and type(context) is not contextvars.Context:
            raise no_context(context)
        record = TaskRecord()
        record.first_limit = check_timeout(timeout)
        record.belong_to(group)
        record.body = coro
        return launch_record(record, run_body(coro, record), name=name, context=context)

    return start
