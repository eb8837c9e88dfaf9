"""Lock: one owner at a time, on any loop and thread."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Literal

from asyncnb._core.primitives.sync.wakeups import (
    SharedBetweenLoops,
    Waiter,
    all_cancelled,
    forget,
    wake,
    without_dead,
)


class Lock(SharedBetweenLoops, asyncio.Lock):
    """A lock for tasks: ``asyncio.Lock`` that every loop and thread of the process may use.

    ``async with lock:`` waits in the loop of the task, whichever that is; tasks get the lock in the
    order in which they asked for it, across loops. No task owns it: another one, or another thread,
    may release it. In code that cannot await, ``asyncnb.run(lock.acquire())`` waits for it, and
    ``release()`` is a plain call.

    A task that is cancelled while it waits leaves the lock to the next one, and so do the tasks of
    a loop that dies. What a task holds when its loop dies stays locked.

    Semantics: CPython 3.15. Any loop, any thread; also from a finaliser or a signal handler.
    """

    _waiters: deque[Waiter]

    def __init__(self) -> None:
        self._waiters = deque()
        # The state is this lock, which is never waited for: taking it is a single operation.
        self._taken = threading.Lock()

    @property
    def _locked(self) -> bool:
        return self._taken.locked()

    def locked(self) -> bool:
        """Return whether the lock is taken. Any thread."""
        return self._taken.locked()

    async def acquire(self) -> Literal[True]:
        """Wait until the lock is free, take it, and return True.

        Raises CancelledError if the task is cancelled meanwhile; then it does not have the lock.
        Any loop.
        """
        if not self._waiters and self._taken.acquire(False):
            return True
        # A cancelled waiter that has not run yet wants nothing any more.
        if all_cancelled(self._waiters) and self._taken.acquire(False):
            return True
        waiter = self._new_waiter()
        self._waiters.append(waiter)
        while True:
            if not self._taken.locked():  # released in a thread that saw no waiter
                self._wake_up_first()
            try:
                await waiter
            except BaseException:
                forget(self._waiters, waiter)
                if not self._taken.locked():
                    self._wake_up_first()
                raise
            if self._taken.acquire(False):
                forget(self._waiters, waiter)
                if self._waiters and not self._taken.locked():
                    self._wake_up_first()  # another thread has released it that soon
                return True
            # A thread that had looked for waiters before this task became one was faster. Only the
            # first is woken, so there it belongs.
            tired, waiter = waiter, self._new_waiter()
            self._waiters.appendleft(waiter)
            forget(self._waiters, tired)

    def release(self) -> None:
        """Free the lock and wake the first task that waits for it.

        Raises RuntimeError if it is not taken. Any thread.
        """
        try:
            self._taken.release()
        except RuntimeError:
            raise RuntimeError("Lock is not acquired.") from None
        if self._waiters:
            self._wake_up_first()

    def _wake_up_first(self) -> None:
        while not self._taken.locked():
            try:
                first = self._waiters[0]
            except IndexError:
                return
            # One that is done will run, and take the lock or, cancelled, call this again.
            if first.done() or wake(first):
                return
            forget(self._waiters, first)

    def _forget_dead_loops(self) -> None:
        without_dead(self._waiters)
        self._wake_up_first()
