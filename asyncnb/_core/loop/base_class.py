"""The class that the embedded loop is based on: uvloop if installed, else the standard loop."""

from __future__ import annotations

import asyncio
import sys

from asyncnb._core.loop.fast_call_soon import FastCallSoonLoop
from asyncnb._core.loop.prerequisites import CHOSEN, FAST


def base_class() -> type[asyncio.AbstractEventLoop]:
    """Return the loop class to build on: uvloop (winloop on Windows) if installed.

    The environment variable ``ASYNCNB_LOOP=asyncio`` selects the standard loop anyway.
    """
    if CHOSEN != "asyncio":
        try:
            return __import__(FAST).Loop  # type: ignore[no-any-return]
        except ImportError:
            if CHOSEN:
                raise  # it is there, and broken
    if sys.platform == "win32":
        return asyncio.ProactorEventLoop
    return asyncio.SelectorEventLoop


def with_fast_call_soon(base: type[asyncio.AbstractEventLoop]) -> type[asyncio.AbstractEventLoop]:
    """Return *base* with :class:`FastCallSoonLoop` mixed in if it is a standard-library loop."""
    if not issubclass(base, asyncio.BaseEventLoop):
        return base
    return type(
        base.__name__, (FastCallSoonLoop, base), {"__slots__": (), "__module__": base.__module__}
    )
