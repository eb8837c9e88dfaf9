"""What the watchdog of the embedded loop costs: while nothing happens, and for each task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from asyncnb import embedded_loop, launch
from asyncnb._core.config import config
from asyncnb._core.loop.watchdog import thread_clock
from tests.benchmarks import Contender, Row

IDLE_SECONDS = 1.0
#: Of a core: what an idle watchdog may take.
SHARE = 0.0005


async def nothing() -> None:
    pass


def allowed(clock: Callable[[], float], count: int) -> float:
    return SHARE * IDLE_SECONDS * count


def idle(clock: Callable[[], float], count: int) -> float:
    """CPU seconds of the watchdog's and of the loop's thread while nothing happens."""
    loop = embedded_loop()
    loop.watch(config.watchdog_threshold)
    dog = loop.watchdog
    assert dog is not None
    clocks = [thread_clock(dog._thread), thread_clock(loop.thread)]
    time.sleep(4 * config.watchdog_threshold)  # until it sleeps as well
    before = [each() for each in clocks]
    time.sleep(IDLE_SECONDS * count)
    return sum(each() - was for each, was in zip(clocks, before, strict=True))


def spawning(threshold: float) -> Contender:
    def run(clock: Callable[[], float], count: int) -> float:
        loop = embedded_loop()
        loop.watch(threshold)

        async def main() -> float:
            start = clock()
            tasks = [launch(nothing()) for _ in range(count)]
            for task in tasks:
                await task
            return clock() - start

        return asyncio.run_coroutine_threadsafe(main(), loop).result()

    return run


def rows() -> Iterator[Row]:
    yield Row("idle for a second", {"allowed": allowed, "watchdog": idle}, 1, 1.0, rounds=7)
    yield Row(
        "launch and finish",
        {"without": spawning(0), "watchdog": spawning(config.watchdog_threshold)},
        500,
        1.05,
    )
