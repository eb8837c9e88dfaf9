"""asyncnb in real kernels against the plain ipykernel, both measured in the same run.

Kernels take turns: every figure of one is taken next to the same figure of the other. "plain
again" is a second plain kernel; how far its ratio is from 1 tells how much the machine disturbs.
Times are what a front end sees, by the wall clock of the process that sends the cells.
"""

from __future__ import annotations

import contextlib
import os
import py_compile
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.benchmarks import PEERS, describe_machine, write_report
from tests.kernel.driver import Cell, Kernel

SLEEPERS = 10_000
PRINTS = 100_000
PREAMBLE = "import asyncio, threading, time"
QUIET = ("--log-level=ERROR",)  # warnings of the kernel would appear between the rows


@dataclass
class Figure:
    """One thing measured: the values by contender, and the goal for asyncnb's."""

    name: str
    unit: str
    values: dict[str, list[float]]
    goal: str = ""
    reached: bool | None = None
    ratios: dict[str, list[float]] = field(default_factory=dict)
    #: The value at which waiting was given up: one that reaches it means "not by then".
    gave_up: float | None = None

    def median(self, who: str) -> float:
        return statistics.median(self.values[who])

    def ratio(self, who: str) -> float | None:
        """Median of the ratios within a round where there were rounds."""
        first = next(iter(self.values))
        if who in self.ratios:
            return statistics.median(self.ratios[who])
        return self.median(who) / self.median(first) if self.median(first) else None

    def show(self) -> None:
        for number, who in enumerate(self.values):
            values, ratio = self.values[who], self.ratio(who)
            verdict = ""
            if who == "asyncnb" and self.goal:
                verdict = f"{self.goal}  {'yes' if self.reached else 'NO'}"
            if self.gave_up is not None and self.median(who) >= self.gave_up:
                verdict = "gave up"
            print(
                f"{self.name if not number else '':<40} {who:<12} {self.median(who):10.2f}"
                f" {self.unit:<5} {min(values):9.2f} .. {max(values):9.2f}"
                f"  {'' if ratio is None or not number else f'{ratio:.2f}':>6}  {verdict}",
                flush=True,
            )

    def as_json(self) -> dict[str, Any]:
        return {
            "row": self.name,
            "unit": self.unit,
            "goal": self.goal,
            "reached": self.reached,
            "gave_up": self.gave_up,
            "contenders": {
                who: {
                    "median": self.median(who),
                    "lowest": min(values),
                    "highest": max(values),
                    "ratio": self.ratio(who),
                }
                for who, values in self.values.items()
            },
        }


def compare(
    name: str,
    unit: str,
    values: dict[str, list[float]],
    limit: float | None = None,
    ratios: dict[str, list[float]] | None = None,
) -> Figure:
    """A figure whose goal is a ratio to the first contender; by default value by value."""
    if ratios is None:
        first, *others = values
        ratios = {
            who: [b / a for a, b in zip(values[first], values[who], strict=True)] for who in others
        }
    goal = "" if limit is None else f"<= {limit:.2f}"
    reached = None if limit is None else statistics.median(ratios["asyncnb"]) <= limit
    return Figure(name, unit, values, goal, reached, ratios)


def plain_kernel() -> Kernel:
    kernel = Kernel(extension=False, arguments=QUIET)
    kernel.ok(PREAMBLE)
    return kernel


def async_kernel() -> Kernel:
    """It replaces ipykernel, and so has a separate environment."""
    start = ("-m", "async_kernel", "start", "--connection_file={connection_file}", "--name=async")
    kernel = Kernel(str(PEERS), command=start, extension=False)
    kernel.ok(PREAMBLE)
    return kernel


def timed(kernel: Kernel, code: str) -> float:
    """Milliseconds from sending a cell until its reply is there and the kernel idle."""
    start = time.perf_counter()
    cell = kernel.run(code)
    took = time.perf_counter() - start
    assert cell.status == "ok", cell
    return 1000 * took


