"""as_completed: iterate over awaitables in the order in which they finish."""

from __future__ import annotations

import concurrent.futures
import inspect
from asyncio import Future, TimerHandle, current_task
from collections import deque
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any, TypeVar

from asyncnb._core.base.progress import Bar
from asyncnb._core.primitives.cross_loop import (
    AnyFuture,
    add_edge,
    all_local,
    discard_edge,
    done_callback_adder,
    done_signal,
    is_foreign,
    new_waiter,
)
from asyncnb._core.primitives.gather import loop_for
from asyncnb._core.primitives.limiter import (
    Throttle,
    check_limit,
    check_rate,
    close_all,
    is_started,
    start,
)

T = TypeVar("T")


class AsCompleted:
    """The result of as_completed(): an asynchronous iterator and a plain iterator in one."""

    __slots__ = (
        "__weakref__",
        "_bar",
        "_ended",
        "_error",
        "_left",
        "_loop",
        "_originals",
        "_parent_task",
        "_throttle",
        "_timer",
        "_todo",
        "_waiting",
    )

    def __init__(
        self,
        aws: Iterable[Any],
        timeout: float | None,
        limit: int | None,
        progress: str | None,
        rate: Any = None,
        retry: Any = None,
    ) -> None:
        unique = list(dict.fromkeys(aws))
        try:
            if limit is not None:
                limit = check_limit("as_completed", limit)
            pacer = check_rate("as_completed", rate, retry)
            loop = self._loop = loop_for(unique)
        except BaseException:
            close_all(unique)
            raise
        #: The task that called as_completed(): call graphs show it (gh-156523).
        self._parent_task = current_task(loop)
        self._bar = Bar(progress, len(unique)) if progress is not None else None
        #: Finished futures that have not been returned yet; None stands for one that timed out.
        self._ended: deque[Future[Any] | None] = deque()
        self._waiting: deque[Future[None]] = deque()
        self._todo: set[Future[Any]] = set()
        #: The signals for futures of other loops and threads, with their original futures.
        self._originals: dict[Future[Any], AnyFuture] = {}
        self._left = len(unique)
        self._error: BaseException | None = None
        self._timer: TimerHandle | None = None
        self._throttle: Throttle | None = None
        if limit is not None or pacer is not None:
            later = [aw for aw in unique if not is_started(aw)]
            unique = [aw for aw in unique if is_started(aw)]
            self._throttle = Throttle(
                loop, limit, pacer, later, self._started, self._on_done, self._failed
            )
        on_done = self._on_done
        if all_local(unique, loop):
            self._todo.update(unique)
            for future in unique:
                done_callback_adder(type(future))(future, on_done)
        else:
            for aw in unique:
                if is_foreign(aw, loop):
                    future = done_signal(aw, loop)
                    self._originals[future] = aw
                else:
                    future = start(loop, aw)
                self._todo.add(future)
                done_callback_adder(type(future))(future, on_done)
        if add_edge is not None:
            for future in self._todo:
                add_edge(future, self._parent_task)
        if self._throttle is not None:
            self._throttle.fill()
        if timeout is not None and self._left:
            self._timer = loop.call_later(timeout, self._on_timeout)

    def __aiter__(self) -> AsCompleted:
        return self

    def __iter__(self) -> AsCompleted:
        return self

    async def __anext__(self) -> Any:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        ended = self._ended
        if not ended:
            await self._wait_for_one()
        future = ended.popleft()
        if ended and self._waiting:
            self._wake()
        return future if future is not None and not self._originals else self._original_of(future)

    def __next__(self) -> Coroutine[Any, Any, Any]:
        if not self._left:
            raise StopIteration
        self._left -= 1
        return self._result()

    async def _result(self) -> Any:
        ended = self._ended
        if not ended:
            await self._wait_for_one()
        future = ended.popleft()
        if ended and self._waiting:
            self._wake()
        if future is None or self._originals:
            return self._original_of(future).result()
        return future.result()

    async def _wait_for_one(self) -> None:
        """Wait until there is a finished future to take."""
        while not self._ended:
            waiter = new_waiter(self._todo, self._loop)
            self._waiting.append(waiter)
            try:
                await waiter
            except BaseException:
                self._left += 1  # nothing was returned: iteration may be resumed (gh-158004)
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
                elif self._ended:
                    self._wake()  # this one was woken but cannot take its turn: wake the next
                raise

    def _original_of(self, future: Future[Any] | None) -> Any:
        if future is None:
            raise TimeoutError if self._error is None else self._error
        return self._originals.get(future, future)

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _started(self, aw: Any, future: Future[Any]) -> None:
        self._todo.add(future)
        if add_edge is not None:
            add_edge(future, self._parent_task)

    def _on_done(self, future: Future[Any]) -> None:
        todo = self._todo
        if future not in todo:
            return  # the timeout came first
        todo.discard(future)
        if discard_edge is not None:
            discard_edge(future, self._parent_task)
        self._ended.append(future)
        if self._waiting:
            self._wake()
        if self._bar is not None:
            self._bar.advance()
        if not todo and not self._throttle:
            self._finish()

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._bar is not None:
            self._bar.end()

    def _on_timeout(self) -> None:
        self._end_early(None)

    def _failed(self, error: BaseException) -> None:
        self._end_early(error)

    def _end_early(self, error: BaseException | None) -> None:
        missing = len(self._todo)
        for future in self._todo:
            future.remove_done_callback(self._on_done)
            if discard_edge is not None:
                discard_edge(future, self._parent_task)
        self._todo.clear()
        if self._throttle is not None:
            missing += len(self._throttle)
            self._throttle.close()
        if error is not None:
            missing += 1  # the one that could not be started
        self._error = error
        self._ended.extend([None] * missing)
        for _ in range(missing):
            self._wake()
        if self._bar is not None:
            self._bar.end(failed=True)
        self._finish()


def as_completed(
    fs: Iterable[Awaitable[T]],
    *,
    timeout: float | None = None,
    limit: int | None = None,
    rate: Any = None,
    progress: str | None = None,
    retry: None = None,
) -> AsCompleted:
    """Run awaitables concurrently and iterate over them in the order in which they finish.

    ``async for task in as_completed(...)`` yields the original task and future objects, and tasks
    for other awaitables; each is done. A ``concurrent.futures.Future`` is yielded unchanged, too:
    call its ``result()``. ``for coro in as_completed(...)`` yields coroutines; each, when awaited,
    returns or raises the next result. Iteration may be resumed after ``break``.

    After ``timeout`` seconds, ``async for`` or each remaining coroutine raises TimeoutError;
    running tasks keep running. ``limit`` is the maximum number that run at the same time, and
    ``rate`` how often they start, as for ``gather``: the others are started later, and closed if
    the timeout expires first. Tasks and futures that were passed are already running and do not
    count. ``progress="label"`` reports each one that ends.

    >>> tasks = {asyncio.create_task(asyncio.sleep(n)): f"{n} s" for n in (3, 1, 2)}
    >>> [tasks[task] async for task in asyncnb.as_completed(tasks)]
    ['1 s', '2 s', '3 s']

    Raises TypeError for a single awaitable instead of an iterable, ValueError for a limit below 1
    or an invalid rate, RuntimeError without a loop. Accepts futures of other loops and threads.
    Otherwise as in CPython 3.15.
    """
    if inspect.isawaitable(fs) or isinstance(fs, concurrent.futures.Future):
        raise TypeError(
            f"expects an iterable of awaitables, not {type(fs).__name__}: as_completed([task])"
        )
    return AsCompleted(fs, timeout, limit, progress, rate, retry)
