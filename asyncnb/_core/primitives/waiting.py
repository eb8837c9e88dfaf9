"""sleep, wait, wait_for: suspend the current task until a time or until others are done.

``wait`` and ``wait_for`` accept tasks and futures of the running loop, of loops in other threads,
and ``concurrent.futures.Future``. ``gather`` and ``as_completed`` are in separate files.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import types
from asyncio import AbstractEventLoop, CancelledError, Future, TimerHandle, get_running_loop
from collections.abc import Awaitable, Callable, Collection, Generator, Iterable
from typing import Any, TypeVar, cast

from asyncnb._core.primitives.awaitables import close_unstarted
from asyncnb._core.primitives.create_task import ensure_future
from asyncnb._core.primitives.cross_loop import (
    AnyFuture,
    add_edge,
    all_local,
    discard_edge,
    done_callback_adder,
    done_callback_remover,
    done_signal,
    is_foreign,
    new_waiter,
)
from asyncnb._core.primitives.first_completed import MIN_WATCHED, Pending, watch_for
from asyncnb._core.primitives.futures import iscoroutine, local
from asyncnb._core.primitives.timeouts import Timeout

T = TypeVar("T")
F = TypeVar("F", bound=AnyFuture)

FIRST_COMPLETED = concurrent.futures.FIRST_COMPLETED
FIRST_EXCEPTION = concurrent.futures.FIRST_EXCEPTION
ALL_COMPLETED = concurrent.futures.ALL_COMPLETED


@types.coroutine
def checkpoint() -> Generator[None, None, None]:
    """Yield to the loop for one iteration: a bare ``yield``, which every kind of task supports."""
    yield


def _release(future: Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


async def sleep(delay: float, result: T = None) -> T:  # type: ignore[assignment]
    """Suspend for ``delay`` seconds of loop time, then return ``result``.

    Zero or less yields for exactly one iteration of the loop. Raises ValueError for NaN, and
    CancelledError if the task is cancelled. Any loop. As in CPython 3.15.
    """
    if delay <= 0:
        await checkpoint()
        return result
    if math.isnan(delay):
        raise ValueError("Invalid delay: NaN (not a number)")
    loop = get_running_loop()
    future = loop.create_future()
    handle = loop.call_later(delay, _release, future, result)
    try:
        return cast(T, await future)
    finally:
        handle.cancel()


async def wait(
    fs: Iterable[F], *, timeout: float | None = None, return_when: str = ALL_COMPLETED
) -> tuple[set[F], set[F]]:
    """Wait for tasks or futures; return the sets ``(done, pending)`` of the original objects.

    Returns when all of them are done, or the first one is (``FIRST_COMPLETED``), or the first one
    has failed (``FIRST_EXCEPTION``), or after ``timeout`` seconds, which is not an error. Never
    cancels any of them, not even if the waiting task is cancelled. Raises ValueError for an empty
    ``fs`` or an unknown ``return_when`` and TypeError for coroutines. As in CPython 3.15; also
    accepts futures of any loop and thread.

    >>> tasks = [asyncio.create_task(asyncio.sleep(n, n)) for n in (1, 60)]
    >>> done, pending = await asyncnb.wait(tasks, timeout=5)
    >>> [task.result() for task in done], len(pending)
    ([1], 1)
    """
    if type(fs) not in (set, list, Pending) and (
        asyncio.isfuture(fs) or iscoroutine(fs) or isinstance(fs, concurrent.futures.Future)
    ):
        raise TypeError(
            f"expect a list of futures, not {type(fs).__name__}: use wait([task]), or "
            "`await task` for a single one"
        )
    given: set[F] = Pending(fs) if type(fs) is Pending else set(fs)
    if not given:
        raise ValueError(
            "Set of Tasks/Futures is empty: check before the call, `if tasks: await wait(tasks)`"
        )
    if return_when not in (FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED):
        for each in given:
            close_unstarted(each)
        raise ValueError(
            f"Invalid return_when value: {return_when!r}; it must be FIRST_COMPLETED, "
            "FIRST_EXCEPTION or ALL_COMPLETED"
        )
    loop = get_running_loop()
    watch = watch_for(fs, given, loop) if return_when == FIRST_COMPLETED else None
    if watch is not None:
        futures: Pending[Any] = given if type(given) is Pending else Pending(given)
        waiter = new_waiter(futures, loop)
        watch.begin(waiter)
        try:
            await _await_waiter(waiter, futures, timeout, loop)
        except BaseException:
            watch.stop()
            raise
        return watch.end(futures), futures
    if all_local(given, loop):
        pending = await _wait(cast("set[Future[Any]]", given), timeout, return_when, loop)
        done = given - pending if pending else given
        if return_when == FIRST_COMPLETED and len(pending) >= MIN_WATCHED:
            pending = Pending(pending)
        return done, cast("set[F]", pending)
    # At least one is a coroutine, or a future of another loop or thread.
    if any(iscoroutine(f) for f in given):
        for each in given:
            close_unstarted(each)
        raise TypeError(
            "Passing coroutines is forbidden, use tasks explicitly: "
            "wait([create_task(coro) for coro in coros])"
        )
    for f in given:
        if not asyncio.isfuture(f) and not isinstance(f, concurrent.futures.Future):
            raise TypeError(f"wait() takes tasks and futures, not {type(f).__name__}: {f!r}")
    signals = {done_signal(f, loop): f for f in given}
    await _wait(set(signals), timeout, return_when, loop, signals.get)
    for future, f in signals.items():
        if future is not f and future.done() and (error := future.exception()) is not None:
            raise error  # its loop crashed or was closed: the wait would never end
    done = {f for f in given if f.done()}
    return done, given - done


async def _wait(
    given: set[Future[Any]],
    timeout: float | None,
    return_when: str,
    loop: AbstractEventLoop,
    original: Callable[[Future[Any]], AnyFuture | None] | None = None,
) -> set[Future[Any]]:
    """Wait for futures of ``loop`` and return those still pending."""
    waiter = new_waiter(given, loop)
    if return_when == ALL_COMPLETED:
        watch = WaitAll(waiter, given)
        try:
            await _await_waiter(waiter, given, timeout, loop)
        except BaseException:
            watch.stop()
            raise
        return watch.stop()
    left = len(given)
    until_first_end = return_when == FIRST_COMPLETED

    def ended(future: Future[Any]) -> None:
        nonlocal left
        left -= 1
        if (until_first_end or not left or _failed(future, original)) and not waiter.done():
            waiter.set_result(None)

    for future in given:
        done_callback_adder(type(future))(future, ended)
    try:
        await _await_waiter(waiter, given, timeout, loop)
    finally:
        # A done future has passed its callbacks to the loop: there is none to remove.
        pending = {f for f in given if done_callback_remover(type(f))(f, ended)}
    return pending


async def _await_waiter(
    waiter: Future[None],
    given: Collection[Future[Any]],
    timeout: float | None,
    loop: AbstractEventLoop,
) -> None:
    """Await ``waiter`` for at most ``timeout`` seconds."""
    task = asyncio.current_task(loop) if add_edge is not None else None
    if add_edge is not None:
        for future in given:
            add_edge(future, task)
    timer: TimerHandle | None = None
    if timeout is not None:
        timer = loop.call_later(timeout, _release, waiter, None)
    try:
        await waiter
    finally:
        if timer is not None:
            timer.cancel()
        if discard_edge is not None:
            for future in given:
                discard_edge(future, task)


def _failed(
    future: Future[Any], original: Callable[[Future[Any]], AnyFuture | None] | None
) -> bool:
    source: AnyFuture | None = original(future) if original is not None else future
    assert source is not None
    return not source.cancelled() and source.exception() is not None


class WaitAll:
    """Releases a waiter when all futures are done, with a callback on one of them at a time.

    Whenever that future ends, the callback moves to the next unfinished one, so that the waiter is
    released after the last; a future that has ended before its turn costs a call of ``done()``
    instead of a callback.
    """

    __slots__ = ("_left", "_waiter")

    def __init__(self, waiter: Future[None], given: Collection[Future[Any]]) -> None:
        self._waiter = waiter
        self._left = list(given)
        # On the last one even if it is done: then the callback lets others run for one iteration.
        self._left[-1].add_done_callback(self._next)

    def _next(self, future: Future[Any]) -> None:
        left = self._left
        while left:
            if not left[-1].done():
                if not self._waiter.done():
                    left[-1].add_done_callback(self._next)
                return
            left.pop()
        _release(self._waiter, None)

    def stop(self) -> set[Future[Any]]:
        """Remove the callback and return the futures that are still pending."""
        if self._left:
            self._left[-1].remove_done_callback(self._next)
        return {future for future in self._left if not future.done()}


async def wait_for(fut: Awaitable[T], timeout: float | None) -> T:
    """Await ``fut`` for at most ``timeout`` seconds (None: no limit); return its result.

    A coroutine runs in the caller's own task, so no cancellation is lost between two tasks. When
    the timeout expires, ``fut`` is cancelled, its cleanup awaited, and TimeoutError raised; if it
    still returns a value, that is returned, and if it raises another exception, that is raised. To
    keep it running, wait for ``shield(fut)``. With ``timeout <= 0`` a coroutine never starts.
    Accepts futures of any loop and thread; a cancellation is passed on to them. As in CPython 3.15.

    >>> try:
    ...     await asyncnb.wait_for(asyncio.sleep(60), timeout=5)
    ... except TimeoutError:
    ...     print("after", asyncio.get_running_loop().time(), "s")
    after 5.0 s
    """
    loop = get_running_loop()
    if (
        type(fut) is not types.CoroutineType
        and getattr(fut, "_loop", None) is not loop
        and is_foreign(fut, loop)
    ):
        fut = local(fut, loop)
    if timeout is None:
        return await fut
    limit: Timeout | None = None
    try:
        if not timeout <= 0:
            # The same as `async with Timeout(...)`, without its two coroutines.
            now = loop.time()
            limit = Timeout(now + timeout)
            limit.enter(loop, now)
    except BaseException:
        close_unstarted(fut)
        raise
    if limit is None:
        return await _with_expired_timeout(ensure_future(fut))
    try:
        result = await fut
    except BaseException as exc:
        if limit.leave():
            await limit.expire(exc)
        raise
    if limit.leave():
        await limit.expire(None)
    return result


async def _with_expired_timeout(future: Future[T]) -> T:
    if future.done():
        return future.result()
    future.cancel()
    # Wait for it instead of awaiting it: a cancellation of the caller must take effect at once.
    await wait([future])
    try:
        return future.result()
    except CancelledError as exc:
        raise TimeoutError from exc
