"""What grows with the tasks of a session: their price, the answers of the kernel, its memory.

Everything is measured inside of real kernels and with the garbage collector on, as users have it:
each living task is a dozen objects that a collection walks. So a plain task gets dearer with their
number as well, and the yardstick is its growth in the same run. Times are of the process's CPU,
those of a round trip of the wall clock.

A million launches go by in half a minute; ASYNCNB_BENCH_LAUNCHES=10000000 is a long day's.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator

import psutil

from tests.benchmarks.kernel import (
    QUIET,
    Figure,
    compare,
    in_turns,
    run_groups,
    three_kernels,
    timed,
)
from tests.kernel.driver import Kernel

#: Tasks launched at once, of which the price of each is measured, while all of them live.
CROWDS = (1, 10, 1_000, 50_000)
#: Living tasks beside which something else is measured; the first is the yardstick.
LIVING = (100, 1_000, 10_000, 100_000)
#: Launched before the first look at a long session: the history is full, the memory at its size.
SETTLED = 100_000

PREPARE = """
import asyncio, asyncnb, contextlib, gc, io, time
from tests.benchmarks._prices import *

def prices(ways, count, times):
    taken = []
    for way in ways:
        gc.collect()
        taken.append(way(count, times))
    return taken
"""

#: The functions that measure each contender, of which the first is the yardstick; the goal.
WAYS: dict[str, tuple[dict[str, str], float]] = {
    "launch on the loop": ({"create_task": "plain", "asyncnb": "launched_on_loop"}, 1.6),
    "launch from a cell": (
        {
            "create_task": "plain",
            "run_coroutine_threadsafe": "plain_threadsafe",
            "asyncnb": "launched_from_thread",
        },
        2.5,
    ),
}


def prepared() -> Kernel:
    kernel = Kernel(arguments=QUIET)
    kernel.ok(PREPARE)
    return kernel


def price(rounds: int) -> Iterator[Figure]:
    """The price of a task by how many live, and how that grows."""
    for what, (whos, limit) in WAYS.items():
        taken: dict[int, dict[str, list[float]]] = {
            size: {who: [] for who in whos} for size in CROWDS
        }
        with prepared() as kernel:
            for number in range(-1, rounds):
                for size in CROWDS:
                    call = f"prices(({', '.join(whos.values())}), {size}, {max(1, 1000 // size)})"
                    got = kernel.evaluate(call, 120)
                    if number >= 0:  # the first round warms up
                        for who, value in zip(whos, got, strict=True):
                            taken[size][who].append(value)
        for size, values in taken.items():
            yield compare(f"{what}, {size:,} living", "us", values, limit)
        few, many = taken[1_000], taken[50_000]
        growth = {who: [b / a for a, b in zip(few[who], many[who], strict=True)] for who in whos}
        yield compare(f"{what}: 50,000 of 1,000 living", "times", growth, 1.2)


_CROWD = {
    "plain": "crowd += [asyncio.create_task(asyncio.sleep(3600)) for _ in range({more})]",
    "asyncnb": "crowd += [asyncnb.launch(asyncio.sleep(3600)) for _ in range({more})]",
}
_PLAIN_CANCEL = """
async def cancelling():
    victim = asyncio.create_task(asyncio.sleep(3600), name="victim")
    await asyncio.sleep(0)
    start = time.process_time()
    for task in asyncio.all_tasks():
        if task.get_name() == "victim":
            task.cancel()
    await asyncio.wait([victim])
    return 1e3 * (time.process_time() - start)
took = await cancelling()
"""
_CANCEL = """
victim = asyncnb.launch(asyncio.sleep(3600), name="victim")
asyncnb.run(asyncio.sleep(0))
start = time.process_time()
asyncnb.cancel("victim")
with contextlib.suppress(asyncio.CancelledError):
    victim.join()
took = 1e3 * (time.process_time() - start)
"""
_LIST = """
def listing(times):
    taken = []
    for _ in range(times):
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            get_ipython().run_line_magic("tasks", "")
        taken.append(1e3 * (time.process_time() - start))
    return taken[1:]
