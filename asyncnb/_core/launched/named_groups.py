"""Open groups by name: opened, found, listed."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

from asyncnb._core.base.seconds import check_timeout
from asyncnb._core.launched.open_group import OpenGroup, lock, named
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.start import launch_record, run_body
from asyncnb._core.loop.current import embedded_loop
from asyncnb._core.primitives.awaitables import iscoroutine
from asyncnb._core.primitives.tasks import Task, explain_no_coroutine, no_context


def open_group(name: str, *, on_error: str = "cancel", timeout: float | None = None) -> OpenGroup:
    """Open the task group ``name``, or return it when it is open, so a cell may run again.

    ``on_error="cancel"`` cancels all tasks when one fails and raises an ExceptionGroup at the
    end; ``"continue"`` reports each failure at once and lets the others go on. ``timeout``
    seconds from now all tasks are cancelled and the end raises TimeoutError; None leaves the
    deadline as it is.

    Raises ValueError for another ``on_error`` than the open group has, or a time that is none;
    TypeError for a name that is no string or a timeout that is no number. Any thread; the group
    lives on the embedded loop.

    >>> group = asyncnb.open_group("pages")
    >>> tasks = [group.create_task(asyncio.sleep(0.01, n)) for n in (1, 2)]
    >>> await group  # no more tasks now; waits for all of them
    >>> [task.result() for task in tasks]
    [1, 2]
    """
    if not isinstance(name, str):
        raise TypeError(f"open_group() takes a name, not {name!r}: open_group('downloads')")
    timeout = check_timeout(timeout)
    embedded_loop()  # before the lock is held, as it may have to start one
    with lock:
        group = named.get(name)
        while group is None or not group._open or group._exiting or group._loop.is_closed():
            new = _make_group(name, on_error=on_error)
            # A finaliser or a signal handler that opens this group, too, may have been faster.
            if group is None:
                group = named.setdefault(name, new)
            elif name in named and named[name] is group:
                group = named[name] = new
            else:
                group = named.get(name)
        if group.on_error != on_error:
            raise ValueError(
                f"group {name!r} is open with on_error={group.on_error!r}: close it first "
                "(`await group`), or open one of another name"
            )
    if timeout is not None:
        group.reschedule(group._loop.time() + timeout)
    return group


def new_group(name: str, *, on_error: str = "cancel") -> OpenGroup:
    """Open a new group ``name``, whatever becomes of an older one of that name."""
    group = _make_group(name, on_error=on_error)
    with lock:
        named[name] = group
    return group


def _make_group(name: str, *, on_error: str) -> OpenGroup:
    group = OpenGroup(name, loop=embedded_loop(), on_error=on_error)
    group._start = _starter(group)
    return group


def group_named(name: str) -> OpenGroup:
    """Return the group ``name`` that still takes tasks, whatever its ``on_error``, or open it.

    Other than open_group(), also one that somebody waits for already: its end is not reached
    before the new task's.
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
    """Return the groups that have not ended, in the order in which they were opened."""
    with lock:
        return list(named.values())


def _starter(group: OpenGroup) -> Callable[..., Task[Any]]:
    """Tasks of an open group are launched ones: recorded, shown, with output in their cell."""

    def start(
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        timeout: float | None = None,
        eager_start: bool | None = None,
        **unknown: Any,
    ) -> Task[Any]:
        # eager_start is taken for those who write for any group: on a loop in another thread no
        # task can start before this call returns.
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
