"""Values: the stream behind ``asyncnb.values()``."""

from __future__ import annotations

import asyncio
import itertools
import logging
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Generic, Self, TypeVar

from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.events.occurrence import Disconnect, Occurrence, SourceClosedError
from asyncnb._core.events.sources import Source

__asyncnb_frames__ = "waits"

logger = logging.getLogger("asyncnb")

#: Events that may wait to be read where none are to be left out: far more than a burst of a front
#: end, and a few megabytes if nothing ever reads them.
MAX_WAITING = 65_536

T = TypeVar("T")


class AwaitedEvent(asyncio.Future[Any]):
    """The future that a wait for events is suspended on; tables of tasks show ``awaits``."""

    def __init__(self, awaits: str) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self.awaits = awaits


class Inbox:
    """Events that have not been read yet. The sources write, in any thread; one task reads.

    The sources refer to it, and it does not refer to the ``Values`` that owns it: so a stream that
    is dropped is collected, and its observers go with it.
    """

    def __init__(self, sources: Sequence[Source], buffer: int | None) -> None:
        self._sources = sources
        self._buffer = buffer
        self._lock = fork_safe_lock()
        self._waiting: dict[object, Occurrence] = {}
        self._numbers = itertools.count()
        self._connections: list[Disconnect] = []
        self._open = len(sources)
        self.lost: str | None = None
        self.connected = self.closed = False
        self.dropped = 0
        self.reader: AwaitedEvent | None = None

    def connect(self, *, initial: bool) -> None:
        """Attach the observers; with ``initial`` the current values come first."""
        self.connected = True
        try:
            for source in self._sources:
                self._connections.append(source.connect(self._emitter(source), self._source_lost))
            if initial:
                self._put_initial([each for s in self._sources for each in s.current()])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove all observers and forget what waits. Any thread, and any finaliser."""
        with self._lock:
            self.closed = True
            connections, self._connections = self._connections, []
            self._waiting.clear()
        for disconnect in connections:
            disconnect()
        self._wake()

    def pop(self) -> Occurrence | None:
        """Return the oldest occurrence that was not read, or None."""
        with self._lock:
            for key in self._waiting:
                return self._waiting.pop(key)
        return None

    def has_news(self) -> bool:
        """Return whether the reader has something to do. Any thread."""
        return bool(self._waiting) or self.closed or self.lost is not None

    def _emitter(self, source: Source) -> Callable[[Occurrence], None]:
        latest = source.latest and self._buffer is None
        return lambda found: self._put(found, (id(source), found.name) if latest else None)

    def _put(self, found: Occurrence, key: object) -> None:
        with self._lock:
            if self.closed:
                return
            self._waiting[next(self._numbers) if key is None else key] = found
            most = MAX_WAITING if self._buffer is None else self._buffer
            if len(self._waiting) > most:
                del self._waiting[next(iter(self._waiting))]
                self.dropped += 1
                if self.dropped == 1 and self._buffer is None:
                    logger.warning(
                        "asyncnb.values(): more than %d events wait to be read; the oldest are "
                        "dropped",
                        most,
                    )
        self._wake()

    def _put_initial(self, found: Sequence[Occurrence]) -> None:
        with self._lock:
            # What has changed since the observers were attached is newer.
            changed = [*self._waiting.items()]
            self._waiting = {self._key_of(each): each for each in found} | dict(changed)

    def _key_of(self, found: Occurrence) -> object:
        if self._buffer is not None:
            return next(self._numbers)
        source = next(s for s in self._sources if s.of is found.source)
        return (id(source), found.name)

    def _source_lost(self, reason: str) -> None:
        with self._lock:
            self._open -= 1
            if not self._open:
                self.lost = reason
        if self.lost is not None:
            self._wake()

    def _wake(self) -> None:
        reader = self.reader
        if reader is None:
            return
        self.reader = None  # one wake-up for a burst
        try:
            reader.get_loop().call_soon_threadsafe(_settle, reader)
        except RuntimeError:
            if not reader.get_loop().is_closed():
                raise


def _settle(reader: AwaitedEvent) -> None:
    if not reader.done():
        reader.set_result(None)


class Values(Generic[T]):
    """An asynchronous iterator over what happens; ``asyncnb.values()`` returns one.

    Its observers are attached when it is first iterated or entered with ``async with``, and removed
    by ``aclose()``, at the end of the ``async with`` block, or once the iterator is garbage-
    collected, which is at once when a loop over ``asyncnb.values(...)`` ends, breaks or fails. One
    task at a time may iterate it, on any loop; the events may come from any thread.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        unpack: Callable[[Occurrence], T],
        *,
        initial: bool,
        buffer: int | None,
    ) -> None:
        self._inbox = Inbox(sources, buffer)
        self._unpack = unpack
        self._initial = initial
        self._what = " or ".join(source.describe() for source in sources)
        self._finalizer = weakref.finalize(self, self._inbox.close)
        self._finalizer.atexit = False

    @property
    def dropped(self) -> int:
        """How many events were dropped because the buffer was full. Any thread.

        Values of a trait that were replaced by a newer one before they were read do not count.
        """
        return self._inbox.dropped

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        inbox = self._inbox
        if inbox.closed:
            raise StopAsyncIteration
        if not inbox.connected:
            inbox.connect(initial=self._initial)
        while (found := inbox.pop()) is None:
            if inbox.lost is not None:
                await self.aclose()
                raise SourceClosedError(f"{inbox.lost}; there is no further {self._what}.")
            if inbox.closed:
                raise StopAsyncIteration
            # Here, as another one may have come since this one was woken.
            if inbox.reader is not None and not inbox.reader.done():
                raise RuntimeError(
                    "asyncnb.values(): another task is waiting for the next value of this stream; "
                    "call asyncnb.values() once for each task."
                )
            waiter = inbox.reader = AwaitedEvent(self._what)
            try:
                # It may have come between the look and the line above, and found nothing to wake.
                if not inbox.has_news():
                    await waiter
            finally:
                if inbox.reader is waiter:
                    inbox.reader = None
        return self._unpack(found)

    async def aclose(self) -> None:
        """Remove the observers; a task that waits for the next value leaves its loop."""
        self._finalizer.detach()
        self._inbox.close()

    async def __aenter__(self) -> Self:
        if not (self._inbox.connected or self._inbox.closed):
            self._inbox.connect(initial=self._initial)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        state = "closed" if self._inbox.closed else "open" if self._inbox.connected else "not begun"
        return f"<asyncnb.values of {self._what}: {state}>"
