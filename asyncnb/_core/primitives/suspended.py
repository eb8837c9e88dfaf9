"""Construct a task in a thread other than its loop's, with its first step withheld."""

from __future__ import annotations

import contextvars
from asyncio import AbstractEventLoop
from collections.abc import Callable
from threading import get_ident
from typing import Any

from asyncnb._core.base.call_soon_hook import call_soon_anywhere, call_soon_lock
from asyncnb._core.base.task_lists import register, unregister

#: What calling a class does when its metaclass does nothing of its own.
construct: Callable[..., Any] = type.__call__


def construct_suspended(
    cls: type[Any],
    coro: Any,
    loop: AbstractEventLoop,
    name: str | None,
    context: contextvars.Context,
) -> tuple[Any, Callable[[], object]]:
    """Construct a task of a loop that runs in another thread; return it and its first step."""
    attributes = loop.__dict__
    # replaced_call_soon() written inline: this is most of the cost of launching a task.
    with call_soon_lock:
        interceptor = _first_steps
        if interceptor.loop is not loop:
            interceptor = _FirstStepInterceptor(loop)
        # Those of an outer call that was interrupted by a finaliser that launches a task.
        outer_step, outer_cls = interceptor.step, interceptor.cls
        interceptor.step, interceptor.cls = None, cls
        interceptor.thread = get_ident()
        saved = attributes.get("call_soon")
        attributes["call_soon"] = interceptor.replacement
        try:
            task = construct(cls, coro, loop=loop, name=name, context=context)
        finally:
            if saved is None:
                del attributes["call_soon"]
            else:
                attributes["call_soon"] = saved
            step = interceptor.step
            interceptor.step, interceptor.cls = outer_step, outer_cls
    assert step is not None
    if unregister is not None:
        unregister(task)
    return task, step


def run_first_step(task: Any, step: Callable[[], object], context: contextvars.Context) -> None:
    """Run the first step of a task constructed in another thread, or withhold it if paused.

    Run it in *context*, on the loop's thread.
    """
    if register is not None:
        register(task)
    if task._pause is None:
        step()
    else:
        task._pause.suspend_first_step(step, context)


class _FirstStepInterceptor:
    """Replaces the ``call_soon`` of one loop while a task is constructed in another thread.

    There is one for all tasks of a loop, used with call_soon_lock held: a closure per task would
    cost as much as the task.
    """

    __slots__ = ("cls", "loop", "replacement", "step", "thread")

    def __init__(self, loop: Any) -> None:
        global _first_steps
        self.loop = loop
        self.cls: type[Any] = object
        self.step: Callable[[], object] | None = None
        self.thread = 0
        self.replacement = self._call_soon
        _first_steps = self

    def _call_soon(self, fn: Any, *args: Any, context: Any = None) -> Any:
        if (
            self.step is None
            and type(getattr(fn, "__self__", None)) is self.cls
            and get_ident() == self.thread
        ):
            self.step = fn
            return None
        # Not the first step of this task: call the loop's own call_soon.
        return call_soon_anywhere(self.loop, fn, *args, context=context)


_first_steps: _FirstStepInterceptor = _FirstStepInterceptor(None)
