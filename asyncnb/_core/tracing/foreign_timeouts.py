"""Timeouts that are not ours: whether one of asyncio's has struck."""

from __future__ import annotations

import gc
import types
from asyncio import Timeout
from typing import Any


def expired_in(coro: Any) -> bool:
    """Return whether ``coro`` is suspended inside of an ``asyncio.timeout`` whose time is up.

    Inside of ``asyncio.wait_for``, too, where that is built on one (Python 3.12 and later).
    """
    while True:
        kind = type(coro)
        if kind is types.CoroutineType:
            inner = coro.cr_await
        elif kind is types.GeneratorType:
            inner = coro.gi_yieldfrom
        else:
            return False
        # `async with asyncio.timeout(1):` keeps it nowhere but on the stack of its frame, as
        # itself or as a bound method; the garbage collector alone tells what is there.
        for held in gc.get_referents(coro):
            owner = getattr(held, "__self__", held) if type(held) is types.MethodType else held
            if isinstance(owner, Timeout) and owner.expired():
                return True
        coro = inner
