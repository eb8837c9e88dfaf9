"""A kernel with many tasks in it: how fast it answers, and how late they wake up."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from tests.benchmarks.kernel import QUIET, Figure, in_turns, run_groups, three_kernels, timed
from tests.kernel.driver import Kernel

WAKING = 10_000
SLEEPING = 100_000

_WAKE = "async def wake():\n    while True:\n        await asyncio.sleep(1)\n"
_PLAINLY = "crowd = [asyncio.create_task({what}) for _ in range({count})]"
_LAUNCHED = "crowd = [asyncnb.launch({what}) for _ in range({count})]"


def waking(rounds: int) -> Iterator[Figure]:
    yield from _round_trip(f"{WAKING:,} waking at 1 Hz", "wake()", WAKING, rounds, 1.0)


def sleeping(rounds: int) -> Iterator[Figure]:
    what = "asyncio.sleep(3600)"
    yield from _round_trip(f"{SLEEPING:,} sleeping", what, SLEEPING, rounds, 1.05)


def _round_trip(name: str, what: str, count: int, rounds: int, limit: float) -> Iterator[Figure]:
    def one(_: str, kernel: Kernel) -> float:
        return timed(kernel, "1")

    with three_kernels() as kernels:
        for who, kernel in kernels.items():
            kernel.ok(_WAKE)
            code = _LAUNCHED if who == "asyncnb" else _PLAINLY
            kernel.ok(code.format(what=what, count=count), 120)
        values, ratios = in_turns(kernels, one, rounds, 10)
    reached = statistics.median(ratios["asyncnb"]) <= limit
    yield Figure(
        f"round trip of 1, {name}", "ms", values, f"<= {limit:.2f} of plain", reached, ratios
    )


_LATENESS = """
import asyncio, threading, time
late, late_thread = [], []
async def doze():
    while True:
        start = time.perf_counter()
        await asyncio.sleep(0.01)
        late.append(1000 * (time.perf_counter() - start - 0.01))
def doze_in_thread():
    while True:
        start = time.perf_counter()
        time.sleep(0.01)
        late_thread.append(1000 * (time.perf_counter() - start - 0.01))
def busy(seconds):
    end = time.time() + seconds
    while time.time() < end:
        for i in range(1000): i * i
threading.Thread(target=doze_in_thread, daemon=True).start()
dozing = asyncnb.launch(doze())
"""


def lateness(rounds: int) -> Iterator[Figure]:
    """Of sleep(0.01) while a cell of pure Python holds the interpreter's lock."""
    with Kernel(arguments=QUIET) as kernel:
        kernel.ok(_LATENESS)
        thread: list[float] = []
        task: list[float] = []
        for _ in range(3):
            kernel.ok("late.clear(); late_thread.clear(); busy(3)")
            thread += kernel.evaluate("list(late_thread)")
            task += kernel.evaluate("list(late)")
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        values = {who: [_quantile(v, share)] for who, v in (("thread", thread), ("asyncnb", task))}
        theirs, ours = values["thread"][0], values["asyncnb"][0]
        goal = "<= 1.10" if name == "p50" else "<= 25 ms"
        reached = ours <= 1.1 * theirs if name == "p50" else ours <= 25
        yield Figure(f"lateness of sleep(0.01), {name}", "ms", values, goal, reached)


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def run(rounds: int, only: str = "") -> None:
    """Measure, print and write the topic; ``only`` is a part of the name of a group of figures."""
    few = max(3, rounds // 10)
    groups: dict[str, Callable[[], Iterator[Figure]]] = {
        "waking": lambda: waking(few),
        "sleeping": lambda: sleeping(few),
        "lateness": lambda: lateness(few),
    }
    run_groups("crowd", groups, rounds, only)