"""


def living(rounds: int) -> Iterator[Figure]:
    """A cell with ``1``, the table of %tasks and the cancel of one task beside more and more."""

    def one(_: str, kernel: Kernel) -> float:
        return timed(kernel, "1")

    def cancel(who: str, kernel: Kernel) -> float:
        kernel.ok(_CANCEL if who == "asyncnb" else _PLAIN_CANCEL)
        return float(kernel.evaluate("took"))

    listed: dict[int, list[float]] = {}
    with three_kernels() as kernels:
        for kernel in kernels.values():
            kernel.ok("import contextlib, io\ncrowd = []")
        kernels["asyncnb"].ok(_LIST)
        for size in LIVING:
            for who, kernel in kernels.items():
                there = kernel.evaluate("len(crowd)")
                code = _CROWD["asyncnb" if who == "asyncnb" else "plain"]
                kernel.ok(code.format(more=size - there), 120)
                kernel.ok("import gc; gc.collect()")
            values, ratios = in_turns(kernels, one, rounds, 10)
            yield compare(f"round trip of 1, {size:,} living", "ms", values, 1.05, ratios)
            two = {who: kernels[who] for who in ("plain", "asyncnb")}
            values, ratios = in_turns(two, cancel, max(3, rounds // 2), 3)
            values = {"all_tasks()": values["plain"], "asyncnb": values["asyncnb"]}
            yield compare(f"cancel one by name, {size:,} living", "ms", values, 1.0, ratios)
            listed[size] = kernels["asyncnb"].evaluate("listing(12)", 60)
    few = listed.pop(LIVING[0])
    for size, taken in listed.items():
        limit = 10 if size <= 10_000 else 150
        reached = statistics.median(taken) <= limit
        values = {f"{LIVING[0]} living": few, "asyncnb": taken}
        yield Figure(f"%tasks, {size:,} living", "ms", values, f"<= {limit} ms", reached)


_SESSION = """
async def nothing():
    pass

async def fail():
    raise ValueError("expected")

def session(count):
    # From a cell; one in a hundred fails, and one is cancelled.
    for number in range(count // 100):
        tasks = [asyncnb.launch(nothing()) for _ in range(98)]
        tasks.append(asyncnb.launch(fail()))
        tasks.append(asyncnb.launch(asyncio.sleep(3600), name="long"))
        tasks[-1].cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, ValueError):
                task.join()
    tasks = task = None
    gc.collect()
"""


def ended(rounds: int) -> Iterator[Figure]:
    """A session in which a million tasks have come and gone beside a young one: as fast, as big."""
    count = int(os.environ.get("ASYNCNB_BENCH_LAUNCHES", 1_000_000 if rounds > 7 else 100_000))
    with prepared() as young, prepared() as old:
        for kernel in (young, old):
            kernel.ok(_LIST + _SESSION)
            kernel.evaluate(f"session({SETTLED})", 120)
            kernel.evaluate("listing(22), [launched_from_thread(1000) for _ in range(21)]", 60)
        process = psutil.Process(old.pid)
        objects, memory = [], []
        for part in range(11):
            old.evaluate(f"session({count // 10 if part else 2_000})", 600)
            time.sleep(2)  # failures are held until it is known that no code awaits them
            old.evaluate("gc.collect()")
            objects.append(float(old.evaluate("len(gc.get_objects())")))
            memory.append(process.memory_info().rss / 1e6)
        kernels = {f"after {SETTLED:,}": young, "asyncnb": old}
        for what, unit, call in (
            ("%tasks", "ms", "listing(2)[0]"),
            ("launch", "us", "launched_from_thread(1000)"),
        ):

            def one(_: str, kernel: Kernel, call: str = call) -> float:
                return float(kernel.evaluate(call))

            values, ratios = in_turns(kernels, one, max(5, min(21, rounds // 3)), 5)
            yield compare(f"{what}, after {count:,} ended", unit, values, 1.1, ratios)
    grown = [each - memory[0] for each in memory[1:]]
    name = f"memory grown, after {count:,} ended"
    yield Figure(name, "MB", {"asyncnb": grown}, "<= 10 MB", max(grown) <= 10)
    more = [each - objects[0] for each in objects[1:]]
    name = f"objects grown, after {count:,} ended"
    yield Figure(name, "", {"asyncnb": more}, "<= 1,000", max(more) <= 1000)


def run(rounds: int, only: str = "") -> None:
    """Measure, print and write the topic; ``only`` is a part of the name of a group of figures."""
    few = min(11, max(3, rounds // 9))
    groups: dict[str, Callable[[], Iterator[Figure]]] = {
        "price": lambda: price(few),
        "living": lambda: living(few),
        "ended": lambda: ended(rounds),
    }
    run_groups("growth", groups, rounds, only)
