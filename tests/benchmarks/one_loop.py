"""What it costs that every cell sees the embedded loop: cells without await, the loop's thread."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable, Iterator

from tests.benchmarks.kernel import (
    QUIET,
    Figure,
    in_turns,
    plain_kernel,
    run_groups,
    three_kernels,
    timed,
)
from tests.kernel.driver import Kernel


def round_trip(rounds: int) -> Iterator[Figure]:
    """As for the ratio: "plain again" says how much of the ratio is noise."""
    cells = {
        "an assignment": "x = 1",
        "ten statements": "\n".join(f"x{n} = {n}" for n in range(10)),
    }
    with three_kernels() as kernels:
        for name, code in cells.items():

            def one(_: str, kernel: Kernel, code: str = code) -> float:
                return timed(kernel, code)

            values, ratios = in_turns(kernels, one, rounds, 20)
            reached = statistics.median(ratios["asyncnb"]) <= 1.02
            yield Figure(f"round trip of {name}", "ms", values, "<= 1.02 of plain", reached, ratios)


_CREATES = """
import asyncio, time
async def nothing(): pass
def creates(count):
    create_task = asyncio.create_task
    start = time.thread_time()
    made = [create_task(nothing()) for _ in range(count)]
    return 1e6 * (time.thread_time() - start) / count
"""


def create_task(rounds: int) -> Iterator[Figure]:
    def one(_: str, kernel: Kernel) -> float:
        kernel.ok("took = creates(1000)")
        took = float(kernel.evaluate("took"))
        kernel.ok("await asyncio.sleep(0)")
        return took

    for kind in kinds():
        with plain_kernel() as plain, Kernel(arguments=QUIET, env={"ASYNCNB_LOOP": kind}) as ours:
            for kernel in (plain, ours):
                kernel.ok(_CREATES)
            values, ratios = in_turns({"plain": plain, "asyncnb": ours}, one, rounds, 5)
        reached = statistics.median(ratios["asyncnb"]) <= 1.5
        name = f"create_task in a plain cell, {kind}"
        yield Figure(name, "us", values, "<= 1.50 of plain", reached, ratios)


_CALLS = """
import asyncio, time
from asyncnb._core.base.visits import guard, guarded, unguard
def nothing(): pass
async def call_soon(count):
    loop = asyncio.get_running_loop()
    start = time.thread_time()
    for _ in range(count): loop.call_soon(nothing)
    took = time.thread_time() - start
    await asyncio.sleep(0)
    return took
async def steps(count):
    start = time.thread_time()
    for _ in range(count): await asyncio.sleep(0)
    return time.thread_time() - start
async def both(work, first):
    loop, took = asyncio.get_running_loop(), {}
    assert not guarded
    for guards in (first, not first):
        if guards: guard(loop)
        try: took[guards] = 1e6 * await work(1000) / 1000
        finally:
            if guards: unguard(loop)
    return took
"""


def own_thread(rounds: int) -> Iterator[Figure]:
    """What the loop's own thread pays while a cell without await runs: it is guarded then."""
    for kind in kinds():
        with Kernel(arguments=QUIET, env={"ASYNCNB_LOOP": kind}) as kernel:
            kernel.ok(_CALLS)
            for work in ("call_soon", "steps"):
                code = f"took = [await both({work}, n % 2 == 0) for n in range({10 * rounds})]"
                kernel.ok(code, 120)
                pairs = kernel.evaluate("[(t[False], t[True]) for t in took[10:]]")
                alone, guarded = ([pair[n] for pair in pairs] for n in range(2))
                ratios = [b / a for a, b in pairs]
                reached = statistics.median(ratios) <= 1.1
                yield Figure(
                    f"{work} on the loop's thread, {kind}",
                    "us",
                    {"unguarded": alone, "asyncnb": guarded},
                    "<= 1.10",
                    reached,
                    {"asyncnb": ratios},
                )


def kinds() -> list[str]:
    return ["asyncio", "uvloop"] if importlib.util.find_spec("uvloop") else ["asyncio"]


def run(rounds: int, only: str = "") -> None:
    """Measure, print and write the topic; ``only`` is a part of the name of a group of figures."""
    groups: dict[str, Callable[[], Iterator[Figure]]] = {
        "round trip": lambda: round_trip(max(3, rounds // 5)),
        "create_task": lambda: create_task(max(3, rounds // 5)),
        "thread": lambda: own_thread(max(3, rounds // 5)),
    }
    run_groups("one_loop", groups, rounds, only)
