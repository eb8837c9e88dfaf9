"""Stream: outcomes on their way from the workers of a map to the code that iterates it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from asyncnb._core.mapping.counts import Meter
from asyncnb._core.mapping.outcome import Outcome


class Stream:
    """Outcomes that wait for the code that iterates; a bounded number, so that memory stays flat.

    At most ``limit`` outcomes wait, beside the at most ``limit`` items that run: so a slow
    consumer slows down the calls, and one slow call does not hold up the others at once. Thread
    of the loop.
    """

    def __init__(self, meter: Meter, *, ordered: bool) -> None:
        self._meter = meter
        #: The indices of the items in progress, oldest first, if that is the order of outcomes.
        self._expected: deque[int] | None = deque() if ordered else None
        self._by_index: dict[int, Outcome[Any, Any]] = {}
        self._ready: deque[Outcome[Any, Any]] = deque()
        #: Items that were taken and whose outcomes have not been given to the consumer.
        self._out = 0
        self._full = False
        self._waiter: asyncio.Future[None] | None = None
        #: Called when there is room again.
        self.on_room: Callable[[], object] | None = None
        #: No outcome will follow.
        self.ended = False

    def taken(self, index: int) -> None:
        """Note an item that was taken."""
        self._out += 1
        if self._expected is not None:
            self._expected.append(index)

    def room(self) -> bool:
        """Return whether one more item may be taken."""
        room = self._out < 2 * self._meter.limit
        if not room:
            self._full = True
        return room

    def put(self, outcome: Outcome[Any, Any]) -> None:
        """Take an outcome."""
        if self._expected is None:
            self._ready.append(outcome)
        else:
            self._by_index[outcome.index] = outcome
            if self._expected[0] != outcome.index:
                return  # the consumer waits for another one
        self._wake()

    def end(self) -> None:
        """Note that no outcome will follow."""
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def get(self) -> Outcome[Any, Any] | None:
        """Return the next outcome, or None if it has not come yet."""
        if self._expected is None:
            if not self._ready:
                return None
            outcome = self._ready.popleft()
        else:
            if not self._expected or self._expected[0] not in self._by_index:
                return None
            outcome = self._by_index.pop(self._expected.popleft())
        self._out -= 1
        if self._full and self.on_room is not None:
            self._full = False
            self.on_room()
        return outcome

    def undelivered(self) -> list[Outcome[Any, Any]]:
        """Return the outcomes that the consumer has not been given, in the order of the items."""
        found = [*self._ready, *self._by_index.values()]
        return sorted(found, key=lambda outcome: outcome.index)

    async def wait(self) -> None:
        """Wait until there may be an outcome, or the end."""
        if not self.ended:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
