"""Work handed from one thread or loop to another: run() from a cell, awaiting across loops."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator

from asyncnb import Task, embedded_loop
from tests.benchmarks.kernel import QUIET, Figure, in_turns, plain_kernel, run_groups
from tests.kernel.driver import Kernel

_NESTED = """
import asyncio, nest_asyncio2, time
nest_asyncio2.apply()
async def nothing(): pass
def runs(count):
    loop = asyncio.get_event_loop()
    start = time.perf_counter()
    for _ in range(count): loop.run_until_complete(nothing())
    return 1e6 * (time.perf_counter() - start) / count
"""
_OWN = """
import asyncnb, time
async def nothing(): pass
def runs(count):
    start = time.perf_counter()
    for _ in range(count): asyncnb.run(nothing())
    return 1e6 * (time.perf_counter() - start) / count
"""


# The floor: two threads that pass the turn to each other by two locks; and the least that runs
# a coroutine as a task of a loop in another thread: one call_soon_threadsafe, one task, one lock.
_FLOOR = """
import threading, time, asyncnb
from asyncnb._core.primitives.tasks import Task, construct_eagerly
async def nothing(): pass
ping, pong = threading.Lock(), threading.Lock()
ping.acquire(), pong.acquire()
def partner():
    while True:
        ping.acquire()
        pong.release()
threading.Thread(target=partner, daemon=True).start()
def turns(count):
    start = time.perf_counter()
    for _ in range(count):
        ping.release()
        pong.acquire()
    return 1e6 * (time.perf_counter() - start) / count
def least(count):
    loop, done, tasks = asyncnb.embedded_loop(), threading.Lock(), []
    done.acquire()
    def step():
        tasks.append(construct_eagerly(Task, nothing(), loop=loop, eager_start=True))
        done.release()
    start = time.perf_counter()
    for _ in range(count):
        loop.call_soon_threadsafe(step)
        done.acquire()
        tasks.pop().result()
    return 1e6 * (time.perf_counter() - start) / count
"""
_FUNCTIONS = {"two locks": "turns", "least crossing": "least"}


def from_a_cell(rounds: int) -> Iterator[Figure]:
    def one(who: str, kernel: Kernel) -> float:
        kernel.ok(f"took = {_FUNCTIONS.get(who, 'runs')}(300)")
        return float(kernel.evaluate("took"))

    with plain_kernel() as plain, Kernel(arguments=QUIET) as ours:
        if plain.run(_NESTED).status != "ok":
            print("  nest-asyncio2 is not installed: no row for run() from a cell")
            return
        ours.ok(_OWN)
        ours.ok(_FLOOR)
        kernels = {"nest-asyncio2": plain, "asyncnb": ours} | dict.fromkeys(_FUNCTIONS, ours)
        values, ratios = in_turns(kernels, one, rounds, 3)
    reached = statistics.median(ratios["asyncnb"]) <= 1.5
    yield Figure("run() from a cell", "us", values, "<= 1.50", reached, ratios)


async def nothing() -> None:
    pass


def across_loops(rounds: int) -> Iterator[Figure]:
    loop = embedded_loop()
    values: dict[str, list[float]] = {"wrap_future": [], "asyncnb": []}

    async def wrapped(count: int) -> float:
        start = asyncio.get_running_loop().time()
        for _ in range(count):
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(nothing(), loop))
        return 1e6 * (asyncio.get_running_loop().time() - start) / count

    async def direct(count: int) -> float:
        start = asyncio.get_running_loop().time()
        for _ in range(count):
            await Task(nothing(), loop=loop)
        return 1e6 * (asyncio.get_running_loop().time() - start) / count

    for number in range(-1, rounds):
        pair = [("wrap_future", wrapped), ("asyncnb", direct)]
        for who, work in pair if number % 2 else reversed(pair):
            took = asyncio.run(work(200))
            if number >= 0:
                values[who].append(took)
    ratios = [b / a for a, b in zip(values["wrap_future"], values["asyncnb"], strict=True)]
    reached = statistics.median(ratios) <= 0.8
    yield Figure(
        "await a task of another loop", "us", values, "<= 0.80", reached, {"asyncnb": ratios}
    )


def run(rounds: int, only: str = "") -> None:
    """Measure, print and write the topic; ``only`` is a part of the name of a group of figures."""
    groups: dict[str, Callable[[], Iterator[Figure]]] = {
        "cell": lambda: from_a_cell(max(3, rounds // 10)),
        "loops": lambda: across_loops(max(7, rounds // 2)),
    }
    run_groups("crossing", groups, rounds, only)
