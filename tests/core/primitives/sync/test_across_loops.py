"""Locks and queues between loops and threads: order, cancellation, loops that die, forks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import asyncnb
from asyncnb import EmbeddedLoop, Task, embedded_loop
from asyncnb._core.primitives.joining import fail_waiters
from tests.core.elsewhere import FACTORIES, SYNC, running_elsewhere

Loop = asyncio.AbstractEventLoop


@pytest.fixture
def loop() -> Iterator[EmbeddedLoop]:
    """The embedded loop of this process; it is shut down afterwards."""
    yield embedded_loop()
    asyncnb.embedded_loop().shutdown(5)


@pytest.fixture(params=FACTORIES)
def other(request: pytest.FixtureRequest) -> Iterator[Loop]:
    with running_elsewhere(request.param) as loop:
        yield loop


def until(condition: Callable[[], object]) -> None:
    for _ in range(20_000):
        if condition():
            return
        time.sleep(0.001)
    raise AssertionError("it has not come")


def start(coro: Any, loop: Loop) -> Task[Any]:
    return Task(coro, loop=loop)


class Blocked:
    """A loop blocked by a callback until `release()`."""

    def __init__(self, loop: Loop) -> None:
        self._end, began = threading.Event(), threading.Event()
        loop.call_soon_threadsafe(lambda: (began.set(), self._end.wait(30)))
        assert began.wait(10)

    def release(self) -> None:
        self._end.set()


@pytest.mark.parametrize("name", SYNC.split())
def test_they_are_asyncios_too(name: str) -> None:
    ours, theirs = getattr(asyncnb, name), getattr(asyncio, name)
    made = ours(2) if name == "Barrier" else ours()
    assert isinstance(made, theirs) and issubclass(ours, theirs)
    if name.endswith("Queue"):
        assert isinstance(made, asyncnb.Queue)


# Each waits in `take`; `give` ends the wait of one task.


class OneLock:
    def __init__(self) -> None:
        self.it = asyncnb.Lock()
        asyncio.run(self.it.acquire())
        self.waiters = self.it._waiters

    async def take(self) -> None:
        await self.it.acquire()

    def give(self) -> None:
        self.it.release()


class OneSemaphore:
    def __init__(self) -> None:
        self.it = asyncnb.Semaphore(0)
        self.waiters: Any = self.it._waiters

    async def take(self) -> None:
        await self.it.acquire()

    def give(self) -> None:
        self.it.release()


class OneGetter:
    def __init__(self) -> None:
        self.it: asyncnb.Queue[int] = asyncnb.Queue()
        self.waiters = self.it._getters

    async def take(self) -> None:
        assert await self.it.get() == 1

    def give(self) -> None:
        self.it.put_nowait(1)


class OnePutter:
    def __init__(self) -> None:
        self.it: asyncnb.Queue[int] = asyncnb.Queue(1)
        self.it.put_nowait(1)
        self.waiters = self.it._putters

    async def take(self) -> None:
        await self.it.put(1)

    def give(self) -> None:
        assert self.it.get_nowait() == 1


class OneCondition:
    def __init__(self) -> None:
        self.it = asyncnb.Condition()
        self.waiters = self.it._waiters

    async def take(self) -> None:
        async with self.it:
            await self.it.wait()

    def give(self) -> None:
        asyncnb.run(self.notify())

    async def notify(self) -> None:
        async with self.it:
            self.it.notify()


KINDS: list[Any] = [OneLock, OneSemaphore, OneGetter, OnePutter, OneCondition]
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
def test_tasks_are_served_in_order_whatever_their_loop(
    kind: Any, loop: EmbeddedLoop, other: Loop
) -> None:
    one = kind()
    served: list[int] = []

    async def take(number: int) -> None:
        await one.take()
        served.append(number)

    tasks = []
    for number in range(6):
        tasks.append(start(take(number), (loop, other)[number % 2]))
        until(lambda: len(one.waiters) == len(tasks))
    for task in tasks:
        one.give()
        task.join(10)
    assert served == list(range(6))


@each_kind
@pytest.mark.parametrize("cancelled_first", [True, False])
def test_what_a_cancelled_task_was_given_goes_to_the_next_one(
    kind: Any, cancelled_first: bool, loop: EmbeddedLoop, other: Loop
) -> None:
    one = kind()
    first = start(one.take(), other)
    until(lambda: len(one.waiters) == 1)
    second = start(one.take(), loop)
    until(lambda: len(one.waiters) == 2)
    blocked = Blocked(other)
    if cancelled_first:
        first.cancel()
    one.give()  # it is on its way when the loop comes to it
    if not cancelled_first:
        first.cancel()
    blocked.release()
    with pytest.raises(asyncio.CancelledError):
        first.join(10)
    second.join(10)
    assert not one.waiters


@each_kind
@pytest.mark.parametrize("woken", [True, False])
def test_what_a_loop_that_died_was_given_goes_to_the_next_one(
    kind: Any, woken: bool, loop: EmbeddedLoop
) -> None:
    one = kind()
    dead = asyncio.new_event_loop()
    first: Any = Task(one.take(), loop=dead)
    dead.run_until_complete(asyncio.sleep(0))
    assert len(one.waiters) == 1
    second = start(one.take(), loop)
    until(lambda: len(one.waiters) == 2)
    if woken:
        one.give()
    first._log_destroy_pending = False
    dead.close()
    if woken:
        fail_waiters(dead, RuntimeError("it died"))  # as the owner of an embedded loop does
    else:
        one.give()
    second.join(10)
    first.get_coro().close()


def test_an_event_set_in_a_thread_wakes_tasks_of_all_loops(loop: EmbeddedLoop, other: Loop) -> None:
    event = asyncnb.Event()
    tasks = [start(event.wait(), (loop, other)[number % 2]) for number in range(20)]
    until(lambda: len(event._waiters) == 20)
    event.set()
    event.clear()  # those that wait are woken anyway
    assert [task.join(10) for task in tasks] == [True] * 20
    assert not event._waiters


def test_tasks_of_two_loops_meet_at_a_barrier(loop: EmbeddedLoop, other: Loop) -> None:
    barrier = asyncnb.Barrier(4)
    for _ in range(3):
        tasks = [start(barrier.wait(), (loop, other)[number % 2]) for number in range(4)]
        assert sorted(task.join(10) for task in tasks) == [0, 1, 2, 3]
    last = start(barrier.wait(), other)
    until(lambda: barrier.n_waiting)
    asyncnb.run(barrier.abort())
    with pytest.raises(asyncnb.BrokenBarrierError):
        last.join(10)


def test_a_queue_that_is_shut_down_in_a_thread_ends_all_waits(
    loop: EmbeddedLoop, other: Loop
) -> None:
    empty: asyncnb.Queue[int] = asyncnb.Queue()
    full: asyncnb.Queue[int] = asyncnb.Queue(1)
    full.put_nowait(1)
    waits: list[Awaitable[Any]] = [empty.get(), empty.get(), full.put(2), full.put(3)]
    tasks = [start(wait, (loop, other)[number % 2]) for number, wait in enumerate(waits)]
    joins = start(full.join(), other)
    until(lambda: len(empty._getters) == len(full._putters) == 2 and full._finished._waiters)
    empty.shutdown()
    full.shutdown(immediate=True)
    for task in tasks:
        with pytest.raises(asyncnb.QueueShutDown):
            task.join(10)
    joins.join(10)


def test_code_that_cannot_await_waits_with_run(loop: EmbeddedLoop) -> None:
    queue: asyncnb.Queue[int] = asyncnb.Queue()
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(asyncnb.run(queue.get())))
    thread.start()
    until(lambda: queue._getters)
    queue.put_nowait(1)
    thread.join(10)
    assert got == [1]
    with pytest.raises(TimeoutError):
        asyncnb.run(queue.get(), timeout=0.01)
    assert not queue._getters

    async def blocks() -> None:
        with pytest.raises(asyncnb.WrongThreadError):
            asyncnb.run(queue.get())

    asyncnb.launch(blocks()).join(10)


def test_an_item_that_is_lost_to_another_does_not_cost_the_turn(loop: EmbeddedLoop) -> None:
    queue: asyncnb.Queue[int] = asyncnb.Queue()
    got: list[str] = []

    async def get(name: str) -> None:
        got.append(f"{name}{await queue.get()}")

    async def main() -> None:
        tasks = [asyncio.ensure_future(get(name)) for name in "abcd"]
        await asyncio.sleep(0)
        queue.put_nowait(1)
        queue.put_nowait(2)
        assert [queue.get_nowait(), queue.get_nowait()] == [1, 2]  # before a and b could
        await asyncio.sleep(0)
        for number in range(3, 7):
            queue.put_nowait(number)
        await asyncio.gather(*tasks)

    asyncnb.run(main())
    assert got == ["a3", "b4", "c5", "d6"]


def test_a_subclass_keeps_its_items_as_it_likes() -> None:
    class Newest(asyncnb.Queue[int]):
        def _init(self, maxsize: int) -> None:
            self._queue = {}

        def _put(self, item: int) -> None:
            if item < 0:
                raise ValueError("negative")
            self._queue[item] = item

        def _get(self) -> int:
            return int(self._queue.popitem()[0])

    async def main() -> None:
        queue = Newest(2)
        await queue.put(1)
        await queue.put(1)  # still one item
        queue.put_nowait(2)
        with pytest.raises(asyncnb.QueueFull):
            queue.put_nowait(3)
        assert [await queue.get(), queue.get_nowait()] == [2, 1]
        with pytest.raises(asyncnb.QueueEmpty):
            queue.get_nowait()
        with pytest.raises(ValueError, match="negative"):
            queue.put_nowait(-1)
        for _ in range(3):
            queue.task_done()
        await queue.join()

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("kind", [OneLock, OneSemaphore, OneGetter, OnePutter])
def test_a_forked_child_gives_nothing_to_tasks_of_its_parent(kind: Any, loop: EmbeddedLoop) -> None:
    one = kind()
    task = start(one.take(), loop)
    until(lambda: one.waiters)
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            one.give()
            asyncio.run(asyncio.wait_for(one.take(), 10))
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    one.give()
    task.join(10)


@pytest.fixture
def hurried() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_loops(number: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work(n)` in as many threads, each with its own loop; return the results."""
    results: list[Any] = [None] * number
    errors: list[BaseException] = []

    def run(n: int) -> None:
        try:
            results[n] = asyncio.run(asyncio.wait_for(work(n), 60))
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert errors == []
    return results


