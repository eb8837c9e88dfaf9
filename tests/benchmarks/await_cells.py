"""Round trips of cells that await: on the kernel's loop of a plain kernel, on the embedded one."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from tests.benchmarks.kernel import Figure, in_turns, run_groups, three_kernels, timed
from tests.kernel.driver import Kernel

CELLS = {
    "await asyncio.sleep(0)": "await asyncio.sleep(0)",
    "await of a value": "x = await asyncio.sleep(0, 1); x",
}


def round_trips(rounds: int) -> Iterator[Figure]:
    with three_kernels() as kernels:
        for name, code in CELLS.items():

            def one(_: str, kernel: Kernel, code: str = code) -> float:
                return timed(kernel, code)

            values, ratios = in_turns(kernels, one, rounds, 10)
            ratio = statistics.median(ratios["asyncnb"])
            what = f"round trip of {name}"
            yield Figure(what, "ms", values, "<= 1.05 of plain", ratio <= 1.05, ratios)


def run(rounds: int, only: str = "") -> None:
    """Measure, print and write the topic; ``only`` is a part of the name of a group of figures."""
    groups: dict[str, Callable[[], Iterator[Figure]]] = {
        "round trip": lambda: round_trips(max(7, rounds // 5))
    }
    run_groups("await_cells", groups, rounds, only)
