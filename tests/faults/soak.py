"""Half an hour of a busy notebook: ``make soak``, or ``python -m tests.faults.soak --minutes 1``.

A real kernel launches a hundred tasks a second (groups, time limits, failing, cancelled, renamed,
paused, printing) while its foreground runs cells and dashboards come and go. In between a cell
captures what is printed, is stopped, forks; the extension is unloaded and loaded again; the loop's
thread crashes. After the warm-up the books are taken, and again at the end: memory, threads,
descriptors, and whether everything launched is accounted for. Ends with 1 if a promise was broken,
and says which. What it measured is written to ``.artifacts/soak.json``, for the page on
reliability.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import platform
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from tests.kernel.driver import Kernel

REPORT = Path(".artifacts/soak.json")

LOAD = """
import asyncio, asyncnb, collections, contextlib, gc, io, itertools, logging, os, random, signal
import threading, time, warnings
warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)

class Killed(BaseException):
    pass

class Soak:
    def __init__(self, rate, seed=7):
        self.random = random.Random(seed)
        self.rate = rate
        self.launched = 0
        self.mine = {}
        self.ended = collections.Counter()
        self.stop = False
        asyncnb._core.launched.record.observers.add(self.on_change)
        self.logged = []
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: self.log(record.getMessage()[:300])
        logging.getLogger().addHandler(handler)

    def log(self, line):
        if "embedded loop crashed: Killed" not in line:  # the soak's own doing
            self.logged.append(line)

    def on_change(self, record):
        if record.ended is not None and self.mine.pop(record.id, None) is not None:
            self.ended[record.state()] += 1

    def crash(self):
        # Its thread ends between two steps, and what was on it is booked.
        loop = asyncnb.embedded_loop()
        def killed():
            raise Killed("soak")
        loop.run_forever = killed  # what its thread calls again after a stop()
        loop.call_soon_threadsafe(loop.stop)
        loop.thread.join(30)
        assert not loop.thread.is_alive()
        for id, task in list(self.mine.items()):
            state = task.info().state
            assert state == "failed" or task._record.ended and task.done(), task
            assert task in asyncnb.tasks(task.get_name()), task
            self.ended["lost, " + state] += 1
            del self.mine[id]

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
        self.mine[task._record.id] = task
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
            for _ in range(min(due - made, 50)):  # a busy machine catches up; the loop continues
                self.one()
                made += 1
            await asyncio.sleep(0.01)

    def books(self):
        living = [t for t in asyncnb.tasks() if not t.done()]
        return {
            "launched": self.launched,
            "ended": dict(self.ended),
            "living": max(len(self.mine), len(living)),
        }

soak = Soak(RATE)
"""

CRASHED = re.compile(r"asyncnb: the embedded loop crashed: Killed: .*\n")

COMPLAINTS = ("never retrieved", "was destroyed but it is pending", "never awaited")

#: One turn of the foreground. Nothing is a result, and no cell of it goes into the history: IPython
#: keeps both, half a megabyte for a thousand cells, and they are not what is measured here.
TURN = (
    "time.sleep(0.2)",
    "await asyncio.sleep(0.2)",
    "display(get_ipython().run_line_magic('tasks', '--failed'))",
)

DRIVE = "soak.stop = False; driver = asyncnb.launch(soak.drive(), name='driver')"

#: A task that prints while other cells capture, and how many lines of it there must be.
TICKS, LINES = (
    """
    %%atask ticks
    for line in range(40):
        print("tick", line)
        await asyncio.sleep(0.01)
    """,
    40,
)

#: Cells that take what is printed; each leaves what it took in ``took``.
CAPTURES = (
    "%%capture took\nprint('mine'); time.sleep(0.1)",
    "%%capture took\nprint('mine'); await asyncio.sleep(0.1)",
    "took = io.StringIO()\nwith contextlib.redirect_stdout(took): print('mine'); time.sleep(0.1)",
    "from IPython.utils.io import capture_output\n"
    "with capture_output() as took: print('mine'); time.sleep(0.1)",
)

STOPPED = (
    "print('busy', flush=True); time.sleep(600)",
    "print('busy', flush=True)\nwhile True: pass",
    "print('busy', flush=True); await asyncio.sleep(600)",
    "print('busy', flush=True); driver.join()",
    "p = await asyncio.create_subprocess_exec('sleep', '600')\n"
    "print('busy', flush=True); await p.wait()",
)

FORK = """
pid = os.fork()
if pid == 0:
    signal.alarm(60)
    try:
        assert asyncnb.run(asyncio.sleep(0, 7)) == 7
        assert asyncnb.launch(asyncio.sleep(0, 7), name="driver").join(30) == 7
        assert len(asyncnb.tasks()) == 1
        os._exit(7)
    finally:
        os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
