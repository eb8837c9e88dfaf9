"""The primitives against the standard library's, trio's and anyio's.

"C task" rows give both sides the interpreter's own task, so that they measure the primitive and
not the task; "as is" rows use each side's own.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any
from unittest import mock

import asyncnb
from asyncnb import (
    Task,
    TaskGroup,
    as_completed,
    create_task,
    eager_task_factory,
    embedded_loop,
    gather,
    shield,
    timeout,
    wait,
    wait_for,
)
from asyncnb._core.loop import embedded as _loop
from tests.benchmarks import Contender, Row

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]
try:
    import trio
except ImportError:
    trio = None  # type: ignore[assignment]
try:
    import anyio
except ImportError:
    anyio = None  # type: ignore[assignment]

Clock = Callable[[], float]
Work = Callable[[int], Awaitable[object]]


async def nothing() -> None:
    pass


def plain_factory(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
    kwargs.pop("eager_start", None)
    return asyncio.Task(coro, loop=loop, **kwargs)


def on_asyncio(
    work: Work,
    factory: Any = None,
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> Contender:
    def run(clock: Clock, count: int) -> float:
        async def main() -> float:
            start = clock()
            await work(count)
            return clock() - start

        loop = new_loop()
        try:
            loop.set_task_factory(factory)
            # The one that measures is always a C task.
            return loop.run_until_complete(asyncio.Task(main(), loop=loop))
        finally:
            loop.close()

    return run


def on_trio(work: Work) -> Contender:
    def run(clock: Clock, count: int) -> float:
        async def main() -> float:
            start = clock()
            await work(count)
            return clock() - start

        return trio.run(main)  # type: ignore[no-any-return]

    return run


def on_anyio(work: Work) -> Contender:
    def run(clock: Clock, count: int) -> float:
        async def main() -> float:
            start = clock()
            await work(count)
            return clock() - start

        return anyio.run(main)  # type: ignore[no-any-return]

    return run


def others(trio_work: Work | None, anyio_work: Work | None) -> dict[str, Contender]:
    found = {}
    if trio is not None and trio_work is not None:
        found["trio"] = on_trio(trio_work)
    if anyio is not None and anyio_work is not None:
        found["anyio"] = on_anyio(anyio_work)
    return found


BATCH = 100


def in_batches(one: Callable[[int], Awaitable[object]]) -> Work:
    async def work(count: int) -> None:
        for _ in range(max(1, count // BATCH)):
            await one(BATCH)

    return work


def spawning(create: Callable[[Coroutine[Any, Any, None]], Any]) -> Work:
    """Spawn and finish, and nothing else: one turn of the loop ends them all."""

    async def one(count: int) -> None:
        tasks = [create(nothing()) for _ in range(count)]
        await asyncio.sleep(0)
        assert tasks[-1].done()

    return in_batches(one)


def spawning_eagerly(create: Callable[..., Any]) -> Work:
    async def one(count: int) -> None:
        tasks = [create(nothing(), eager_start=True) for _ in range(count)]
        await asyncio.sleep(0)
        assert tasks[-1].done()

    return in_batches(one)


def gathering(call: Any, create: Any, **kwargs: Any) -> Work:
    async def one(count: int) -> None:
        await call(*[create(nothing()) for _ in range(count)], **kwargs)

    return in_batches(one)


def gathering_coros(call: Any) -> Work:
    async def one(count: int) -> None:
        await call(*[nothing() for _ in range(count)])

    return in_batches(one)


def waiting(call: Any, create: Any) -> Work:
    async def one(count: int) -> None:
        await call([create(nothing()) for _ in range(count)])

    return in_batches(one)


def draining(call: Any, create: Any) -> Work:
    """Tasks that end one per turn of the loop, each noticed with FIRST_COMPLETED."""

    async def work(count: int) -> None:
        gates = [asyncio.get_running_loop().create_future() for _ in range(count)]

        async def pass_gate(number: int) -> None:
            await gates[number]

        pending = {create(pass_gate(number)) for number in range(count)}
        opened = 0
        while pending:
            gates[opened].set_result(None)
            opened += 1
            _, pending = await call(pending, return_when=asyncio.FIRST_COMPLETED)

    return work


def completing(call: Any, create: Any) -> Work:
    async def one(count: int) -> None:
        for future in call([create(nothing()) for _ in range(count)]):
            await future

    return in_batches(one)


def completing_async(call: Any, create: Any) -> Work:
    async def one(count: int) -> None:
        async for _ in call([create(nothing()) for _ in range(count)]):
            pass

    return in_batches(one)


def grouping(group: Any) -> Work:
    async def one(count: int) -> None:
        async with group() as tasks:
            for _ in range(count):
                tasks.create_task(nothing())

    return in_batches(one)


def small_groups(group: Any) -> Work:
    async def work(count: int) -> None:
        for _ in range(count):
            async with group() as tasks:
                tasks.create_task(nothing())

    return work


def timing(call: Any) -> Work:
    async def work(count: int) -> None:
        for _ in range(count):
            async with call(60):
                pass

    return work


def timing_future(call: Any) -> Work:
    async def work(count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await call(future, 60)

    return work


def timing_coro(call: Any) -> Work:
    async def work(count: int) -> None:
        for _ in range(count):
            await call(nothing(), 60)

    return work


def shielding(call: Any, create: Any) -> Work:
    async def work(count: int) -> None:
        for _ in range(count):
            await call(create(nothing()))

    return work


async def trio_nursery(count: int) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(nothing)


async def anyio_group(count: int) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(nothing)


async def trio_small(count: int) -> None:
    for _ in range(count):
        await trio_nursery(1)


async def anyio_small(count: int) -> None:
    for _ in range(count):
        await anyio_group(1)


async def trio_results(count: int) -> None:
    """What as_completed and a draining wait() are in trio: a channel that tasks report to."""
    send, receive = trio.open_memory_channel[None](count)

    async def report() -> None:
        await nothing()
        send.send_nowait(None)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(report)
        for _ in range(count):
            await receive.receive()


async def anyio_results(count: int) -> None:
    send, receive = anyio.create_memory_object_stream[None](count)

    async def report() -> None:
        await nothing()
        send.send_nowait(None)

    with send, receive:
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(report)
            for _ in range(count):
                await receive.receive()


async def trio_timeout(count: int) -> None:
    for _ in range(count):
        with trio.fail_after(60):
            pass


async def anyio_timeout(count: int) -> None:
    for _ in range(count):
        with anyio.fail_after(60):
            pass


async def trio_wait_for(count: int) -> None:
    for _ in range(count):
        with trio.fail_after(60):
            await trio.lowlevel.checkpoint()


async def anyio_wait_for(count: int) -> None:
    for _ in range(count):
        with anyio.fail_after(60):
            await anyio.lowlevel.checkpoint()


def spawning_on_loop(count: int) -> Awaitable[object]:
    return spawning(asyncio.get_running_loop().create_task)(count)


def standard_embedded_loop() -> type[asyncio.AbstractEventLoop]:
    """EmbeddedLoop on the standard loop: which loop it is built on is settled at import."""
    name = "asyncnb._core._loop_on_asyncio"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, _loop.__file__)
        assert spec is not None and spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        with mock.patch.dict(os.environ, ASYNCNB_LOOP="asyncio"):
            spec.loader.exec_module(module)
    return sys.modules[name].EmbeddedLoop  # type: ignore[no-any-return]


def from_another_thread(call: Callable[[Coroutine[Any, Any, None], Any], Any]) -> Contender:
    """Run a no-op to its end on the embedded loop, from this thread, again and again."""

    def run(clock: Clock, count: int) -> float:
        loop = embedded_loop()
        start = clock()
        for _ in range(count):
            call(nothing(), loop)
        return clock() - start

    return run


def standard_run(coro: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
    asyncio.run_coroutine_threadsafe(coro, loop).result()


def own_run(coro: Coroutine[Any, Any, None], _: object) -> None:
    asyncnb.run(coro)


def memory(create: Callable[[Coroutine[Any, Any, Any]], Any]) -> Contender:
    """Bytes that tasks take which wait for a future, in place of seconds."""

    def run(_: Clock, count: int) -> float:
        async def main() -> float:
            gate = asyncio.get_running_loop().create_future()

            async def wait_for_gate() -> None:
                await gate

            tasks = [create(wait_for_gate()) for _ in range(10)]
            await asyncio.sleep(0)
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            tasks += [create(wait_for_gate()) for _ in range(count)]
            await asyncio.sleep(0)
            took = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            gate.set_result(None)
            await asyncio.sleep(0)
            assert tasks[-1].done() or not await asyncio.wait(tasks)
            return float(took)

        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(asyncio.Task(main(), loop=loop))
        finally:
            loop.close()

    return run


def loop_rows() -> Iterator[Row]:
    standard = {
        "asyncio": on_asyncio(spawning_on_loop),
        "asyncnb": on_asyncio(spawning_on_loop, new_loop=standard_embedded_loop()),
    }
    yield Row("EmbeddedLoop.create_task, asyncio", standard, 200, 1.0)
    if uvloop is not None:
        fast = {
            "asyncio": on_asyncio(spawning_on_loop),
            "asyncnb": on_asyncio(spawning_on_loop, new_loop=_loop.EmbeddedLoop),
            "uvloop": on_asyncio(spawning_on_loop, new_loop=uvloop.new_event_loop),
        }
        yield Row("EmbeddedLoop.create_task, uvloop", fast, 200, 0.75)
    yield Row(
        "run() from another thread",
        {"threadsafe": from_another_thread(standard_run), "asyncnb": from_another_thread(own_run)},
        100,
        0.8,
        wall=True,
    )
    yield Row(
        "memory of a waiting task",
        {"asyncio": memory(asyncio.create_task), "asyncnb": memory(create_task)},
        1000,
        1.05,
        rounds=7,
        unit="bytes",
    )


def rows() -> Iterator[Row]:
    yield from loop_rows()
    newer = sys.version_info >= (3, 13)
    goal = 0.95 if newer else 0.90
    std, own = asyncio.create_task, create_task
    nursery = others(in_batches(trio_nursery), in_batches(anyio_group))
    results = others(in_batches(trio_results), in_batches(anyio_results))

    def pair(make: Callable[..., Work], old: Any, new: Any, *args: Any) -> dict[str, Contender]:
        return {
            "asyncio": on_asyncio(make(old, *args), plain_factory),
            "asyncnb": on_asyncio(make(new, *args), plain_factory),
        }

    yield Row(
        "create_task, as is",
        {"asyncio": on_asyncio(spawning(std)), "asyncnb": on_asyncio(spawning(own)), **nursery},
        200,
        1.05 if newer else 2.0,
    )
    yield Row(
        "eager no-op against a lazy one",
        {
            "lazy": on_asyncio(spawning(own)),
            "eager": on_asyncio(spawning_eagerly(own)),
            "by factory": on_asyncio(spawning(own), eager_task_factory),
        },
        200,
        0.45 if newer else 0.8,
    )
    for kind, create in (("C task", std), ("own task", Task)):
        yield Row(
            f"gather, {kind}s",
            {**pair(gathering, asyncio.gather, gather, create), **nursery},
            200,
            goal,
        )
    yield Row(
        "gather of coroutines, C task",
        {**pair(gathering_coros, asyncio.gather, gather), **nursery},
        200,
        goal,
    )
    yield Row(
        "gather of coroutines, as is",
        {
            "asyncio": on_asyncio(gathering_coros(asyncio.gather)),
            "asyncnb": on_asyncio(gathering_coros(gather)),
            **nursery,
        },
        200,
    )
    for kind, create in (("C task", std), ("own task", Task)):
        yield Row(
            f"wait for all, {kind}s",
            {**pair(waiting, asyncio.wait, wait, create), **nursery},
            200,
            goal,
        )
        yield Row(
            f"drain 1,000 {kind}s, first completed",
            {**pair(draining, asyncio.wait, wait, create), **results},
            1000,
            0.7,
            rounds=7,  # a thousand calls that look at a thousand tasks each
        )
        for few, few_goal in ((100, 0.8), (10, 1.0)):
            yield Row(
                f"drain {few} {kind}s, first completed",
                {**pair(draining, asyncio.wait, wait, create), **results},
                few,
                few_goal,
            )
        yield Row(
            f"as_completed, {kind}s",
            {**pair(completing, asyncio.as_completed, as_completed, create), **results},
            200,
            goal,
        )
    if newer:
        yield Row(
            "as_completed, async for, C tasks",
            {**pair(completing_async, asyncio.as_completed, as_completed, std), **results},
            200,
            goal,
        )
    yield Row(
        "TaskGroup of 100, C tasks",
        {**pair(grouping, asyncio.TaskGroup, TaskGroup), **nursery},
        200,
        goal,
    )
    yield Row(
        "TaskGroup of 1, C task",
        {**pair(small_groups, asyncio.TaskGroup, TaskGroup), **others(trio_small, anyio_small)},
        100,
        goal,
    )
    yield Row(
        "TaskGroup of 100, as is",
        {
            "asyncio": on_asyncio(grouping(asyncio.TaskGroup)),
            "asyncnb": on_asyncio(grouping(TaskGroup)),
            **nursery,
        },
        200,
    )
    yield Row(
        "timeout, empty block",
        {**pair(timing, asyncio.timeout, timeout), **others(trio_timeout, anyio_timeout)},
        100,
        goal,
    )
    wait_goal = goal if newer else 0.6
    yield Row(
        "wait_for a future",
        {
            **pair(timing_future, asyncio.wait_for, wait_for),
            **others(trio_wait_for, anyio_wait_for),
        },
        100,
        wait_goal,
    )
    yield Row(
        "wait_for a coroutine",
        {**pair(timing_coro, asyncio.wait_for, wait_for), **others(trio_timeout, anyio_timeout)},
        100,
        wait_goal,
    )
    for kind, create in (("C task", std), ("own task", Task)):
        yield Row(f"shield, {kind}", pair(shielding, asyncio.shield, shield, create), 100, goal)