def in_turns(
    kernels: dict[str, Kernel], one: Callable[[str, Kernel], float], rounds: int, count: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Take ``count`` values of each kernel per round, one by one; all of them, and the ratios of
    the rounds' medians to those of the first kernel."""
    values: dict[str, list[float]] = {who: [] for who in kernels}
    first, *others = kernels
    ratios: dict[str, list[float]] = {who: [] for who in others}
    for number in range(-1, rounds):
        taken: dict[str, list[float]] = {who: [] for who in kernels}
        for turn in range(count):
            order = list(kernels) if turn % 2 else list(reversed(kernels))
            for who in order:
                taken[who].append(one(who, kernels[who]))
        if number >= 0:  # the first round warms up
            for who in kernels:
                values[who] += taken[who]
            for who in others:
                ratios[who].append(statistics.median(taken[who]) / statistics.median(taken[first]))
    return values, ratios


@contextlib.contextmanager
def three_kernels() -> Iterator[dict[str, Kernel]]:
    with plain_kernel() as plain, Kernel(arguments=QUIET) as ours, plain_kernel() as again:
        yield {"plain": plain, "asyncnb": ours, "plain again": again}


def load() -> Iterator[Figure]:
    """Over an empty cell of the same kernel, and with IPython's own autoreload beside it."""
    files = write_bytecode()
    cost: dict[str, list[float]] = {"autoreload": [], "asyncnb": []}
    first, uncompiled, used = [], [], []
    unwanted: set[str] = set()

    def over_empty(kernel: Kernel, code: str) -> tuple[float, float]:
        empty = statistics.median([timed(kernel, "") for _ in range(7)][2:])
        return empty, timed(kernel, code) - empty

    for _ in range(15):
        with Kernel(extension=False, arguments=QUIET) as kernel:
            cost["autoreload"].append(over_empty(kernel, "%load_ext autoreload")[1])
        with Kernel(extension=False, arguments=QUIET) as kernel:
            empty, taken = over_empty(kernel, "%load_ext asyncnb")
            cost["asyncnb"].append(taken)
            # At once, before another thread has imported what these need.
            task = timed(kernel, "%%atask\npass") - empty
            awaiting = timed(kernel, "await __import__('asyncio').sleep(0)") - empty
            used.append(taken + task + awaiting)
            unwanted |= set(kernel.evaluate(_UNWANTED))
        with Kernel(extension=False, arguments=QUIET) as kernel:
            drop_from_memory(files)
            first.append(over_empty(kernel, "%load_ext asyncnb")[1])
        with Kernel(extension=False, arguments=QUIET) as kernel:
            kernel.ok(f"import sys; sys.pycache_prefix = {str(kernel.scratch / 'nothing')!r}")
            uncompiled.append(over_empty(kernel, "%load_ext asyncnb")[1])
    for name, values, most in (
        ("%load_ext over an empty cell", cost, 15),
        ("%load_ext, in the first kernel of a machine", {"asyncnb": first}, 25),
    ):
        reached = statistics.median(values["asyncnb"]) <= most
        yield Figure(name, "ms", values, f"<= {most} ms", reached)
    yield Figure("%load_ext, installed without bytecode", "ms", {"asyncnb": uncompiled})
    yield Figure("%load_ext, a task and an await at once", "ms", {"asyncnb": used})
    count = {"asyncnb": [float(len(unwanted))]}
    yield Figure("widget and dask modules it imports", "", count, "0", not unwanted)
    if unwanted:
        print(f"  imported: {', '.join(sorted(unwanted))}")


_UNWANTED = (
    "[m for m in __import__('sys').modules if m in "
    "('anywidget', 'ipywidgets', 'dask', 'distributed')]"
)


def write_bytecode() -> list[str]:
    """Compile what loading imports, as pip does; return the files of asyncnb and of its loop."""
    modules = "{n: getattr(m, '__file__', None) for n, m in __import__('sys').modules.items()}"
    ours = []
    with Kernel(extension=False, arguments=QUIET) as kernel:
        kernel.ok("%load_ext asyncnb\n%load_ext autoreload")
        kernel.ok("await __import__('asyncio').sleep(0)")  # after which all of it is imported
        for name, file in kernel.evaluate(modules).items():
            compiled = file
            if file is not None and file.endswith(".py"):
                with contextlib.suppress(OSError, py_compile.PyCompileError):
                    compiled = py_compile.compile(file, doraise=True)
            if compiled is not None and name.partition(".")[0] in ("asyncnb", "uvloop"):
                ours.append(compiled)
    return ours


def drop_from_memory(files: list[str]) -> None:
    """Make the next reads of these files go to the disk, as in the first kernel of a machine."""
    if not hasattr(os, "posix_fadvise"):  # not on macOS and Windows
        return
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)  # a page that is not yet written stays
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def round_trip(rounds: int) -> Iterator[Figure]:
    def one(_: str, kernel: Kernel) -> float:
        return timed(kernel, "1")

    with three_kernels() as kernels:
        for name, prepare in (("idle", False), (f"{SLEEPERS:,} sleeping tasks", True)):
            if prepare:
                plainly = (
                    f"s = [asyncio.create_task(asyncio.sleep(3600)) for _ in range({SLEEPERS})]"
                )
                kernels["plain"].ok(plainly)
                kernels["plain again"].ok(plainly)
                kernels["asyncnb"].ok(
                    f"s = [asyncnb.launch(asyncio.sleep(3600)) for _ in range({SLEEPERS})]", 60
                )
                kernels["asyncnb"].ok("await asyncio.sleep(0.1)")
            values, ratios = in_turns(kernels, one, rounds, 10)
            ratio = statistics.median(ratios["asyncnb"])
            yield Figure(
                f"round trip of 1, {name}", "ms", values, "<= 1.05 of plain", ratio <= 1.05, ratios
            )


