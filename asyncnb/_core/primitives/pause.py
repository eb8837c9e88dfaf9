"""Pause: suspend a task between two of its steps until it is resumed.

Nothing is added to a task's steps. To suspend a task, the call that would wake it up next is taken
from the future it waits on, or from the loop's queue, and kept until the task is resumed or
cancelled. So tasks that are never paused pay nothing, except for one attribute check in
``cancel()``.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import types
from collections.abc import Callable
from typing import Any

from asyncnb._core.base.call_soon_hook import call_soon_lock
from asyncnb._core.primitives.futures import runs_elsewhere
from asyncnb._core.primitives.timeouts import Timeout, innermost, limits_lock

#: Seconds that a call from another thread waits until the loop has handled it: far more than a
#: free loop needs, and short enough that a blocked loop does not block the calling cell, too.
ANSWER_SECONDS = 0.25

#: Seconds after which a request to cancel a paused task of asyncio's own class is noticed at most.
CANCEL_SECONDS = 0.05


def pause(task: Any, *, pause_timeouts: bool = False) -> bool:
    """Suspend ``task``, a C task, asyncnb's or asyncio's own; see ``Task.pause``."""
    paused = [_run_on_loop(part, _pause_on_loop, part, pause_timeouts) for part in _parts(task)]
    return all(paused)


def resume(task: Any) -> bool:
    """Resume ``task``; see ``Task.resume``."""
    resumed = [_run_on_loop(part, _resume_on_loop, part) for part in _parts(task)]
    return any(resumed)


def _parts(task: Any) -> list[Any]:
    delegate = getattr(task, "_delegate", None)
    return [task] if delegate is None else [delegate, task]


def _run_on_loop(task: Any, act: Callable[..., bool], *args: object) -> bool:
    """Call ``act`` on the thread of the task's loop, and return what it returned.

    Return True if the loop does not answer in time: it is blocked, and calls ``act`` once it is
    free.
    """
    loop = task.get_loop()
    if not runs_elsewhere(loop):
        return act(*args)
    answered = threading.Event()
    answer = True

    def act_on_loop() -> None:
        nonlocal answer
        answer = act(*args)
        pause = getattr(task, "_pause", None)
        if pause is None or pause.is_suspended:
            answered.set()
        else:
            loop.call_soon(answered.set)  # after the step that still runs

    loop.call_soon_threadsafe(act_on_loop)
    answered.wait(ANSWER_SECONDS)
    return answer


def _pause_on_loop(task: Any, pause_timeouts: bool) -> bool:
    if task.done() or task.cancelling():
        return False
    if getattr(task, "_pause", None) is None:
        task._pause = Pause(task)
        task._pause.suspend()
    if pause_timeouts:
        task._pause.pause_timeouts()
    return True


def _resume_on_loop(task: Any) -> bool:
    if getattr(task, "_pause", None) is None:
        return False
    task._pause.release()
    return True


class Pause:
    """The pause of one task, which is suspended now or will be at the end of its running step.

    For the thread of the task's loop, except where limits_lock is held.
    """

    __slots__ = (
        "_future",
        "_interceptor",
        "_loop",
        "_seconds_left",
        "_step",
        "_task",
        "_timeouts_paused",
    )

    def __init__(self, task: Any) -> None:
        self._task = task
        self._loop: Any = task.get_loop()
        #: The call that continues the task: function, arguments, context.
        self._step: tuple[Any, tuple[Any, ...], Any] | None = None
        #: The future the task waits on, until that is done; meanwhile its callback is ours.
        self._future: Any = None
        #: The interceptor that waits for the task's next step, until that comes.
        self._interceptor: StepInterceptor | None = None
        #: Whether the task's time limits are paused, and the seconds that each of them had left.
        self._timeouts_paused = False
        self._seconds_left: dict[Timeout, float] = {}

    @property
    def is_suspended(self) -> bool:
        """Whether the task takes no further step; if not, its running step still finishes."""
        return self._step is not None

    def suspend(self) -> None:
        """Take away the task's next step, now or as soon as it is scheduled."""
        self._task.add_done_callback(self._task_ended)
        if not _ends_pauses(self._task):
            CancelWatch.of(self._loop).add(self._task)
        if not self._take():
            # It runs now, or its step is in a queue that cannot be inspected (uvloop's): intercept
            # the next one where it is put into the queue.
            self._intercept()
            self._loop.call_soon(self._look_again)

    def _take(self) -> bool:
        return self._take_from_future() or self._take_from_queue()

    def _take_from_future(self) -> bool:
        future: Any = self._task._fut_waiter
        if future is None or future.done():
            return False
        for callback, context in getattr(future, "_callbacks", None) or ():
            if _is_step(callback, self._task):
                future.remove_done_callback(callback)
                future.add_done_callback(self._future_done, context=context)
                self._step = (callback, (future,), context)
                self._future = future
                return True
        return False

    def _take_from_queue(self) -> bool:
        queue = getattr(self._loop, "_ready", None)
        # A copy, made in a single operation, since other threads append to the queue.
        for handle in () if queue is None else queue.copy():
            if _is_step(handle._callback, self._task) and not handle._cancelled:
                self._step = (handle._callback, handle._args, handle._context)
                handle.cancel()
                return True
        return False

    def _future_done(self, _: object) -> None:
        self._future = None  # from now on the step waits for resume() alone

    def _intercept(self) -> None:
        self._interceptor = StepInterceptor.of(self._loop)
        self._interceptor.add(self._task, self._intercepted)

    def suspend_first_step(self, step: Callable[[], object], context: contextvars.Context) -> None:
        """Keep the task's first step, which another thread never put into a queue of the loop."""
        self._intercepted(step, (), context)

    def _intercepted(self, fn: Any, args: tuple[Any, ...], context: Any) -> None:
        self._step = (fn, args, context)
        self._stop_intercepting()

    def _stop_intercepting(self) -> None:
        interceptor, self._interceptor = self._interceptor, None
        if interceptor is not None:
            interceptor.discard(self._task)

    def _look_again(self) -> None:
        if self._task._pause is self and self._step is None and self._take():
            self._stop_intercepting()

    def _task_ended(self, _: object) -> None:
        if self._task._pause is self:
            self._task._pause = None
            self._stop_intercepting()
            self._stop_watching()

    def _stop_watching(self) -> None:
        if not _ends_pauses(self._task):
            CancelWatch.of(self._loop).discard(self._task)

    def release(self) -> None:
        """Continue the task where it was suspended."""
        task = self._task
        task._pause = None
        self._stop_intercepting()
        self._stop_watching()
        task.remove_done_callback(self._task_ended)
        self._resume_timeouts()
        if self._step is None:
            return  # its running step had not finished, so it was never suspended
        callback, args, context = self._step
        if self._future is not None and not self._future.done():
            self._future.remove_done_callback(self._future_done)
            self._future.add_done_callback(callback, context=context)
        else:
            self._loop.call_soon(callback, *args, context=context)

    # Time limits

    def pause_timeouts(self) -> None:
        """Pause all the time limits that the task is inside."""
        with limits_lock:
            self._timeouts_paused = True
            scope = innermost(self._task)
            while scope is not None:
                left = scope.remaining()
                if left is not None and not scope.expired() and scope._task is not None:
                    self._seconds_left[scope] = left
                    scope.reschedule(None)
                scope = scope._outer

    def _resume_timeouts(self) -> None:
        with limits_lock:
            for scope, left in list(self._seconds_left.items()):
                # Otherwise it has ended, or was rescheduled during the pause.
                if scope._task is not None and scope.when() is None and not scope.expired():
                    scope.reschedule(self._loop.time() + left)
            self._seconds_left.clear()

    def left(self, scope: Timeout) -> float | None:
        """Return the seconds left of a paused limit, None for one that runs. Any thread."""
        return self._seconds_left.get(scope)

    def set_left(self, scope: Timeout, seconds: float | None) -> bool:
        """Change the seconds left of a paused limit; return False if limits are not paused."""
        if not self._timeouts_paused:
            return False
        if seconds is None:
            self._seconds_left.pop(scope, None)
        else:
            self._seconds_left[scope] = seconds
        return True


