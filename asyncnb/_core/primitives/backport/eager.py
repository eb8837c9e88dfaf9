"""Eager start for the C task of 3.11, which lacks it. To be removed with support for 3.11.

A task whose coroutine ends in its first step never needs what makes a task expensive: an entry
among the scheduled tasks and an iteration of the loop. The object is initialised only as the future
that it also is, runs its coroutine, and gets the result. If the coroutine suspends, the object
becomes a complete C task, with a generator in place of the coroutine that begins with what the
coroutine waits for.
"""

from __future__ import annotations

import asyncio
import contextvars
import types
import weakref
from asyncio import AbstractEventLoop, CancelledError
from collections.abc import Callable, Generator
from typing import Any

from asyncnb._core.base.call_soon_hook import replaced_call_soon

_tasks: Any = asyncio.tasks
_current_tasks: dict[AbstractEventLoop, Any] = _tasks._current_tasks
_known: Any = getattr(_tasks, "_all_tasks", None)  # None on 3.12, which needs nothing of this
#: False where nest_asyncio has replaced asyncio's Task by the pure-Python one.
_IS_C = hasattr(asyncio.Task, "_coro")
_new: Callable[..., Any] = asyncio.Task.__new__
_init: Callable[..., None] = asyncio.Task.__init__
_init_future: Callable[..., None] = asyncio.Future.__init__
_set_result: Callable[..., None] = asyncio.Future.set_result
_set_exception: Callable[..., None] = asyncio.Future.set_exception
_cancel_future: Callable[..., bool] = asyncio.Future.cancel
_cancel: Callable[..., bool] = asyncio.Task.cancel
_set_name: Callable[..., None] = asyncio.Task.set_name
_get_name: Callable[..., str | None] = asyncio.Task.get_name
_add_done_callback: Callable[..., None] = asyncio.Task.add_done_callback


def start_eagerly(
    cls: Any,
    coro: Any,
    *,
    loop: AbstractEventLoop,
    name: str | None = None,
    context: contextvars.Context | None = None,
    eager_start: bool = True,
) -> Any:
    """Create a task of type ``cls`` and run its first step. ``loop`` runs in this thread."""
    if context is None:
        context = contextvars.copy_context()
    if type(coro) is not types.CoroutineType or cls.__init__ is not _init or not _IS_C:

        def make() -> Any:
            return type.__call__(cls, coro, loop=loop, name=name, context=context)

        return _start_full_task(cls, make, loop, context)
    task = _new(cls)
    _init_future(task, loop=loop)
    if name is not None:
        _set_name(task, name)
    task._eager = (coro, context, coro)
    here = weakref.ref(task)
    known = _known.data
    known.add(here)
    current = _current_tasks.get(loop)
    _current_tasks[loop] = task
    try:
        waits_for = context.run(coro.send, None)
    except StopIteration as stop:
        if task._must_cancel and task.cancelling():
            _cancel_future(task, task._cancel_message)
        else:
            _set_result(task, stop.value)
        return task
    except BaseException as exc:
        if isinstance(exc, RuntimeError) and coro.cr_frame is not None and not coro.cr_suspended:
            raise  # the context has already been entered (gh-157301): nothing ran
        if not isinstance(exc, Exception):
            # Only the C task can store a CancelledError, and it propagates a KeyboardInterrupt.
            rest = _raising(exc)
        else:
            # Without this frame, which refers to the task.
            exc.__traceback__ = exc.__traceback__ and exc.__traceback__.tb_next
            _set_exception(task, exc)
            return task
    else:
        rest = _resumed(coro, waits_for)
    finally:
        known.discard(here)
        if current is None:
            _current_tasks.pop(loop, None)
        else:
            _current_tasks[loop] = current
    _become_full_task(task, rest, loop, context)
    if task.done():
        task._eager = (None, context, coro)
    return task


def _become_full_task(
    task: Any, coro: Generator[Any, None, Any], loop: AbstractEventLoop, context: Any
) -> None:
    callbacks, requests = task._callbacks or (), task.cancelling()
    cancelled, message = task._must_cancel and requests, task._cancel_message
    name = _get_name(task)
    coro.send(None)

    def make() -> Any:
        _init(task, coro, loop=loop, name=name, context=context)
        for fn, fn_context in callbacks:
            _add_done_callback(task, fn, context=fn_context)
        for _ in range(requests - 1 if cancelled else requests):
            _cancel(task)  # this is counted, and the next step drops it
        return task

    _start_full_task(type(task), make, loop, context)
    if cancelled:
        _cancel(task, message)  # cancels what it waits for, as the end of a step does on request


@types.coroutine
def _resumed(coro: Any, waits_for: Any) -> Generator[Any, None, Any]:
    """Resume ``coro``, which already waits for a future, at the step after the next one."""
    try:
        yield
    except CancelledError:
        pass
    while True:
        try:
            yield waits_for
        except BaseException as exc:
            error = exc
        else:
            return (yield from coro)
        try:
            waits_for = coro.throw(error)
        except StopIteration as stop:
            return stop.value
        finally:
            del error


@types.coroutine
def _raising(exc: BaseException) -> Generator[Any, None, Any]:
    try:
        yield
    except CancelledError:
        pass
    try:
        raise exc
    finally:
        del exc


def _start_full_task(
    cls: type, make: Callable[[], Any], loop: AbstractEventLoop, context: contextvars.Context
) -> Any:
    """Create a task of type ``cls`` and run the first step that it passes to ``loop.call_soon``."""
    steps: list[Callable[[], None]] = []

    def take_step(fn: Any, context: Any) -> bool:
        mine = not steps and type(getattr(fn, "__self__", None)) is cls
        if mine:
            steps.append(fn)
        return mine

    with replaced_call_soon(loop, take_step):
        task = make()
    current = _current_tasks.pop(loop, None)
    try:
        context.run(steps.pop())
    except RuntimeError:
        # The context has already been entered (gh-157301): nothing ran, and nothing is pending.
        task._log_destroy_pending = False
        _tasks._unregister_task(task)
        raise
    finally:
        if current is not None:
            _current_tasks[loop] = current
    if not hasattr(task, "_eager") and task.done():
        task._eager = (None, context, task._coro)
    return task


class _NoLoop:
    """A stand-in loop that receives the first step of a task created only for its name."""

    @staticmethod
    def get_debug() -> bool:
        return False

    @staticmethod
    def call_soon(*_: object, **__: object) -> None:
        pass


async def _nothing() -> None:
    pass


def next_name() -> str:
    """Return the name that the next task would have been given by default."""
    coro = _nothing()
    loop: Any = _NoLoop()
    task = asyncio.Task(coro, loop=loop)
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coro.close()
    return task.get_name()
