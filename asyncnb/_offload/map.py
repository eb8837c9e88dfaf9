"""Streams calls with back-pressure, on the loop or in chunks elsewhere."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import functools
import inspect
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Any

from asyncnb._core.primitives.limiter import check_limit, start
from asyncnb._offload.engines.choose import engine_for
from asyncnb._offload.engines.thread_pool import call_each
from asyncnb._offload.jobs import Engine, Job
from asyncnb._offload.packing import pack_chunk, pack_shared
from asyncnb._offload.relay import OutputRelay
from asyncnb._offload.tracebacks import rebuild_error

#: How many items are in progress on the loop, unless ``limit`` is given.
LOOP_LIMIT = 100
#: Seconds of work in a chunk of items: much longer than it takes to send one, and short enough for
#: a cancel, a progress bar and the end of the stream.
CHUNK_SECONDS = 0.05

_tokens = itertools.count(1)


def check_map(
    function: Any, items: Any, on: Any, limit: Any, chunksize: Any
) -> tuple[Engine | None, int, int | None]:
    """Return engine, limit and chunk size. Raises TypeError or ValueError that says what to do."""
    if not callable(function):
        raise TypeError(f"map() takes a function and its items, not {type(function).__name__}")
    if not hasattr(items, "__iter__") and not hasattr(items, "__aiter__"):
        hint = f"; write range({items})" if isinstance(items, int) else ""
        raise TypeError(f"map() takes an iterable of items, not {type(items).__name__}{hint}")
    engine = None if on is None else engine_for(on)
    if engine is None:
        if chunksize is not None:
            raise ValueError("map(chunksize=...) is only for work sent elsewhere with on=...")
        if not _makes_awaitables(function):
            raise TypeError(
                "map() without on= calls an async def function on the loop, but "
                f"{getattr(function, '__name__', function)!r} is a plain function, which would "
                "block it: use on='process', or wrap it with asyncio.to_thread"
            )
        return None, LOOP_LIMIT if limit is None else check_limit("map", limit), None
    if chunksize is not None:
        chunksize = check_limit("map", chunksize)
    if limit is not None:
        limit = check_limit("map", limit)
        if chunksize is not None and chunksize > limit:
            raise ValueError(f"map(): a chunk of {chunksize} is more than limit={limit} allows")
    else:
        limit = max(engine.ahead, 4 * (chunksize or 0)) * engine.slots()
    return engine, limit, chunksize


def _makes_awaitables(function: Any) -> bool:
    call = getattr(type(function), "__call__", None)  # noqa: B004
    inner = getattr(function, "func", function)  # functools.partial
    return any(inspect.iscoroutinefunction(f) for f in (function, inner, call)) or (
        not inspect.isroutine(inner) and not inspect.isclass(inner)
    )


class Failed:
    """A failed item, as results may be exceptions themselves."""

    def __init__(self, exc: BaseException) -> None:
        self.exc = exc


class Unit:
    """What is started as one: a call on the loop, or a chunk of calls elsewhere."""

    #: Whether ``results`` has returned a Failed.
    failed = False

    def __init__(self, count: int) -> None:
        self.count = count

    def done(self) -> bool:
        """Return whether it has ended."""
        raise NotImplementedError

    def results(self) -> list[Any]:
        """Return a result or Failed for each item. Raises what ended the whole unit."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Stop it; its results are no longer needed."""
        raise NotImplementedError


class Call(Unit):
    """One call of an async function, as a task of the running loop."""

    def __init__(self, future: asyncio.Future[Any]) -> None:
        super().__init__(1)
        self.future = future

    def done(self) -> bool:
        """See Unit."""
        return self.future.done()

    def cancel(self) -> None:
        """See Unit."""
        self.future.cancel()

    def results(self) -> list[Any]:
        """See Unit."""
        exc = asyncio.CancelledError() if self.future.cancelled() else self.future.exception()
        self.failed = exc is not None
        return [self.future.result() if exc is None else Failed(exc)]