class StepInterceptor:
    """Replaces a loop's ``call_soon`` while steps of tasks have to be intercepted.

    There is one for each loop, however many tasks are paused at the same time: hooks on top of
    hooks, removed in any order, would add up to a chain that every call passes through.
    """

    def __init__(self, loop: Any) -> None:
        self._attributes: dict[str, Any] = loop.__dict__
        self._original: Any = None
        self._wanted: dict[Any, Callable[[Any, tuple[Any, ...], Any], None]] = {}

    @classmethod
    def of(cls, loop: Any) -> StepInterceptor:
        # It is stored on the loop because it refers to the loop, so any other place would keep the
        # loop alive.
        interceptor: StepInterceptor | None = loop.__dict__.get("_asyncnb_step_interceptor")
        if interceptor is None:
            interceptor = loop.__dict__["_asyncnb_step_interceptor"] = cls(loop)
        if interceptor._original is None:
            with call_soon_lock:
                interceptor._original = loop.call_soon
                interceptor._attributes["call_soon"] = interceptor._call_soon
        return interceptor

    def add(self, task: Any, take: Callable[[Any, tuple[Any, ...], Any], None]) -> None:
        """Call ``take`` with the next step of ``task`` instead of passing that to the loop."""
        self._wanted[task] = take

    def discard(self, task: Any) -> None:
        """Stop intercepting ``task``; restore ``call_soon`` when no task is left."""
        self._wanted.pop(task, None)
        if self._wanted:
            return
        with call_soon_lock:
            if self._attributes.get("call_soon") == self._call_soon:
                del self._attributes["call_soon"]
                self._original = None
            # Otherwise a task is being constructed, which puts ours back; the next pause uses it.

    def _call_soon(self, fn: Any, *args: Any, context: Any = None) -> Any:
        if self._wanted:
            task = getattr(fn, "__self__", None)
            take = self._wanted.get(task) if isinstance(task, asyncio.Future) else None
            if take is not None and _is_step(fn, task):
                take(fn, args, context)
                return None
        return self._original(fn, *args, context=context)


