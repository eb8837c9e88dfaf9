"""Requests on the control channel: how soon a cancel reaches the loop while a cell blocks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from tests.benchmarks.kernel import QUIET, Figure, compare, plain_kernel, run_groups
from tests.kernel.control import ControlClient
from tests.kernel.driver import Kernel

MANY = 1000
LOAD = """
%load_ext asyncnb
import asyncio, asyncnb, pathlib, time
struck = []
async def patient():
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        struck.append(1000 * time.time())
        raise
"""
BLOCKERS = {
    "time.sleep": "while not pathlib.Path('go').exists(): time.sleep(0.05)",
    "a Python loop": "while not pathlib.Path('go').exists(): sum(range(1000))",
}


def _kernel() -> Kernel:
    kernel = Kernel(extension=False, arguments=QUIET)
    kernel.ok(LOAD)
    return kernel


def cancels(rounds: int) -> Iterator[Figure]:
    with _kernel() as kernel, ControlClient(kernel) as client:
        client.ok(c="hello")
        for name, blocker in BLOCKERS.items():
            to_loop, to_reply = [], []
            for _ in range(rounds):
                kernel.ok("go = pathlib.Path('go'); go.unlink(missing_ok=True)")
                kernel.ok("task = asyncnb.launch(patient())\nawait asyncio.sleep(0)")
                id = kernel.evaluate("task.info().id")
                cell = kernel.submit(f"print('blocks')\n{blocker}")
                cell.wait_for("blocks")
                asked = time.time()
                client.ok(c="cancel", id=id)
                to_reply.append(1000 * (time.time() - asked))
                (kernel.scratch / "go").touch()
                cell.wait()
                kernel.ok("asyncnb.embedded_loop().call_soon_threadsafe(lambda: None)")
                to_loop.append(kernel.evaluate("struck.pop()") - 1000 * asked)
            for what, values in (("the loop", to_loop), ("the reply", to_reply)):
                yield Figure(
                    f"cancel to {what}, {name}", "ms", {"asyncnb": values},
                    "<= 100 ms", statistics.median(values) <= 100,
                )  # fmt: skip


def replies(rounds: int) -> Iterator[Figure]:
    with plain_kernel() as plain, _kernel() as loaded:
        with ControlClient(plain) as before, ControlClient(loaded) as after:
            asks = {
                "plain": (before, "kernel_info_request", {}),
                "asyncnb": (after, "asyncnb_request", {"c": "hello"}),
            }
            values: dict[str, list[float]] = {who: [] for who in asks}
            for number in range(-1, rounds):
                for who, (client, kind, content) in asks.items():
                    started = time.perf_counter()
                    for asked in [client.send(content, kind) for _ in range(MANY)]:
                        client.reply(asked)
                    if number >= 0:
                        values[who].append(1000 * (time.perf_counter() - started))
    yield compare(f"{MANY:,} requests, sent at once", "ms", values, 1.5)


def run(rounds: int, only: str = "") -> None:
    """Measure, print and write the topic; ``only`` is a part of the name of a group of figures."""
    few = max(5, rounds // 10)
    groups = {"cancel": lambda: cancels(few), "replies": lambda: replies(few)}
    run_groups("requests", groups, rounds, only)
