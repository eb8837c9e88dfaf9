"""ThreadCalls: the calls of a plain function, made in worker threads."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable
from typing import Any

from asyncnb._core.mapping.loop_calls import LoopCalls

__asyncnb_frames__ = "waits"

#: How many calls run in threads at the same time, unless ``limit`` is given.
THREAD_LIMIT = 32


class ThreadCalls(LoopCalls):
    """Calls a plain function in threads, within a limit."""

    def __init__(self, function: Callable[[Any], Any], *args: Any, **options: Any) -> None:
        super().__init__(functools.partial(in_thread, function), *args, **options)


async def in_thread(function: Callable[[Any], Any], item: Any) -> Any:
    """Call ``function(item)`` in a worker thread; await what it returns if that is awaitable."""
    loop = asyncio.get_running_loop()
    value = await loop.run_in_executor(None, contextvars.copy_context().run, function, item)
    return await value if inspect.isawaitable(value) else value
