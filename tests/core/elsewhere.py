"""A loop that runs in another thread, and ways to order a test by events across the two."""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import asyncnb

FACTORIES: list[Any] = [pytest.param(asyncio.new_event_loop, id="asyncio")]
try:
    import uvloop
except ImportError:
    pass
else:
    FACTORIES.append(pytest.param(uvloop.new_event_loop, id="uvloop"))

#: The locks and queues that asyncnb has, too.
SYNC = "Lock Event Condition Semaphore BoundedSemaphore Barrier Queue PriorityQueue LifoQueue"


def with_ours() -> Any:
    """Return a module that is asyncio with asyncnb's locks and queues, for tests of both."""
    ours = {name: getattr(asyncnb, name) for name in SYNC.split()}
    return types.SimpleNamespace(**{**vars(asyncio), **ours})


@contextmanager
def running_elsewhere(factory: Callable[[], Any]) -> Iterator[asyncio.AbstractEventLoop]:
    """Run a new loop in a thread; at the end cancel what is left and close the loop."""
    loop = factory()
    started = threading.Event()
    loop.call_soon(started.set)
    thread = threading.Thread(target=loop.run_forever, name="elsewhere", daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield loop
    finally:
        if not loop.is_closed():
            asyncio.run_coroutine_threadsafe(_end_all(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()


async def _end_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """Wait until *loop* has run everything that was handed to it before this call."""
    for _ in range(3):
        done = threading.Event()
        loop.call_soon_threadsafe(done.set)
        assert done.wait(10)
