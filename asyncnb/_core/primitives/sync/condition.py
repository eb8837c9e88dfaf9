"""Condition: wait, with a lock released, until another task says that something has changed."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from asyncnb._core.primitives.sync.lock import Lock
from asyncnb._core.primitives.sync.wakeups import (
    SharedBetweenLoops,
    Waiter,
    forget,
    wake,
    was_woken,
    without_dead,
)

T = TypeVar("T")


class Condition(SharedBetweenLoops, asyncio.Condition):
    """A condition for tasks: ``asyncio.Condition`` that every loop and thread may use.

    ``Condition(lock=None)`` uses the given lock, or creates one. With one of asyncio's locks it is
    bound to one loop, as that lock is. ``notify()`` and ``notify_all()`` may be called in any
    thread, while any task or thread holds the lock.

    A task that is cancelled after it was notified passes the notification on. ``wait()`` may also
    return without one, so check in a loop, or use ``wait_for()``.

    Semantics: CPython 3.15. Any loop, any thread.
    """

    _waiters: deque[Waiter]

    def __init__(self, lock: asyncio.Lock | None = None) -> None:
        if lock is None:
            lock = Lock()
        self._lock = lock
        self.locked: Callable[[], bool] = lock.locked
        self.acquire: Callable[[], Coroutine[Any, Any, Literal[True]]] = lock.acquire
        self.release: Callable[[], None] = lock.release
        self._waiters = deque()

    async def wait(self) -> Literal[True]:
        """Release the lock, wait to be notified, take the lock again, and return True.

        Raises RuntimeError if the lock is not taken, and CancelledError if the task is cancelled
        meanwhile, with the lock taken in that case, too. Any loop.
        """
        if not self.locked():
            raise RuntimeError("cannot wait on un-acquired lock")
        waiter = self._new_waiter()
        self._waiters.append(waiter)  # before the release: then another thread may notify
        try:
            self.release()
        except BaseException:
            forget(self._waiters, waiter)
            raise
        notified = True  # what wakes it removes it: nothing to look for
        try:
            try:
                await waiter
            except BaseException:
                notified = was_woken(waiter) or not forget(self._waiters, waiter)
                raise
            finally:
                cancelled: BaseException | None = None
                while True:
                    try:
                        await self.acquire()
                        break
                    except CancelledError as exc:
                        cancelled = exc
                if cancelled is not None:
                    try:
                        raise cancelled
                    finally:
                        cancelled = None  # it would refer to this frame, which refers to it
        except BaseException:
            if notified:
                self._notify(1)
            raise
        return True

    async def wait_for(self, predicate: Callable[[], T]) -> T:
        """Wait until ``predicate()`` is true, and return what it returned.

        It is called once at the start, and again each time that this task is notified, with the
        lock taken. Raises what ``wait()`` raises, and what the predicate raises. Any loop.
        """
        result = predicate()
        while not result:
            await self.wait()
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Wake up to ``n`` waiting tasks, in the order in which they arrived.

        Each returns once it has the lock again. Raises RuntimeError if the lock is not taken. Any
        thread.
        """
        if not self.locked():
            raise RuntimeError("cannot notify on un-acquired lock")
        self._notify(n)

    def notify_all(self) -> None:
        """Wake all waiting tasks; see ``notify``."""
        self.notify(len(self._waiters))

    def _notify(self, n: int) -> None:
        while n > 0:
            try:
                waiter = self._waiters.popleft()  # that is how it knows that it was notified
            except IndexError:
                return
            if not waiter.done() and wake(waiter):
                n -= 1

    def _forget_dead_loops(self) -> None:
        without_dead(self._waiters)
        # Some of them may have been notified last, and it is not known of what.
        self._notify(len(self._waiters))
