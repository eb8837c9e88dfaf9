"""Launched tasks in a real kernel: what the record, the name and the own output cost.

Everything is measured inside of one kernel, against plain asyncio tasks of a loop that runs in a
thread of the same kernel. Times are of the whole process's CPU: a launched task is made by one
thread and run by another.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator

import psutil

from tests.benchmarks.kernel import QUIET, Figure, run_groups
from tests.kernel.driver import Kernel

SIZES = (1, 10, 100, 1_000, 10_000, 100_000)

PREPARE = """
import asyncio, asyncnb, gc, threading, time, tracemalloc

async def nothing():
    pass

def on_plain_loop(work, *args):
    result = []
    thread = threading.Thread(target=lambda: result.append(asyncio.run(work(*args))))
    thread.start()
    thread.join()
    return result[0]

async def spawn_plainly(count, times=1):
    start = time.process_time()
    for _ in range(times):
        tasks = [asyncio.create_task(nothing()) for _ in range(count)]
        await asyncio.sleep(0)
    return 1e6 * (time.process_time() - start) / count / times

def spawn_launched(count, times=1):
    start = time.process_time()
    for _ in range(times):
        tasks = [asyncnb.launch(nothing()) for _ in range(count)]
        tasks[-1].join()
    asyncnb.run(asyncio.sleep(0))
    return 1e6 * (time.process_time() - start) / count / times

def spawning(count):
    return [alone("plain", count, 1), alone("launched", count, 1)]

def alone(who, count, times):
    gc.collect()
    gc.disable()
    try:
        if who == "plain":
            return on_plain_loop(spawn_plainly, count, times)
        return spawn_launched(count, times)
    finally:
        gc.enable()

async def sleeping_plainly(count):
    tracemalloc.start()
    tasks = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(count)]
    await asyncio.sleep(0.1)
    took = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    for task in tasks:
        task.cancel()
    return took

def sleeping_launched(count):
    tracemalloc.start()
    tasks = [asyncnb.launch(asyncio.sleep(3600)) for _ in range(count)]
    asyncnb.run(asyncio.sleep(0.1))
    took = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    for task in tasks:
        task.cancel()
    return took

def one_after_the_other(count):
    for _ in range(count // 100):
        for task in [asyncnb.launch(nothing()) for _ in range(100)]:
            task.join()
    gc.collect()
"""


def prepared() -> Kernel:
    kernel = Kernel(arguments=QUIET)
    kernel.ok(PREPARE)
    return kernel


def spawning(rounds: int) -> Iterator[Figure]:
    limit = 1.6 if sys.version_info >= (3, 13) else 2.5
    values: dict[str, list[float]] = {"asyncio": [], "asyncnb": []}
    with prepared() as kernel:
        for number in range(-1, rounds):
            pair = kernel.evaluate("spawning(1000)", 60)
            if number >= 0:
                values["asyncio"].append(pair[0])
                values["asyncnb"].append(pair[1])
    yield _compared("spawn and finish", "us", values, limit)


def _compared(name: str, unit: str, values: dict[str, list[float]], limit: float) -> Figure:
    ratios = [b / a for a, b in zip(values["asyncio"], values["asyncnb"], strict=True)]
    reached = statistics.median(ratios) <= limit
    return Figure(name, unit, values, f"<= {limit:.2f}", reached, {"asyncnb": ratios})


def growing(rounds: int) -> Iterator[Figure]:
    """The cost of one task at each size, in times of that at 1,000."""
    with prepared() as kernel:
        for who in ("plain", "launched"):
            cost: dict[int, list[float]] = {size: [] for size in SIZES}
            for _ in range(3):
                for size in SIZES if rounds > 7 else SIZES[:-1]:
                    call = f"alone({who!r}, {size}, {max(1, 1000 // size)})"
                    cost[size].append(kernel.evaluate(call, 120))
            base = cost[1_000]
            values = {
                "1,000": base,
                **{f"at {s:,}": cost[s] for s in SIZES if cost[s] and s != 1_000},
            }
            most = max(statistics.median(v) for v in values.values()) / statistics.median(base)
            name = f"cost of a {who} task by number"
            yield Figure(name, "us", values, "<= 1.30 at each", most <= 1.3)


def memory(rounds: int) -> Iterator[Figure]:
    values: dict[str, list[float]] = {"asyncio": [], "asyncnb": []}
    with prepared() as kernel:
        for _ in range(3):
            plain = kernel.evaluate("on_plain_loop(sleeping_plainly, 2000)", 60)
            values["asyncio"].append(plain)
            values["asyncnb"].append(kernel.evaluate("sleeping_launched(2000)", 60))
    more = statistics.median(values["asyncnb"]) - statistics.median(values["asyncio"])
    goal = "<= 2,500 bytes more"
    yield Figure("memory of a sleeping launched task", "bytes", values, goal, more <= 2500)


def history(rounds: int) -> Iterator[Figure]:
    count = 1_000_000 if rounds > 7 else 100_000
    with prepared() as kernel:
        kernel.evaluate("one_after_the_other(10_000)", 120)  # the history fills
        process = psutil.Process(kernel.pid)
        before = process.memory_info().rss
        kernel.evaluate(f"one_after_the_other({count})", 600)
        grown = (process.memory_info().rss - before) / 1e6
    name = f"growth after {count:,} launched in turn"
    yield Figure(name, "MB", {"asyncnb": [grown]}, "<= 20 MB", grown <= 20)


def run(rounds: int, only: str = "") -> None:
    """Measure, print and write the topic; ``only`` is a part of the name of a group of figures."""
    groups: dict[str, Callable[[], Iterator[Figure]]] = {
        "spawn": lambda: spawning(max(7, rounds // 4)),
        "growing": lambda: growing(rounds),
        "memory": lambda: memory(rounds),
        "history": lambda: history(rounds),
    }
    run_groups("launched", groups, rounds, only)
