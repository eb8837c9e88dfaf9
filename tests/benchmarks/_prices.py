"""What one task costs, launched and plain: called inside of kernels, and by the gate's short check.

All return microseconds of CPU for each task, from its creation until it waits; all of the tasks
live at that moment. The collector is on or off as the caller has left it.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import asyncnb

Create = Callable[[Coroutine[Any, Any, None]], Any]


class Gate:
    """What the tasks of one round wait for, in the loop that they run on."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[None] | None = None
        self.last_waits = threading.Event()

    async def wait(self, last: bool) -> None:
        if self.opened is None:
            self.opened = asyncio.get_running_loop().create_future()
        if last:
            self.last_waits.set()
        await self.opened

    def open(self) -> None:
        assert self.opened is not None
        self.opened.set_result(None)


async def on_this_loop(create: Create, count: int, times: int = 1) -> float:
    """The price of ``count`` tasks that a task creates on its own loop."""
    took = 0.0
    for _ in range(times):
        gate = Gate()
        start = time.thread_time()
        tasks = [create(gate.wait(False)) for _ in range(count - 1)]
        tasks.append(create(gate.wait(True)))
        await asyncio.sleep(0)
        took += time.thread_time() - start
        assert gate.last_waits.is_set()
        gate.open()
        await asyncio.wait(tasks)
    return 1e6 * took / count / times


def from_this_thread(
    create: Create, loop: asyncio.AbstractEventLoop, count: int, times: int = 1
) -> float:
    """The price of ``count`` tasks of a loop in another thread, what that thread takes included."""
    took = 0.0
    for _ in range(times):
        gate = Gate()
        start = time.process_time()
        tasks = [create(gate.wait(False)) for _ in range(count - 1)]
        tasks.append(create(gate.wait(True)))
        gate.last_waits.wait()
        took += time.process_time() - start
        loop.call_soon_threadsafe(gate.open)
        for task in tasks:
            task.join() if isinstance(task, asyncio.Future) else task.result()
    return 1e6 * took / count / times


def plain(count: int, times: int = 1) -> float:
    """create_task() on a standard loop, which runs in a thread, as a cell's thread may have one."""
    return in_thread(lambda: asyncio.run(on_this_loop(asyncio.create_task, count, times)))


def plain_threadsafe(count: int, times: int = 1) -> float:
    """run_coroutine_threadsafe(): what asyncio has for another thread."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        create = functools.partial(asyncio.run_coroutine_threadsafe, loop=loop)
        return await asyncio.to_thread(from_this_thread, create, loop, count, times)

    return in_thread(lambda: asyncio.run(main()))


def launched_on_loop(count: int, times: int = 1) -> float:
    """launch() in the thread of the embedded loop."""
    asyncnb.embedded_loop()
    return asyncnb.run(on_this_loop(asyncnb.launch, count, times))


def launched_from_thread(count: int, times: int = 1) -> float:
    """launch() in another thread than the embedded loop's, as a cell without await does it."""
    return from_this_thread(asyncnb.launch, asyncnb.embedded_loop(), count, times)


def in_thread(work: Callable[[], float]) -> float:
    result: list[float] = []
    thread = threading.Thread(target=lambda: result.append(work()))
    thread.start()
    thread.join()
    return result[0]
