"""Looking at tasks: asyncnb beside aiomonitor, whose terminal lists tasks and shows their stacks.

aiomonitor watches the loop of a plain kernel and keeps where each task was created, as asyncnb
does; it is asked in that kernel for what its `ps` and `where` print, without its terminal between.
The tasks inside a launched one are found beside a list of their names, the least that any look at
them costs. CPU time of the thread that asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.benchmarks import PEERS
from tests.benchmarks.kernel import QUIET, Figure, compare, in_turns, run_groups
from tests.kernel.driver import Kernel
from tests.kernel.ports import free_ports

CROWDS = (10, 1_000, 10_000)

_ASKED = """
import asyncio, contextlib, io, time

async def wait(depth=4):
    if depth:
        await wait(depth - 1)
    else:
        await asyncio.sleep(3600)

def asked(call):
    start = time.thread_time()
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        call()
    took = 1e3 * (time.thread_time() - start)
    asked.shown = shown.getvalue()
    return took
"""
_MONITORED = """
import aiomonitor, terminaltables
monitor = aiomonitor.start_monitor(
    asyncio.get_running_loop(), port={}, webui_port={}, console_port={}, hook_task_factory=True
)
crowd = []
first = asyncio.create_task(wait(), name="first")
def facts():
    return monitor.format_running_task_list("", False)
def table():
    head = ("Task ID", "State", "Name", "Coroutine", "Created Location", "Since")
    rows = [(t.task_id, t.state, t.name, t.coro, t.created_location, t.since) for t in facts()]
    print(terminaltables.AsciiTable([head, *rows]).table)
def stack():
    print(*(item.content for item in monitor.format_running_task_stack(id(first))))
def plain_stack():
    first.print_stack()
"""
_OWN = """
crowd = []
first = asyncnb.launch(wait(), name="first")
def facts():
    return [task.info() for task in asyncnb.tasks()]
def table():
    get_ipython().run_line_magic("tasks", "")
def stack():
    get_ipython().run_line_magic("tasks", "stack first")
"""
_INSIDE = """
from asyncnb._core.launched.inside import look_inside
loop = asyncnb.embedded_loop()
async def crawl(pages):
    async with asyncio.TaskGroup() as group:
        for n in range(pages):
            group.create_task(asyncio.sleep(3600), name=f"page {n}")
crawling = asyncnb.launch(crawl(10_000), name="crawl")
while len(asyncnb.all_tasks(loop)) < 10_000: time.sleep(0.01)
id = crawling.info().id
def names():
    return [task.get_name() for task in asyncnb.all_tasks(loop)]
def look():
    return look_inside().counts(id)
"""


def watched_kernel() -> Kernel:
    """A plain kernel whose loop aiomonitor watches; FileNotFoundError without its environment."""
    if not PEERS.exists():
        raise FileNotFoundError
    kernel = Kernel(str(PEERS), extension=False, arguments=QUIET)
    kernel.ok(_ASKED)
    kernel.ok(_MONITORED.format(*free_ports(3)) + "await asyncio.sleep(0)")
    return kernel


def looking(rounds: int) -> Iterator[Figure]:
    """The table of all tasks, their facts as objects, and the stack of one."""
    try:
        watched = watched_kernel()
    except FileNotFoundError:
        print(f"  aiomonitor is not in {PEERS.parents[1].name}: .ci/peers installs it")
        return
    with watched, Kernel(arguments=QUIET) as ours:
        kernels = {"aiomonitor": watched, "asyncnb": ours}
        ours.ok(_ASKED + _OWN)
        for size in CROWDS:
            more = size - 1 - watched.evaluate("len(crowd)")
            for who, kernel in kernels.items():
                launch = "asyncnb.launch" if who == "asyncnb" else "asyncio.create_task"
                kernel.ok(f"crowd += [{launch}(wait()) for _ in range({more})]", 60)
                kernel.ok("await asyncio.sleep(0)")
            for what, name in (
                ("table", "table of"),
                ("facts", "facts of"),
                ("stack", "stack of one of"),
            ):

                def one(_: str, kernel: Kernel, call: str = f"asked({what})") -> float:
                    return float(kernel.evaluate(call))

                values, ratios = in_turns(kernels, one, rounds, 3)
                yield compare(f"{name} {size:,} tasks", "ms", values, 1.0, ratios)


def inside(rounds: int) -> Iterator[Figure]:
    """One look at 10,000 tasks inside a launched one."""
    with Kernel(arguments=QUIET) as kernel:
        kernel.ok(_ASKED + _INSIDE, 60)
        calls = {"asyncio": "asked(names)", "asyncnb": "asked(look)"}

        def one(who: str, kernel: Kernel) -> float:
            return float(kernel.evaluate(calls[who]))

        values, ratios = in_turns(dict.fromkeys(calls, kernel), one, rounds, 5)
        assert kernel.evaluate("look().running") == 10_000
        yield compare("look at 10,000 inside", "ms", values, None, ratios)


def run(rounds: int, only: str = "") -> None:
    """Measure, print and write the topic; ``only`` is a part of the name of a group of figures."""
    groups: dict[str, Callable[[], Iterator[Figure]]] = {
        "looking": lambda: looking(max(3, min(5, rounds // 10))),
        "inside": lambda: inside(max(3, min(10, rounds // 5))),
    }
    run_groups("looking", groups, rounds, only)
