"""Timeouts that are not asyncnb's: detect whether one of asyncio's has expired."""

from __future__ import annotations

import gc
import types
from asyncio import Timeout
from typing import Any


def expired_in(coro: Any) -> bool:
    """Return whether ``coro`` is suspended inside an ``asyncio.timeout`` that has expired.

    This includes ``asyncio.wait_for``, where it is built on a timeout (Python 3.12 and later).
    """
    while True:
        kind = type(coro)
        if kind is types.CoroutineType:
            inner = coro.cr_await
        elif kind is types.GeneratorType:
            inner = coro.gi_yieldfrom
        else:
            return False
        # `async with asyncio.timeout(1):` keeps the timeout only on the stack of its frame, as the
        # object or as a bound method; only the garbage collector can say what is on that stack.
        for held in gc.get_referents(coro):
            owner = getattr(held, "__self__", held) if type(held) is types.MethodType else held
            if isinstance(owner, Timeout) and owner.expired():
                return True
        coro = inner
