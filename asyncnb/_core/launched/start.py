"""Start launched tasks: all of them start here, each with its record."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Coroutine
from types import CoroutineType
from typing import Any, TypeVar

from asyncnb._core import frontend
from asyncnb._core.base.errors import EmbeddedLoopError
from asyncnb._core.base.text import brief_value
from asyncnb._core.config import config
from asyncnb._core.introspection.places import hide_wrapper
from asyncnb._core.launched.record import TaskRecord, current_record
from asyncnb._core.launched.registry import registry
from asyncnb._core.launched.time_limit import BEGUN, TaskTimeout, limit_of
from asyncnb._core.loop.current import embedded_loop
from asyncnb._core.loop.embedded import EmbeddedLoop
from asyncnb._core.primitives.awaitables import close_unstarted
from asyncnb._core.primitives.futures import isfuture, wrap_future
from asyncnb._core.primitives.joining import fail_on_dead_loop
from asyncnb._core.primitives.tasks import Task, create_suspended
from asyncnb._core.primitives.timeouts import limits_lock
from asyncnb._core.tracing.current import current_recording

__asyncnb_frames__ = "launches"

T = TypeVar("T")


def as_coroutine(awaitable: Awaitable[T], *, caller: str) -> Coroutine[Any, Any, T]:
    """Return a coroutine that awaits ``awaitable``; raise TypeError with advice if it cannot be."""
    # A fast path for what inspect would find in nearly all cases: a coroutine not started yet.
    if type(awaitable) is CoroutineType and not (
        awaitable.cr_suspended or awaitable.cr_running or awaitable.cr_frame is None
    ):
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


def launch_record(
    record: TaskRecord,
    coro: Coroutine[Any, Any, T],
    *,
    name: str | None,
    trace: bool = False,
    before_start: Callable[[], object] | None = None,
    context: contextvars.Context | None = None,
) -> Task[T]:
    """Start ``coro`` as the task of ``record``; every launched task is started here.

    It runs in ``context`` itself, by default in a copy of the current context.
    """
    loop = embedded_loop()
    entered = contextvars.copy_context() if context is None else context.copy()
    entered.run(_enter, record)
    recording = current_recording.get()
    if recording is None and (trace or config.record_all):
        from asyncnb._core.tracing.recording import recorder  # imports what records

        recording = recorder
    if recording is not None:
        entered.run(current_recording.set, recording)
        coro = recording.root(coro, record, loop)
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
    try:
        task, step = create_suspended(loop, coro, name=name, context=context)
    except BaseException:
        close_unstarted(coro)
        raise
    registry.add(record, task)
    try:
        if before_start is not None:
            before_start()
    finally:
        if step is not None:
            _start(loop, record, step, context)
    return task


def _start(
    loop: EmbeddedLoop, record: TaskRecord, step: Callable[[], object], context: contextvars.Context
) -> None:
    """Schedule a task's first step; if the loop has just ended, discard the task and raise."""
    task = record.task
    try:
        loop.start_task(task, step, context)
    except RuntimeError as exc:
        if not loop.is_closed():
            raise
        error = EmbeddedLoopError(
            f"The embedded loop ended while {task.get_name()!r} was being launched, so the task "
            "was not started. Launch it again: that starts a new loop."
        )
        registry.discard([record])
        if not task.done():
            fail_on_dead_loop(task, error)
        for coro in (task.get_coro(), record.body):
            if coro is not None:
                coro.close()
        record.body = None
        raise error from exc


def _enter(record: TaskRecord) -> None:
    frontend.current.task_launching(record)
    current_record.set(record)


async def run_body(coro: Coroutine[Any, Any, T], record: TaskRecord) -> T:
    """Await ``coro`` of a launched task, within the time limit that the task has or is given.

    The TimeoutError names the task. A task without a limit pays only for one check at the start and
    one at the end.
    """
    for variable, value in record.variables:
        variable.set(value)
    record.started = record.started or time.time()
    # The task is in no variable: if it fails, the traceback would keep it alive in a cycle.
    with limits_lock:
        if record.first_limit is not None:
            limit_of(record)  # before it has begun: code that interrupts this finds the same limit
        first, record.first_limit = record.first_limit, BEGUN
        limit = record.task._timeout
        if limit is not None:
            limit.begin(first)
    at_first = None if limit is None else limit.when()
    try:
        if record.cancel_asked:
            # By another thread while the loop was busy: that cancel() is queued after this step.
            raise CancelledError
        result = await coro
    except BaseException as exc:
        limit = record.task._timeout
        if limit is not None and limit.leave():
            await _expire(record, limit, exc, first if limit.when() == at_first else None)
        raise
    limit = record.task._timeout
    if limit is not None and limit.leave():
        await limit.expire(None)
    return result


hide_wrapper(run_body)


async def _expire(
    record: TaskRecord, limit: TaskTimeout, exc: BaseException, seconds: float | None
) -> None:
    """Raise TimeoutError if ``limit`` caused ``exc``; ``seconds`` is None if it was rescheduled."""
    try:
        await limit.expire(exc)
    except TimeoutError:
        when = limit.when()
        started = record.started
        if seconds is None and when is not None and started is not None:
            seconds = time.time() - started - (limit._loop.time() - when)
            seconds = max(0.0, round(seconds, 2))
        error = TimeoutError(f"Task {record.name!r} did not finish within {seconds:.10g} s.")
        # The traceback shows where the task was when it timed out.
        raise error.with_traceback(exc.__traceback__) from None
