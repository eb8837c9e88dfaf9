"""Random programs of cells with and without await end in the same state with asyncnb and without.

A program makes tasks, timers, events, queues and futures in some cells, sets, cancels and awaits
them in others. Where the order is open between cells (a task may run while a later cell does), the
state has none either: each cell has a log of its own, and what several of them write is sorted.
`ASYNCNB_FUZZ` sets the number of programs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kernel.driver import Kernel

EXAMPLES = int(os.environ.get("ASYNCNB_FUZZ", "25"))

START = """
import asyncio
log, fired, got, tasks, names, endless = {}, [], [], {}, {}, []
expected = {"timers": 0}
events = [asyncio.Event() for _ in range(2)]
queues = [asyncio.Queue() for _ in range(2)]
futures = [asyncio.get_running_loop().create_future() for _ in range(2)]
async def consume(n):
    while True:
        got.append((n, await queues[n].get()))
        queues[n].task_done()
async def say(cell, n):
    log[cell].append(("task", n))
    return n
async def late(cell):
    return names[cell]
async def waits(event):
    await event.wait()
    return "set"
async def follows(awaitable):
    return ("after", await awaitable)
async def puts(n, value):
    await queues[n].put(value)
    return value
async def fails(n):
    await asyncio.sleep(0)
    raise ValueError(n)
consumers = [asyncio.create_task(consume(n)) for n in range(2)]
"""
END = """
for task in endless: task.cancel()
for event in events: event.set()
for future in futures:
    if not future.done(): future.set_result("at the end")
ends = await asyncio.gather(*tasks.values(), return_exceptions=True)
for queue in queues: await queue.join()
while len(fired) < expected["timers"]: await asyncio.sleep(0.001)
for consumer in consumers: consumer.cancel()
await asyncio.gather(*consumers, return_exceptions=True)
state = {"log": log, "fired": sorted(fired), "got": sorted(got),
         "tasks": {n: repr(end) for n, end in zip(tasks, ends)}}
