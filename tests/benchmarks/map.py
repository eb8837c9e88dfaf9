"""`asyncnb.map` at ``limit=100`` beside code written by hand; the memory of a million items."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import asyncnb
from tests.benchmarks import Contender, Row

LIMIT = 100
MILLION = 1_000_000
#: At least 0.9 of the throughput.
GOAL = 1 / 0.9
#: Bytes of a Python that has run a million items.
MOST_BYTES = 300e6

Call = Callable[[int], Awaitable[Any]]


async def at_once(item: int) -> int:
    return item


async def one_turn(item: int) -> int:
    await asyncio.sleep(0)
    return item


async def a_timer(item: int) -> int:
    await asyncio.sleep(0.001)
    return item


async def with_semaphore(call: Call, items: Iterable[int]) -> list[Any]:
    semaphore = asyncio.Semaphore(LIMIT)

    async def one(item: int) -> Any:
        async with semaphore:
            return await call(item)

    return await asyncio.gather(*[one(item) for item in items])


async def with_workers(call: Call, items: Iterable[int]) -> list[Any]:
    given = list(items)
    results: list[Any] = [None] * len(given)
    pairs = enumerate(given)

    async def work() -> None:
        for index, item in pairs:
            results[index] = await call(item)

    await asyncio.gather(*[work() for _ in range(LIMIT)])
    return results


async def with_map(call: Call, items: Iterable[int]) -> list[Any]:
    return await asyncnb.map(call, items, limit=LIMIT)


async def iterated(call: Call, items: Iterable[int]) -> list[Any]:
    return [each.result() async for _, each in asyncnb.map(call, items, limit=LIMIT)]


async def with_all_options(call: Call, items: Iterable[int]) -> list[Any]:
    run = asyncnb.map(call, items, limit=LIMIT, retry=3, timeout=30, rate="1000000/s")
    return await run


def contender(way: Callable[[Call, Iterable[int]], Awaitable[list[Any]]], call: Call) -> Contender:
    def run(clock: Callable[[], float], count: int) -> float:
        async def main() -> float:
            began = clock()
            results = await way(call, range(count))
            took = clock() - began
            assert results[count - 1] == count - 1
            return took

        return asyncio.run(main())

    return run


def rows() -> Iterator[Row]:
    for name, call in (
        ("returns at once", at_once),
        ("waits one turn of the loop", one_turn),
        ("waits a millisecond", a_timer),
    ):
        by_hand = {
            "semaphore and gather": contender(with_semaphore, call),
            "asyncnb.map": contender(with_map, call),
            "asyncnb.map, iterated": contender(iterated, call),
            "asyncnb.map, retry= rate= timeout=": contender(with_all_options, call),
            "a loop in 100 tasks": contender(with_workers, call),
        }
        yield Row(f"a call that {name}", by_hand, count=5000, goal=GOAL)
    yield Row(
        "memory of a million items from a generator, iterated",
        {"the goal": lambda *_: MOST_BYTES, "asyncnb.map": memory("stream")},
        count=1,
        goal=1.0,
        unit="bytes",
        rounds=1,
    )
    yield Row(
        "memory of a million items, awaited",
        {"the goal": lambda *_: MOST_BYTES, "asyncnb.map": memory("await")},
        count=1,
        goal=1.0,
        unit="bytes",
        rounds=1,
    )


def memory(way: str) -> Contender:
    """Return what measures the peak memory of a process that runs a million items."""

    def run(clock: Callable[[], float], count: int) -> float:
        command = [sys.executable, "-m", "tests.benchmarks.map", way]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(json.loads(done.stdout))

    return run


async def _run_a_million(way: str) -> None:
    if way == "await":
        assert len(await asyncnb.map(one_turn, range(MILLION), limit=LIMIT)) == MILLION
        return
    number = 0
    async for _, outcome in asyncnb.map(one_turn, (n for n in range(MILLION)), limit=LIMIT):
        number += outcome.ok
    assert number == MILLION


if __name__ == "__main__":
    import resource  # not on Windows

    asyncio.run(_run_a_million(sys.argv[1]))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(most * (1 if sys.platform == "darwin" else 1024))
