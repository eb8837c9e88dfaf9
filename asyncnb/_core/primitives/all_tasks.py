"""Find all tasks of a loop, including those that asyncnb did not create."""

from __future__ import annotations

import asyncio
import sys
import weakref
from asyncio import AbstractEventLoop
from collections.abc import Collection, Iterable, Iterator
from threading import get_ident
from typing import Any

from asyncnb._core.base.visits import visits


def all_tasks(loop: AbstractEventLoop | None = None) -> set[asyncio.Task[Any]]:
    """Return the tasks of *loop*, by default the running one, that are not done.

    Correct even while other threads create tasks: the registry is copied in one step, where the
    standard function up to 3.13 iterates over it and gives up after 1,000 collisions. Raises
    ``RuntimeError`` without a loop. Any thread.
    """
    if loop is None:
        loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 14):
        found = _all_threads_tasks(loop)
        found.update(_unstarted(loop))
        return found
    return {task for task in _known_tasks() if _loop_of(task) is loop and not task.done()}


def _all_threads_tasks(loop: AbstractEventLoop) -> set[asyncio.Task[Any]]:
    if not (visits and get_ident() in visits):
        return asyncio.all_tasks(loop)
    # For the running loop it reads only this thread's list, and this thread is only visiting.
    before = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        return asyncio.all_tasks(loop)
    finally:
        asyncio._set_running_loop(before)


#: Tasks that were constructed in a thread other than their loop's: until their first step they are
#: in no thread's list (3.14). Launched tasks are found in the embedded loop's inbox instead, since
#: an entry here costs a microsecond.
_suspended: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
note_suspended = _suspended.add


def _unstarted(loop: Any) -> Iterator[asyncio.Task[Any]]:
    """Yield the tasks of *loop* that may not have run their first step yet."""
    refs: Iterable[Any] = _suspended.data.copy()  # type: ignore[attr-defined]
    # Check for a list: a test's stand-in loop returns something for every attribute.
    launched = getattr(loop, "unstarted_tasks", None)
    launched = launched if isinstance(launched, list) else []
    for task in (*launched, *(ref() for ref in refs)):
        if task is not None and _loop_of(task) is loop and not task.done():
            yield task


def _known_tasks() -> Iterator[Any]:
    """Yield every task of every loop that is still referenced; up to 3.13."""
    registry: Any = asyncio.tasks
    if sys.version_info >= (3, 12):
        refs = registry._scheduled_tasks.data.copy()
        yield from registry._eager_tasks.copy()
    else:
        refs = registry._all_tasks.data.copy()
    for ref in refs:
        task = ref()
        if task is not None:
            yield task


def tasks_of(loops: Collection[AbstractEventLoop]) -> set[asyncio.Task[Any]]:
    """Return the unfinished tasks of *loops*, launched and other ones. Any thread."""
    if sys.version_info >= (3, 14):
        return {task for loop in loops for task in all_tasks(loop)}
    return {task for task in _known_tasks() if not task.done() and _loop_of(task) in loops}


def unmanaged_tasks(loops: Collection[AbstractEventLoop]) -> list[asyncio.Task[Any]]:
    """Return the unfinished tasks of *loops* that were not launched. Any thread."""
    if sys.version_info >= (3, 14):
        known: Iterable[Iterable[Any]] = map(all_tasks, loops)
    else:
        known = (_known_tasks(),)
    # Launched tasks are excluded first, to avoid up to 100,000 needless calls of get_loop().
    others = {task for some in known for task in some if not getattr(task, "_launched", False)}
    return [task for task in others if not task.done() and _loop_of(task) in loops]


def _loop_of(task: Any) -> Any:
    get_loop = getattr(task, "get_loop", None)  # third-party tasks may only have the attribute
    return task._loop if get_loop is None else get_loop()