"""


@dataclass
class Program:
    """Cells, and what is known of their tasks while they are made up."""

    cells: list[str] = field(default_factory=list)
    tasks: int = 0
    #: Those that end by themselves, so that a cell may await them.
    ending: list[int] = field(default_factory=list)
    #: Those that end by being cancelled alone.
    endless: list[int] = field(default_factory=list)
    unset: list[int] = field(default_factory=lambda: [0, 1])


@st.composite
def programs(draw: Any) -> list[str]:
    """Draw the cells of a program."""
    program = Program()
    for number in range(draw(st.integers(1, 5))):
        program.cells.append(draw(cells(program, number)))
    return program.cells


@st.composite
def cells(draw: Any, program: Program, number: int) -> str:
    awaits = draw(st.booleans())
    lines = [f"log[{number}] = []"]
    steps = PLAIN + AWAITING if awaits else PLAIN
    for n in range(draw(st.integers(0, 6))):
        lines.append(draw(st.sampled_from(steps))(draw, program, number, n))
    if awaits:
        lines.append("await asyncio.sleep(0)")
    else:  # a task sees what is defined after it was made
        lines.insert(1, _task(program, f"late({number})", ends=True))
        lines.append(f"names[{number}] = 'defined later in {number}'")
    if draw(st.sampled_from([False, False, True])):
        lines.append("1 / 0")
    return "\n".join(lines)


def _task(program: Program, coro: str, *, ends: bool, make: str = "asyncio.create_task") -> str:
    n = program.tasks
    program.tasks += 1
    if ends:
        program.ending.append(n)
    return f"tasks[{n}] = {make}({coro})"


def _say(draw: Any, program: Program, cell: int, n: int) -> str:
    make = draw(
        st.sampled_from(
            [
                "asyncio.create_task",
                "asyncio.ensure_future",
                "asyncio.get_running_loop().create_task",
                "asyncio.get_event_loop().create_task",
            ]
        )
    )
    return _task(program, f"say({cell}, {n})", ends=True, make=make)


def _timer(draw: Any, program: Program, cell: int, n: int) -> str:
    delay = draw(st.sampled_from([0, 0.001, 0.003]))
    call = f"asyncio.get_running_loop().call_later({delay}, fired.append, ({cell}, {n}))"
    if draw(st.booleans()):
        return f"{call}.cancel()"
    return f"expected['timers'] += 1; {call}"


def _waits(draw: Any, program: Program, cell: int, n: int) -> str:
    return _task(program, f"waits(events[{draw(st.integers(0, 1))}])", ends=False)


def _set(draw: Any, program: Program, cell: int, n: int) -> str:
    return f"events[{draw(st.integers(0, 1))}].set()"


def _put(draw: Any, program: Program, cell: int, n: int) -> str:
    return f"queues[{draw(st.integers(0, 1))}].put_nowait(({cell}, {n}))"


def _put_by_task(draw: Any, program: Program, cell: int, n: int) -> str:
    return _task(program, f"puts({draw(st.integers(0, 1))}, ({cell}, {n}))", ends=True)


def _follow(draw: Any, program: Program, cell: int, n: int) -> str:
    if not program.tasks:
        return "pass"
    other = draw(st.integers(0, program.tasks - 1))
    return _task(program, f"follows(tasks[{other}])", ends=other in program.ending)


def _follow_future(draw: Any, program: Program, cell: int, n: int) -> str:
    return _task(program, f"follows(futures[{draw(st.integers(0, 1))}])", ends=False)


def _set_future(draw: Any, program: Program, cell: int, n: int) -> str:
    if not program.unset:
        return "pass"
    return f"futures[{program.unset.pop()}].set_result({cell})"


def _gather(draw: Any, program: Program, cell: int, n: int) -> str:
    if not program.ending:
        return "pass"
    some = draw(st.lists(st.sampled_from(program.ending), min_size=1, max_size=3))
    named = ", ".join(f"tasks[{each}]" for each in some)
    gathered = f"asyncio.gather({named}, return_exceptions=True)"
    return _task(program, gathered, ends=True, make="")


def _endless(draw: Any, program: Program, cell: int, n: int) -> str:
    program.endless.append(program.tasks)
    made = _task(program, "asyncio.Event().wait()", ends=False)
    return f"{made}; endless.append(tasks[{program.tasks - 1}])"


def _cancel(draw: Any, program: Program, cell: int, n: int) -> str:
    if not program.endless:
        return "pass"
    return f"tasks[{program.endless.pop()}].cancel()"


PLAIN: list[Callable[..., str]] = [
    lambda draw, program, cell, n: f"log[{cell}].append(('cell', {n}))",
    lambda draw, program, cell, n: (
        f"asyncio.get_running_loop().call_soon(log[{cell}].append, ('call', {n}))"
    ),
    lambda draw, program, cell, n: _task(program, f"fails({n})", ends=True),
    *(_say, _timer, _waits, _set, _put, _put_by_task, _follow, _follow_future, _set_future),
    *(_gather, _endless, _cancel),
]


def _await_task(draw: Any, program: Program, cell: int, n: int) -> str:
    if not program.ending:
        return "await asyncio.sleep(0)"
    task = f"tasks[{draw(st.sampled_from(program.ending))}]"
    return (
        f"try: log[{cell}].append(('awaited', repr(await {task})))\n"
        f"except ValueError as exc: log[{cell}].append(('failed', repr(exc)))"
    )


AWAITING: list[Callable[..., str]] = [
    lambda draw, program, cell, n: "await asyncio.sleep(0)",
    lambda draw, program, cell, n: "await asyncio.sleep(0.002)",
    lambda draw, program, cell, n: f"await queues[0].put(({cell}, {n}))",
    _await_task,
]


def final_state(kernel: Kernel, program: list[str], *, queued: bool) -> Any:
    """Run the program; *queued* sends all cells at once, as "Run all" does."""
    kernel.ok(START)
    options = {"stop_on_error": False}
    if queued:
        for cell in [kernel.submit(code, **options) for code in program]:
            cell.wait()
    else:
        for code in program:
            kernel.run(code, **options)
    kernel.ok(END, 10)
    return kernel.evaluate("repr(state)")


@pytest.fixture(scope="module")
def pair(python: str) -> Iterator[tuple[Kernel, Kernel]]:
    with Kernel(python, extension=False) as plain, Kernel(python) as ours:
        yield plain, ours


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(program=programs(), queued=st.booleans())
def test_a_program_of_cells_ends_in_the_same_state_with_asyncnb_and_without(
    pair: tuple[Kernel, Kernel], program: list[str], queued: bool
) -> None:
    plain, ours = pair
    for kernel in pair:
        kernel.forget()
    expected = final_state(plain, program, queued=queued)
    assert final_state(ours, program, queued=queued) == expected, "\n# cell\n".join(program)
