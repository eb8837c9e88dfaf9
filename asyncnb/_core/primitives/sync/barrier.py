"""Barrier: tasks of any loop wait until so many of them have come."""

from __future__ import annotations

import asyncio
from typing import Any

from asyncnb._core.primitives.sync.condition import Condition
from asyncnb._core.primitives.sync.wakeups import SharedBetweenLoops


class Barrier(SharedBetweenLoops, asyncio.Barrier):
    """``asyncio.Barrier`` at which tasks of every loop and thread of the process may meet.

    ``await barrier.wait()`` returns, in each of ``parties`` tasks, when the last of them has
    arrived, and gives each a different number, from 0 to ``parties - 1``. ``abort()`` and
    ``reset()`` end the wait with ``BrokenBarrierError``. A task that is cancelled while it waits is
    no longer counted.

    Raises ValueError if ``parties`` is less than 1. Semantics: CPython 3.15. Any loop.
    """

    def __init__(self, parties: int) -> None:
        if parties < 1:
            raise ValueError("parties must be >= 1")
        super().__init__(parties)
        # asyncio's barrier changes its state only with the lock of its condition taken.
        self._cond: Any = Condition()
