"""The ``limit=`` option: run a limited number of awaitables at a time and start the rest later."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable, Iterable
from operator import index
from typing import Any

from asyncnb._core.primitives.awaitables import iscoroutine
from asyncnb._core.primitives.create_task import ensure_future, new_task


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
    """Starts awaitables in order, ``limit`` of them at a time, on the thread of ``loop``.

    ``started(awaitable, future)`` is called for each one when it starts and ``ended(future)`` when
    it is done; if that closes the throttle, no more are started. ``failed(exc)`` is called if a
    later one cannot be started.
    """

    #: The future that waits for all of them: call graphs and timelines continue from there.
    _outer: Future[Any] | None = None

    def __init__(
        self,
        loop: AbstractEventLoop,
        limit: int,
        waiting: Iterable[Any],
        started: Callable[[Any, Future[Any]], object],
        ended: Callable[[Future[Any]], object],
        failed: Callable[[BaseException], object],
    ) -> None:
        self._loop = loop
        self._free = limit
        self._waiting = deque(waiting)
        self._started = started
        self._ended_callback = ended
        self._failed = failed

    def __len__(self) -> int:
        """Return the number of awaitables that have not been started."""
        return len(self._waiting)

    def fill(self) -> None:
        """Start as many as may run. If starting one raises, close the rest and re-raise."""
        while self._free and self._waiting:
            awaitable = self._waiting.popleft()
            try:
                future = start(self._loop, awaitable)
            except BaseException:
                close_all((awaitable,))
                self.close()
                raise
            self._free -= 1
            self._started(awaitable, future)
            future.add_done_callback(self._ended)

    def _ended(self, future: Future[Any]) -> None:
        self._free += 1
        self._ended_callback(future)
        try:
            self.fill()
        except Exception as exc:
            self._failed(exc)

    def close(self) -> None:
        """Close the awaitables that have not been started."""
        close_all(self._waiting)
        self._waiting.clear()


def is_started(awaitable: object) -> bool:
    """Return whether ``awaitable`` is already running, so that it does not count for a limit."""
    return asyncio.isfuture(awaitable) or hasattr(awaitable, "add_done_callback")