async def cancels(tasks: list[Any], every: int) -> None:
    """Cancel each `every`th task while they run, and wait for all."""
    for task in tasks[::every]:
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("maxsize", [0, 2])
@pytest.mark.parametrize("make", [asyncnb.Queue, asyncnb.PriorityQueue, asyncnb.LifoQueue])
def test_many_loops_lose_no_item_and_get_none_twice(make: Any, maxsize: int, hurried: None) -> None:
    queue: Any = make(maxsize)
    got: list[int] = []
    put: list[int] = []
    both = asyncnb.Barrier(2)

    async def produce(n: int) -> None:
        for item in range(n * 1000, n * 1000 + 150):
            await queue.put(item)
            put.append(item)

    async def consume() -> None:
        with contextlib.suppress(asyncnb.QueueShutDown):
            while True:
                got.append(await queue.get())
                queue.task_done()

    async def work(n: int) -> None:
        if n < 2:
            await produce(n)
            await both.wait()
            await queue.join()
            queue.shutdown()
        else:
            await cancels([asyncio.ensure_future(consume()) for _ in range(30)], 3)

    in_loops(4, work)
    assert sorted(got) == sorted(put)
    assert queue.empty() and not queue._getters and not queue._putters


@pytest.mark.parametrize("permits", [0, 1, 3])
def test_many_loops_hold_no_more_than_there_is(permits: int, hurried: None) -> None:
    it: Any = asyncnb.BoundedSemaphore(permits) if permits else asyncnb.Lock()
    inside: list[int] = []
    most = 0

    async def use(n: int) -> None:
        nonlocal most
        for _ in range(20):
            async with it:
                inside.append(n)
                most = max(most, len(inside))
                try:
                    await asyncio.sleep(0)
                finally:
                    inside.remove(n)

    async def work(n: int) -> None:
        await cancels([asyncio.ensure_future(use(n * 100 + k)) for k in range(12)], 4)

    in_loops(3, work)
    assert 1 <= most <= max(1, permits)
    assert not it.locked() and not it._waiters
    assert not permits or it._value == permits