_PLAIN_LAUNCH = """
async def body():
    started.append(time.time())
    await asyncio.sleep(0)
task = asyncio.create_task(body())
"""
_LAUNCHES = {
    who: f"{first_line}\nstarted.append(time.time())\nawait asyncio.sleep(0)"
    for who, first_line in {"asyncnb": "%%atask", "async-kernel": "# task"}.items()
}


def launching(rounds: int) -> Iterator[Figure]:
    """The goals differ: a cell that says create_task() is one thing, a background cell another."""

    def one(who: str, kernel: Kernel) -> float:
        sent = time.time()
        kernel.ok(_LAUNCHES.get(who, _PLAIN_LAUNCH))
        while not (began := kernel.evaluate("started")):  # the cell may end before
            pass
        kernel.ok("started.clear()")
        return 1000 * (began[0] - sent)

    with three_kernels() as kernels, contextlib.ExitStack() as stack:
        if PEERS.exists():
            kernels["async-kernel"] = stack.enter_context(async_kernel())
        else:
            print(f"  async-kernel is not in {PEERS.parents[1].name}: .ci/peers installs it")
        for kernel in kernels.values():
            kernel.ok("started = []")
        values, ratios = in_turns(kernels, one, rounds, 10)
    ratio = statistics.median(ratios["asyncnb"])
    name = "cell sent to first statement of task"
    yield Figure(name, "ms", values, "<= 0.70 of plain", ratio <= 0.7, ratios)
    if "async-kernel" in values:
        pairs = zip(ratios["asyncnb"], ratios["async-kernel"], strict=True)
        peer = [ours / theirs for ours, theirs in pairs]
        yield Figure(
            "the same, against async-kernel's # task",
            "ms",
            {who: values[who] for who in ("async-kernel", "asyncnb")},
            "<= 1.30",
            statistics.median(peer) <= 1.3,
            {"asyncnb": peer},
        )


_TICK = """
while True:
    ticks.append(time.time())
    await asyncio.sleep(0.05)
"""
_PLAIN_TICK = """
ticks, beats = [], []
async def tick():
    while True:
        ticks.append(time.time())
        await asyncio.sleep(0.05)
def beat():
    while True:
        beats.append(time.time())
        time.sleep(0.05)
task = asyncio.create_task(tick())
threading.Thread(target=beat, daemon=True).start()
"""
_BUSY = {
    "time.sleep": "a = time.time(); time.sleep(3); b = time.time()",
    "pure Python": (
        "a = time.time()\nwhile time.time() < a + 3:\n    for i in range(1000): i * i\n"
        "b = time.time()"
    ),
}


