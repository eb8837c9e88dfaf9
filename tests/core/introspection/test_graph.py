"""The await graph: edges through every way of waiting, limits, size."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from asyncnb import (
    Future,
    Task,
    TaskGroup,
    as_completed,
    capture_call_graph,
    create_task,
    format_call_graph,
    gather,
    print_call_graph,
    shield,
    wait,
    wait_for,
)
from asyncnb._core.introspection.call_graph import awaited_by
from tests.core.elsewhere import running_elsewhere


async def forever() -> None:
    await asyncio.Event().wait()


async def settle() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


def names(task: Any) -> list[str]:
    return [other.get_name() for other in awaited_by(task)]


async def itself(task: Any) -> None:
    await task


async def ours_as_completed(task: Any) -> None:
    async for _ in as_completed([task]):
        pass


async def ours_as_completed_plain(task: Any) -> None:
    for item in as_completed([task]):
        await item


async def theirs_as_completed(task: Any) -> None:
    for item in asyncio.as_completed([task]):
        await item


WAYS: dict[str, Callable[[Any], Any]] = {
    "await": itself,
    "gather": lambda task: gather(task, create_task(forever())),
    "asyncio.gather": lambda task: asyncio.gather(task, create_task(forever())),
    "shield": shield,
    "asyncio.shield": asyncio.shield,
    "wait": lambda task: wait([task]),
    "asyncio.wait": lambda task: asyncio.wait([task]),
    "wait_for": lambda task: wait_for(task, 1000),
    "asyncio.wait_for": lambda task: asyncio.wait_for(task, 1000),
    "as_completed": ours_as_completed,
    "as_completed, plain": ours_as_completed_plain,
    "asyncio.as_completed": theirs_as_completed,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("launched", [False, True])
def test_every_way_of_waiting_is_an_edge(way: str, launched: bool) -> None:
    async def main() -> None:
        task = create_task(forever(), name="awaited")
        task._launched = launched

        async def wait_for_it() -> None:
            await WAYS[way](task)

        waiter = create_task(wait_for_it(), name="waiter")
        await settle()
        assert names(task) == ["waiter"]
        waiter.cancel()
        await settle()
        assert names(task) == []

    asyncio.run(main())


@pytest.mark.parametrize("group_type", [TaskGroup, asyncio.TaskGroup])
def test_the_parent_of_a_group_awaits_its_children(group_type: Any) -> None:
    async def main() -> None:
        children: list[Any] = []

        async def parent() -> None:
            async with group_type() as group:
                children.append(group.create_task(forever()))

        waiter = create_task(parent(), name="parent")
        await settle()
        assert names(children[0]) == ["parent"]
        waiter.cancel()

    asyncio.run(main())


def test_an_edge_from_another_loop() -> None:
    async def main() -> None:
        task = Task(forever(), loop=elsewhere)
        waiter = create_task(itself(task), name="waiter")
        while names(task) != ["waiter"]:
            await asyncio.sleep(0)
        waiter.cancel()

    with running_elsewhere(asyncio.new_event_loop) as elsewhere:
        asyncio.run(main())


def test_a_callback_that_cancels_another_task_is_no_edge() -> None:
    async def main() -> None:
        task, other = create_task(forever()), create_task(forever())
        await settle()
        task.add_done_callback(other.cancel)
        assert names(task) == []
        task.remove_done_callback(other.cancel)

    asyncio.run(main())


@pytest.mark.parametrize("make", [lambda t: gather(t), shield, lambda t: as_completed([t])])
def test_a_task_that_calls_gather_shield_or_as_completed_waits_before_it_awaits(make: Any) -> None:
    async def main() -> None:
        task = create_task(forever(), name="awaited")
        here: Any = asyncio.current_task()
        here.set_name("creator")
        outer = make(task)
        assert names(task) == ["creator"]
        task.cancel()
        await asyncio.wait([task])
        await settle()
        assert names(task) == []
        if asyncio.isfuture(outer):
            with pytest.raises(asyncio.CancelledError):
                await outer

    asyncio.run(main())


def test_a_task_that_outlives_its_gather_is_not_awaited() -> None:
    async def fail() -> None:
        raise ValueError

    async def main() -> None:
        task = create_task(forever())
        with pytest.raises(ValueError):
            await gather(task, fail())
        assert names(task) == []
        task.cancel()

    asyncio.run(main())


def test_wait_for_with_an_expired_timeout_is_an_edge() -> None:
    async def main() -> None:
        cleanup = asyncio.Event()

        async def slow_to_end() -> None:
            try:
                await forever()
            finally:
                await cleanup.wait()

        task = create_task(slow_to_end())
        await settle()
        waiter = create_task(wait_for(task, 0), name="waiter")
        await settle()
        assert names(task) == ["waiter"]  # gh-157058
        cleanup.set()
        await asyncio.wait([task, waiter])
        assert isinstance(waiter.exception(), TimeoutError)
        assert names(task) == []

    asyncio.run(main())


def test_a_finished_task_has_no_frames() -> None:
    async def fail() -> None:
        raise ValueError

    async def main() -> None:
        done, failed = create_task(settle(), name="done"), create_task(fail(), name="failed")
        await asyncio.wait([done, failed])
        for task in (done, failed):
            graph = capture_call_graph(task)
            assert graph is not None and graph.call_stack == ()  # gh-156408
            assert f"name={task.get_name()!r}" in format_call_graph(task)
        assert failed.exception()

    asyncio.run(main())


def test_a_plain_generator_keeps_the_frames_of_its_callers() -> None:
    def capture() -> Any:
        yield capture_call_graph()

    def middle() -> Any:
        return list(capture())

    async def main() -> Any:
        (graph,) = middle()
        return [entry.frame.f_code.co_name for entry in graph.call_stack]

    assert asyncio.run(main()) == ["capture", "middle", "main"]  # gh-156988


def test_a_sleep_ends_the_stack_not_the_generator_in_it() -> None:
    async def main() -> None:
        async def naps() -> None:
            while True:
                await asyncio.sleep(0)

        task = create_task(naps())
        await settle()
        graph = capture_call_graph(task)
        assert graph is not None
        assert [e.frame.f_code.co_name for e in graph.call_stack] == ["sleep", "naps"]
        task.cancel()

    asyncio.run(main())


def test_the_graph_of_the_current_task_ends_at_its_coroutine() -> None:
    async def main() -> None:
        async def inner() -> Any:
            return capture_call_graph()

        async def outer() -> Any:
            return await inner()

        task = create_task(outer(), name="task")
        graph = await task
        assert graph.future is task
        assert [e.frame.f_code.co_name for e in graph.call_stack] == ["inner", "outer"]
        assert [parent.future for parent in graph.awaited_by] == [asyncio.current_task()]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, ["wait", "two", "one"]),
        (1, ["wait"]),
        (2, ["wait", "two"]),
        (-1, ["one"]),
        (-2, ["two", "one"]),
        (0, []),
    ],
)
def test_limits_of_another_task(limit: int | None, expected: list[str]) -> None:
    async def two() -> None:
        await asyncio.Event().wait()

    async def one() -> None:
        await two()

    async def main() -> None:
        task = create_task(one())
        await settle()
        graph = capture_call_graph(task, limit=limit)
        assert graph is not None
        assert [e.frame.f_code.co_name for e in graph.call_stack] == expected
        task.cancel()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, ["two", "one"]), (1, ["two"]), (-1, ["one"]), (0, [])],
)
def test_limits_of_the_current_task(limit: int | None, expected: list[str]) -> None:
    async def two() -> None:
        graph = capture_call_graph(limit=limit)
        assert graph is not None
        assert [e.frame.f_code.co_name for e in graph.call_stack] == expected

    async def one() -> None:
        await two()

    asyncio.run(one())


def test_the_stack_goes_through_async_and_plain_generators() -> None:
    async def items() -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield 1

    async def worker() -> None:
        async for _ in items():
            pass

    async def main() -> None:
        task = create_task(worker())
        await settle()
        text = format_call_graph(task)
        assert "in async generator " in text and "items()" in text and "worker()" in text
        task.cancel()

    asyncio.run(main())

    async def current() -> None:
        (text,) = (format_call_graph() for _ in range(1))
        assert "in generator " in text and "in async " in text

    asyncio.run(current())


def test_the_text_shows_each_future_once_and_has_no_frame_of_its_own() -> None:
    async def main() -> None:
        async def inner() -> str:
            file = io.StringIO()
            print_call_graph(file=file)
            return file.getvalue()

        async def waiter() -> None:
            await both

        task = create_task(inner(), name="inner")
        both = gather(task, task)
        waiters = [create_task(waiter(), name=f"waiter {n}") for n in range(2)]
        text = await task
        assert text.startswith("* Task(name='inner', id=0x")
        assert "in print_call_graph" not in text and "_core/introspection/call_graph.py" not in text
        assert text.count("in async ") >= 1
        await asyncio.gather(*waiters)

    asyncio.run(main())


def test_many_paths_take_linear_time_and_space() -> None:
    async def waits_for(*tasks: Any) -> None:
        await gather(*tasks)

    async def main() -> None:
        first = Future[None]()
        layer: list[Any] = [first]
        for _ in range(40):
            layer = [create_task(waits_for(*layer)) for _ in range(2)]
        await settle()
        text = format_call_graph(first)
        assert text.count("+ Call stack:") == 80
        assert "(shown above)" in text
        first.set_result(None)
        await asyncio.wait(layer)

    asyncio.run(main())


def test_a_long_chain_is_no_recursion_error() -> None:
    async def main() -> None:
        first = task = create_task(forever())
        for _ in range(3000):
            task = create_task(itself(task))
        await settle()
        text = format_call_graph(first, limit=1)
        assert text.count("* Task") == 3001
        assert len(text) < 3_000_000
        first.cancel()
        while not task.done():
            await asyncio.sleep(0)

    asyncio.run(main())


def test_tasks_that_await_each_other_in_a_circle_are_shown() -> None:
    async def main() -> None:
        tasks: list[Any] = []

        async def first() -> None:
            await settle()
            await asyncio.shield(tasks[1])

        tasks += [create_task(first()), create_task(forever())]
        tasks[1].cancel()
        tasks[1] = create_task(itself(tasks[0]))
        for _ in range(3):
            await settle()
        assert format_call_graph(tasks[0]).count("* Task") == 2
        tasks[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]

    asyncio.run(main())


def test_bad_input_is_refused_with_advice() -> None:
    with pytest.raises(RuntimeError, match=r"capture_call_graph\(task\)"):
        capture_call_graph()
    coro = forever()
    with pytest.raises(TypeError, match=r"compatible with asyncio\.Future; pass the task"):
        capture_call_graph(coro)  # type: ignore[arg-type]
    coro.close()

    async def main() -> None:
        found: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: found.append((capture_call_graph(), format_call_graph())))
        await settle()
        assert found == [(None, "")]

    asyncio.run(main())