class Chunk(Unit):
    """A chunk of calls in one job of an engine."""

    def __init__(self, count: int, engine: Engine, job: Job) -> None:
        super().__init__(count)
        self._engine = engine
        self._job = job

    def done(self) -> bool:
        """See Unit."""
        return self._job.outcome is not None

    def took(self) -> tuple[int, float] | None:
        """Return the number of calls and the seconds they took, if they succeeded."""
        assert self._job.outcome is not None
        status, value = self._job.outcome
        return (self.count, value[2]) if status == "done" else None

    def results(self) -> list[Any]:
        """See Unit."""
        try:
            values, failures, _ = self._job.result()
        except (Exception, asyncio.CancelledError) as exc:
            self.failed = True
            return [Failed(exc)] * self.count
        self.failed = bool(failures)
        for index, described in failures.items():
            is_error = isinstance(described, BaseException)
            values[index] = Failed(described if is_error else rebuild_error(described))
        found: list[Any] = values
        return found

    def cancel(self) -> None:
        """See Unit."""
        self._engine.cancel(self._job)


class Stream:
    """The state of one ``map``: items taken, units running, results waiting to be yielded."""

    def __init__(
        self,
        function: Callable[..., Any],
        engine: Engine | None,
        limit: int,
        chunksize: int | None,
        ordered: bool,
    ) -> None:
        self.function = function
        self.engine = engine
        self.limit = limit
        self.chunksize = chunksize
        self.ordered = ordered
        self.fixed = engine is None or chunksize is not None  # the size of the units
        self.closing = False
        self.out = 0  # items taken and not yet yielded
        self.running: collections.deque[Unit] = collections.deque()
        self.finished: collections.deque[Unit] = collections.deque()
        self.wake = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.chunk = chunksize or 1
        self.relay = OutputRelay(contextvars.copy_context())
        self.shared: tuple[int, bytes] | None = None
        if engine is not None:
            if not engine.in_process:
                self.shared = (next(_tokens), pack_shared(function))
            # In our own queue, one unit runs in each slot and one waits behind it; not more, so
            # that other jobs need not wait long.
            slots = engine.slots()
            self.units_at_first = 2 * slots
            self.max_units = 2 * slots if engine.kind == "process" else limit
            self.adapted = chunksize is not None
            self.max_chunk = max(1, limit // (2 * slots + 1))

    def room(self) -> int:
        """Return how many items may be taken for the next unit, 0 if none."""
        if self.engine is not None and len(self.running) >= (
            # Until it is known how long an item takes, a flood of single items helps no one.
            self.max_units if self.adapted else self.units_at_first
        ):
            return 0
        # A chunk is taken when there is room for all of it.
        free = self.limit - self.out
        return self.chunk if free >= self.chunk else 0

    def start(self, items: list[Any]) -> None:
        """Start a unit for ``items``."""
        unit: Unit
        if self.engine is None:
            future = start(self.loop, self.function(items[0]))
            unit = Call(future)
            future.add_done_callback(lambda _: self._ended(unit))
        else:
            local, payload = None, b""
            if self.engine.in_process:
                local = functools.partial(call_each, self.function, items)
            else:
                payload = pack_chunk(items)
            job = Job(
                self.loop,
                "chunk",
                payload,
                shared=self.shared,
                report=self._on_report,
                name="map",
                local=local,
            )
            unit = Chunk(len(items), self.engine, job)
            job.on_end = functools.partial(self._ended, unit)
            self.engine.submit(job)
        self.out += len(items)
        self.running.append(unit)

    def _on_report(self, kind: str, *data: Any) -> None:
        if kind in ("output", "display"):
            self.relay.emit(kind, *data)

    def _adapt(self, items: int, seconds: float) -> None:
        """Choose the size of the next chunk by the time that the last one took."""
        self.adapted = True
        wanted = int(items * CHUNK_SECONDS / max(seconds, 1e-6))
        self.chunk = max(1, min(wanted, 4 * self.chunk, self.max_chunk))

    def _ended(self, unit: Unit) -> None:
        if self.chunksize is None and isinstance(unit, Chunk) and (took := unit.took()):
            self._adapt(*took)
        if not self.ordered:
            self.finished.append(unit)
        elif self.fixed and not self.closing and self.running and self.running[0] is not unit:
            return  # it is not the next one, and leaves no room for another
        self.wake.set()

    def next(self) -> Unit | None:
        """Return the unit whose results come next, if it has ended."""
        if self.ordered:
            if self.running and self.running[0].done():
                return self.running.popleft()
            return None
        if not self.finished:
            return None
        unit = self.finished.popleft()
        self.running.remove(unit)
        return unit

    async def close(self) -> None:
        """Stop everything that runs and wait until it has ended."""
        self.closing = True
        for unit in self.running:
            if not unit.done():
                unit.cancel()
        while not all(unit.done() for unit in self.running):
            self.wake.clear()
            await self.wake.wait()
        for unit in self.running:
            unit.results()  # else their exceptions would be reported as never retrieved
        forget = getattr(self.engine, "forget", None)
        if forget is not None and self.shared is not None:
            forget(self.shared[0])


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def stream(
    function: Callable[..., Any],
    items: Any,
    engine: Engine | None,
    limit: int,
    chunksize: int | None,
    ordered: bool,
    return_exceptions: bool,
) -> AsyncGenerator[Any, None]:
    """See ``asyncnb.map``."""
    state = Stream(function, engine, limit, chunksize, ordered)
    source = Source(items, state.wake)
    try:
        while True:
            state.wake.clear()
            while (room := state.room()) and (taken := source.take(room)):
                state.start(taken)
            unit = state.next()
            if unit is not None:
                state.out -= unit.count
                results = unit.results()
                if unit.failed:
                    for result in results:
                        if isinstance(result, Failed):
                            if not return_exceptions:
                                raise result.exc
                            result = result.exc
                        yield result
                else:
                    for result in results:
                        yield result
            elif source.exhausted and not state.running:
                return
            else:
                source.want(bool(state.room()))
                await state.wake.wait()
    finally:
        source.close()
        await state.close()


class Source:
    """The items of an iterable or an asynchronous iterable, taken when there is room."""

    def __init__(self, items: Any, wake: asyncio.Event) -> None:
        self.exhausted = False
        self._wake = wake
        self._iterator: Iterator[Any] | None = None
        self._asking: asyncio.Future[Any] | None = None
        self._got: list[Any] = []
        self._error: BaseException | None = None
        if hasattr(items, "__iter__"):
            self._iterator = iter(items)
        else:
            self._anext = aiter(items).__anext__

    def take(self, count: int) -> list[Any]:
        """Return up to ``count`` available items. Raises what the iterable raises."""
        if self._error is not None:
            raise self._error
        if self._iterator is not None:
            taken = list(itertools.islice(self._iterator, count))
            self.exhausted = self.exhausted or len(taken) < count
            return taken
        taken, self._got = self._got, []
        return taken

    def want(self, room: bool) -> None:
        """Ask an asynchronous iterable for its next item, if there is room for it."""
        if self._iterator is None and room and self._asking is None and not self.exhausted:
            self._asking = asyncio.ensure_future(_await(self._anext()))
            self._asking.add_done_callback(self._answered)

    def _answered(self, future: asyncio.Future[Any]) -> None:
        self._asking = None
        if future.cancelled():
            self.exhausted = True
        elif (exc := future.exception()) is None:
            self._got.append(future.result())
        elif isinstance(exc, StopAsyncIteration):
            self.exhausted = True
        else:
            self._error = exc
        self._wake.set()

    def close(self) -> None:
        """Stop asking for items."""
        if self._asking is not None:
            self._asking.cancel()