def pace() -> Iterator[Figure]:
    with plain_kernel() as plain, Kernel(arguments=QUIET) as ours:
        plain.ok(_PLAIN_TICK)
        ours.ok("ticks = []")
        ours.ok(f"%%atask ticker\n{_TICK.strip()}")
        for name, busy in _BUSY.items():
            values: dict[str, list[float]] = {"plain": [], "plain thread": [], "asyncnb": []}
            for _ in range(5):
                for who, kernel, log in (
                    ("plain", plain, "ticks"),
                    ("plain thread", plain, "beats"),
                    ("asyncnb", ours, "ticks"),
                ):
                    if log == "ticks":
                        kernel.ok(busy)
                    count = f"sum(a <= t <= b for t in {log})"
                    values[who].append(kernel.evaluate(f"[{count} for _ in '1'][0]"))
            goal, least = ">= 57", 57.0
            if name != "time.sleep":
                goal, least = ">= the thread's", statistics.median(values["plain thread"])
            reached = statistics.median(values["asyncnb"]) >= least
            yield Figure(f"ticks in 3 s of {name}", "", values, goal, reached)


_FLOOD = f"""
for i in range({PRINTS}):
    print(i)
    if i % 100 == 99:
        await asyncio.sleep(0)
"""


@dataclass
class Flood:
    """What a hundred thousand prints of a background task did to a kernel."""

    seconds: float
    lost: int
    elsewhere: int
    messages: int
    answer: float
    growth: float


def flood(kernel: Kernel, cell_code: str) -> Flood:
    process = psutil.Process(kernel.pid)
    kernel.ok("1+1")
    kernel.ok("import gc; gc.collect()")
    before = process.memory_info().rss
    most = before
    sent = time.monotonic()
    cell = kernel.ok(cell_code)
    answers = []
    last = f"{PRINTS - 1}\n"
    while True:
        answers.append(timed(kernel, "1+1"))
        most = max(most, process.memory_info().rss)
        if any(last in c["text"][-20:] for c in _streams(kernel)):
            break
        assert time.monotonic() - sent < 60, "the prints took too long"
    seconds = time.monotonic() - sent
    kernel.drain()
    most = max(most, process.memory_info().rss)
    expected = {str(i) for i in range(PRINTS)}
    said = cell.stdout.split()
    everywhere = "".join(c["text"] for c in _streams(kernel) if c["name"] == "stdout").split()
    return Flood(
        seconds=seconds,
        lost=PRINTS - len(expected & set(everywhere)),
        elsewhere=len(everywhere) - len(said),
        messages=len(_streams(kernel)),
        answer=statistics.median(answers),
        growth=(most - before) / 1e6,
    )


def _streams(kernel: Kernel) -> list[dict[str, Any]]:
    return [c for cell in list(kernel._cells.values()) for c in cell.of_type("stream")]


def prints() -> Iterator[Figure]:
    whos = ("plain", "asyncnb")
    runs: dict[str, list[Flood]] = {who: [] for who in whos}
    body = _FLOOD.strip()
    lines = "\n    ".join(body.splitlines())
    plainly = f"async def flood():\n    {lines}\ntask = asyncio.create_task(flood())"
    for _ in range(7):
        for who in whos:
            with plain_kernel() if who == "plain" else Kernel(arguments=QUIET) as kernel:
                code = plainly if who == "plain" else f"%%atask flood\n{body}"
                runs[who].append(flood(kernel, code))

    def values(name: str) -> dict[str, list[float]]:
        return {who: [float(getattr(run, name)) for run in runs[who]] for who in whos}

    def figure(what: str, unit: str, name: str, goal: str, reached: bool) -> Figure:
        return Figure(f"{PRINTS:,} prints: {what}", unit, values(name), goal, reached)

    ours = {name: statistics.median(values(name)["asyncnb"]) for name in Flood.__annotations__}
    answer, plain_answer = ours["answer"], statistics.median(values("answer")["plain"])
    quick = answer <= 20 or answer <= 1.5 * plain_answer
    in_time = ours["seconds"] <= 1.2 * statistics.median(values("seconds")["plain"])
    yield figure("until the last is there", "s", "seconds", "<= 1.20 of plain", in_time)
    yield figure("lines lost", "", "lost", "0", max(values("lost")["asyncnb"]) == 0)
    lines_elsewhere = max(values("elsewhere")["asyncnb"])
    yield figure("lines in other cells", "", "elsewhere", "0", lines_elsewhere == 0)
    yield figure("iopub messages", "", "messages", "<= 60", ours["messages"] <= 60)
    yield figure("1+1 meanwhile", "ms", "answer", "<= 20 ms or 1.5 of plain", quick)
    yield figure("most memory taken", "MB", "growth", "< 10 MB", ours["growth"] < 10)


