"""CPU time of kernels that do nothing: plain, with asyncnb, and with asyncnb's dashboard open."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator

from tests.benchmarks.kernel import QUIET, Figure, plain_kernel, run_groups
from tests.kernel.driver import Kernel

SECONDS = 60.0
#: The first seconds of a kernel still write history and collect garbage.
SETTLE_SECONDS = 5.0


def cpu_seconds(kernel: Kernel) -> float:
    """The CPU time of the kernel's process, to the nanosecond; Linux gives it to other processes.

    A CPU clock has the number of its process, inverted, above three bits that say which clock it
    is: `clock_getcpuclockid(3)`.
    """
    assert kernel.pid is not None
    return time.clock_gettime((~kernel.pid << 3) | 2)


def open_dashboard(kernel: Kernel) -> None:
    kernel.ok("dashboard = asyncnb.dashboard()")
    comm = kernel.evaluate("dashboard.comm.comm_id")
    data = {"method": "custom", "content": {"c": "sync"}}
    asked = kernel._request("comm_msg", {"comm_id": comm, "data": data})
    with kernel._news:
        assert kernel._news.wait_for(lambda: asked.idle, 30)


def idle(rounds: int) -> Iterator[Figure]:
    with contextlib.ExitStack() as stack:
        kernels = {
            "plain": stack.enter_context(plain_kernel()),
            "asyncnb": stack.enter_context(Kernel(arguments=QUIET)),
            "with a dashboard": stack.enter_context(Kernel(arguments=QUIET)),
            "plain again": stack.enter_context(plain_kernel()),
        }
        open_dashboard(kernels["with a dashboard"])
        for who in ("asyncnb", "with a dashboard"):
            kernels[who].ok("%%atask patient\nawait asyncio.Event().wait()")
        time.sleep(SETTLE_SECONDS)
        values: dict[str, list[float]] = {who: [] for who in kernels}
        for _ in range(rounds):
            before = {who: cpu_seconds(kernel) for who, kernel in kernels.items()}
            time.sleep(SECONDS)
            for who, kernel in kernels.items():
                values[who].append(1000 * (cpu_seconds(kernel) - before[who]))
    plain = values["plain"]
    ratios = {
        who: [ours / theirs for ours, theirs in zip(values[who], plain, strict=True)]
        for who in list(values)[1:]
    }
    reached = statistics.median(ratios["asyncnb"]) <= 1.1
    name = f"CPU of an idle kernel in {SECONDS:g} s"
    yield Figure(name, "ms", values, "<= 1.10 of plain", reached, ratios)


def run(rounds: int, only: str = "") -> None:
    """Measure, print and write the topic; ``only`` is a part of the name of a group of figures."""
    run_groups("idle", {"idle": lambda: idle(max(3, rounds // 20))}, rounds, only)
