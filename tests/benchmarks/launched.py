"""Launched tasks in a real kernel: what the record, the name and the own output cost.

Everything is measured inside of one kernel, against plain asyncio tasks of a standard loop that
runs in a thread of the same kernel, and without the collector: ``growth`` has it on. CPU time of
the loop's thread where the tasks are made there; of the whole process where one thread makes them
and another one runs them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from tests.benchmarks.kernel import QUIET, Figure, compare, run_groups
from tests.kernel.driver import Kernel

PREPARE = """
import asyncio, asyncnb, gc, time, tracemalloc
from tests.benchmarks._prices import *

async def nothing():
    pass

async def spawn(create, count):
    # The calls alone, and until the tasks have finished.
    start = time.thread_time()
    tasks = [create(nothing()) for _ in range(count)]
    called = time.thread_time() - start
    await asyncio.sleep(0)
    assert tasks[-1].done()
    return 1e6 * called / count, 1e6 * (time.thread_time() - start) / count

def spawn_launched(count):
    start = time.process_time()
    tasks = [asyncnb.launch(nothing()) for _ in range(count)]
    tasks[-1].join()
    return 1e6 * (time.process_time() - start) / count

def without_collector(*ways):
    gc.collect()
    gc.disable()
    try:
        return [way() for way in ways]
    finally:
        gc.enable()

def spawning(count):
    return without_collector(
        lambda: in_thread(lambda: asyncio.run(spawn(asyncio.create_task, count))),
        lambda: asyncnb.run(spawn(asyncnb.launch, count)),
        lambda: spawn_launched(count),
    )

async def sleeping(create, count):
    tracemalloc.start()
    tasks = [create(asyncio.sleep(3600)) for _ in range(count)]
    await asyncio.sleep(0.1)
    took = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    for task in tasks:
        task.cancel()
    return took

def sizes(count):
    plain = in_thread(lambda: asyncio.run(sleeping(asyncio.create_task, count)))
    return plain, asyncnb.run(sleeping(asyncnb.launch, count))
"""


def prepared() -> Kernel:
    kernel = Kernel(arguments=QUIET)
    kernel.ok(PREPARE)
    return kernel


def spawning(rounds: int) -> Iterator[Figure]:
    values: list[list[float]] = [[] for _ in range(5)]
    with prepared() as kernel:
        for number in range(-1, rounds):
            plain, ours, from_cell = kernel.evaluate("spawning(2000)", 60)
            if number >= 0:  # the first round warms up
                for each, value in zip(values, (*plain, *ours, from_cell), strict=True):
                    each.append(value)
    called, finished, our_call, ours_finished, ours_from_cell = values
    yield _compared("launch 2,000 on the loop, the call", called, our_call, 1.6)
    yield _compared("spawn and finish on the loop", finished, ours_finished)
    yield _compared("spawn and finish from a cell", finished, ours_from_cell, 2.5)


def _compared(
    name: str, plain: list[float], ours: list[float], limit: float | None = None
) -> Figure:
    return compare(name, "us", {"create_task": plain, "asyncnb": ours}, limit)


def memory(rounds: int) -> Iterator[Figure]:
    values: dict[str, list[float]] = {"create_task": [], "asyncnb": []}
    with prepared() as kernel:
        for _ in range(3):
            for who, size in zip(values, kernel.evaluate("sizes(2000)", 60), strict=True):
                values[who].append(size)
    more = statistics.median(values["asyncnb"]) - statistics.median(values["create_task"])
    goal = "<= 900 bytes more"
    yield Figure("memory of a sleeping launched task", "bytes", values, goal, more <= 900)


def run(rounds: int, only: str = "") -> None:
    """Measure, print and write the topic; ``only`` is a part of the name of a group of figures."""
    groups: dict[str, Callable[[], Iterator[Figure]]] = {
        "spawn": lambda: spawning(max(7, rounds // 4)),
        "memory": lambda: memory(rounds),
    }
    run_groups("launched", groups, rounds, only)
