"""Trace the tasks that a traced task creates with plain asyncio on an embedded loop."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any

from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock

_lock = fork_safe_lock()

#: The number of launched, traced tasks alive on each embedded loop.
_watched: dict[AbstractEventLoop, int] = {}
at_fork(_watched.clear)


class _TracingCreateTask:
    """``loop.create_task`` while traced tasks are alive on the loop."""

    __slots__ = ("_create_task", "_trace", "before")

    def __init__(self, loop: Any, trace: Callable[[Any], Any]) -> None:
        self._create_task = loop.create_task
        self._trace = trace
        #: The ``create_task`` that other code had set on the loop, or None.
        self.before = vars(loop).get("create_task")

    def __call__(self, coro: Any, **kwargs: Any) -> Any:
        return self._create_task(self._trace(coro), **kwargs)


def watch(loop: AbstractEventLoop, trace: Callable[[Any], Any]) -> None:
    """Call ``trace`` with the coroutine of each plain task that is created on ``loop``.

    ``loop`` is an embedded loop; the hook is set on the instance, and removed by the last
    ``unwatch``. Any thread.
    """
    with _lock:
        # Counted without a call, so that no interrupting code can count in between.
        first = loop not in _watched
        if first:
            _watched[loop] = 0
        _watched[loop] += 1
        if first and not isinstance(_current(loop), _TracingCreateTask):
            vars(loop)["create_task"] = _TracingCreateTask(loop, trace)


def unwatch(loop: AbstractEventLoop) -> None:
    """Undo one ``watch``. Anything that other code set on the loop, before or since, remains."""
    with _lock:
        if loop in _watched:
            _watched[loop] -= 1
            if _watched[loop] > 0:
                return
            del _watched[loop]
        hook = _current(loop)
        if not isinstance(hook, _TracingCreateTask):
            return  # wrapped by other code since: the hook passes on coroutines that are not traced
        if hook.before is None:
            del vars(loop)["create_task"]
        else:
            vars(loop)["create_task"] = hook.before
        if loop in _watched:  # a finaliser or signal handler has called watch() in between
            vars(loop)["create_task"] = hook


def _current(loop: AbstractEventLoop) -> Any:
    return vars(loop).get("create_task")
