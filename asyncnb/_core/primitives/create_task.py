"""create_task, ensure_future and the eager task factory: the functions that create tasks."""

from __future__ import annotations

import asyncio
import contextvars
import types
from asyncio import AbstractEventLoop, _get_running_loop
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import Any, TypeVar

from asyncnb._core.base.call_soon_hook import lazy_starts
from asyncnb._core.base.seconds import check_timeout
from asyncnb._core.base.visits import visits
from asyncnb._core.primitives import tasks as _tasks
from asyncnb._core.primitives.awaitables import as_coroutine, close_unstarted, iscoroutine, isfuture
from asyncnb._core.primitives.tasks import (
    Task,
    can_construct,
    construct_task,
    construct_task_eagerly,
    explain_no_coroutine,
    no_context,
)
from asyncnb._core.primitives.timeouts import Timeout
from asyncnb._core.primitives.timeouts import timeout as timeout_after

__all__ = ["create_eager_task_factory", "create_task", "eager_task_factory", "ensure_future"]

_T = TypeVar("_T")


def new_task(loop: AbstractEventLoop, coro: Coroutine[Any, Any, _T], **kwargs: Any) -> Any:
    """Create a task on *loop*: with its task factory if it has one, otherwise a :class:`Task`.

    Not ``loop.create_task(coro, **kwargs)``: that creates the interpreter's own task, and before
    3.13.2 refuses ``eager_start``.
    """
    factory = loop.get_task_factory()
    if factory is None:
        if not kwargs and can_construct(coro, loop):
            return construct_task(coro, loop=loop)
        return Task(coro, loop=loop, **kwargs)
    try:
        if visits and get_ident() in visits:
            with lazy_starts(loop):
                return factory(loop, coro, **kwargs)
        return factory(loop, coro, **kwargs)
    finally:
        del coro, kwargs  # a failed eager start must not be kept alive by its own traceback


def ensure_future(
    coro_or_future: Any, *, loop: AbstractEventLoop | None = None
) -> asyncio.Future[Any]:
    """Return a future for *coro_or_future*: itself if it is one, else a new task that runs it.

    Accepts a future, a coroutine or any awaitable. *loop*, by default the running one, is where a
    task is started; it may run in another thread. Raises ``ValueError`` if a future belongs to a
    loop other than *loop*, ``TypeError`` if the argument cannot be awaited, ``RuntimeError``
    without a loop. Source: CPython 3.15.
    """
    if isfuture(coro_or_future):
        if loop is not None and loop is not coro_or_future.get_loop():
            raise ValueError(
                "The future belongs to a different loop than the one specified as the loop "
                "argument; omit loop, or pass wrap_future(future, loop=loop)"
            )
        return coro_or_future
    coro = as_coroutine(coro_or_future)
    try:
        if loop is None:
            loop = _get_running_loop() or asyncio.get_event_loop()
    except RuntimeError:
        coro.close()
        raise
    return new_task(loop, coro)  # type: ignore[no-any-return]


def create_task(
    coro: Coroutine[Any, Any, _T],
    *,
    name: str | None = None,
    context: contextvars.Context | None = None,
    eager_start: bool | None = None,
    timeout: float | None = None,
    **kwargs: Any,
) -> Task[_T]:
    """Start *coro* as a task of the running loop and return the :class:`Task`.

    *name*, *context* and *eager_start* are those of :class:`Task`. *timeout* (asyncnb's addition):
    after this many seconds, 0 or more, the task is cancelled and ends with ``TimeoutError``;
    ``task.timeout`` is the :class:`Timeout`, which can be rescheduled. If the loop has a task
    factory, that creates the task and receives all keywords, including unknown ones.

    Keep a reference to the task: the loop has only a weak one. Raises ``RuntimeError`` without a
    running loop, ``TypeError`` if *coro* is not a coroutine and for unexpected keywords,
    ``TypeError`` or ``ValueError`` for an invalid timeout; *coro* is closed then. Thread of the
    loop. Source: CPython 3.15.
    """
    try:
        loop = _get_running_loop()
        if loop is None:
            raise RuntimeError(
                "no running event loop: create_task() is for code that runs on a loop; elsewhere "
                "use asyncnb.launch(coro) or run_coroutine_threadsafe(coro, loop)"
            )
        factory = loop.get_task_factory()
        if (factory is not None or eager_start) and visits and get_ident() in visits:
            eager_start = None if eager_start is None else False  # this thread does not run it
        elif (
            timeout is None
            and not kwargs
            and not loop.get_debug()
            and _tasks._wrap_coroutine is None
        ):
            if factory is not None:
                if name is None and context is None and eager_start is None:
                    return factory(loop, coro)  # type: ignore[return-value]
            elif type(coro) is types.CoroutineType:  # Task() checks anything else
                if name is None and context is None:
                    # Keywords that are None would be parsed, too: a twentieth of a task.
                    if not eager_start:
                        return construct_task(coro, loop=loop)  # type: ignore[no-any-return]
                    return construct_task_eagerly(coro, loop=loop, eager_start=True)  # type: ignore[no-any-return]
                if not eager_start:
                    if context is not None and type(context) is not contextvars.Context:
                        raise no_context(context)
                    return construct_task(coro, loop=loop, name=name, context=context)  # type: ignore[no-any-return]
                if context is None:
                    return construct_task_eagerly(coro, loop=loop, name=name, eager_start=True)  # type: ignore[no-any-return]
        if name is not None:
            kwargs["name"] = name
        if context is not None:
            kwargs["context"] = context
        if eager_start is not None:
            kwargs["eager_start"] = eager_start
        if timeout is None:
            return new_task(loop, coro, **kwargs)  # type: ignore[no-any-return]
        if not iscoroutine(coro):
            raise TypeError(explain_no_coroutine(coro))
        limit = timeout_after(check_timeout(timeout))
        task = new_task(loop, _limited(coro, limit), **kwargs)
        try:
            setattr(task, "_timeout" if isinstance(task, Task) else "timeout", limit)
            return task  # type: ignore[no-any-return]
        finally:
            del task
    except BaseException:
        close_unstarted(coro)
        raise


async def _limited(coro: Coroutine[Any, Any, _T], limit: Timeout) -> _T:
    async with limit:
        return await coro


def create_eager_task_factory(custom_task_constructor: Callable[..., Any]) -> Callable[..., Any]:
    """Return a task factory whose tasks run their first step at once.

    *custom_task_constructor* accepts ``(coro, *, loop, eager_start, **kwargs)``, as :class:`Task`
    does. Use ``loop.set_task_factory(create_eager_task_factory(MyTask))``; with such a factory
    ``create_task(coro, eager_start=False)`` starts lazily. Never raises. Source: CPython 3.15.
    """

    def factory(
        loop: AbstractEventLoop,
        coro: Coroutine[Any, Any, Any],
        *,
        eager_start: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        if eager_start is None:  # what uvloop's create_task() passes by default
            if makes_own_tasks and not kwargs and can_construct(coro, loop):
                return construct_task_eagerly(coro, loop=loop, eager_start=True)
            eager_start = True
        return custom_task_constructor(coro, loop=loop, eager_start=eager_start, **kwargs)

    makes_own_tasks = custom_task_constructor is Task
    return factory


eager_task_factory: Callable[..., Any] = create_eager_task_factory(Task)
"""A task factory for ``loop.set_task_factory()``: tasks run their first step at once (3.12)."""
