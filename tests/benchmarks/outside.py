"""The command line and its requests: how soon it answers, and what it costs the kernel."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.benchmarks.kernel import QUIET, Figure, compare, plain_kernel, run_groups
from tests.kernel.control import ControlClient
from tests.kernel.driver import Kernel

KERNELS = 3
#: Calls of ``ps`` a second, while a cell computes.
PER_SECOND = 100
#: What ``ps`` asks a kernel with asyncnb.
PS = (
    ("comm_info_request", {"target_name": "asyncnb"}),
    ("asyncnb_request", {"c": "hello", "version": 1}),
    ("asyncnb_request", {"c": "list", "version": 1, "since": 10**11}),
)
LOAD = "%load_ext asyncnb\nimport asyncio, asyncnb, time"
#: A cell that computes for about a second: how long that took, and the CPU time of other threads.
COMPUTE = """
def compute():
    wall, all_, own = time.perf_counter(), time.process_time(), time.thread_time()
    for _ in range({turns}): sum(range(1000))
    own = time.thread_time() - own
    return time.perf_counter() - wall, time.process_time() - all_ - own
took, others = compute()
"""
LINES_A_SECOND = 10_000
SECONDS = 2
PRINTER = f"""
%%atask printer
go = asyncio.Event()
print('ready')
await go.wait()
start = asyncio.get_running_loop().time()
for n in range({SECONDS} * 100):
    for m in range({LINES_A_SECOND} // 100): print('line', 100 * n + m)
    await asyncio.sleep(max(0, start + (n + 1) / 100 - asyncio.get_running_loop().time()))
ended = time.time()
"""


def _kernel(tasks: int = 10) -> Kernel:
    kernel = Kernel(extension=False, arguments=QUIET)
    kernel.ok(LOAD)
    kernel.ok(f"for n in range({tasks}): asyncnb.launch(asyncio.sleep(3600), name=f'task {{n}}')")
    return kernel


@contextlib.contextmanager
def _runtime(*kernels: Kernel) -> Iterator[dict[str, str]]:
    """The environment of a command that finds these kernels and no other one."""
    folder = Path(tempfile.mkdtemp(prefix="asyncnb-runtime-"))
    for n, kernel in enumerate(kernels):
        shutil.copy(kernel.scratch / "connection.json", folder / f"kernel-{n}.json")
    yield os.environ | {"JUPYTER_RUNTIME_DIR": str(folder)}
    shutil.rmtree(folder)


def commands(rounds: int) -> Iterator[Figure]:
    """``asyncnb ps`` of three kernels, as a process: one of them blocked by its cell."""
    with contextlib.ExitStack() as stack:
        kernels = [stack.enter_context(_kernel()) for _ in range(KERNELS)]
        env = stack.enter_context(_runtime(*kernels))
        contenders = {
            "import jupyter_client": ["-c", "import jupyter_client"],
            "asyncnb": ["-m", "asyncnb", "ps"],
        }
        if sys.version_info >= (3, 14):
            contenders["asyncio ps, one kernel"] = ["-m", "asyncio", "ps", str(kernels[0].pid)]
        cell = kernels[0].submit("print('blocks')\nwhile True: sum(range(1000))")
        cell.wait_for("blocks")
        values: dict[str, list[float]] = {who: [] for who in contenders}
        for number in range(-1, rounds):
            for who, command in contenders.items():
                started = time.perf_counter()
                done = subprocess.run([sys.executable, *command], env=env, capture_output=True)
                if number >= 0:
                    values[who].append(1000 * (time.perf_counter() - started))
                if who == "asyncnb":
                    assert done.returncode == 0 and done.stdout.count(b"task 1") == KERNELS, done
        kernels[0].interrupt()
        cell.wait()
    figure = compare(f"asyncnb ps of {KERNELS} kernels, one computing", "ms", values)
    figure.goal = "<= 500 ms"
    figure.reached = figure.median("asyncnb") <= 500
    yield figure


class _Asking:
    """Sends what ``ps`` asks, 100 times a second, while a cell computes; or nothing."""

    def __init__(self, client: ControlClient, requests: tuple[tuple[str, dict[str, object]], ...]):
        self._client = client
        self._requests = requests
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.asked = 0

    def __enter__(self) -> _Asking:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        # Without waiting for the replies: a thread that computes lets others have the interpreter
        # every 5 ms only, so that one client alone would not ask so often.
        channel = self._client._client.control_channel
        due, waiting = time.monotonic(), 0
        while not (stopping := self._stop.is_set()) or waiting:
            if not stopping and time.monotonic() >= due:
                for kind, content in self._requests:
                    self._client.send(content, kind)
                waiting += len(self._requests)
                self.asked += bool(self._requests)
                due += 1 / PER_SECOND
            left = 10.0 if stopping else max(0.0, due - time.monotonic())
            if channel.socket.poll(math.ceil(1000 * left)):
                channel.get_msg(timeout=1)
                waiting -= 1
            else:
                assert not stopping, "requests were not answered"


def beside(rounds: int) -> Iterator[Figure]:
    """A cell that computes, with 100 ``ps`` a second and without, in turns.

    The yardstick of a request is ipykernel's own: as many ``kernel_info_request`` to a plain
    kernel as ``ps`` sends requests.
    """
    request: tuple[str, dict[str, object]] = ("kernel_info_request", {})
    info = (request,) * len(PS)
    slowed: dict[str, list[float]] = {"without": [], "plain": [], "asyncnb": []}
    ratios: dict[str, list[float]] = {"plain": [], "asyncnb": []}
    each: dict[str, list[float]] = {"plain": [], "asyncnb": []}
    with plain_kernel() as plain, _kernel() as loaded:
        with ControlClient(plain) as before, ControlClient(loaded) as after:
            cells = {"plain": (plain, before, info), "asyncnb": (loaded, after, PS)}
            after.ok(c="hello")
            code = COMPUTE.format(turns=1000)
            plain.ok(code)
            code = COMPUTE.format(turns=int(1000 / plain.evaluate("took")))
            for number in range(rounds):
                for who, (kernel, client, requests) in cells.items():
                    took = {}
                    # Neither is always the first of the two.
                    for asked in (False, True) if number % 2 else (True, False):
                        with _Asking(client, requests if asked else ()) as asking:
                            kernel.ok(code, timeout=120)
                        wall, others = kernel.evaluate("(took, others)")
                        took[asked] = 1000 * wall
                        if asking.asked:
                            each[who].append(1000 * others / asking.asked)
                    slowed["without"].append(took[False])
                    slowed[who].append(took[True])
                    ratios[who].append(took[True] / took[False])
    figure = Figure(
        f"a cell that computes, {PER_SECOND} ps a second", "ms", slowed, "<= 1.01",
        statistics.median(ratios["asyncnb"]) <= 1.01, ratios,
    )  # fmt: skip
    yield figure
    yield compare("CPU of the kernel for one ps beside it", "ms", each)


def logs(rounds: int) -> Iterator[Figure]:
    """``asyncnb logs -f`` of 10,000 lines a second, as a process: what arrives, when, in what."""
    lost, late, memory = [], [], []
    with _kernel(0) as kernel, _runtime(kernel) as env:
        for _ in range(rounds):
            kernel.ok(PRINTER.strip())
            command = [sys.executable, "-m", "asyncnb", "logs", "-f", "printer"]
            process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
            assert process.stdout is not None
            lines, highest = 0, 0.0
            watched = psutil.Process(process.pid)
            assert process.stdout.readline() == b"ready\n"
            kernel.ok("go.set()")
            for number, line in enumerate(process.stdout):
                lines += line.startswith(b"line ")
                if number % 1000 == 0:
                    with contextlib.suppress(psutil.Error):
                        highest = max(highest, watched.memory_info().rss / 1e6)
            ended = time.time()
            process.wait()
            kernel.ok("%tasks wait printer")
            lost.append(float(SECONDS * LINES_A_SECOND - lines))
            late.append(1000 * (ended - kernel.evaluate("ended")))
            memory.append(highest)
    name = f"logs -f of {LINES_A_SECOND:,} lines a second"
    yield Figure(f"{name}: lines lost", "", {"asyncnb": lost}, "0", max(lost) == 0)
    yield Figure(f"{name}: end of it after the task's", "ms", {"asyncnb": late})
    yield Figure(f"{name}: memory of the command", "MB", {"asyncnb": memory}, "<= 100 MB",
                 statistics.median(memory) <= 100)  # fmt: skip


def run(rounds: int, only: str = "") -> None:
    """Measure, print and write the topic; ``only`` is a part of the name of a group of figures."""
    few = max(3, rounds // 10)
    groups = {
        "commands": lambda: commands(few),
        "beside": lambda: beside(few),
        "logs": lambda: logs(max(2, few // 3)),
    }
    run_groups("outside", groups, rounds, only)
