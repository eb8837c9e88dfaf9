"""LoopCalls: the calls of an async function, made by workers that go from item to item."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from asyncio import CancelledError
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from asyncnb._core.base.text import brief
from asyncnb._core.mapping.driver import Driver
from asyncnb._core.mapping.outcome import Outcome
from asyncnb._core.primitives.tasks import Task, create_here
from asyncnb._core.primitives.waiting import checkpoint

__asyncnb_frames__ = "waits"

#: Seconds of calls that never wait, after which other tasks of the loop have their turn.
BREATH_SECONDS = 0.005


class Worker(Task[None]):
    """The task of a worker, whose name is that of the item that it is at."""

    __slots__ = ("attempts", "index", "item", "saved")

    index: int
    item: Any
    attempts: int
    saved: bool

    def get_name(self) -> str:
        """Return the name of the item that runs now."""
        return f"item {self.index}"


Worker.__name__ = Worker.__qualname__ = Task.__name__


class LoopCalls(Driver):
    """Calls an async function within a limit, in as many tasks as run at the same time.

    A task for each item would cost more than a short call itself. A call may set context variables:
    then its worker ends, so that the next item does not see them.
    """

    def __init__(self, function: Callable[[Any], Any], *args: Any, **options: Any) -> None:
        super().__init__(function, *args, **options)
        self._breath = 0.0
        self._inhaling = False

    def spawn(self, pair: tuple[int, Any]) -> None:
        """See Driver."""
        if not self.workers:
            self._inhale()
        worker: Any = create_here(Worker, self._work(*pair), self.loop, "", self.context.copy())
        worker.index, worker.item = pair
        worker.attempts, worker.saved = 1, False
        self.add(worker)

    def left(self, worker: Worker) -> None:
        """Note the item of a worker that was cancelled before its call had begun."""
        if not worker.cancelled():
            return
        if self.closing:
            self.item_stopped(worker.index, worker.item)
        else:
            self.item_failed(worker.index, worker.item, CancelledError(), attempts=0)

    async def _work(self, index: int, item: Any) -> None:
        """Run this item, and then others as long as there are any and the limit allows."""
        me: Any = asyncio.current_task()
        clock, meter, workers, results = time.monotonic, self.meter, self.workers, self.results
        function, sink, context = self.function, self.sink, self.context
        call: Any = None
        while True:
            began = clock()
            if began > self._breath:
                await self._breathe()
            try:
                call = function(item)
                value = await call
            except BaseException as exc:
                if not self._ended_badly(me, index, item, exc, call, clock() - began):
                    return
            else:
                meter.done += 1
                if results is not None:
                    results[index] = value
                if sink is not None:
                    self.sink_put(me, index, item, value, clock() - began)
                if not self.reporting:
                    self.report_soon()
            call = value = None
            if len(workers) > meter.limit or copy_context() != context:
                return
            pair = self.take()
            if pair is None:
                return
            me.index, me.item = index, item = pair

    def sink_put(self, me: Worker, index: int, item: Any, value: Any, seconds: float) -> None:
        """Pass on the outcome of an item that has a result."""
        assert self.sink is not None
        self.sink.put(
            Outcome(index, item, value, attempts=me.attempts, saved=me.saved, seconds=seconds)
        )

    def _ended_badly(
        self, me: Worker, index: int, item: Any, exc: BaseException, call: Any, seconds: float
    ) -> bool:
        """Note what a call raised; return whether this worker may take another item."""
        if isinstance(exc, CancelledError):
            if self.closing:
                self.item_stopped(index, item)
                return False
        elif not isinstance(exc, Exception):
            self.stop(exc)
            return False
        elif isinstance(exc, TypeError) and call is not None and not inspect.isawaitable(call):
            exc = TypeError(
                f"map() awaits what {describe(self.function)} returns, and for item {index} that "
                f"was {brief(call)} ({type(call).__name__})"
            )
        self.item_failed(index, item, exc, attempts=me.attempts, seconds=seconds)
        return not (self.closing or me.cancelling())

    async def _breathe(self) -> None:
        """Let other tasks of the loop have their turn, once for all workers."""
        if not self._inhaling:
            self._inhaling = True
            self.loop.call_soon(self._inhale)
        await checkpoint()

    def _inhale(self) -> None:
        self._inhaling = False
        self._breath = time.monotonic() + BREATH_SECONDS


def describe(function: Any) -> str:
    """Return how a message names ``function``."""
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = getattr(inner, "__qualname__", None) or type(inner).__name__
    return f"{name}()"
