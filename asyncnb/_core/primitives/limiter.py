"""The ``limit=`` and ``rate=`` options: start some awaitables now, and the others later."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, CancelledError, Future
from collections import deque
from collections.abc import Callable, Iterable
from operator import index
from typing import TYPE_CHECKING, Any

from asyncnb._core.primitives.awaitables import iscoroutine
from asyncnb._core.primitives.create_task import ensure_future, new_task

if TYPE_CHECKING:
    from asyncnb._core.pacing.rate import Rate


def check_limit(call: str, limit: object) -> int:
    """Return ``limit`` as an int. Raises TypeError if not an integer, ValueError if below 1."""
    try:
        number = index(limit)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"{call}(limit=...) must be an integer, not {type(limit).__name__}: the maximum number "
            "that run at the same time"
        ) from None
    if number < 1:
        raise ValueError(
            f"{call}(limit={number}) would never start anything: limit is the maximum number that "
            "run at the same time, at least 1; omit it to run all of them at once"
        )
    return number


def check_rate(call: str, rate: object, retry: object = None) -> Rate | None:
    """Return the Rate for ``rate=``, None for None; raise TypeError or ValueError for a bad one.

    Also raises TypeError for ``retry=``, which these calls cannot have.
    """
    if retry is not None:
        raise TypeError(
            f"{call}(retry=...) cannot work: a coroutine runs only once, so it cannot be tried "
            "again; asyncnb.map(function, items, retry=3) calls the function again"
        )
    if rate is None:
        return None
    from asyncnb._core.pacing.rate import as_pacer  # few calls have a rate

    return as_pacer(rate)


def close_all(awaitables: Iterable[object]) -> None:
    """Close coroutines that will not start, so that no "never awaited" warning is issued."""
    for awaitable in awaitables:
        if iscoroutine(awaitable):
            awaitable.close()


def start(loop: AbstractEventLoop, awaitable: Any) -> Future[Any]:
    """Return ``awaitable`` as a future of ``loop``; start a task for it if it is not a future."""
    future: Any = (
        new_task(loop, awaitable) if iscoroutine(awaitable) else ensure_future(awaitable, loop=loop)
    )
    if future is not awaitable:
        # User code has no reference to this task, so it must not be blamed for dropping it.
        future._log_destroy_pending = False
    return future  # type: ignore[no-any-return]


class Throttle:
    """Starts awaitables in order, on the thread of ``loop``.

    At most ``limit`` of them, if not None, run at a time, and they start at the pace of ``rate``.

    ``started(awaitable, future)`` is called for each one when it starts and ``ended(future)`` when
    it is done; if that closes the throttle, no more are started. ``failed(exc)`` is called if a
    later one cannot be started.
    """

    #: The future that waits for all of them: call graphs and timelines continue from there.
    _outer: Future[Any] | None = None

    def __init__(
        self,
        loop: AbstractEventLoop,
        limit: int | None,
        rate: Rate | None,
        waiting: Iterable[Any],
        started: Callable[[Any, Future[Any]], object],
        ended: Callable[[Future[Any]], object],
        failed: Callable[[BaseException], object],
    ) -> None:
        self._loop = loop
        self._waiting = deque(waiting)
        self._free = len(self._waiting) if limit is None else limit
        self._rate = rate
        #: Waits for the turn of the next one.
        self._turn: Future[Any] | None = None
        self._started = started
        self._ended_callback = ended
        self._failed = failed

    def __len__(self) -> int:
        """Return the number of awaitables that have not been started."""
        return len(self._waiting)

    def fill(self) -> None:
        """Start as many as may run. If starting one raises, close the rest and re-raise."""
        try:
            self._fill()
        except BaseException:
            self.close()
            raise

    def _fill(self) -> None:
        while self._free and self._waiting and self._turn is None:
            if self._rate is None or self._rate.try_acquire():
                self._start_next()
            else:
                self._turn = start(self._loop, self._rate.acquire())
                self._turn.add_done_callback(self._take_turn)

    def _start_next(self) -> None:
        awaitable = self._waiting.popleft()
        try:
            future = start(self._loop, awaitable)
        except BaseException:
            close_all((awaitable,))
            raise
        self._free -= 1
        self._started(awaitable, future)
        future.add_done_callback(self._ended)

    def _take_turn(self, turn: Future[Any]) -> None:
        self._turn = None
        try:
            turn.result()
        except (Exception, CancelledError) as exc:  # of an object of another library; or cancelled
            close_all((self._waiting.popleft(),))
            self._failed(exc)
            self.close()
            return
        self._fill_later(self._start_next)

    def _ended(self, future: Future[Any]) -> None:
        self._free += 1
        self._ended_callback(future)
        self._fill_later()

    def _fill_later(self, first: Callable[[], object] = bool) -> None:
        """Start as many as may run; report what that raises."""
        try:
            first()
            self._fill()
        except Exception as exc:
            self._failed(exc)
            self.close()

    def close(self) -> None:
        """Close the awaitables that have not been started."""
        close_all(self._waiting)
        self._waiting.clear()
        if self._turn is not None:
            self._turn.remove_done_callback(self._take_turn)
            self._turn.cancel()
            self._turn = None


def is_started(awaitable: object) -> bool:
    """Return whether ``awaitable`` is already running, so that it does not count for a limit."""
    return asyncio.isfuture(awaitable) or hasattr(awaitable, "add_done_callback")
