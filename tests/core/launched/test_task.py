"""What a launched task consists of, and how its end is noted: in one call for many."""

from __future__ import annotations

import asyncio
import collections
import gc
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

import asyncnb
from asyncnb._core.launched.registry import registry
from asyncnb._core.loop.current import embedded_loop
from asyncnb._core.primitives.tasks import interrupt
from asyncnb.testing import clear_ended, validate, wait_until_idle

T = TypeVar("T")


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    clear_ended()
    yield
    asyncnb.cancel("*")
    wait_until_idle(10)
    validate()
    clear_ended()


async def forever() -> None:
    await asyncio.Event().wait()


async def nothing() -> None:
    pass


def on_the_loop(coro: Coroutine[Any, Any, T]) -> T:
    return asyncnb.launch(coro).join(10)


def new_objects(make: Callable[[], list[asyncio.Task[None]]]) -> collections.Counter[str]:
    """Return how many objects of each type the collector has to visit for each task made."""
    gc.collect()
    before = collections.Counter(type(each).__name__ for each in gc.get_objects())
    made = make()
    on_the_loop(asyncio.sleep(0))
    gc.collect()
    after = collections.Counter(type(each).__name__ for each in gc.get_objects())
    for each in made:
        each.cancel()
    on_the_loop(asyncio.wait(made))
    found = {name: round((after[name] - before[name]) / len(made)) for name in after}
    return collections.Counter({name: count for name, count in found.items() if count})


def test_a_launched_task_costs_the_collector_its_record_a_coroutine_and_a_variable_more() -> None:
    async def make_plain() -> list[asyncio.Task[None]]:
        return [asyncio.create_task(forever()) for _ in range(200)]

    def launch() -> list[asyncio.Task[None]]:
        return [asyncnb.launch(forever()) for _ in range(200)]

    plain = new_objects(lambda: on_the_loop(make_plain()))
    launched = new_objects(launch)
    # Its record, the coroutine with its time limit, the context's variables with one more.
    more = launched - plain
    del more["frame"]  # of the coroutine, on 3.12 and 3.13, where nothing else shows a closed one
    # How many nodes hold the variables goes by their hashes, which are addresses: one, or two.
    del more["hamt_bitmap_node"]
    assert more == {"TaskRecord": 1, "coroutine": 1, "hamt": 1}


def test_the_record_of_a_living_task_has_no_dict() -> None:
    first = asyncnb.launch(nothing())
    first.join(5)
    many = [asyncnb.launch(forever()) for _ in range(100)]
    on_the_loop(asyncio.sleep(0))
    refers_to = gc.get_referents(*(task._record for task in many))
    assert not [each for each in refers_to if type(each) is dict]


def test_tasks_that_end_in_the_same_iteration_are_noted_in_one_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    note = registry._end_all

    def end_all(ending: Any) -> None:
        calls.append(len(ending.records))
        note(ending)

    monkeypatch.setattr(registry, "_end_all", end_all)

    async def launch_many() -> list[asyncio.Task[None]]:
        return [asyncnb.launch(nothing()) for _ in range(1000)]

    tasks = on_the_loop(launch_many())
    wait_until_idle(10)
    assert all(task.done() for task in tasks)
    assert max(calls) >= 1000
    assert len(registry.living()) == 0


def test_launches_while_the_loop_is_busy_wake_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = embedded_loop()
    busy, free = threading.Event(), threading.Event()
    woken: list[Any] = []

    def block() -> None:
        busy.set()
        free.wait(10)

    loop.call_soon_threadsafe(block)
    assert busy.wait(10)
    wake = loop.call_soon_threadsafe

    def call_soon_threadsafe(callback: Any, *args: Any, **keywords: Any) -> Any:
        woken.append(callback)
        return wake(callback, *args, **keywords)

    monkeypatch.setattr(loop, "call_soon_threadsafe", call_soon_threadsafe)
    tasks = [asyncnb.launch(nothing()) for _ in range(1000)]
    # Not the number of all calls: on a slow machine the watchdog asks in between.
    assert woken.count(loop._start_tasks) == 1
    free.set()
    monkeypatch.undo()
    for task in tasks:
        task.join(10)


def test_the_end_is_noted_before_the_tasks_own_callbacks_run() -> None:
    seen: list[str] = []

    def callback(task: Any) -> None:
        seen.append(f"{task.info().state}, noted: {task._record.ended is not None}")

    async def launch_some() -> None:
        for number in range(3):
            asyncnb.launch(nothing(), name=f"n{number}").add_done_callback(callback)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    on_the_loop(launch_some())
    assert seen == ["done, noted: True"] * 3


@pytest.mark.parametrize("how", ["cancel", "interrupt"])
def test_the_end_of_a_task_cancelled_before_its_first_step_is_noted(how: str) -> None:
    async def launch_and_cancel() -> asyncio.Task[None]:
        task = asyncnb.launch(forever())
        if how == "cancel":
            task.cancel()
        else:
            interrupt(task)
        await asyncio.sleep(0)
        return task

    task = on_the_loop(launch_and_cancel())
    wait_until_idle(5)
    assert task.info().state == "cancelled"  # type: ignore[attr-defined]
    assert task._record.ended is not None  # type: ignore[attr-defined]


def test_a_task_that_withstands_a_cancel_before_its_first_step_ends_once() -> None:
    ended: list[Any] = []

    async def launch_and_uncancel() -> Any:
        task = asyncnb.launch(nothing())
        task.cancel()
        task.uncancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task

    task = on_the_loop(launch_and_uncancel())
    wait_until_idle(5)
    ended = [record for record in registry._ended if record.task is task]
    assert task.info().state == "done" and len(ended) == 1


def test_an_exception_in_the_loops_thread_leaves_no_end_unnoted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    note = registry._end
    raised: list[Any] = []

    def end(record: Any) -> None:
        note(record)
        if not raised:
            raised.append(record)
            raise SystemExit  # as a stop that arrives in that moment

    monkeypatch.setattr(registry, "_end", end)

    async def launch_some() -> None:
        for _ in range(5):
            asyncnb.launch(nothing())

    on_the_loop(launch_some())
    wait_until_idle(10)
    assert raised and registry.living() == []


def test_a_coroutine_that_was_closed_is_refused_and_one_with_an_origin_is_taken() -> None:
    import sys

    closed = nothing()
    closed.close()
    with pytest.raises(RuntimeError, match="already been started or awaited"):
        asyncnb.launch(closed)
    sys.set_coroutine_origin_tracking_depth(3)
    try:
        known = nothing()
        assert asyncnb.launch(known).join(5) is None
        closed = nothing()
        closed.close()
        with pytest.raises(RuntimeError, match="already been started or awaited"):
            asyncnb.launch(closed)
    finally:
        sys.set_coroutine_origin_tracking_depth(0)


def test_a_launched_task_is_called_a_task() -> None:
    task = asyncnb.launch(forever(), name="waits")
    assert isinstance(task, asyncnb.Task)
    assert repr(task).startswith("<Task pending name='waits'")


@pytest.mark.parametrize("options", [{}, {"timeout": 5}, {"trace": True}])
def test_the_coroutine_is_closed_if_no_loop_can_be_started(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise RuntimeError("no thread left")

    monkeypatch.setattr("asyncnb._core.launched.start.embedded_loop", refuse)
    coro = nothing()
    with pytest.raises(RuntimeError, match="no thread left"):
        asyncnb.launch(coro, **options)
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED
