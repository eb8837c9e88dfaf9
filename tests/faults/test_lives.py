"""Tasks and groups that start and end a hundred thousand times leave nothing behind.

Counted are the memory blocks of the interpreter: before, after some, and after many more.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asyncnb
from asyncnb._core.introspection.handle import current_record
from asyncnb._core.launched import named_groups as _named_groups
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import registry
from asyncnb._core.loop import embedded as _loop
from asyncnb._core.loop.blocked import Blocked
from asyncnb._core.loop.current import shutdown
from asyncnb._core.loop.subprocesses import cell_children
from asyncnb._core.tracing import recording as _trace
from asyncnb._core.tracing import traced_loops as _traced_loops
from asyncnb._kernel.output.blocked import BlockedLoopReporter
from asyncnb._kernel.output.figures import FiguresByTask
from asyncnb.testing import clear_ended, validate
from tests.core.launched.test_crashes import BreaksWhenStopped

#: Lives of each kind; as many in `make faults` as the promise says.
LIVES = 100_000 if os.environ.get("ASYNCNB_FAULTS") else 6_000
#: Memory blocks that one of them may leave, of which a dict or a list takes two or three.
LEFT = 0.02

Life = Callable[[int], object]

pytestmark = pytest.mark.timeout(600)  # so many take minutes on a busy machine


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lower the limits of bounded collections, so that they fill up soon."""
    clear_ended()
    registry.set_history_limit(100)
    recorder = _trace.Recording(most_steps=100, most_tasks=100)
    monkeypatch.setattr(_trace, "recorder", recorder)
    asyncnb.embedded_loop().set_exception_handler(lambda *_: None)
    yield
    shutdown()
    registry.set_history_limit(1000)
    clear_ended()
    validate()


def blocks() -> int:
    asyncnb.run(asyncio.sleep(0))
    for _ in range(3):
        gc.collect()
    return sys.getallocatedblocks()


def leaves(life: Life, lives: int = LIVES) -> float:
    """Return how many blocks each life leaves, once what is bounded is full."""

    def live(first: int, last: int) -> None:
        for n in range(first, last):
            life(n)

    warm = max(lives // 4, 30)
    live(0, warm)
    before = blocks()
    live(warm, warm + lives)
    return (blocks() - before) / lives


def leaves_nothing(life: Life) -> bool:
    """Whether lives leave nothing, in one of ten tries.

    What a life leaves, it leaves each time; tables that grow and shrink, and what another thread
    has in its hands, are some hundred blocks more or less.
    """
    return any(leaves(life) < LEFT for _ in range(10))


async def nothing() -> None:
    pass


async def fail() -> None:
    keep = bytearray(1000)
    raise ValueError(len(keep))


def done(n: int) -> None:
    asyncnb.launch(asyncio.sleep(0, [n]), name=f"task {n}").join(10)


def failed(n: int) -> None:
    with pytest.raises(ValueError, match="1000"):
        asyncnb.launch(fail()).join(10)


def cancelled(n: int) -> None:
    task = asyncnb.launch(asyncio.sleep(60))
    task.cancel("enough")
    with contextlib.suppress(asyncnb.CancelledError):
        task.join(10)


def refused(n: int) -> None:
    with contextlib.suppress(ValueError):
        asyncnb.launch(nothing(), timeout=-1)
    with contextlib.suppress(TypeError):
        asyncnb.launch(None)  # type: ignore[arg-type]


def limited(n: int) -> None:
    task = asyncnb.launch(nothing(), timeout=60)
    task.set_name(f"renamed {n}")
    task.join(10)


def traced(n: int) -> None:
    asyncnb.launch(asyncio.sleep(0), trace=True).join(10)


def grouped(n: int) -> None:
    with asyncnb.open_group(f"group {n}") as group:
        group.create_task(nothing())


def failed_group(n: int) -> None:
    with contextlib.suppress(ExceptionGroup), asyncnb.open_group("one") as group:
        group.create_task(fail())


def looked_for(n: int) -> None:
    asyncnb.launch(asyncio.sleep(0, [n]), name=f"{n}").join(10)
    asyncnb.tasks(f"{n - 50}*")
    with contextlib.suppress(asyncnb.TaskNotFoundError):
        asyncnb.task(f"{n - 20}").exception()


def counted(n: int) -> None:
    for _ in asyncnb.track(range(2), name=f"work {n}"):
        pass


def in_a_thread(n: int) -> None:
    if n % 10 == 0:  # a thread takes longer than the rest
        asyncnb.launch(asyncnb.to_thread(int)).join(10)


@pytest.mark.promise("100,000 tasks and groups of each kind, one after the other: nothing is left")
@pytest.mark.parametrize(
    "life",
    [
        done,
        failed,
        cancelled,
        refused,
        limited,
        traced,
        grouped,
        failed_group,
        looked_for,
        counted,
        in_a_thread,
    ],
)
def test_lives_leave_nothing(life: Life) -> None:
    assert leaves_nothing(life)


@pytest.mark.promise("100,000 cancels while the watchdog is off: none is remembered")
def test_cancels_without_a_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncnb.embedded_loop()
    dog = loop.watchdog
    assert dog is not None

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(dog, "_check", broken)
    dog._thread.join(10)
    assert not dog._thread.is_alive()
    assert leaves_nothing(cancelled)
    assert not dog._requests
    assert loop.blocked is None


@pytest.mark.promise("100,000 tasks that ask pyplot for their figures: no table is left")
def test_figures_asked_for() -> None:
    figures = FiguresByTask(OrderedDict())

    def asks(n: int) -> None:
        context = contextvars.copy_context()
        context.run(current_record.set, TaskRecord())
        assert context.run(len, figures) == 0
        assert context.run(list, figures) == []
        if n % 2:
            context.run(figures.__setitem__, 1, object())
            assert context.run(len, figures) == 1
        if n % 4 == 3:
            context.run(figures.__delitem__, 1)

    assert leaves_nothing(asks)
    gc.collect()
    assert len(figures.tasks) == 0


@pytest.mark.promise("100,000 tasks that block the loop, each reported once: none is remembered")
def test_blocked_loops_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    reports, loop = BlockedLoopReporter(), asyncnb.embedded_loop()
    told: list[None] = []
    monkeypatch.setattr(BlockedLoopReporter, "_print", lambda *_: told.append(None))

    def block(n: int) -> None:
        for _ in range(2):
            reports.observe(loop, Blocked(1.0, None, f"Task-{n}", None, f"In[{n}], line 1", ()))
        told.clear()

    assert leaves_nothing(block)
    reports.observe(loop, Blocked(1.0, 1, "task", None, "In[1], line 1", ()))
    reports.observe(loop, Blocked(1.0, 1, "task", None, "In[1], line 1", ()))
    assert len(told) == 1, "once for each task"


@pytest.mark.promise("crashed loops with recorded tasks and open groups: nothing of them is left")
def test_crashed_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    shutdown()
    registry.set_history_limit(5)  # a record refers to the loop
    monkeypatch.setattr(_trace, "recorder", _trace.Recording(most_steps=10, most_tasks=10))
    logging.disable()  # pytest keeps all logs

    def crash(n: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(_loop, "EmbeddedLoop", BreaksWhenStopped)
            loop = asyncnb.embedded_loop()
        begun = threading.Event()

        async def work() -> None:
            inner = asyncio.create_task(asyncio.sleep(60))
            begun.set()
            await inner

        asyncnb.launch(work(), trace=True, group=f"group {n}")
        assert begun.wait(10)
        loop.call_soon_threadsafe(loop.stop)
        loop.thread.join(10)
        assert loop.dead

    try:
        # What other tests have begun in this process counts, too: some dozens.
        assert any(leaves(crash, 60) < 100 for _ in range(3)), "of some thousand"
    finally:
        logging.disable(logging.NOTSET)
    asyncnb.run(asyncio.sleep(0))
    gc.collect()
    assert not _named_groups.open_groups()
    assert not _traced_loops._watched
    assert not list(_trace.living(_trace.recorder))
    assert all(trace.ended is not None for trace in _trace.recorder.traces.values())


@pytest.mark.promise("child processes that have ended are not remembered by the loop or the cell")
def test_ended_processes() -> None:
    loop: Any = asyncnb.embedded_loop()
    children: list[Any] = []

    async def spawn() -> None:
        cell_children.set(children)
        for _ in range(12):
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")
            await process.wait()

    asyncnb.launch(spawn()).join(60)
    assert len(loop._state.processes) <= 1
    assert len(children) <= 1
