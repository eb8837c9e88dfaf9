"""The calls of ``asyncnb.map`` that are made elsewhere: in chunks, in the jobs of an engine."""

from __future__ import annotations

import contextvars
import functools
import itertools
from asyncio import CancelledError
from collections.abc import Callable
from operator import index
from typing import Any

from asyncnb._core.mapping.driver import Driver
from asyncnb._core.mapping.outcome import Outcome
from asyncnb._core.mapping.plan import check_function
from asyncnb._core.primitives.limiter import check_limit
from asyncnb._core.primitives.tasks import Task, create_here
from asyncnb._core.primitives.timeouts import timeout as timeout_after
from asyncnb._offload.engines.choose import engine_for
from asyncnb._offload.engines.own_threads import OwnThreads
from asyncnb._offload.engines.thread_pool import call_each, call_plainly
from asyncnb._offload.jobs import Engine, Job
from asyncnb._offload.packing import pack_chunk, pack_shared
from asyncnb._offload.relay import OutputRelay
from asyncnb._offload.tracebacks import rebuild_error

#: Seconds of work in a chunk of items: much longer than it takes to send one, and short enough for
#: a cancel, a progress bar and the end of the stream.
CHUNK_SECONDS = 0.05
#: How many calls run in threads at the same time, unless ``limit`` is given.
THREAD_LIMIT = 32
#: How many items a thread gets at once at most: they are taken, so a pause does not hold them.
THREAD_CHUNK = 100

_tokens = itertools.count(1)

Pair = tuple[int, Any]


def check_engine(
    function: Any, on: Any, limit: Any, chunksize: Any
) -> tuple[Callable[..., Any], int]:
    """Return what makes the driver for ``on``, and the limit.

    Raises TypeError or ValueError that says what to do, OffloadError if the function cannot be
    sent.
    """
    check_function(function)
    engine = engine_for(on)
    if chunksize is not None:
        chunksize = _check_chunksize(chunksize)
    if limit is not None:
        limit = check_limit("map", limit)
        if chunksize is not None and chunksize > limit:
            raise ValueError(f"map(): a chunk of {chunksize} is more than limit={limit} allows")
    else:
        limit = max(engine.ahead, 4 * (chunksize or 0)) * engine.slots()
    packed = None if engine.in_process else pack_shared(function)
    return functools.partial(EngineCalls, engine, packed, chunksize), limit


def _check_chunksize(chunksize: Any) -> int:
    try:
        number = index(chunksize)
    except TypeError:
        given = type(chunksize).__name__
        raise TypeError(f"map(chunksize=...) must be an integer, not {given}") from None
    if number < 1:
        raise ValueError(f"map(chunksize={number}) must be at least 1")
    return number


def check_threads(limit: Any) -> tuple[Callable[..., Any], int]:
    """Return what makes the driver for a plain function in threads, and the limit."""
    return ThreadCalls, THREAD_LIMIT if limit is None else check_limit("map", limit)


class ChunkWorker(Task[None]):
    """The task of a worker, whose name is that of the items that it waits for."""

    __slots__ = ("pairs",)

    pairs: list[Pair]

    def get_name(self) -> str:
        """Return the name of the items that run now."""
        first, last = self.pairs[0][0], self.pairs[-1][0]
        return f"item {first}" if first == last else f"items {first} to {last}"


ChunkWorker.__name__ = ChunkWorker.__qualname__ = Task.__name__


