"""Start launched tasks: all of them start here, each with its record."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Coroutine
from types import CoroutineType
from typing import Any, TypeGuard, TypeVar

from asyncnb._core import frontend
from asyncnb._core.base.errors import EmbeddedLoopError
from asyncnb._core.base.text import brief_value
from asyncnb._core.base.visits import runs_here
from asyncnb._core.config import config
from asyncnb._core.introspection.places import hide_wrapper
from asyncnb._core.launched.record import TaskRecord, current_record
from asyncnb._core.launched.registry import registry
from asyncnb._core.launched.task import LaunchedTask
from asyncnb._core.launched.time_limit import BEGUN, begin, leave
from asyncnb._core.loop.current import embedded_loop
from asyncnb._core.primitives.awaitables import close_unstarted
from asyncnb._core.primitives.futures import isfuture, wrap_future
from asyncnb._core.primitives.joining import fail_on_dead_loop
from asyncnb._core.primitives.suspended import construct_suspended
from asyncnb._core.primitives.tasks import Task, create_here
from asyncnb._core.primitives.timeouts import limits_lock
from asyncnb._core.tracing.current import current_recording

__asyncnb_frames__ = "launches"

T = TypeVar("T")


async def _nothing() -> None:
    pass


def _fewest_referents() -> int:
    coro = _nothing()
    found = len(gc.get_referents(coro))
    coro.close()
    return found if found > len(gc.get_referents(coro)) else 0


#: How many objects a coroutine that has not started refers to at least, and one that was closed
#: does not; 0 if that is no difference (3.12 and 3.13).
_FEWEST_REFERENTS = _fewest_referents()


def is_unstarted_coroutine(awaitable: Awaitable[T]) -> TypeGuard[CoroutineType[Any, Any, T]]:
    """Return whether this is a coroutine of an ``async def``, neither started nor closed."""
    return type(awaitable) is CoroutineType and not (
        awaitable.cr_suspended
        or awaitable.cr_running
        # cr_frame would make a frame object of 200 bytes, which stays as long as the coroutine.
        or len(gc.get_referents(awaitable)) < _FEWEST_REFERENTS
        or (not _FEWEST_REFERENTS and awaitable.cr_frame is None)
    )


def as_coroutine(awaitable: Awaitable[T], *, caller: str) -> Coroutine[Any, Any, T]:
    """Return a coroutine that awaits ``awaitable``; raise TypeError with advice if it cannot be."""
    if is_unstarted_coroutine(awaitable):
        return awaitable
    if inspect.iscoroutine(awaitable):
        if inspect.getcoroutinestate(awaitable) != inspect.CORO_CREATED:
            raise RuntimeError(
                f"{caller} got the coroutine {awaitable.__qualname__!r}, which has already been "
                "started or awaited. Call the function again for a new coroutine."
            )
        return awaitable
    if inspect.isawaitable(awaitable):
        return _await(awaitable)
    hint = ""
    if inspect.iscoroutinefunction(awaitable):
        hint = f" Call it: {caller}({getattr(awaitable, '__name__', 'function')}(...))."
    elif inspect.isasyncgen(awaitable):
        hint = " Iterate an async generator: use `async for` in a coroutine."
    elif callable(awaitable):
        hint = f" For a blocking function, use {caller}(asyncio.to_thread(function, ...))."
    raise TypeError(
        f"{caller} takes a coroutine or another awaitable, not {brief_value(awaitable)}.{hint}"
    )


async def _await(awaitable: Awaitable[T]) -> T:
    if isfuture(awaitable):
        return await wrap_future(awaitable, loop=asyncio.get_running_loop())  # of any loop
    return await awaitable


def launch_plainly(coro: CoroutineType[Any, Any, T], name: str | None) -> Task[T]:
    """Start ``coro``, not started yet, without any option.

    The same as ``launch_record``, by the shortest way where most launches are: in a task of the
    embedded loop, or in a cell that has launched a task already, with nothing recorded.
    """
    record = TaskRecord()
    record.body = coro
    body = run_body(coro, record)
    if (
        current_recording.get() is not None
        or config.record_all
        or not frontend.current.belongs_here(record)
    ):
        return launch_record(record, body, name=name)
    context = contextvars.copy_context()
    context.run(_set_record, record)
    return _start(record, body, name, context)


def launch_record(
    record: TaskRecord,
    coro: Coroutine[Any, Any, T],
    *,
    name: str | None,
    trace: bool = False,
    before_start: Callable[[], object] | None = None,
    context: contextvars.Context | None = None,
) -> Task[T]:
    """Start ``coro`` as the task of ``record``, in ``context`` or a copy of the current one.

    ``coro`` calls ``registry.ends(record)`` in its last step, as ``run_body`` does.
    """
    entered = contextvars.copy_context() if context is None else context.copy()
    entered.run(_enter, record)
    recording = current_recording.get()
    if recording is None and (trace or config.record_all):
        from asyncnb._core.tracing.recording import recorder  # imports what records

        recording = recorder
    if recording is not None:
        entered.run(current_recording.set, recording)
        try:
            coro = recording.root(coro, record, embedded_loop())
        except BaseException:
            _close(record, coro)
            raise
    if context is None:
        context = entered
    else:
        # Not entered here: another task of that context may be taking a step in the loop's thread.
        given = context
        record.variables = [
            (variable, value)
            for variable, value in entered.items()
            if given.get(variable, record) is not value
        ]
    return _start(record, coro, name, context, before_start)


def _start(
    record: TaskRecord,
    coro: Coroutine[Any, Any, T],
    name: str | None,
    context: contextvars.Context,
    before_start: Callable[[], object] | None = None,
) -> Task[T]:
    """Make the task of ``record``, register it and let it begin: every launched task starts here.

    If the loop has just ended, discard the task and raise EmbeddedLoopError. If no loop can be
    started, close the coroutines and raise what the system says.
    """
    step = None
    try:
        loop = embedded_loop()
        if runs_here(loop):  # the loop gets the first step, and takes it once this code has ended
            task = create_here(LaunchedTask, coro, loop, name, context)
        else:
            task, step = construct_suspended(LaunchedTask, coro, loop, name, context)
    except BaseException:
        _close(record, coro)
        raise
    registry.add(record, task)
    try:
        if before_start is not None:
            before_start()
    finally:
        if step is not None:
            try:
                loop.start_task(task, step, context)
            except RuntimeError as exc:
                if loop.is_closed():
                    raise _discard(record) from exc
                raise
    return task


def _close(record: TaskRecord, coro: Coroutine[Any, Any, Any]) -> None:
    close_unstarted(coro)
    if record.body is not None:
        close_unstarted(record.body)


def _discard(record: TaskRecord) -> EmbeddedLoopError:
    """Discard a task that has not been started because its loop has just ended."""
    task = record.task
    error = EmbeddedLoopError(
        f"The embedded loop ended while {task.get_name()!r} was being launched, so the task was "
        "not started. Launch it again: that starts a new loop."
    )
    registry.discard([record])
    if not task.done():
        fail_on_dead_loop(task, error)
    for coro in (task.get_coro(), record.body):
        if coro is not None:
            coro.close()
    record.body = None
    return error


_set_record = current_record.set


def _enter(record: TaskRecord) -> None:
    if not frontend.current.belongs_here(record):
        frontend.current.task_launching(record)
    current_record.set(record)


def _set_variables(record: TaskRecord) -> None:
    for variable, value in record.variables:
        variable.set(value)


async def run_body(coro: Coroutine[Any, Any, T], record: TaskRecord) -> T:
    """Await ``coro`` of a launched task, within the time limit that the task has or is given.

    The TimeoutError names the task. A task without a limit pays only for one check at the start and
    one at the end.
    """
    if record.variables:
        _set_variables(record)
    if record.started is None:
        record.started = time.time()
    try:
        # The task and its limit are in no variable: if it fails, the traceback would keep them
        # alive in a cycle.
        with limits_lock:
            if record.first_limit is None and record.held._timeout is None:
                record.first_limit = BEGUN
            else:
                begin(record)
        try:
            if record.cancel_asked:
                # By another thread while the loop was busy: that cancel() is queued after this
                # step.
                coro.close()  # which never started
                raise CancelledError
            result = await coro
        except BaseException as exc:
            if record.task._timeout is not None:
                await leave(record, exc)
            raise
        if record.held._timeout is not None:
            await leave(record, None)
        return result
    finally:
        registry.ends(record)


hide_wrapper(run_body)
