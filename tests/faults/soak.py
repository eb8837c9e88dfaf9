"""Half an hour of a busy notebook: ``make soak``, or ``python -m tests.faults.soak --minutes 1``.

A real kernel launches a hundred tasks a second (groups, time limits, failing, cancelled, renamed,
paused, printing) while its foreground runs cells. Once the warm-up is over the books are taken, and
again at the end: memory, threads, descriptors, and whether everything launched is accounted for.
Ends with 1 if a promise was broken, and says which.
"""

from __future__ import annotations

import argparse
import collections
import os
import signal
import sys
import time
from typing import Any

import psutil

from tests.kernel.driver import Kernel

LOAD = """
import asyncio, asyncnb, collections, gc, itertools, random, threading, time

class Soak:
    def __init__(self, rate, seed=7):
        self.random = random.Random(seed)
        self.rate = rate
        self.launched = 0
        self.ended = collections.Counter()
        self.stop = False
        asyncnb._core._launch.registry.on_end.append(self.on_end)

    def on_end(self, record):
        if record.task.get_name() != "driver":
            self.ended[record.state()] += 1

    async def body(self, n):
        r = random.Random(n)
        if n % 50 == 0:
            print("line from", n)
        for _ in range(r.randrange(1, 5)):
            await asyncio.sleep(r.random() / 10)
        if n % 7 == 0:
            raise ValueError(n)
        return n

    async def group(self, n):
        async with asyncnb.TaskGroup() as g:
            for k in range(3):
                g.create_task(self.body(49 * n + k + 1))

    def one(self):
        n = self.launched
        self.launched += 1
        kind = n % 10
        if kind == 0:
            task = asyncnb.launch(self.group(n), name=f"group{n}")
        elif kind == 1:
            task = asyncnb.launch(self.body(n), name=f"limited{n}", timeout=0.02)
        else:
            task = asyncnb.launch(self.body(n), name=f"t{n}")
        if kind == 2:
            task.cancel()
        elif kind == 3:
            task.set_name(f"renamed{n}")
        elif kind == 4:
            task.pause()
            asyncio.get_running_loop().call_later(0.05, task.resume)
        elif kind == 5:
            asyncio.get_running_loop().call_later(self.random.random() / 5, task.cancel)

    async def drive(self):
        began, made = time.monotonic(), 0
        while not self.stop:
            due = int((time.monotonic() - began) * self.rate)
            for _ in range(min(due - made, 50)):  # a busy machine catches up, and the loop goes on
                self.one()
                made += 1
            await asyncio.sleep(0.01)

    def books(self):
        living = sum(t.get_name() != "driver" for t in asyncnb.tasks() if not t.done())
        return {"launched": self.launched, "ended": dict(self.ended), "living": living}

soak = Soak(RATE)
"""

COMPLAINTS = ("never retrieved", "was destroyed but it is pending", "never awaited")

OBJECTS = "dict(collections.Counter(type(o).__qualname__ for o in gc.get_objects()))"


def measure(kernel: Kernel) -> dict[str, float]:
    """Take the process's own figures when it is at rest."""
    kernel.ok("gc.collect()")
    process = psutil.Process(kernel.pid)
    return {
        "memory MB": process.memory_info().rss / 1e6,
        "threads": process.num_threads(),
        "descriptors": process.num_fds() if hasattr(process, "num_fds") else process.num_handles(),
    }


def settle(kernel: Kernel) -> dict[str, Any]:
    """Stop launching and let everything end; return the books."""
    kernel.ok("soak.stop = True; driver.join(30)", 60)
    kernel.ok("while any(not t.done() for t in asyncnb.tasks()): await asyncio.sleep(0.05)", 60)
    # Ended is not all: failures are formatted one after the other, on a thread of their own.
    kernel.ok("for r in asyncnb._core._launch.registry.records(): r.wait_shown(60)", 90)
    books = kernel.evaluate("soak.books()")
    assert isinstance(books, dict)
    return books


#: Has the kernel write where each of its threads stands when it is sent SIGUSR1.
STACKS = """
import faulthandler, signal
faulthandler.register(signal.SIGUSR1, all_threads=True, file=open("stacks.txt", "w"))
"""


def where_it_stands(kernel: Kernel) -> str:
    """Return the stacks of a kernel that answers no more."""
    if not hasattr(signal, "SIGUSR1"):
        return "(no stacks on this platform)"
    os.kill(kernel.pid, signal.SIGUSR1)
    time.sleep(1.0)
    return (kernel.scratch / "stacks.txt").read_text()


def main(minutes: float, rate: int) -> int:
    """Run the soak and print its report; return the exit code."""
    with Kernel() as kernel:
        if hasattr(signal, "SIGUSR1"):
            kernel.ok(STACKS)
        try:
            return run(kernel, minutes, rate)
        except AssertionError:
            print(where_it_stands(kernel), flush=True)
            raise


def run(kernel: Kernel, minutes: float, rate: int) -> int:
    """Load ``kernel``, twice, and compare."""
    broken: list[str] = []
    objects: list[collections.Counter[str]] = []
    kernel.ok(LOAD.replace("RATE", str(rate)))
    warm = min(5.0, minutes / 4)
    print(f"soak: {minutes:g} min at {rate} launches a second, warm-up {warm:g} min", flush=True)
    figures = []
    for seconds in (60 * warm, 60 * (minutes - warm)):
        kernel.ok("soak.stop = False; driver = asyncnb.launch(soak.drive(), name='driver')")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            kernel.ok("time.sleep(0.2)")
            kernel.ok("await asyncio.sleep(0.2)")
            assert kernel.ok("1 + 1").result == "2"
            # Not as a result: IPython keeps those in Out, which is not what is measured.
            kernel.ok("display(get_ipython().run_line_magic('tasks', '--failed'))")
            broken += [f"{said!r} was said" for said in COMPLAINTS if kernel.where(said)]
            kernel.forget()
        books = settle(kernel)
        figures.append(measure(kernel))
        objects.append(collections.Counter(kernel.evaluate(OBJECTS)))
        print(books, {k: round(v, 1) for k, v in figures[-1].items()}, flush=True)
        if books["launched"] != sum(books["ended"].values()) + books["living"]:
            broken.append(f"the books do not balance: {books}")
    wrong = kernel.evaluate("asyncnb._core._launch.registry.validate()")
    if wrong:
        broken.append(f"the registry is not valid: {wrong}")
    if figures[1]["memory MB"] - figures[0]["memory MB"] > 10:
        most = ", ".join(f"{n:+} {name}" for name, n in (objects[1] - objects[0]).most_common(8))
        broken.append(f"memory grew by more than 10 MB after the warm-up: {most}")
    for what in ("threads", "descriptors"):
        if figures[1][what] > figures[0][what]:
            broken.append(f"{what}: {figures[0][what]:g} after the warm-up, {figures[1][what]:g}")
    for said in ("never retrieved", "was destroyed but it is pending", "never awaited"):
        if kernel.where(said):
            broken.append(f"{said!r} was said")
    for sentence in broken:
        print(f"BROKEN: {sentence}")
    print("soak: " + ("broken" if broken else "all promises held"))
    return bool(broken)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=100, help="launches a second")
    options = parser.parse_args()
    sys.exit(main(options.minutes, options.rate))
