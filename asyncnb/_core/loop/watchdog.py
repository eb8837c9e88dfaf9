"""Watchdog: detects that a step blocks the embedded loop, and which line of which task it is.

A thread observes the loop's thread from outside, seven times a second, without waking the loop: is
a task or a callback in the middle of a step? Only then does it request an answer from the loop, and
a loop that still gives none, in the same step, is blocked. Many short steps are observed as
different steps, and the loop answers. While the loop sleeps, the thread sleeps, too, until the
first call that gives the loop work (see ``tripwire``).
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import math
import os
import sys
import threading
import time
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, cast

from asyncnb._core.base.async_raise import raise_in_task
from asyncnb._core.base.breakpoints import is_at_breakpoint
from asyncnb._core.base.frames import is_asyncio_frame, is_idle_frame
from asyncnb._core.base.observers import Observers
from asyncnb._core.config import config
from asyncnb._core.loop.blocked import Blocked, Looks, frames_of, name_of
from asyncnb._core.loop.slow_steps import HighestLag, SlowStep, SlowSteps, slow_step
from asyncnb._core.loop.tripwire import Tripwire
from asyncnb._core.primitives.all_tasks import all_tasks

if TYPE_CHECKING:

    class WatchedLoop(Protocol):
        """The interface that a watchdog needs of a loop with a dedicated thread."""

        @property
        def thread(self) -> threading.Thread: ...
        @property
        def dead(self) -> bool: ...
        @property
        def on_blocked(self) -> Observers: ...
        @property
        def search(self) -> Callable[[bool], float] | None: ...
        def is_closed(self) -> bool: ...
        def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> object: ...


logger = logging.getLogger("asyncnb")

#: A check that is late by this many seconds was delayed by the interpreter's lock (GIL) and not by
#: a busy machine.
_GIL_HELD_SECONDS = 0.3
#: How long the thread sleeps while nothing gives the loop work. It then looks for timers and
#: sockets that the tripwire misses, and if there are any, does not sleep that long a second time
#: within a minute.
_SLEEP_SECONDS = 30.0
_STAY_AWAKE_SECONDS = 60.0
#: How long tasks must not have moved before they are searched for deadlocks.
_STILL_SECONDS = 2.0


class Watchdog:
    """Observes one loop from a dedicated thread.

    ``blocked``, ``lag`` and ``steps`` may be read from any thread. Observers in
    ``loop.on_blocked`` are called on the watchdog's thread.
    """

    def __init__(self, loop: WatchedLoop, threshold: float) -> None:
        self.loop = loop
        self.threshold = threshold
        #: The step that is blocking the loop, as it was first reported.
        self._blocked: Blocked | None = None
        self.steps: SlowSteps = SlowSteps()
        #: The context in which the blocking step runs, so that a report can be routed to its cell.
        self.context: contextvars.Context | None = None
        self._pid = os.getpid()
        # A lock, not an Event: an Event takes twice as long to wake up, and that is its only use.
        self._wake = threading.Lock()
        self._wake.acquire()
        self._stopping = False
        self._wire = Tripwire(loop, self._end_sleep)
        #: Whether the thread sleeps until the tripwire reports.
        self._sleeping = False
        self._awake_until = 0.0
        #: When tasks are searched for deadlocks again.
        self._search_at = time.monotonic() + _STILL_SECONDS
        # The following are written by the watchdog's thread, `_answered_at` by the loop's.
        self._asked_at = 0.0
        self._answered_at = 0.0
        self._answered_lag = 0.0
        self._step: tuple[object, int] | None = None
        self._step_name = ""
        self._step_seconds = 0.0
        self._looks = Looks()
        #: The longest step that has ended since the loop was asked.
        self._longest: SlowStep | None = None
        #: Requests from other threads to cancel tasks, until the loop has received them.
        self._requests: deque[_Cancel] = deque()
        #: Whether the watchdog's thread has ended; then only the loop carries out requests.
        self._stopped = False
        self._thread = threading.Thread(target=self._main, name="asyncnb watchdog", daemon=True)

    def start(self) -> None:
        """Start the watchdog's thread."""
        self._thread.start()

    def is_own_thread(self) -> bool:
        """Return whether the caller runs on the watchdog's thread."""
        return threading.get_ident() == self._thread.ident

    def stop(self) -> None:
        """Stop watching; return when the thread has ended. Any thread but the watchdog's own."""
        self._stopping = True
        self._wake_up()
        me = threading.current_thread()
        if os.getpid() == self._pid and self._thread.is_alive() and me is not self._thread:
            self._thread.join(2.0)

    @property
    def blocked(self) -> Blocked | None:
        """The step that is blocking the loop, with the seconds it has taken so far, or None."""
        found = self._blocked
        return None if found is None else found._replace(seconds=self._step_seconds)

    @property
    def lag(self) -> float:
        """The seconds that the loop took to answer the last request, or has taken so far.

        The loop is asked only while it is working; 0.0 as soon as it was seen without work, and
        when the answer is older than a second.
        """
        asked = self._asked_at
        if self._answered_at < asked:
            return max(0.0, time.monotonic() - asked)
        return self._answered_lag if time.monotonic() - self._answered_at < 1.0 else 0.0

    @property
    def highest_lag(self) -> HighestLag | None:
        """The highest lag within the last minute, None if the loop was not asked in it."""
        found, now = self.steps.highest_lag(), self.lag
        if now and (found is None or now > found.seconds):
            blocked = self.blocked
            step = None if blocked is None else slow_step(now, blocked.name, blocked)
            found = HighestLag(now, step)
        return found

    def cancel(self, task: asyncio.Task[Any], cancel: Callable[[], object]) -> None:
        """Schedule ``cancel``, which cancels ``task``, on the loop; call this from another thread.

        If the task blocks the loop, raise a CancelledError in its code instead.
        """
        request = _Cancel(task, cancel)
        self.loop.call_soon_threadsafe(request)
        if not self._stopped:
            self._requests.append(request)
            if self._stopped:  # the thread has ended just now
                self._requests.clear()

    def _wake_up(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is awake, or about to be
            self._wake.release()

    def _end_sleep(self) -> None:
        """Look at the loop again, from now on; the tripwire calls this."""
        if self._sleeping:
            self._sleeping = False
            self._wake_up()

    def _main(self) -> None:
        last = time.monotonic()
        cpu = thread_clock(self.loop.thread)
        used = cpu()
        while not self._is_over():
            period = self._period()
            self._wake.acquire(timeout=period)
            if self._is_over():
                break
            now, used_now = time.monotonic(), cpu()
            # All threads of a suspended process wake up late, and none of them has worked.
            passed = min(now - last, 2 * self._period())
            # If the loop's own thread used the CPU in the meantime, it held the GIL all the time,
            # in C code that does not release it, and this thread could not check.
            gil_held = used_now - used if used_now - used > _GIL_HELD_SECONDS else 0.0
            rested = used_now == used
            self._looks.before(now - last - period, (used_now - used) / (passed or 1.0))
            last, used = now, used_now
            try:
                working = self._check(now, passed, gil_held)
                if now >= self._search_at:
                    self._search(at_rest=False)
            except Exception:
                if self.loop.is_closed():  # the loop has ended in the meantime
                    break
                logger.exception("The embedded loop's watchdog failed and is now disabled.")
                break
            # Without a clock of the loop's thread, nothing would show that it woke up meanwhile.
            if rested and not working and cpu is not time.process_time:
                used = self._sleep(now, used, cpu)
                last = time.monotonic()
        # Requests that it would have handled later are dropped: nothing checks them any more.
        self._stopped = True
        self._wire.clear()
        self._requests.clear()
        self._blocked = self.context = self._step = None
        self._asked_at = 0.0

    def _is_over(self) -> bool:
        return self._stopping or self.loop.dead

    def _sleep(self, now: float, used: float, cpu: Callable[[], float]) -> float:
        """Sleep until something gives the loop work, if the tripwire has been set since the last
        check; otherwise set it. Return the CPU seconds to compare the next ones with."""
        if now < self._awake_until:
            return used
        self._sleeping = True  # first: the wire may be tripped as soon as it is set
        if self._wire.set():
            until_search = max(_STILL_SECONDS, self._search_at - time.monotonic())
            pause = until_search if self._searches() else _SLEEP_SECONDS
            while not self._wake.acquire(timeout=min(pause, _SLEEP_SECONDS)):
                if self.loop.dead:
                    break
                if cpu() != used:
                    self._awake_until = time.monotonic() + _STAY_AWAKE_SECONDS
                    used = cpu()
                    break
                if time.monotonic() >= self._search_at:
                    self._search(at_rest=True)
                pause = _SLEEP_SECONDS
            else:
                if cpu() - used > _GIL_HELD_SECONDS:
                    self._wake_up()  # the step that held the GIL may be about to end: check now
        self._sleeping = False
        return used

    def _searches(self) -> bool:
        wanted = config.deadlocks and self.loop.search is not None
        return wanted and bool(all_tasks(cast(Any, self.loop)))

    def _search(self, at_rest: bool) -> None:
        """Search the tasks for deadlocks, if wanted; the next search is when this one says."""
        pause, search = _STILL_SECONDS, self.loop.search
        try:
            if search is not None and self._searches():
                pause = search(at_rest)
        except Exception:
            logger.exception("The search for deadlocks failed and is now disabled.")
            pause = math.inf
        self._search_at = time.monotonic() + pause

    def _period(self) -> float:
        return self.threshold / 2 if not self._asked_at else self.threshold / 6

    def _check(self, now: float, passed: float, gil_held: float) -> bool:
        """Return whether the loop is in the middle of a step or has not answered yet."""
        for _ in range(len(self._requests)):  # other threads may append at the same time
            request = self._requests.popleft()
            if not request.handled and not request.raised:
                self._requests.append(request)
        if self._asked_at and self._answered_at >= self._asked_at:
            self._handle_answer(self._answered_at - self._asked_at)
        task, frame = self._current()
        if task is None and frame is None:
            self._answered_lag = 0.0
            return bool(self._asked_at)
        if is_at_breakpoint(self._top()):
            # The time before the breakpoint does not count either: a user steps through the code.
            if self._step is not None:
                self._end_step()
            self._step = None
            return True
        step = (task if task is not None else frame, id(frame))
        if step != self._step:
            if self._step is not None:
                self._end_step()
            self._step, self._step_name = step, name_of(task, frame)
            self._step_seconds = gil_held
            self._looks.begin()
        else:
            self._step_seconds += gil_held or passed
            self._look_at(task)
        if not self._asked_at:
            self._asked_at = now
            self.loop.call_soon_threadsafe(self._answer)
        if self._blocked is None and self._step_seconds >= self.threshold:
            self._report_blocked(task)
        if self._blocked is not None and task is not None:
            self._interrupt(task)
        return True

    def _current(self) -> tuple[asyncio.Task[Any] | None, types.FrameType | None]:
        """Return the task in the middle of a step, and the outermost frame of the step."""
        loop = self.loop
        task = asyncio.current_task(cast(Any, loop))
        if task is not None:
            return task, None
        frame = self._top()
        if frame is None or is_idle_frame(frame) or is_asyncio_frame(frame):
            return None, None
        frames = frames_of(None, frame)
        return None, frames[0] if frames else None

    def _top(self) -> types.FrameType | None:
        """Return the innermost frame of the loop's thread."""
        return sys._current_frames().get(self.loop.thread.ident or 0)

    def _answer(self) -> None:
        """Record that the loop has answered. The loop calls this."""
        self._answered_at = time.monotonic()

    def _handle_answer(self, lag: float) -> None:
        self._answered_lag = lag
        if self._step is not None:
            self._end_step(lag)
        step, self._longest = self._longest, None
        self.steps.add_lag(lag, step if step is not None and step.seconds > lag / 2 else None)
        self._step, self._asked_at = None, 0.0

    def _end_step(self, seconds: float = 0.0) -> None:
        seconds = max(self._step_seconds, min(seconds, self._step_seconds + self._period()))
        if seconds:
            step = self.steps.add(seconds, self._step_name, self._blocked)
            if self._longest is None or seconds > self._longest.seconds:
                self._longest = step
        if self._blocked is not None:
            self._blocked = self.context = None
            self._notify(None)

    def _look_at(self, task: asyncio.Task[Any] | None) -> None:
        """Look where the step is that was running at the last look, too."""
        top, found = self._top(), self._blocked
        if top is not None and asyncio.current_task(cast(Any, self.loop)) is task:
            self._looks.note(task, top)
            # Once in a while, since what blocks a step now is not always what did at first.
            if found is not None and self._step_seconds >= 2 * found.seconds:
                context, seconds = self.context, self._step_seconds
                self._blocked = self._looks.describe(task, context, top, seconds)

    def _report_blocked(self, task: asyncio.Task[Any] | None) -> None:
        top = self._top()
        if (
            asyncio.current_task(cast(Any, self.loop)) is not task
            or top is None
            or is_at_breakpoint(top)
        ):
            return
        self.context = None if task is None else context_of(task)
        self._blocked = self._looks.describe(task, self.context, top, self._step_seconds)
        del top
        self._notify(self.blocked)

    def _notify(self, blocked: Blocked | None) -> None:
        self.loop.on_blocked.notify(self.loop, blocked)

    def _interrupt(self, task: asyncio.Task[Any]) -> None:
        """Raise CancelledError in ``task``, which blocks the loop, if its cancel was requested."""
        others = []
        for request in list(self._requests):
            wanted = request.task()
            if request.handled or request.raised or wanted is None:
                continue
            if wanted is not task:
                others.append((request, wanted))
                continue
            request.sent = True  # first: the loop may handle it as soon as the exception is sent
            if raise_in_task(self.loop, task, asyncio.CancelledError):
                request.raised = True
                return
            request.sent = False
            if request.handled:
                self.loop.call_soon_threadsafe(request)
            return
        for request, wanted in others:
            # The cancellation would be passed on to the task that it awaits, so that task gets it
            # here; the requested task itself handles its request once the loop is free.
            if task in _futures_cancelled_with(wanted):
                request.raised = raise_in_task(self.loop, task, asyncio.CancelledError)
                return


class _Cancel:
    """A request to cancel a task: the loop carries it out unless an exception was sent instead."""

    __slots__ = ("_cancel", "handled", "raised", "sent", "task")

    def __init__(self, task: asyncio.Task[Any], cancel: Callable[[], object]) -> None:
        self.task = weakref.ref(task)
        self._cancel = cancel
        self.sent = False
        self.handled = False
        #: Whether the exception has been sent, so that no second one is.
        self.raised = False

    def __call__(self) -> None:
        self.handled = True
        if not self.sent:
            self._cancel()


def thread_clock(thread: threading.Thread) -> Callable[[], float]:
    """Return a function that returns the CPU seconds of ``thread``, or else of the process."""
    getter = getattr(time, "pthread_getcpuclockid", None)  # not on macOS and Windows
    if getter is None or thread.ident is None:
        return time.process_time
    clock = getter(thread.ident)

    def seconds() -> float:
        try:
            return time.clock_gettime(clock)
        except OSError:  # the thread has ended
            return 0.0

    return seconds


def context_of(task: asyncio.Task[Any]) -> contextvars.Context | None:
    """Return the context in which ``task`` runs. Any thread."""
    getter = getattr(task, "get_context", None)
    if getter is not None:
        return getter()  # type: ignore[no-any-return]
    # 3.11: the C task exposes it only to the garbage collector, before those of its callbacks.
    found = (it for it in gc.get_referents(task) if isinstance(it, contextvars.Context))
    return next(found, None)


def _futures_cancelled_with(task: asyncio.Task[Any]) -> Iterator[Any]:
    """Yield the futures to which a cancellation of ``task`` is passed on."""
    todo: list[Any] = [task]
    for future in todo:
        waiter = getattr(future, "_fut_waiter", None)
        found = [waiter] if waiter is not None else list(getattr(future, "_children", ()))
        todo += [it for it in found if it not in todo]
        yield from found
