"""What a profile costs: the loop while it is taken, and the sampler's own looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import asyncnb
from asyncnb._core.profiling.sampler import PERIOD, _Looks
from asyncnb._core.profiling.session import Session
from tests.benchmarks import Contender, Row

#: Of a core: what a profile may take.
SHARE = 0.01
LOOKS = round(1 / PERIOD)


async def wait_for(event: asyncio.Event) -> None:
    await event.wait()


def waiting(number: int) -> list[asyncnb.Task[None]]:
    event = asyncio.Event()
    return [asyncnb.launch(wait_for(event)) for _ in range(number)]


def allowed(clock: Callable[[], float], count: int) -> float:
    return SHARE * count


def looks(number: int) -> Contender:
    """CPU seconds of the looks of a second, for which the sampler has the interpreter's lock."""

    def run(clock: Callable[[], float], count: int) -> float:
        tasks = waiting(number)
        asyncnb.launch(asyncio.sleep(0)).join()
        sampler, sessions = _Looks(), (Session(),)
        sampler.look(sessions)
        start = clock()
        for _ in range(LOOKS * count):
            sampler.look(sessions)
        took = clock() - start
        # They came faster than a hundred a second, and the tasks are listed by the clock on the
        # wall: once more, for the share of the time that this may take.
        start, began = clock(), time.monotonic()
        sampler._list(began, sessions)
        took += (clock() - start) * count / (sampler._next_listing - began)
        for task in tasks:
            task.cancel()
        return took

    return run


def busy(number: int, *, profiled: bool) -> Contender:
    """CPU seconds of the loop's thread for steps of 0.1 ms beside ``number`` waiting tasks."""

    async def steps(clock: Callable[[], float], count: int) -> float:
        start = clock()
        for _ in range(count):
            sum(range(5000))
            await asyncio.sleep(0)
        return clock() - start

    def run(clock: Callable[[], float], count: int) -> float:
        tasks = waiting(number)
        profile = asyncnb.profile()
        if profiled:
            profile.start()
        took = asyncnb.run(steps(clock, count))
        profile.stop()
        for task in tasks:
            task.cancel()
        return took

    return run


def rows() -> Iterator[Row]:
    for number in (1, 1000):
        yield Row(
            f"a second of looks, {number:,} waiting",
            {"allowed": allowed, "sampler": looks(number)},
            1,
            1.0,
            rounds=15,
        )
    yield Row(
        "a busy loop, 1,000 waiting",
        {"without": busy(1000, profiled=False), "profiled": busy(1000, profiled=True)},
        1000,
        1.01,
    )