#: A cell that waits with asyncnb; what a plain kernel has for that, and the cell there.
_WAITS = {
    "await asyncio.sleep(60)": ("plain", "await asyncio.sleep(60)"),
    "await Event().wait()": ("plain", "await asyncio.Event().wait()"),
    "await patient": ("plain", "await patient"),
    "patient.join()": ("plain, Future.result()", "elsewhere().result()"),
    "%tasks wait patient": ("plain, Future.result()", "elsewhere().result()"),
    "asyncnb.run(asyncio.sleep(60))": (
        "nest-asyncio2",
        "asyncio.get_event_loop().run_until_complete(asyncio.sleep(60))",
    ),
}
_PLAIN_WAITS = """
patient = asyncio.create_task(asyncio.Event().wait())
beside = asyncio.new_event_loop()
threading.Thread(target=beside.run_forever, daemon=True).start()
def elsewhere():
    return asyncio.run_coroutine_threadsafe(asyncio.sleep(60), beside)
"""
_NESTED = "import nest_asyncio2\nnest_asyncio2.apply()"
#: Seconds after which a cell that has not ended counts as one that the stop button does not end.
PATIENCE = 10.0


def stop(kernel: Kernel, code: str) -> float:
    """Milliseconds from the stop button to the end of the cell; at most those of PATIENCE."""
    cell: Cell = kernel.submit(f"print('waiting')\n{code}")
    cell.wait_for("waiting")
    time.sleep(0.05)  # the text arrives while the cell is on its way into the wait
    pressed = time.perf_counter()
    kernel.interrupt()
    while not (cell.reply and cell.idle):
        left = pressed + PATIENCE - time.perf_counter()
        if left <= 0:
            return 1000 * PATIENCE
        with contextlib.suppress(AssertionError):  # no reply yet
            cell.wait(left)
    took = 1000 * (time.perf_counter() - pressed)
    ended_by = {"KeyboardInterrupt", "CancelledError"}
    assert cell.error is not None and cell.error.ename in ended_by, cell
    return took


def stop_button() -> Iterator[Figure]:
    """In separate kernels for each row: a cell that does not end leaves none that is usable."""
    with Kernel(arguments=QUIET) as ours:
        ours.ok("from asyncio import Event")
        ours.ok("%%atask patient\nawait Event().wait()")
        stop(ours, "time.sleep(60)")  # the first traceback of a kernel imports what it needs
        for code, (theirs, plain_code) in _WAITS.items():
            values: dict[str, list[float]] = {theirs: [], "asyncnb": []}
            for _ in range(5):
                values["asyncnb"].append(stop(ours, code))
            with plain_kernel() as plain:
                stop(plain, "time.sleep(60)")
                plain.ok(_NESTED if theirs == "nest-asyncio2" else _PLAIN_WAITS)
                while len(values[theirs]) < 5:
                    took = stop(plain, plain_code)
                    values[theirs].append(took)
                    if took >= 1000 * PATIENCE:
                        break  # it would take as long again, and this cell still runs
            reached = statistics.median(values["asyncnb"]) < 100
            yield Figure(
                f"stop, {code}", "ms", values, "< 100 ms", reached, gave_up=1000 * PATIENCE
            )


def run(rounds: int, only: str = "") -> None:
    """Measure, print and write the topic; ``only`` is a part of the name of a group of figures."""
    groups: dict[str, Callable[[], Iterator[Figure]]] = {
        "load": load,
        "round trip": lambda: round_trip(max(3, rounds // 5)),
        "launch": lambda: launching(max(3, rounds // 10)),
        "pace": pace,
        "prints": prints,
        "stop": stop_button,
    }
    run_groups("kernel", groups, rounds, only)


def run_groups(
    topic: str, groups: dict[str, Callable[[], Iterator[Figure]]], rounds: int, only: str
) -> None:
    """Measure the groups of ``topic`` whose name contains ``only``; print and write them."""
    print(f"\n{topic}: {describe_machine()}")
    print(f"{'':<40} {'':<12} {'median':>16} {'range':>22}  {'ratio':>6}")
    figures = []
    for name, measure in groups.items():
        if only in name:
            for figure in measure():
                figure.show()
                figures.append(figure.as_json())
    write_report(topic, rounds, figures, only)