class EngineCalls(Driver):
    """Makes calls through an engine, in chunks of ``chunksize`` items or of 0.05 s of work.

    A failed call that is repeated is a chunk by itself, and so is each if there is a time limit.
    """

    def __init__(
        self, engine: Engine, packed: bytes | None, chunksize: int | None, *args: Any
    ) -> None:
        super().__init__(*args)
        self._engine = engine
        self._shared = None if packed is None else (next(_tokens), packed)
        self._retries = self.plan.retries()
        if self.plan.timeout is not None:
            chunksize = 1
        self._chunk = chunksize or 1
        #: Whether the size of the chunks is known: it was given, or one has ended.
        self._adapted = self._fixed = chunksize is not None
        #: How many items are sent and not back.
        self._out = 0
        self._relay: Any = None
        # In our own queue, one unit runs in each slot and one waits behind it; not more, so that
        # other jobs need not wait long.
        self._slots = engine.slots()

    async def drive(self) -> BaseException | None:
        """See Driver."""
        self._relay = OutputRelay(contextvars.copy_context())
        try:
            return await super().drive()
        finally:
            self._relay = None
            forget = getattr(self._engine, "forget", None)
            if forget is not None and self._shared is not None:
                forget(self._shared[0])

    # Chunks

    def max_workers(self) -> int:
        """Return how many chunks may be out."""
        if not self._adapted or self._engine.kind == "process":
            # Until it is known how long an item takes, a flood of single items helps no one.
            return 2 * self._slots
        return self.meter.limit

    def max_chunk(self) -> int:
        """Return how many items a chunk has at most."""
        return max(1, self.meter.limit // (2 * self._slots + 1))

    def may_spawn(self) -> bool:
        """See Driver. A chunk is taken when there is room for all of it."""
        if len(self.workers) >= self.max_workers():
            return False
        return self.meter.limit - self._out >= min(self._chunk, self.meter.limit)

    def spawn(self, pair: Pair) -> None:
        """See Driver."""
        pairs = [pair]
        # The calls of a chunk follow each other at once, whatever the rate.
        size = 1 if self.meter.paced else min(self._chunk, self.meter.limit)
        while len(pairs) < size and (more := self.take()) is not None:
            pairs.append(more)
        self._start(pairs, self._work)

    def _start(self, pairs: list[Pair], work: Callable[[list[Pair]], Any]) -> None:
        self._out += len(pairs)
        worker: Any = create_here(ChunkWorker, work(pairs), self.loop, "", self.context.copy())
        worker.pairs = pairs
        self.add(worker)

    def left(self, worker: Any) -> None:
        """See Driver."""
        self._out -= len(worker.pairs)
        if worker.cancelled():
            self._cancelled(worker.pairs)

    def _cancelled(self, pairs: list[Pair]) -> None:
        for number, item in pairs:
            if self.closing:
                self.item_stopped(number, item)
            else:
                self.item_failed(Outcome(number, item, None, CancelledError()))

    async def _work(self, pairs: list[Pair]) -> None:
        """Make one chunk of calls."""
        began = self.clock()
        try:
            for _ in pairs:
                await self.turn()
            values, failures, seconds = await self._send([item for _, item in pairs])
        except CancelledError:
            return self._cancelled(pairs)
        except Exception as exc:
            values, failures, seconds = (
                [None] * len(pairs),
                dict.fromkeys(range(len(pairs)), exc),
                0,
            )
        except BaseException as exc:
            for number, item in pairs:
                self.item_stopped(number, item)
            return self.stop(exc)
        if seconds and not self._fixed:
            self._adapt(len(pairs), seconds)
        took = self.clock() - began
        for position, (number, item) in enumerate(pairs):
            if position not in failures:
                self.succeeded(Outcome(number, item, values[position], seconds=took / len(pairs)))
                continue
            failure = failures[position]
            if self.closing:
                self.item_stopped(number, item)
            elif self._retries is None:
                self.item_failed(Outcome(number, item, None, failure, seconds=took))
            else:
                self._start([(number, item)], functools.partial(self._again, failure))

    async def _again(self, failure: BaseException, pairs: list[Pair]) -> None:
        """Repeat a call that raised ``failure``, as long as the retries say so."""
        ((number, item),) = pairs
        began, attempts = self.clock(), 0

        async def attempt(item: Any) -> Any:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                raise failure
            await self.turn()
            values, failures, _ = await self._send([item])
            if failures:
                raise failures[0]
            return values[0]

        value: Any = None
        error: BaseException | None = None
        try:
            value = await self._retries.call(
                attempt, item, rate=self.meter, on_retry=self._on_retry
            )
        except CancelledError as exc:
            if self.closing:
                return self.item_stopped(number, item)
            error = exc
        except Exception as exc:
            error = exc
        except BaseException as exc:
            self.item_stopped(number, item)
            return self.stop(exc)
        seconds = self.clock() - began
        outcome: Outcome[Any, Any] = Outcome(
            number, item, value, error, attempts=attempts, seconds=seconds
        )
        (self.succeeded if error is None else self.item_failed)(outcome)

    def _on_retry(self, *_: object) -> None:
        self.meter.retried += 1

    def _adapt(self, items: int, seconds: float) -> None:
        """Choose the size of the next chunk by the time that the last one took."""
        self._adapted = True
        wanted = int(items * CHUNK_SECONDS / max(seconds, 1e-6))
        self._chunk = max(1, min(wanted, 4 * self._chunk, self.max_chunk()))

    # Sending

    async def _send(self, items: list[Any]) -> tuple[list[Any], dict[int, BaseException], float]:
        """Call the function on ``items``; return results, exceptions, and the seconds."""
        if (seconds := self.plan.timeout) is None:
            return await self._send_and_wait(items, self._on_report)
        # Where that is known at once, the time begins with the call, not when a worker is started.
        known = self._engine.in_process or self._engine.kind == "process"
        limit = timeout_after(None if known else seconds)

        def on_report(kind: str, *data: Any) -> None:
            if kind == "started" and known:
                self.loop.call_soon_threadsafe(begin)
            self._on_report(kind, *data)

        def begin() -> None:
            if job_runs:
                limit.reschedule(self.loop.time() + seconds)

        job_runs = True
        try:
            async with limit:
                try:
                    return await self._send_and_wait(items, on_report)
                finally:
                    job_runs = False
        except TimeoutError as exc:
            if not limit.expired():
                raise
            raise TimeoutError(f"no result within {seconds:g} s") from exc.__cause__

    async def _send_and_wait(
        self, items: list[Any], report: Callable[..., object]
    ) -> tuple[list[Any], dict[int, BaseException], float]:
        local, payload = None, b""
        if self._engine.in_process:
            local = functools.partial(self.call_locally, self.function, items)
        else:
            payload = pack_chunk(items)
        job = Job(
            self.loop,
            "chunk",
            payload,
            shared=self._shared,
            report=report,
            name=self.name,
            local=local,
        )
        self._engine.submit(job)
        values, failures, seconds = await job.wait(self._engine)
        for position, described in failures.items():
            if not isinstance(described, BaseException):
                failures[position] = rebuild_error(described)
        return values, failures, seconds

    #: What an engine in this process calls.
    call_locally: Callable[..., Any] = staticmethod(call_each)

    def _on_report(self, kind: str, *data: Any) -> None:
        relay = self._relay
        if relay is not None and kind in ("output", "display"):
            relay.emit(kind, *data)


class ThreadCalls(EngineCalls):
    """Calls a plain function in threads of the run, at most ``limit`` at the same time.

    A result that is awaitable, such as the coroutine that a lambda returns, is awaited on the
    loop.
    """

    call_locally = staticmethod(call_plainly)

    def __init__(self, *args: Any) -> None:
        self._threads = OwnThreads()
        super().__init__(self._threads, None, None, *args)
        if self.meter.pacer is not None or self._retries is not None:
            # Each call starts when it may, and a chunk of failures would be repeated all at once.
            self._fixed = True

    async def drive(self) -> BaseException | None:
        """See Driver."""
        try:
            return await super().drive()
        finally:
            self._threads.close()

    def max_workers(self) -> int:
        """See EngineCalls."""
        return self.meter.limit

    def max_chunk(self) -> int:
        """See EngineCalls."""
        return THREAD_CHUNK

    def may_spawn(self) -> bool:
        """See Driver."""
        return len(self.workers) < self.meter.limit

    def spawn(self, pair: Pair) -> None:
        """See Driver."""
        pairs = [pair]
        size = 1 if self.meter.paced else self._chunk
        while len(pairs) < size and (more := self.take()) is not None:
            pairs.append(more)
        self._start(pairs, self._work)

    async def _send_and_wait(
        self, items: list[Any], report: Callable[..., object]
    ) -> tuple[list[Any], dict[int, BaseException], float]:
        values, failures, seconds = await super()._send_and_wait(items, report)
        for position, value in enumerate(values):
            if hasattr(value, "__await__"):
                self._fixed, self._chunk = True, 1
                try:
                    values[position] = await value
                except Exception as exc:
                    failures[position] = exc
        return values, failures, seconds