class CancelWatch:
    """Ends the pause of a task of asyncio's own class when it is cancelled; holds it until then.

    The ``cancel()`` of such a task tells nothing to anything, so the paused ones of a loop are
    looked at; a loop without any has no timer.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._paused: set[Any] = set()
        self._timer: Any = None

    @classmethod
    def of(cls, loop: Any) -> CancelWatch:
        watch: CancelWatch | None = loop.__dict__.get("_asyncnb_cancel_watch")
        if watch is None:
            watch = loop.__dict__["_asyncnb_cancel_watch"] = cls(loop)
        return watch

    def add(self, task: Any) -> None:
        """Release ``task`` within CANCEL_SECONDS after a request to cancel it."""
        self._paused.add(task)
        if self._timer is None:
            self._timer = self._loop.call_later(CANCEL_SECONDS, self._look)

    def discard(self, task: Any) -> None:
        """Forget ``task``, which is no longer paused."""
        self._paused.discard(task)
        if not self._paused and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        for task in [task for task in self._paused if task.cancelling()]:
            task._pause.release()
        if self._paused and self._timer is None:
            self._timer = self._loop.call_later(CANCEL_SECONDS, self._look)


def _ends_pauses(task: Any) -> bool:
    """Return whether the task's own ``cancel()`` ends its pause: that of asyncnb's class does."""
    return hasattr(type(task), "_pause")


def _is_step(fn: object, task: object) -> bool:
    """Return whether ``fn`` is how the C task takes a step, not a method such as ``cancel``."""
    return getattr(fn, "__self__", None) is task and type(fn) is not types.MethodType
