"""Locks and queues that every loop may use, on one loop: against asyncio's, which one loop may."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import asyncnb
from tests.benchmarks import Contender, Row

Clock = Callable[[], float]


async def uncontended(it: Any, count: int) -> None:
    for _ in range(count):
        async with it:
            pass


async def contended(it: Any, count: int) -> None:
    async def use() -> None:
        for _ in range(count // 20):
            async with it:
                await asyncio.sleep(0)

    await asyncio.gather(*[use() for _ in range(20)])


async def without_waiting(it: Any, count: int) -> None:
    for _ in range(count):
        it.put_nowait(None)
        it.get_nowait()


async def uncontended_queue(it: Any, count: int) -> None:
    for _ in range(count):
        await it.put(None)
        await it.get()


async def contended_queue(it: Any, count: int) -> None:
    async def produce() -> None:
        for _ in range(count):
            await it.put(None)

    async def consume() -> None:
        for _ in range(count):
            await it.get()
            it.task_done()

    await asyncio.gather(produce(), consume())


async def event(it: Any, count: int) -> None:
    for _ in range(count // 20):
        waits = [asyncio.ensure_future(it.wait()) for _ in range(20)]
        await asyncio.sleep(0)
        it.set()
        await asyncio.gather(*waits)
        it.clear()


async def condition(it: Any, count: int) -> None:
    turn = 0

    async def take_turns(number: int) -> None:
        nonlocal turn
        for _ in range(count // 4):
            async with it:
                while turn % 4 != number:
                    await it.wait()
                turn += 1
                it.notify_all()

    await asyncio.gather(*map(take_turns, range(4)))


def on_one_loop(
    make: Callable[[], Any], work: Callable[[Any, int], Coroutine[Any, Any, None]]
) -> Contender:
    def run(clock: Clock, count: int) -> float:
        async def main() -> float:
            it = make()
            started = clock()
            await work(it, count)
            return clock() - started

        return asyncio.run(main())

    return run


def from_a_thread(
    put: Callable[[Any, asyncio.AbstractEventLoop], Callable[[int], object]],
    make: Callable[[], Any],
) -> Contender:
    """Time from the first item that another thread puts to the last that a task gets."""

    def run(clock: Clock, count: int) -> float:
        async def main() -> float:
            it, loop = make(), asyncio.get_running_loop()
            call = put(it, loop)
            thread = threading.Thread(target=lambda: [call(n) for n in range(count)])
            started = clock()
            thread.start()
            for _ in range(count):
                await it.get()
            took = clock() - started
            thread.join()
            return took

        return asyncio.run(main())

    return run


def between_threads(clock: Clock, count: int) -> float:
    it: queue.Queue[int] = queue.Queue()
    thread = threading.Thread(target=lambda: [it.put(n) for n in range(count)])
    started = clock()
    thread.start()
    for _ in range(count):
        it.get()
    took = clock() - started
    thread.join()
    return took


ROWS: dict[str, tuple[str, tuple[Any, ...], Any]] = {
    "async with Lock, free": ("Lock", (), uncontended),
    "async with Lock, 20 tasks": ("Lock", (), contended),
    "async with Semaphore, free": ("Semaphore", (5,), uncontended),
    "async with Semaphore(5), 20 tasks": ("Semaphore", (5,), contended),
    "Queue.put_nowait, get_nowait": ("Queue", (), without_waiting),
    "await Queue.put, get": ("Queue", (), uncontended_queue),
    "await Queue(1).put, get, each waits": ("Queue", (1,), contended_queue),
    "PriorityQueue.put_nowait, get_nowait": ("PriorityQueue", (), without_waiting),
    "Event.set, 20 wait": ("Event", (), event),
    "Condition, 4 take turns": ("Condition", (), condition),
}


def rows() -> Iterator[Row]:
    for name, (kind, arguments, work) in ROWS.items():
        contenders = {
            module.__name__: on_one_loop(partial(getattr(module, kind), *arguments), work)
            for module in (asyncio, asyncnb)
        }
        yield Row(name, contenders, 1000, goal=1.2)
    yield Row(
        "10,000 items from a thread to a task",
        {
            "call_soon_threadsafe": from_a_thread(
                lambda it, loop: lambda n: loop.call_soon_threadsafe(it.put_nowait, n),
                asyncio.Queue,
            ),
            "asyncnb.Queue": from_a_thread(lambda it, loop: it.put_nowait, asyncnb.Queue),
            "queue.Queue, two threads": between_threads,
        },
        10_000,
        goal=1.0,
        wall=True,
        rounds=15,
    )
