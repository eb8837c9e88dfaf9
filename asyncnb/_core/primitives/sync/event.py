"""Event: a flag to wait for, on any loop and thread."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Literal

from asyncnb._core.primitives.sync.wakeups import (
    SharedBetweenLoops,
    Waiter,
    forget,
    wake_all,
    without_dead,
)


class Event(SharedBetweenLoops, asyncio.Event):
    """A flag for tasks: ``asyncio.Event`` that every loop and thread of the process may use.

    ``set()`` from a plain cell, a widget's callback or a thread wakes the tasks that ``wait()``, at
    once and each on its own loop. In code that cannot await, ``asyncnb.run(event.wait())`` waits.

    Semantics: CPython 3.15. Any loop, any thread; also from a finaliser or a signal handler.
    """

    _waiters: deque[Waiter]
    _value: bool

    def __init__(self) -> None:
        self._waiters = deque()
        self._value = False

    def set(self) -> None:
        """Set the flag, and wake all tasks that wait for it. Any thread."""
        if not self._value:
            self._value = True
            if self._waiters:
                wake_all(self._waiters)

    def clear(self) -> None:
        """Clear the flag; tasks that ``set()`` has woken still return. Any thread."""
        self._value = False

    async def wait(self) -> Literal[True]:
        """Wait until the flag is set, and return True. Any loop.

        Raises CancelledError if the task is cancelled meanwhile.
        """
        if self._value:
            return True
        waiter = self._new_waiter()
        self._waiters.append(waiter)
        try:
            if not self._value:  # else it was set in a thread that saw no waiter
                await waiter
            return True
        finally:
            forget(self._waiters, waiter)

    def _forget_dead_loops(self) -> None:
        without_dead(self._waiters)