"""

#: IPython keeps what cells have shown, and the parsed source of each file that a traceback has
#: named; stops come in files that none has named before. A plain kernel grows by the same. What
#: memory is free then goes back to the system where that can be asked for.
FORGET_OF_IPYTHON = """
import ctypes, executing, functools, linecache, stack_data
get_ipython().history_manager.outputs.clear()
linecache.clearcache()
for kind in (executing.Source, stack_data.Source):
    for name in ("__source_cache", "__source_cache_with_lines", "__executing_cache"):
        kind._class_local(name, {}).clear()
for cached in gc.get_objects():
    if isinstance(cached, functools._lru_cache_wrapper):
        if (cached.__module__ or "").startswith(("executing", "stack_data", "asttokens")):
            cached.cache_clear()
del cached
gc.collect()
if hasattr(libc := ctypes.CDLL(None) if os.name == "posix" else None, "malloc_trim"):
    libc.malloc_trim(0)
"""

OBJECTS = "dict(collections.Counter(type(o).__qualname__ for o in gc.get_objects()))"


def measure(kernel: Kernel) -> dict[str, float]:
    """Measure the process when it is at rest."""
    # At rest means in one state: without dashboards, and with the extension just loaded.
    kernel.ok("%unload_ext asyncnb", 60)
    kernel.ok("%load_ext asyncnb", 60)
    kernel.ok(FORGET_OF_IPYTHON)
    process = psutil.Process(kernel.pid)
    return {
        "memory MB": process.memory_info().rss / 1e6,
        "threads": process.num_threads(),
        "descriptors": _descriptors(process),
    }


def _descriptors(process: psutil.Process) -> int:
    return int(process.num_fds() if hasattr(process, "num_fds") else process.num_handles())


def settle(kernel: Kernel) -> dict[str, Any]:
    """Stop launching and let everything end; return the counts."""
    kernel.ok("soak.stop = True; driver.join(30)", 60)
    # Ended is not enough: failures are formatted one after the other, on a separate thread.
    kernel.ok("import asyncnb.testing; asyncnb.testing.wait_until_idle(120)", 150)
    books = kernel.evaluate("soak.books()")
    assert isinstance(books, dict)
    return books


#: Makes the kernel write where each of its threads is when it is sent SIGUSR1, or crashes.
STACKS = """
import faulthandler, signal
stacks = open("stacks.txt", "w")
faulthandler.register(signal.SIGUSR1, all_threads=True, file=stacks)
faulthandler.enable(stacks)
"""


def where_it_stands(kernel: Kernel) -> str:
    """Return the stacks of a kernel that no longer answers, or those it died with."""
    if not hasattr(signal, "SIGUSR1"):
        return "(no stacks on this platform)"
    if kernel.alive:
        os.kill(kernel.pid, signal.SIGUSR1)
        time.sleep(1.0)
    return (kernel.scratch / "stacks.txt").read_text()


def main(minutes: float, rate: int) -> int:
    """Run the soak, print and write its report; return the exit code."""
    with Kernel() as kernel:
        if hasattr(signal, "SIGUSR1"):
            kernel.ok(STACKS)
        try:
            return Run(kernel, minutes, rate).all()
        except AssertionError:
            print(where_it_stands(kernel), flush=True)
            raise


class Run:
    """One soak of one kernel: loaded, at rest, loaded, at rest, and compared."""

    def __init__(self, kernel: Kernel, minutes: float, rate: int) -> None:
        self.kernel = kernel
        self.minutes = minutes
        self.warm = min(5.0, minutes / 4)
        self.rate = rate
        self.broken: list[str] = []
        self.turns = 0
        #: Seconds, memory in MB, threads and descriptors every half a minute, under load.
        self.samples: list[tuple[float, float, int, int]] = []
        self.slowest = 0.0
        #: How often it was captured, stopped, ...
        self.did: collections.Counter[str] = collections.Counter()

    def all(self) -> int:
        """Run it; return the exit code."""
        kernel = self.kernel
        kernel.ok(LOAD.replace("RATE", str(self.rate)))
        kernel.drain()
        kernel.forget()  # what ipykernel says of debuggers when it starts
        print(
            f"soak: {self.minutes:g} min at {self.rate} launches a second, "
            f"warm-up {self.warm:g} min",
            flush=True,
        )
        began = time.monotonic()
        figures, objects, books = [], [], {}
        for seconds in (60 * self.warm, 60 * (self.minutes - self.warm)):
            self.load(began, seconds)
            books = settle(kernel)
            figures.append(measure(kernel))
            objects.append(collections.Counter(kernel.evaluate(OBJECTS)))
            print(books, {k: round(v, 1) for k, v in figures[-1].items()}, flush=True)
            if books["launched"] != sum(books["ended"].values()) or books["living"]:
                self.broken.append(f"the books do not balance: {books}")
        self.compare(figures, objects)
        self.report(figures, books)
        for sentence in self.broken:
            print(f"BROKEN: {sentence}")
        print(", ".join(f"{n} {what}" for what, n in self.did.items()))
        print("soak: " + ("broken" if self.broken else "all promises held"))
        return bool(self.broken)

    def load(self, began: float, seconds: float) -> None:
        """Have the kernel launch for so long, and be a person at its front end meanwhile."""
        kernel, process = self.kernel, psutil.Process(self.kernel.pid)
        kernel.ok(DRIVE, store_history=False)
        until, sample = time.monotonic() + seconds, 0.0
        while time.monotonic() < until:
            kernel.ok("dashboard = asyncnb.dashboard()", store_history=False)
            comm = kernel.evaluate("dashboard.comm.comm_id")
            data = {"method": "custom", "content": {"c": "sync"}}
            kernel._request("comm_msg", {"comm_id": comm, "data": data})
            for code in TURN:
                kernel.ok(code, store_history=False)
            asked = time.monotonic()
            kernel.ok("1 + 1;", store_history=False)
            self.slowest = max(self.slowest, time.monotonic() - asked)
            self.trouble()
            kernel.ok("dashboard.close(); del dashboard", store_history=False)
            self.broken += [f"{said!r} was said" for said in COMPLAINTS if kernel.where(said)]
            said = {CRASHED.sub("", c.stderr) for c in list(kernel._cells.values())} - {""}
            self.broken += [f"on stderr: {text[:300]!r}" for text in said]
            kernel.forget()
            self.turns += 1
            if time.monotonic() >= sample:
                sample = time.monotonic() + 30
                now = time.monotonic() - began
                memory = process.memory_info().rss / 1e6
                self.samples.append((now, memory, process.num_threads(), _descriptors(process)))

    def trouble(self) -> None:
        """Do one thing of each kind to the kernel; the hard ones not every time."""
        kernel, turn = self.kernel, self.turns
        self.capture(CAPTURES[turn % len(CAPTURES)])
        self.stop(STOPPED[turn % len(STOPPED)])
        if turn % 3 == 0 and hasattr(os, "fork"):
            kernel.ok(FORK, 90, store_history=False)
            self.did["forks"] += 1
        if turn % 5 == 2:
            kernel.ok("%unload_ext asyncnb", 60, store_history=False)
            kernel.ok("%load_ext asyncnb", 60, store_history=False)
            kernel.ok(DRIVE, store_history=False)
            self.did["reloads"] += 1
        if turn % 5 == 4:
            kernel.ok("soak.crash()", 60, store_history=False)
            kernel.ok(DRIVE, store_history=False)
            kernel.drain()
            said = sum(len(CRASHED.findall(c.stderr)) for c in list(kernel._cells.values()))
            if said != 1:
                self.broken.append(f"a crash was told {said} times")
            self.did["crashes"] += 1

    def capture(self, code: str) -> None:
        """Have a cell capture what is printed, and a task print meanwhile."""
        kernel = self.kernel
        ticks = kernel.ok(TICKS, store_history=False)
        kernel.ok(code, store_history=False)
        took = kernel.evaluate("getattr(took, 'stdout', None) or took.getvalue()")
        if took != "mine\n":
            self.broken.append(f"{took!r} was captured by {code!r}")
        ticks.wait_for(f"tick {LINES - 1}")
        if ticks.stdout != "".join(f"tick {n}\n" for n in range(LINES)):
            self.broken.append(f"beside {code!r} a task's lines were {ticks.stdout!r}")
        self.did["captures"] += 1

    def stop(self, code: str) -> None:
        """Stop a cell as a person does, who presses again where nothing happens.

        This presses in the moment between two statements. CPython looks for signals there before it
        waits for its lock, and not afterwards: a signal that comes while other threads have the
        lock is seen when the next call returns, which is after the 600 s of a sleep.
        """
        cell = self.kernel.submit(code, store_history=False).wait_for("busy")
        self.kernel.interrupt()
        try:
            error = cell.wait(5).error
        except AssertionError:
            if not self.kernel.alive:
                raise
            self.did["second presses"] += 1
            self.kernel.interrupt()
            error = cell.wait(30).error
        if error is None or error.ename != "KeyboardInterrupt":
            self.broken.append(f"{code!r} was stopped and ended with {error}")
        self.did["stops"] += 1

    def compare(
        self, figures: list[dict[str, float]], objects: list[collections.Counter[str]]
    ) -> None:
        """Note what is more at the end than after the warm-up, or not as it should be."""
        kernel = self.kernel
        error = kernel.run("import asyncnb.testing; asyncnb.testing.validate()").error
        if error is not None:
            self.broken.append(error.evalue)
        if figures[1]["memory MB"] - figures[0]["memory MB"] > 10:
            most = ", ".join(
                f"{n:+} {name}" for name, n in (objects[1] - objects[0]).most_common(8)
            )
            self.broken.append(f"memory grew by more than 10 MB after the warm-up: {most}")
        for what in ("threads", "descriptors"):
            if figures[1][what] > figures[0][what]:
                self.broken.append(
                    f"{what}: {figures[0][what]:g} after the warm-up, {figures[1][what]:g}"
                )
        logged = kernel.evaluate("soak.logged[:20]")
        self.broken += [f"logged: {line!r}" for line in logged]
        tasks = kernel.evaluate("len(asyncio.all_tasks(asyncnb.embedded_loop()))")
        if tasks > 1:  # the one that asks
            self.broken.append(f"{tasks} tasks are left on the loop")

    def report(self, figures: list[dict[str, float]], books: dict[str, Any]) -> None:
        """Write what was measured where the page on reliability looks for it."""
        report = {
            "when": time.strftime("%Y-%m-%d"),
            "minutes": self.minutes,
            "warm": self.warm,
            "rate": self.rate,
            "python": platform.python_version(),
            "system": platform.system(),
            "cpus": os.cpu_count(),
            "ipykernel": self.kernel.evaluate("__import__('ipykernel').__version__"),
            "turns": self.turns,
            "slowest": self.slowest,
            "books": books,
            "did": dict(self.did),
            "figures": figures,
            "samples": [[round(each, 1) for each in sample] for sample in self.samples],
            "broken": self.broken,
        }
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=100, help="launches a second")
    options = parser.parse_args()
    sys.exit(main(options.minutes, options.rate))
