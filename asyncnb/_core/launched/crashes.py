"""End everything that was on a loop whose thread has ended, with an error that gives the reason.

Nothing on such a loop takes another step, so nothing on it can end by itself. It makes no
difference whether the thread crashed or a shutdown stopped waiting for it.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from typing import Any

from asyncnb._core.base.errors import EmbeddedLoopError
from asyncnb._core.launched.named_groups import open_groups
from asyncnb._core.launched.registry import registry
from asyncnb._core.loop.embedded import on_dead_loop
from asyncnb._core.primitives.all_tasks import all_tasks
from asyncnb._core.primitives.awaitables import close_unstarted
from asyncnb._core.primitives.groups import TaskGroup
from asyncnb._core.primitives.joining import fail_on_dead_loop, fail_waiters


def end_all_of(loop: AbstractEventLoop, exc: BaseException | None) -> int:
    """End launched tasks, open groups and waits for ``loop``; return how many tasks were lost.

    The tasks fail with EmbeddedLoopError, whose cause is ``exc``, the exception of the loop's
    thread; ``exc`` is None after a shutdown. For the loop's thread once the loop no longer runs,
    and for any thread after that. A second call does nothing.
    """
    lost = 0
    for record in registry.living():
        task = record.task
        if task.get_loop() is loop:
            if not task.done():
                lost += 1
                _end(task, _reason("task", exc))
            close_unstarted(task.get_coro())
            close_unstarted(record.body)
            record.body = None
            if record.trace is not None:
                from asyncnb._core.tracing.recording import end_on_dead_loop  # seldom needed

                end_on_dead_loop(record.trace, loop, _reason("task", exc))
            registry.mark_lost(record)
    others: set[Any] = all_tasks(loop)  # tasks that these started, and those of other code
    for plain in others:
        if isinstance(plain, asyncio.Task) and not plain.done():
            _end(plain, _reason("task", exc))
            close_unstarted(plain.get_coro())
    for group in open_groups():
        if group.loop is loop:
            group.mark_lost(_reason("group", exc))
    fail_waiters(loop, _reason("task", exc))
    return lost


def _end(task: asyncio.Task[Any], error: EmbeddedLoopError) -> None:
    """End a task and remove it from its group, whose block would wait for it when collected."""
    for callback, _ in getattr(task, "_callbacks", None) or ():
        group = getattr(callback, "__self__", None)
        if isinstance(group, asyncio.TaskGroup | TaskGroup):
            group._tasks.discard(task)
    # The code that its coroutine runs when it is garbage-collected may drop the task, as a group's
    # block does: freed in the middle of that, the task would close the coroutine that is executing.
    task.asyncnb_itself = task  # type: ignore[attr-defined]
    fail_on_dead_loop(task, error)


def _reason(what: str, exc: BaseException | None) -> EmbeddedLoopError:
    if exc is None:
        return EmbeddedLoopError(f"The embedded loop was shut down before this {what} finished.")
    error = EmbeddedLoopError(
        f"The embedded loop crashed and took this {what} with it: {type(exc).__name__}: {exc}. The "
        f"next launch starts a new loop; start the {what} again then."
    )
    error.__cause__ = exc
    return error


on_dead_loop(end_all_of)
