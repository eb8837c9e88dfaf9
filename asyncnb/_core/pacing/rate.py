"""Rate: lets calls start at a pace, in order, for any number of tasks, loops and threads."""

from __future__ import annotations

import asyncio
import time
from asyncio import AbstractEventLoop, Future, TimerHandle
from collections import OrderedDict
from typing import Any

from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.seconds import check_timeout
from asyncnb._core.pacing.rates import Pace, pace_text, parse_pace
from asyncnb._core.pacing.window import Window

__asyncnb_frames__ = "waits"


class Rate:
    """How often calls may start: ``Rate("60/min")``, for ``rate=`` of ``map`` and ``gather``.

    ``value`` is "60/min", "5/s", "1000/h", "100/10s", a number of calls per second, an
    ``aiolimiter.AsyncLimiter`` or any object with an async ``acquire()``, or None for no limit.

    **In any interval as long as the period, at most that many calls start**, wherever the interval
    begins. This is what services count. Calls are spaced evenly; after a break, ``burst`` calls
    start at once, by default a tenth of the calls of a period (6 for "60/min"). ``burst=60`` lets a
    whole minute's calls start at once, ``burst=1`` none. Since a call may travel faster than an
    earlier one, the period counts as 2 % longer, but by 0.1 s at most.

    Pass the same object to several calls, and they share the rate::

        service = asyncnb.Rate("60/min")
        users = asyncnb.map(get_user, ids, rate=service).start()
        posts = asyncnb.map(get_post, urls, rate=service).start()

    In your own code, write ``await service.acquire()`` or ``async with service:`` before each call.
    Any loops and threads may use the object at the same time. On each loop, calls start in the
    order in which they asked; a waiting call that is cancelled leaves its place to the next. An
    object of another library is used as it is, on the loops and threads that it allows.

    Raises TypeError or ValueError for an invalid value or burst.
    """

    __slots__ = ("__weakref__", "_changed", "_clock", "_limiter", "_lines", "_lock", "_window")

    def __init__(self, value: object, *, burst: int | None = None) -> None:
        pace, limiter = _read(value, burst)
        self._lock = fork_safe_lock()
        self._window = Window(pace)
        #: The object of another library that decides instead of the window.
        self._limiter: Any = limiter
        self._lines: dict[AbstractEventLoop, _Line] = {}
        #: Waits for objects of other libraries, to be ended when the rate is changed.
        self._changed: set[Future[None]] = set()
        self._clock = 0.0

    @property
    def text(self) -> str:
        """The rate as text: ``60/min``, or ``unlimited``. Any thread."""
        if self._limiter is not None:
            return _limiter_text(self._limiter)
        pace = self._window.pace
        return "unlimited" if pace is None else pace.text

    @property
    def unlimited(self) -> bool:
        """Whether there is no limit: only ``hold`` can delay a call. Any thread."""
        return self._limiter is None and self._window.pace is None

    @property
    def waiting(self) -> int:
        """The number of calls that are waiting for their turn. Any thread."""
        return sum(len(line.waiters) for line in list(self._lines.values())) + len(self._changed)

    @property
    def held(self) -> float:
        """The seconds for which no call starts, because of ``hold``; 0.0 if none. Any thread."""
        with self._lock:
            return max(0.0, self._window.held_until() - self._now())

    def change(self, value: object, *, burst: int | None = None) -> None:
        """Set another rate, as for ``Rate(...)``; calls that are already waiting follow it, too.

        Calls that started in the current period count. None removes the limit. Any thread. Raises
        TypeError or ValueError, with nothing changed, for an invalid value.
        """
        pace, limiter = _read(value, burst)
        with self._lock:
            self._window.set_pace(pace)
            self._limiter = limiter
            lines, changed = list(self._lines.values()), list(self._changed)
        for line in lines:
            _post(line.loop, self._wake, line)
        for future in changed:
            _post(future.get_loop(), _set, future)

    def hold(self, seconds: float) -> None:
        """Start no call for ``seconds``, then continue at the same pace, without a burst.

        ``map`` calls this when a service answers "too many requests" and says how long to wait. A
        shorter hold does not end a longer one. Raises TypeError or ValueError for an invalid
        duration.
        """
        checked = check_timeout(seconds, what="hold()")
        if checked is None or checked == float("inf"):
            raise ValueError("hold() takes a number of seconds; to stop calls, pause the run")
        with self._lock:
            self._window.hold(self._now() + checked)

    def try_acquire(self) -> bool:
        """Take a turn if one is free and no other call is waiting; return whether it was taken.

        Never waits. Any thread, with or without a running loop. Always False if an object of
        another library sets the rate.
        """
        with self._lock:
            if self._limiter is not None or self._lines:
                return False
            if self._window.pace is None and self._window.held_until() <= 0:
                return True
            return self._window.take(self._now())

    async def acquire(self) -> None:
        """Wait until the next call may start. On any running loop. Cancellable.

        Raises what the ``acquire()`` of an object of another library raises.
        """
        while not self.try_acquire():
            limiter = self._limiter
            if limiter is None:
                taken = await self._wait_in_line()
            else:
                taken = await self._ask(limiter)
            if taken:
                return

    async def __aenter__(self) -> Rate:
        """Wait as ``acquire()`` does."""
        await self.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing: a rate counts how many calls start, not how many run."""

    def __repr__(self) -> str:
        waiting = f" {self.waiting} waiting" if self.waiting else ""
        return f"<Rate {self.text}{waiting}>"

    async def _wait_in_line(self) -> bool:
        """Wait for a turn of the window; return False if the limiter has been changed instead."""
        loop = asyncio.get_running_loop()
        waiter: Future[None] = loop.create_future()
        with self._lock:
            line = self._lines.get(loop)
            if line is None:
                line = self._lines[loop] = _Line(loop)
            line.waiters[waiter] = None
            if len(line.waiters) == 1:
                self._arm(line)
        try:
            while True:
                await waiter
                with self._lock:
                    if self._limiter is not None:
                        return False
                    # Taken here, not where it is granted: this is when the call starts, however
                    # long its loop was blocked.
                    if self._window.take(self._now()):
                        return True
                    # A task of another loop was faster, or the rate has changed.
                    del line.waiters[waiter]
                    waiter = loop.create_future()
                    line.waiters[waiter] = None
                    line.waiters.move_to_end(waiter, last=False)
                    self._arm(line)
        finally:
            with self._lock:
                first = next(iter(line.waiters), None) is waiter
                line.waiters.pop(waiter, None)
                if not first:
                    pass  # the others wait as before
                elif asyncio._get_running_loop() is loop:
                    self._arm(line)
                else:  # the collector closes this coroutine, in any thread
                    _post(loop, self._wake, line)

    def _arm(self, line: _Line) -> None:
        """Wake the first waiter of ``line`` when a turn is due. On its loop, under the lock."""
        if line.timer is not None:
            line.timer.cancel()
            line.timer = None
        if not line.waiters:
            if self._lines.get(line.loop) is line:
                del self._lines[line.loop]
        elif not line.loop.is_closed():
            now = self._now()
            delay = 0.0 if self._limiter is not None else self._window.due(now) - now
            if delay > 0:
                line.timer = line.loop.call_later(delay, self._wake, line)
            else:
                _set(next(iter(line.waiters)))

    def _wake(self, line: _Line) -> None:
        with self._lock:
            self._arm(line)

    async def _ask(self, limiter: Any) -> bool:
        """Wait for ``limiter``, of another library; return False if it is no longer the one."""
        while (held := self.held) > 0:
            await asyncio.sleep(held)
        loop = asyncio.get_running_loop()
        changed: Future[None] = loop.create_future()
        asking = asyncio.ensure_future(limiter.acquire())
        asking.add_done_callback(lambda _: _set(changed))
        self._changed.add(changed)
        try:
            if self._limiter is limiter:
                await changed
        finally:
            self._changed.discard(changed)
            if not asking.done():
                asking.cancel()
        if not asking.done():
            return False
        await asking
        while (held := self.held) > 0:
            await asyncio.sleep(held)
        return True

    def _now(self) -> float:
        """Return the time: one clock for all loops, except for a loop with a simulated one."""
        loop = asyncio._get_running_loop()
        now = loop.time() if getattr(loop, "virtual", False) else time.monotonic()  # type: ignore[union-attr]
        if now < self._clock:
            self._window.restart()  # used on a simulated clock before, or now
        self._clock = now
        return now


class _Line:
    """The calls of one loop that wait for their turn."""

    __slots__ = ("loop", "timer", "waiters")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        #: Wakes the first one.
        self.timer: TimerHandle | None = None
        self.waiters: OrderedDict[Future[None], None] = OrderedDict()


def as_pacer(value: object) -> Rate:
    """Return ``value`` as a Rate: itself if it is one, and one without a limit for None.

    Raises TypeError or ValueError, with a sentence, for what is not a rate.
    """
    return value if isinstance(value, Rate) else Rate(value)


def _read(value: object, burst: object) -> tuple[Pace | None, Any]:
    """Return the pace of ``value``, or the object that decides instead."""
    if isinstance(value, Rate):
        raise TypeError("this is an asyncnb.Rate already: pass it as it is")
    if callable(getattr(value, "acquire", None)) and not isinstance(value, type):
        return None, _checked(value, burst)
    if isinstance(value, type):
        raise TypeError(f"rate must be an object, not the class {value.__name__}: call it first")
    if value is None:
        if burst is not None:
            raise ValueError("burst= needs a rate: without one, all calls start at once anyway")
        return None, None
    return parse_pace(value, burst), None


def _checked(limiter: Any, burst: object) -> Any:
    if burst is not None:
        raise ValueError(
            f"burst= is for rates such as '60/min'; {type(limiter).__name__} has its own"
        )
    if isinstance(limiter, asyncio.Semaphore | asyncio.Lock):
        raise TypeError(
            f"an asyncio.{type(limiter).__name__} says how many calls run at a time, not how often "
            "they start: use limit=, or rate='60/min'"
        )
    import inspect

    if not inspect.iscoroutinefunction(limiter.acquire):
        raise TypeError(
            f"the acquire() of {type(limiter).__name__} is not an async def, so it would block the "
            "loop: pass an object with an async acquire(), or a rate such as '60/min'"
        )
    return limiter


def _limiter_text(limiter: Any) -> str:
    try:
        return pace_text(float(limiter.max_rate), float(limiter.time_period))  # aiolimiter's
    except Exception:
        return type(limiter).__name__


def _set(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _post(loop: AbstractEventLoop, call: Any, *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:
        if not loop.is_closed():  # closed: nothing waits there any more
            raise
