"""Where a task is and what it waits for, on both loops and from any thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

import asyncnb
from asyncnb import (
    Future,
    Task,
    TaskGroup,
    as_completed,
    create_task,
    embedded_loop,
    gather,
    shield,
    sleep,
    to_thread,
    wait,
    wait_for,
    wrap_future,
)
from asyncnb._core.base.worker_thread import Worker
from asyncnb._core.introspection.stack import await_chain, waiting_on, worker_of
from asyncnb.testing import run_virtual
from tests.core.elsewhere import FACTORIES, running_elsewhere, with_ours

on_both_loops = pytest.mark.parametrize("factory", FACTORIES)


async def forever() -> None:
    await asyncio.Event().wait()


async def settle() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


@asynccontextmanager
async def suspended(awaitable: Awaitable[Any]) -> AsyncIterator[Task[Any]]:
    """A task that has come to its wait."""

    async def main() -> Any:
        return await awaitable

    task = create_task(main(), name="suspended")
    await settle()
    yield task
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def run(factory: Any, main: Any) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


async def in_wait(*tasks: Any) -> None:
    await asyncio.wait(tasks)


async def in_our_wait(*tasks: Any) -> None:
    await wait(tasks)


async def in_as_completed(*tasks: Any) -> None:
    async for _ in as_completed(tasks):
        pass


async def in_group(group: Any) -> None:
    async with group:
        group.create_task(forever())
        group.create_task(forever())


async def taken(primitive: Any) -> None:
    await primitive.acquire()
    await primitive.acquire()


async def in_condition(condition: asyncio.Condition) -> None:
    async with condition:
        await condition.wait()


async def put_too_much(queue: asyncio.Queue[int]) -> None:
    for n in range(3):
        await queue.put(n)


async def unfinished(queue: asyncio.Queue[int]) -> None:
    queue.put_nowait(1)
    await queue.join()


def two(what: Callable[..., Any], *more: Any) -> Any:
    return what(create_task(forever(), name="a"), create_task(forever(), name="b"), *more)


def one(what: Callable[..., Any], *more: Any) -> Any:
    return what(create_task(forever(), name="one"), *more)


WAITS: dict[str, tuple[Callable[[], Any], str]] = {
    "future": (lambda: Future[None](), "Future in "),
    "task": (lambda: one(lambda t: t), "task 'one'"),
    "Event": (lambda: asyncio.Event().wait(), "Event.wait"),
    "Lock": (lambda: taken(asyncio.Lock()), "Lock.acquire"),
    "Semaphore": (lambda: taken(asyncio.Semaphore()), "Semaphore.acquire"),
    "BoundedSemaphore": (lambda: taken(asyncio.BoundedSemaphore()), "BoundedSemaphore.acquire"),
    "Condition": (lambda: in_condition(asyncio.Condition()), "Condition.wait"),
    "Barrier": (lambda: asyncio.Barrier(3).wait(), "Barrier.wait (1 of 3)"),
    "get": (lambda: asyncio.Queue(10).get(), "Queue.get (0 of 10)"),
    "get, no limit": (lambda: asyncio.PriorityQueue().get(), "PriorityQueue.get (0 in it)"),
    "put": (lambda: put_too_much(asyncio.Queue(2)), "Queue.put (2 of 2)"),
    "join": (lambda: unfinished(asyncio.Queue()), "Queue.join (1 unfinished)"),
    "gather": (lambda: two(gather), "gather, 0 of 2 done"),
    "asyncio.gather": (lambda: two(asyncio.gather), "gather, 0 of 2 done"),
    "wait": (lambda: two(in_our_wait), "wait, 0 of 2 done"),
    "asyncio.wait": (lambda: two(in_wait), "wait, 0 of 2 done"),
    "as_completed": (lambda: two(in_as_completed), "as_completed, 0 of 2 done"),
    "shield": (lambda: one(shield), "task 'one'"),
    "asyncio.shield": (lambda: one(asyncio.shield), "task 'one'"),
    "wait_for": (lambda: one(wait_for, 1000), "task 'one'"),
    "asyncio.wait_for": (lambda: one(asyncio.wait_for, 1000), "task 'one'"),
    "wait_for of a coroutine": (lambda: wait_for(asyncio.Queue(1).get(), 9), "Queue.get (0 of 1)"),
    "group": (lambda: in_group(TaskGroup()), "TaskGroup (2 tasks)"),
    "asyncio.TaskGroup": (lambda: in_group(asyncio.TaskGroup()), "TaskGroup (2 tasks)"),
    "executor": (lambda: wrap_future(concurrent.futures.Future()), "executor future, queued"),
    "asyncio.wrap_future": (
        lambda: asyncio.wrap_future(concurrent.futures.Future()),
        "executor future, queued",
    ),
}


@pytest.mark.parametrize("kind", ["asyncio", "asyncnb"])
@on_both_loops
def test_a_wait_is_described_by_its_name(
    factory: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "asyncnb":
        monkeypatch.setitem(globals(), "asyncio", with_ours())

    async def main() -> None:
        told = {}
        for name, (make, _) in WAITS.items():
            async with suspended(make()) as task:
                told[name] = waiting_on(task)
            for left in asyncio.all_tasks() - {asyncio.current_task()}:
                left.cancel()
            await settle()
        for name, (_, expected) in WAITS.items():
            assert str(told[name]).startswith(expected), (name, told[name])

    run(factory, main())


@pytest.mark.parametrize("doze", [asyncio.sleep, sleep])
def test_a_sleep_is_described_with_the_seconds_left(doze: Any) -> None:
    async def main() -> None:
        async with suspended(doze(100)) as task:
            await asyncio.sleep(75)
            assert waiting_on(task) == "sleep, 25.0 s left"

    run_virtual(main())


@on_both_loops
def test_the_seconds_left_are_right_while_the_loop_is_blocked(factory: Any) -> None:
    async def main() -> None:
        async with suspended(asyncio.sleep(0.05)) as task:
            threading.Event().wait(0.1)
            assert waiting_on(task) == "sleep, 0.00 s left"

    run(factory, main())


@on_both_loops
def test_a_socket_is_described_with_its_peer(factory: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def serves(reader: Any, writer: Any) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serves, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        async with suspended(reader.readline()) as task:
            assert waiting_on(task) == f"socket 127.0.0.1:{port} to read"
        writer.close()
        here, there = _pair()
        with here, there:
            async with suspended(loop.sock_recv(here, 1)) as task:
                assert waiting_on(task) == f"socket 127.0.0.1:{here.getpeername()[1]}"
        if factory is asyncio.new_event_loop:  # uvloop's is compiled
            async with suspended(server.serve_forever()) as task:
                assert waiting_on(task) == f"server on 127.0.0.1:{port}"
        server.close()

    run(factory, main())


def _pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        here = socket.create_connection(listening.getsockname())
        there, _ = listening.accept()
    here.setblocking(False)
    return here, there


@on_both_loops
def test_a_subprocess_is_described_with_its_pid_and_its_output_as_a_pipe(factory: Any) -> None:
    async def main() -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "input()", stdin=pipe, stdout=pipe
        )
        assert process.stdout is not None
        async with suspended(process.stdout.readline()) as task:
            assert waiting_on(task) == "pipe to read"
        async with suspended(process.wait()) as task:
            assert str(waiting_on(task)).startswith(f"subprocess {process.pid}")
        process.kill()
        await process.wait()

    run(factory, main())


@on_both_loops
@pytest.mark.parametrize("in_thread", [asyncio.to_thread, to_thread])
def test_a_thread_is_described_with_the_function_it_runs(factory: Any, in_thread: Any) -> None:
    async def main() -> None:
        go = threading.Event()
        async with suspended(in_thread(go.wait)) as task:
            assert waiting_on(task) == "thread: Event.wait"
            go.set()

    run(factory, main())


def test_a_task_that_runs_or_has_ended_waits_for_nothing() -> None:
    async def main() -> None:
        async def asks() -> str | None:
            return waiting_on(asyncio.current_task())  # type: ignore[arg-type]

        task = create_task(asks())
        assert waiting_on(task) == "its turn"
        assert await task is None
        assert waiting_on(task) is None

    asyncio.run(main())


def test_the_chain_ends_at_the_primitive_and_has_no_frame_of_asyncnb() -> None:
    async def inner() -> None:
        await gather(sleep(1000))

    async def outer() -> None:
        await asyncio.wait_for(inner(), 1000)  # what it is

    async def main() -> None:
        task = create_task(outer())
        await settle()
        places = await_chain(task)
        assert places[0].function.endswith("outer()")
        assert places[0].source == "await asyncio.wait_for(inner(), 1000)  # what it is"
        assert places[0].where.endswith("test_stack.py") and places[0].line > 100
        assert not any("asyncnb/_core" in place.where for place in places)
        assert str(places[0]).splitlines()[1].strip() == places[0].source
        task.cancel()

    asyncio.run(main())


def test_the_chain_of_a_failure_is_its_traceback() -> None:
    async def fails() -> None:
        raise ValueError

    async def main() -> None:
        task = create_task(fails())
        await asyncio.wait([task])
        assert [place.source for place in await_chain(task)] == ["raise ValueError"]
        task.exception()

    asyncio.run(main())


@on_both_loops
def test_a_task_that_blocks_the_loop_is_seen_from_another_thread(factory: Any) -> None:
    blocked, go = threading.Event(), threading.Event()

    async def blocks() -> None:
        blocked.set()
        go.wait()

    async def waits() -> None:
        await blocker

    with running_elsewhere(factory) as loop:
        blocker: Any = Task(blocks(), loop=loop, name="blocker")
        waiter = Task(waits(), loop=loop)
        assert blocked.wait(10)
        try:
            functions = [place.function.rpartition(".")[2] for place in await_chain(blocker)]
            assert functions[:2] == ["blocks()", "wait()"]
            assert waiting_on(blocker) is None
            assert waiting_on(waiter) == "its turn"
        finally:
            go.set()
        waiter.join(10)


def test_running_tasks_can_be_inspected_from_another_thread() -> None:
    async def level(depth: int) -> None:
        await (level(depth - 1) if depth else asyncio.sleep(0))

    async def moves() -> None:
        while True:
            await level(5)

    with running_elsewhere(asyncio.new_event_loop) as loop:
        task = Task(moves(), loop=loop)
        for _ in range(2000):
            assert all(place.line > 0 for place in await_chain(task))
            waiting_on(task)


def test_the_frames_and_the_cpu_time_of_a_worker_thread() -> None:
    busy, go = threading.Event(), threading.Event()

    def computes() -> None:
        sum(range(100_000))
        busy.set()
        go.wait()

    worker = Worker(computes, embedded_loop())
    task = asyncnb.launch(worker.run())
    assert busy.wait(10)
    asyncnb.run(asyncio.sleep(0))  # the step that started the thread is over
    try:
        assert worker_of(task) is worker
        assert waiting_on(task) is None
        functions = [place.function.rpartition(".")[2] for place in await_chain(task)]
        assert functions[:2] == ["computes()", "wait()"]
        if sys.platform == "linux":
            assert 0 < (worker.cpu() or 0) < 60
    finally:
        go.set()
    task.join(10)
    assert 0 < (worker.cpu() or 0) < 60
    assert worker_of(task) is None
