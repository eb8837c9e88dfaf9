"""Semaphore and BoundedSemaphore: at most so many at a time, on any loop and thread."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Literal

from asyncnb._core.primitives.joining import is_dead
from asyncnb._core.primitives.sync.wakeups import (
    SharedBetweenLoops,
    Waiter,
    all_cancelled,
    give,
    mutex,
    take,
    wake,
    was_woken,
)


class Semaphore(SharedBetweenLoops, asyncio.Semaphore):
    """A number of permits: ``asyncio.Semaphore`` that every loop and thread may use.

    ``async with semaphore:`` waits for one of ``value`` permits in the loop of the task; tasks get
    them in the order in which they asked, across loops. ``release()`` may be called in any thread.
    In code that cannot await, ``asyncnb.run(semaphore.acquire())`` waits for one.

    A task that is cancelled keeps no permit, nor do tasks that waited on a loop that dies. Raises
    ValueError if ``value`` is negative. Semantics: CPython 3.15. Any loop, any thread; also from a
    finaliser or a signal handler.
    """

    _waiters: deque[Any]
    _value: int
    #: How many waiters at the left of the deque have had their turn: a permit, or they are done.
    _passed = 0

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError("Semaphore initial value must be >= 0")
        self._waiters = deque()
        self._value = value

    def locked(self) -> bool:
        """Return whether ``acquire()`` would wait: for a permit, or for its turn. Any thread."""
        return self._value == 0 or (bool(self._waiters) and not all_cancelled(self._waiters))

    async def acquire(self) -> Literal[True]:
        """Wait for a permit, take it, and return True.

        Raises CancelledError if the task is cancelled meanwhile; then it has none. Any loop.
        """
        try:
            take()
            if not self.locked() and self._value > 0:  # again: a finaliser may have taken it
                self._value -= 1
                return True
            waiter = self._new_waiter()
            self._waiters.append(waiter)
        finally:
            give()
        try:
            await waiter
        except BaseException:
            with mutex:
                if self._forget(waiter) and was_woken(waiter):
                    self._value += 1  # it has had a permit, and does not want it
                self._grant()
            raise
        try:
            take()
            self._forget(waiter)
            if self._value > 0:
                self._grant()  # others may only have waited for their turn
        finally:
            give()
        return True

    def release(self) -> None:
        """Give a permit back, to the first task that waits for one. Any thread."""
        try:
            take()
            self._value += 1
            if self._waiters:
                self._wake_up_next()
        finally:
            give()

    def _grant(self) -> None:
        while self._value > 0 and self._wake_up_next():
            pass

    def _wake_up_next(self) -> bool:  # type: ignore[override]
        """Give a permit to the first that waits, if any; return whether one did."""
        while self._passed < len(self._waiters):
            waiter: Any = self._waiters[self._passed]
            self._passed += 1
            if waiter.done():
                continue
            self._value -= 1
            if wake(waiter):
                return True
            self._value += 1  # its loop is dead
            self._forget(waiter)
        return False

    def _forget(self, waiter: Waiter) -> bool:
        waiters = self._waiters
        try:
            place = 0 if waiters[0] is waiter else waiters.index(waiter)
        except (IndexError, ValueError):
            return False  # it was dropped with its loop
        if place < self._passed:
            self._passed -= 1
        del waiters[place]
        return True

    def _forget_dead_loops(self) -> None:
        with mutex:
            for waiter in self._waiters.copy():
                if is_dead(waiter.get_loop()) and self._forget(waiter):
                    self._value += was_woken(waiter)
            self._grant()


class BoundedSemaphore(Semaphore, asyncio.BoundedSemaphore):
    """A semaphore with a fixed number of permits: one ``release()`` too many is an error.

    Semantics: CPython 3.15. Any loop, any thread.
    """

    def __init__(self, value: int = 1) -> None:
        self._bound_value = value
        super().__init__(value)

    def release(self) -> None:
        """Give a permit back. Raises ValueError if none is taken. Any thread."""
        with mutex:
            if self._value >= self._bound_value:
                raise ValueError("BoundedSemaphore released too many times")
            self._value += 1
            if self._waiters:
                self._wake_up_next()
