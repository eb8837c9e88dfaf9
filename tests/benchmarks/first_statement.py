"""From a cell being sent until its first statement runs: in the foreground, as a task, and what
of it is asyncnb's own part.

No extension can start a task before the kernel has started the cell that asks for it: a plain
cell's first statement is the floor of the row.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator

from tests.benchmarks import PEERS
from tests.benchmarks.kernel import (
    Figure,
    async_kernel,
    in_turns,
    run_groups,
    three_kernels,
)
from tests.kernel.driver import Kernel

BODY = "started.append(time.time())\nawait asyncio.sleep(0)"
FIRST_LINES = {"asyncnb": "%%atask\n", "async-kernel": "# task\n"}
#: In the kernel: from the call of the magic until the first statement of its task.
OWN_PART = """
begun = threading.Event()
def own_part():
    begun.clear()
    start = time.perf_counter()
    get_ipython().run_cell_magic("atask", "", "reached.append(time.perf_counter()); begun.set()\\n"
        "await asyncio.sleep(0)")
    begun.wait()
    return 1e3 * (reached.pop() - start)
reached = []
"""


def first_statements(rounds: int) -> Iterator[Figure]:
    own: list[float] = []

    def one(who: str, kernel: Kernel) -> float:
        sent = time.time()
        kernel.ok(FIRST_LINES.get(who, "") + BODY)
        while not (began := kernel.evaluate("started")):  # the cell may end before
            pass
        kernel.ok("started.clear()")
        if who == "asyncnb":
            own.append(kernel.evaluate("own_part()"))
        return 1000 * (began[0] - sent)

    with three_kernels() as kernels, contextlib.ExitStack() as stack:
        kernels["asyncnb"].ok(OWN_PART)
        if PEERS.exists():
            kernels["async-kernel"] = stack.enter_context(async_kernel())
        for kernel in kernels.values():
            kernel.ok("started = []")
        values, ratios = in_turns(kernels, one, rounds, 10)
    ratio = statistics.median(ratios["asyncnb"])
    name = "cell sent to first statement"
    yield Figure(name, "ms", values, "<= 1.30 of a plain cell", ratio <= 1.3, ratios)
    share = {"the cell above": values["asyncnb"], "asyncnb": own}
    yield Figure("of that, the magic and the launch", "ms", share)


def run(rounds: int, only: str = "") -> None:
    """Measure, print and write the topic; ``only`` is a part of the name of a group of figures."""
    groups: dict[str, Callable[[], Iterator[Figure]]] = {
        "first": lambda: first_statements(max(7, rounds // 10))
    }
    run_groups("first_statement", groups, rounds, only)
