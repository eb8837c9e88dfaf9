"""The class that the embedded loop is based on: uvloop if installed, else the standard loop."""

from __future__ import annotations

import asyncio
import os
import sys

from asyncnb._core.base.errors import EmbeddedLoopError
from asyncnb._core.loop.fast_call_soon import FastCallSoonLoop


def base_class() -> type[asyncio.AbstractEventLoop]:
    """Return the loop class to build on: uvloop (winloop on Windows) if installed.

    The environment variable ``ASYNCNB_LOOP=asyncio`` selects the standard loop anyway. Raises
    EmbeddedLoopError for any other value that cannot be used.
    """
    wanted = os.environ.get("ASYNCNB_LOOP", "").strip().lower()
    if wanted not in ("", "asyncio", "uvloop", "winloop"):
        raise EmbeddedLoopError(
            f"ASYNCNB_LOOP={wanted!r} is not a known loop: set ASYNCNB_LOOP=asyncio or "
            "ASYNCNB_LOOP=uvloop, or leave it unset."
        )
    if wanted != "asyncio":
        fast = "winloop" if sys.platform == "win32" else "uvloop"
        try:
            module = __import__(fast)
        except ImportError:
            if wanted:
                raise EmbeddedLoopError(
                    f"ASYNCNB_LOOP={wanted}, but {fast} is not installed: run "
                    "`pip install 'asyncnb[fast]'`."
                ) from None
        else:
            return module.Loop  # type: ignore[no-any-return]
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
