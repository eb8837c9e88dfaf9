"""LoopCalls: the calls of an async function, made by workers that go from item to item."""

from __future__ import annotations

import asyncio
import functools
import inspect
from asyncio import CancelledError
from contextvars import copy_context
from typing import Any

from asyncnb._core.base.frames import is_internal_frame
from asyncnb._core.base.text import brief_value
from asyncnb._core.mapping.driver import BREATH_SECONDS, MISSING, Driver
from asyncnb._core.mapping.outcome import Outcome
from asyncnb._core.primitives.tasks import Task, create_here
from asyncnb._core.primitives.timeouts import timeout as timeout_after
from asyncnb._core.primitives.waiting import checkpoint

__asyncnb_frames__ = "waits"


class Worker(Task[None]):
    """The task of a worker, whose name is that of the item that it is at."""

    __slots__ = ("attempts", "index", "item")

    index: int
    item: Any
    #: How many calls were made for that item.
    attempts: int

    def get_name(self) -> str:
        """Return the name of the item that runs now."""
        return f"item {self.index}"


Worker.__name__ = Worker.__qualname__ = Task.__name__


class LoopCalls(Driver):
    """Calls an async function within a limit, in as many tasks as run at the same time.

    A task for each item would cost more than a short call itself. A call may set context variables:
    then its worker ends, so that the next item does not see them.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._breath = 0.0
        self._inhaling = False
        #: What repeats a call that fails.
        self._retries = self.plan.retries()
        self._careful = self._retries is not None or self.plan.timeout is not None

    def spawn(self, pair: tuple[int, Any]) -> None:
        """See Driver."""
        if not self.workers:
            self._inhale()
        worker: Any = create_here(Worker, self._work(*pair), self.loop, "", self.context.copy())
        worker.index, worker.item = pair
        worker.attempts = 0 if self._careful else 1
        self.add(worker)

    def left(self, worker: Any) -> None:
        """Note the item of a worker that was cancelled outside of a call."""
        if not worker.cancelled():
            return
        if self.closing:
            self.item_stopped(worker.index, worker.item)
        else:
            error = CancelledError()
            self.item_failed(Outcome(worker.index, worker.item, None, error, attempts=0))

    async def _work(self, index: int, item: Any) -> None:
        """Run this item, and then others as long as there are any and the limit allows."""
        me: Any = asyncio.current_task()
        clock, meter, workers, results = self.clock, self.meter, self.workers, self.results
        function, context, careful = self.function, self.context, self._careful
        pairs, task = self.pairs, self.task
        simple = self.sink is None and self.saving is None and results is not None
        call: Any = None
        while True:
            began = clock()
            if began > self._breath:
                await self._breathe()
            try:
                if careful:
                    value = await self._carefully(me, item)
                else:
                    if meter.pacer is not None:
                        await self.turn()
                    call = function(item)
                    value = await call
            except BaseException as exc:
                if not self._ended_badly(me, index, item, exc, call, clock() - began):
                    return
            else:
                if simple:
                    meter.done += 1
                    results[index] = value  # type: ignore[index]
                    if not self.reporting:
                        self.report_soon()
                else:
                    seconds = clock() - began
                    self.succeeded(
                        Outcome(index, item, value, attempts=me.attempts, seconds=seconds)
                    )
            call = value = None
            if len(workers) > meter.limit or copy_context() != context:
                return
            if (
                simple
                and pairs is not None
                and not (self.closing or self.exhausted)
                and task._pause is None
            ):
                # take() written inline: a call shorter than that is worth a worker, too.
                try:
                    index, item = next(pairs)
                except BaseException as exc:
                    self.source_ended(exc)
                    return
                meter.started += 1
                if index >= len(results):  # type: ignore[arg-type]
                    results.append(MISSING)  # type: ignore[union-attr]
            else:
                pair = self.take()
                if pair is None:
                    return
                index, item = pair
            me.index = index
            me.item = item
            if careful:
                me.attempts = 0

    async def _carefully(self, me: Worker, item: Any) -> Any:
        """Call the function on ``item`` with retries and a time limit for each call."""
        if self._retries is None:
            return await self._attempt(me, item)
        return await self._retries.call(
            functools.partial(self._attempt, me),
            item,
            rate=self.meter,
            on_retry=self._on_retry,
        )

    def _on_retry(self, *_: object) -> None:
        self.meter.retried += 1

    async def _attempt(self, me: Worker, item: Any) -> Any:
        await self.turn()
        me.attempts += 1
        call = self.function(item)
        if not inspect.isawaitable(call):
            raise no_awaitable(self.function, me.index, call)
        seconds = self.plan.timeout
        if seconds is None:
            return await call
        limit = timeout_after(seconds)
        try:
            async with limit:
                return await call
        except TimeoutError as exc:
            if not limit.expired():
                raise
            raise TimeoutError(f"no result within {seconds:g} s") from exc.__cause__

    def _ended_badly(
        self, me: Worker, index: int, item: Any, exc: BaseException, call: Any, seconds: float
    ) -> bool:
        """Note what a call raised; return whether this worker may take another item."""
        if isinstance(exc, CancelledError):
            if self.closing:
                self.item_stopped(index, item)
                return False
        elif not isinstance(exc, Exception):
            self.item_stopped(index, item)
            self.stop(exc)
            return False
        elif isinstance(exc, TypeError) and call is not None and not inspect.isawaitable(call):
            exc = no_awaitable(self.function, index, call)
        # Without the frames of this package, which refer to all results.
        tb = exc.__traceback__
        while tb is not None and is_internal_frame(tb.tb_frame):
            tb = tb.tb_next
        exc.__traceback__ = tb
        self.item_failed(Outcome(index, item, None, exc, attempts=me.attempts, seconds=seconds))
        return not (self.closing or me.cancelling())

    async def _breathe(self) -> None:
        """Let other tasks of the loop have their turn, once for all workers."""
        if not self._inhaling:
            self._inhaling = True
            self.loop.call_soon(self._inhale)
        await checkpoint()

    def _inhale(self) -> None:
        self._inhaling = False
        self._breath = self.clock() + BREATH_SECONDS


def no_awaitable(function: Any, index: int, value: Any) -> TypeError:
    """Return the error for a function that returned ``value`` in place of an awaitable."""
    return TypeError(
        f"map() awaits what {describe(function)} returns, and for item {index} that was "
        f"{brief_value(value)}"
    )


def describe(function: Any) -> str:
    """Return how a message names ``function``."""
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = getattr(inner, "__qualname__", None) or type(inner).__name__
    return f"{name}()"
