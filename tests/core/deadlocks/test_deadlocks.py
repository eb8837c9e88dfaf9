"""Deadlocks in words: each kind of knot with its sentence, and ordinary waits that are none."""

from __future__ import annotations

import asyncio
import contextlib
import linecache
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

import asyncnb
from asyncnb import EmbeddedLoop
from asyncnb._core.deadlocks.search import Knot
from asyncnb._core.deadlocks.sentences import explain, summary
from asyncnb._core.deadlocks.watcher import Watcher
from asyncnb._core.primitives.all_tasks import all_tasks
from asyncnb._core.primitives.joining import joiners_of
from tests.core.elsewhere import running_elsewhere, with_ours

Make = Callable[[], object]


def start(coro: Any, name: str) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(coro, name=name)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Still:
    """A loop whose tasks have come as far as they get; the loop itself does not run."""

    def __init__(self, make: Make) -> None:
        self.loop = asyncio.new_event_loop()
        self.reports: list[str] = []
        self.watcher = Watcher(self.tasks, self.report)

        async def main() -> None:
            make()
            await turns()

        self.loop.run_until_complete(main())
        self.kept = all_tasks(self.loop)  # else they could be collected, with what they wait for

    def tasks(self) -> set[asyncio.Task[Any]]:
        return all_tasks(self.loop)

    def report(self, knot: Knot) -> None:
        self.reports.append(with_lines(explain(knot)))

    def end(self) -> None:
        for _ in range(3):
            for task in all_tasks(self.loop):
                with contextlib.suppress(RecursionError):  # asyncio's, for tasks in a ring
                    task.cancel()
            self.loop.run_until_complete(turns())
        for task in all_tasks(self.loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.loop.close()


def with_lines(text: str) -> str:
    """Put the source text of a line in the place of its file and number."""

    def source(match: re.Match[str]) -> str:
        return f"(at {linecache.getline(__file__, int(match[1])).strip()})"

    return re.sub(r"\([^()]*test_deadlocks\.py, line (\d+)\)", source, text)


def reports(make: Make) -> list[str]:
    still = Still(make)
    del make  # a thread whose code names what a task waits for could wake that task
    try:
        still.watcher(True)
        return still.reports
    finally:
        still.end()


# Each kind of knot


async def both(first: asyncio.Lock, second: asyncio.Lock) -> None:
    async with first:
        await asyncio.sleep(0)
        async with second:
            pass


def crossed_locks() -> None:
    first, second = asyncio.Lock(), asyncio.Lock()
    start(both(first, second), "a")
    start(both(second, first), "b")


async def holds_and_gets(lock: asyncio.Lock, q: asyncio.Queue[int]) -> None:
    async with lock:
        await q.get()


async def locks_and_puts(lock: asyncio.Lock, q: asyncio.Queue[int]) -> None:
    async with lock:
        await q.put(1)


def lock_and_queue() -> None:
    lock, q = asyncio.Lock(), asyncio.Queue[int]()
    start(holds_and_gets(lock, q), "a")
    start(locks_and_puts(lock, q), "b")


async def twice(sem: Any) -> None:
    async with sem:
        async with sem:
            pass


def semaphore_twice() -> None:
    start(twice(asyncio.Semaphore(1)), "greedy")


def lock_twice() -> None:
    start(twice(asyncio.Lock()), "greedy")


async def gathers(own: list[Any]) -> None:
    await asyncio.gather(*own)


def itself_through_gather() -> None:
    own: list[Any] = []
    own.append(start(gathers(own), "snake"))


async def waits_for(task: Any) -> None:
    await asyncio.wait([task])


async def parent() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(waits_for(asyncio.current_task()), name="child")


def child_of_a_group() -> None:
    start(parent(), "parent")


async def waits_for_notice(cond: asyncio.Condition) -> None:
    async with cond:
        await cond.wait()


def condition_never_notified() -> None:
    start(waits_for_notice(asyncio.Condition()), "waiter")


async def waits_for_named() -> None:
    answer = asyncio.get_running_loop().create_future()
    await answer


def orphaned_future() -> None:
    start(waits_for_named(), "waiter")


async def takes_and_ends(lock: asyncio.Lock) -> None:
    await lock.acquire()


async def uses(lock: asyncio.Lock) -> None:
    async with lock:
        pass


def lock_never_released() -> None:
    lock = asyncio.Lock()
    start(takes_and_ends(lock), "gone")
    start(uses(lock), "user")


async def joins(q: asyncio.Queue[int]) -> None:
    q.put_nowait(1)
    await q.join()


def queue_without_a_consumer() -> None:
    start(joins(asyncio.Queue()), "main")


async def puts_twice(q: asyncio.Queue[int], lock: asyncio.Lock) -> None:
    async with lock:
        await q.put(1)
        await q.put(2)


async def locks_and_gets(q: asyncio.Queue[int], lock: asyncio.Lock) -> None:
    async with lock:
        await q.get()


def full_queue() -> None:
    q, lock = asyncio.Queue[int](1), asyncio.Lock()
    start(puts_twice(q, lock), "producer")
    start(locks_and_gets(q, lock), "consumer")


def anyio_locks() -> None:
    first, second = anyio.Lock(), anyio.Lock()
    start(both(first, second), "a")  # type: ignore[arg-type]
    start(both(second, first), "b")  # type: ignore[arg-type]


async def limited(limiter: anyio.CapacityLimiter, lock: asyncio.Lock) -> None:
    async with limiter:
        await asyncio.sleep(0)
        async with lock:
            pass


async def locked(limiter: anyio.CapacityLimiter, lock: asyncio.Lock) -> None:
    async with lock:
        await asyncio.sleep(0)
        async with limiter:
            pass


def anyio_limiter() -> None:
    limiter, lock = anyio.CapacityLimiter(1), asyncio.Lock()
    start(limited(limiter, lock), "a")
    start(locked(limiter, lock), "b")


class Account:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()


async def transfer(source: Account, target: Account) -> None:
    async with source.lock, target.lock:
        pass


async def transfer_slowly(source: Account, target: Account) -> None:
    async with source.lock:
        await asyncio.sleep(0)
        async with target.lock:
            pass


def locks_of_objects() -> None:
    one, other = Account(), Account()
    start(transfer_slowly(one, other), "there")
    start(transfer_slowly(other, one), "back")


CROSSED = """\
asyncnb: deadlock: 2 tasks wait for each other.
  `a` holds lock `first` (at async with first:) and waits for lock `second` \
(at async with second:), which `b` holds.
  `b` holds lock `second` (at async with first:) and waits for lock `first` \
(at async with second:), which `a` holds.
To end it, cancel one of them, for example: %tasks cancel "b\""""

KNOTS: dict[Make, str] = {
    crossed_locks: CROSSED,
    anyio_locks: CROSSED,
    lock_and_queue: """\
asyncnb: deadlock: 2 tasks wait for each other.
  `a` holds lock `lock` (at async with lock:) and waits for queue `q` \
(at await q.get()); only `b` puts into it.
  `b` waits for lock `lock` (at async with lock:), which `a` holds.
To end it, cancel one of them, for example: %tasks cancel "b\"""",
    full_queue: """\
asyncnb: deadlock: 2 tasks wait for each other.
  `consumer` waits for lock `lock` (at async with lock:), which `producer` holds.
  `producer` holds lock `lock` (at async with lock:) and waits for room in queue `q` \
(at await q.put(2)); \
only `consumer` takes from it.
To end it, cancel one of them, for example: %tasks cancel "producer\"""",
    semaphore_twice: """\
asyncnb: deadlock: 1 task waits for itself.
  `greedy` holds semaphore `sem` (at async with sem:) and waits for it again (at async with sem:).
To end it, cancel it, for example: %tasks cancel "greedy\"""",
    lock_twice: """\
asyncnb: deadlock: 1 task waits for itself.
  `greedy` holds lock `sem` (at async with sem:) and waits for it again (at async with sem:).
To end it, cancel it, for example: %tasks cancel "greedy\"""",
    itself_through_gather: """\
asyncnb: deadlock: 1 task waits for itself.
  `snake` waits for itself (at await asyncio.gather(*own)).
asyncio cannot cancel tasks that await each other; %asyncnb restart ends all tasks.""",
    child_of_a_group: """\
asyncnb: deadlock: 2 tasks wait for each other.
  `child` waits for `parent` (at await asyncio.wait([task])).
  `parent` waits for `child` (at async with asyncio.TaskGroup() as group:).
To end it, cancel one of them, for example: %tasks cancel "parent\"""",
    condition_never_notified: """\
asyncnb: 1 task waits for something that will not come.
  `waiter` waits for condition `cond` (at await cond.wait()); no living task notifies it.
To end it, cancel it, for example: %tasks cancel "waiter\"""",
    orphaned_future: """\
asyncnb: 1 task waits for something that will not come.
  `waiter` waits for future `answer` (at await answer), which nothing else refers to.
To end it, cancel it, for example: %tasks cancel "waiter\"""",
    lock_never_released: """\
asyncnb: 1 task waits for something that will not come.
  `user` waits for lock `lock` (at async with lock:), which no living task holds.
To end it, cancel it, for example: %tasks cancel "user\"""",
    queue_without_a_consumer: """\
asyncnb: 1 task waits for something that will not come.
  `main` waits for all items of queue `q` to be done (at await q.join()); \
no living task marks its items as done.
To end it, cancel it, for example: %tasks cancel "main\"""",
    anyio_limiter: """\
asyncnb: deadlock: 2 tasks wait for each other.
  `a` holds limiter `limiter` (at async with limiter:) and waits for lock `lock` \
(at async with lock:), which `b` holds.
  `b` holds lock `lock` (at async with lock:) and waits for limiter `limiter` \
(at async with limiter:), which `a` holds.
To end it, cancel one of them, for example: %tasks cancel "b\"""",
    locks_of_objects: """\
asyncnb: deadlock: 2 tasks wait for each other.
  `back` holds lock `source.lock` (at async with source.lock:) and waits for lock `target.lock` \
(at async with target.lock:), which `there` holds.
  `there` holds lock `target.lock` (at async with source.lock:) and waits for lock `source.lock` \
(at async with target.lock:), which `back` holds.
To end it, cancel one of them, for example: %tasks cancel "there\"""",
}


@pytest.mark.parametrize("make", KNOTS, ids=lambda make: make.__name__)
def test_a_knot_is_reported_in_these_words(make):
    assert reports(make) == [KNOTS[make]]


@pytest.mark.parametrize("make", KNOTS, ids=lambda make: make.__name__)
def test_a_knot_of_our_locks_and_queues_is_reported_in_the_same_words(make, monkeypatch):
    monkeypatch.setitem(globals(), "asyncio", with_ours())
    assert reports(make) == [KNOTS[make]]


def test_a_knot_is_reported_once_and_a_new_one_of_the_same_code_again():
    still = Still(crossed_locks)
    try:
        for _ in range(3):
            still.watcher(True)
        assert still.reports == [CROSSED]
        still.loop.run_until_complete(_again(still))
        still.watcher(True)
        assert still.reports == [CROSSED, CROSSED]
    finally:
        still.end()


async def _again(still: Still) -> None:
    me = asyncio.current_task()
    for task in all_tasks(still.loop):
        if task is not me:
            task.cancel()
    await turns()
    crossed_locks()
    await turns()


# Ordinary waits


async def works(q: asyncio.Queue[int]) -> None:
    while True:
        await q.get()
        q.task_done()


def idle_workers() -> None:
    q = asyncio.Queue[int]()
    for number in range(3):
        start(works(q), f"worker {number}")


async def crawls(q: asyncio.Queue[int]) -> None:
    while True:
        found = await q.get()
        await q.put(found + 1)


def idle_crawlers_that_feed_themselves() -> None:
    q = asyncio.Queue[int]()
    for number in range(3):
        start(crawls(q), f"crawler {number}")


async def actor(inbox: asyncio.Queue[int], other: asyncio.Queue[int]) -> None:
    while True:
        await other.put(await inbox.get())


KEPT: list[Any] = []


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    # Not in the test, whose code would then name the list, and have hold of what is in it.
    yield
    KEPT.clear()


def idle_actors() -> None:
    one, other = asyncio.Queue[int](), asyncio.Queue[int]()
    KEPT[:] = [one]
    start(actor(one, other), "one")
    start(actor(other, one), "other")


async def waits_for_button(event: asyncio.Event) -> None:
    await event.wait()


def a_button() -> None:
    event = asyncio.Event()
    KEPT[:] = [event.set]
    start(waits_for_button(event), "waiter")


async def until_cancelled() -> None:
    await asyncio.Event().wait()


async def until_cancelled_too() -> None:
    await asyncio.Future()


def until_they_are_cancelled() -> None:
    start(until_cancelled(), "server")
    start(until_cancelled_too(), "another")


def a_timer_sets_it() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(3600, event.set)
    start(waits_for_button(event), "waiter")


async def patient(first: asyncio.Lock, second: asyncio.Lock) -> None:
    async with first:
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            async with second:
                pass


async def patient_of_asyncnb(first: asyncio.Lock, second: asyncio.Lock) -> None:
    async with first:
        await asyncio.sleep(0)
        await asyncnb.wait_for(second.acquire(), 30)


async def patient_of_anyio(first: asyncio.Lock, second: asyncio.Lock) -> None:
    async with first:
        await asyncio.sleep(0)
        with anyio.fail_after(30):
            await second.acquire()


def a_timeout_ends_it() -> None:
    for kind in (patient, patient_of_asyncnb, patient_of_anyio):
        first, second = asyncio.Lock(), asyncio.Lock()
        start(kind(first, second), "a")
        start(both(second, first), "b")


async def sleeps_inside(lock: asyncio.Lock) -> None:
    async with lock:
        await asyncio.sleep(3600)


def a_lock_whose_holder_sleeps() -> None:
    lock = asyncio.Lock()
    start(sleeps_inside(lock), "holder")
    for number in range(3):
        start(uses(lock), f"user {number}")


async def sleeps_then(set_it: Callable[[], object]) -> None:
    await asyncio.sleep(3600)
    set_it()


def a_sleeping_task_sets_it() -> None:
    event, done = asyncio.Event(), asyncio.get_running_loop().create_future()
    start(waits_for_button(event), "waiter")
    start(awaits(done), "another")
    start(sleeps_then(lambda: (event.set(), done.set_result(1))), "setter")


async def awaits(future: Any) -> None:
    await future


async def crawl_with(workers: int) -> None:
    q = asyncio.Queue[int]()
    q.put_nowait(1)
    async with asyncio.TaskGroup() as group:
        for number in range(workers):
            group.create_task(takes_long(q), name=f"worker {number}")
        await q.join()


async def takes_long(q: asyncio.Queue[int]) -> None:
    while True:
        await q.get()
        await asyncio.sleep(3600)
        q.task_done()


def workers_and_a_join() -> None:
    start(crawl_with(3), "crawl")


async def streams() -> None:
    send, receive = anyio.create_memory_object_stream[int](1)
    async with anyio.create_task_group() as group:
        group.start_soon(consume, receive)
        await asyncio.sleep(3600)
        await send.send(1)


async def consume(receive: Any) -> None:
    async for _ in receive:
        pass


def memory_streams() -> None:
    start(streams(), "streams")


async def served() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            await reader.read()
        finally:
            writer.close()  # which takes turns of the loop only, and no event of a socket
            await writer.wait_closed()


def a_socket() -> None:
    start(served(), "served")


NONE: list[Make] = [
    idle_workers,
    idle_crawlers_that_feed_themselves,
    idle_actors,
    a_button,
    until_they_are_cancelled,
    a_timer_sets_it,
    a_timeout_ends_it,
    a_lock_whose_holder_sleeps,
    a_sleeping_task_sets_it,
    workers_and_a_join,
    memory_streams,
    a_socket,
]


@pytest.mark.parametrize("kind", ["asyncio", "asyncnb"])
@pytest.mark.parametrize("name", [make.__name__ for make in NONE])
def test_an_ordinary_wait_is_not_reported(name, kind, monkeypatch):
    if kind == "asyncnb":
        monkeypatch.setitem(globals(), "asyncio", with_ours())
    assert reports(globals()[name]) == []


def test_an_idle_worker_is_named_when_asked():
    still = Still(idle_workers)
    try:
        text = with_lines(summary(*still.watcher.search()))
    finally:
        still.end()
    assert text == (
        "No deadlock found among 3 tasks.\n"
        "Nothing wakes 3 tasks:\n"
        "  `worker 0` waits for queue `q` (at await q.get()); no living task puts into it.\n"
        "  `worker 1` waits for queue `q` (at await q.get()); no living task puts into it.\n"
        "  `worker 2` waits for queue `q` (at await q.get()); no living task puts into it."
    )


def test_a_task_that_moves_between_two_looks_is_not_reported():
    still = Still(crossed_locks)
    try:
        still.watcher(False)
        assert still.reports == []  # seen for the first time
        still.watcher(False)
        assert still.reports == [CROSSED]
    finally:
        still.end()


# Threads and other loops


@pytest.fixture
def loop() -> Iterator[EmbeddedLoop]:
    loop = EmbeddedLoop()
    loop.start()
    yield loop
    loop.shutdown()


def watched(*loops: asyncio.AbstractEventLoop) -> tuple[Watcher, list[str]]:
    found: list[str] = []
    tasks = lambda: {task for loop in loops for task in all_tasks(loop)}  # noqa: E731
    return Watcher(tasks, lambda knot: found.append(with_lines(explain(knot)))), found


async def joined_by_its_thread() -> None:
    await asyncnb.to_thread(join_it, asyncnb.current_task())


def join_it(task: Any) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        task.join()


def test_a_thread_that_joins_the_task_that_waits_for_it_is_a_knot(loop):
    task = asyncnb.Task(joined_by_its_thread(), loop=loop, name="it")
    until(lambda: task._fut_waiter and joiners_of(loop))
    watcher, found = watched(loop)
    watcher(True)
    task.cancel()
    (text,) = found
    text = re.sub("`(asyncio|uvloop)_0`", "`pool_0`", text)
    assert text == (
        "asyncnb: deadlock: 1 task and 1 thread wait for each other.\n"
        "  `it` waits for thread `pool_0`, which runs its code "
        "(at await asyncnb.to_thread(join_it, asyncnb.current_task())).\n"
        "  Thread `pool_0` waits in join() for `it` (at task.join()).\n"
        'To end it, cancel one of them, for example: %tasks cancel "it"'
    )


async def awaits_from_here(tasks: list[Any], ready: threading.Event) -> None:
    ready.wait()
    await asyncnb.wait([tasks[0]])


def test_a_knot_across_two_loops_is_found_from_one_of_them(loop):
    other = EmbeddedLoop()
    other.start()
    tasks: list[Any] = []
    ready = threading.Event()
    here = asyncnb.Task(awaits_from_here(tasks, ready), loop=loop, name="here")
    there = asyncnb.Task(waits_in_asyncnb(here), loop=other, name="there")
    tasks.append(there)
    del here, there
    ready.set()
    watcher, found = watched(loop)
    try:
        until(lambda: all(task._fut_waiter for task in all_tasks(loop) | all_tasks(other)))
        watcher(True)
    finally:
        for task in all_tasks(loop) | all_tasks(other):
            task.cancel()
        other.shutdown()
    assert found == [
        "asyncnb: deadlock: 2 tasks wait for each other.\n"
        "  `here` waits for `there` (at await asyncnb.wait([tasks[0]])).\n"
        "  `there` waits for `here` (at await asyncnb.wait([task])).\n"
        'To end it, cancel one of them, for example: %tasks cancel "there"'
    ]


async def holds_until(lock: Any, event: Any) -> None:
    async with lock:
        await event.wait()


def hold_elsewhere(other: asyncio.AbstractEventLoop, loop: EmbeddedLoop) -> list[Any]:
    """Make a task of `other` hold a lock that one of `loop` waits for, until its timer ends that.

    Not in the test, whose thread could wake them if its code had hold of the lock.
    """
    lock, button = asyncnb.Lock(), asyncnb.Event()
    other.call_soon_threadsafe(other.call_later, 50, button.set)
    holder = asyncnb.Task(holds_until(lock, button), loop=other, name="holder")
    until(lock.locked)
    user = asyncnb.Task(uses(lock), loop=loop, name="user")
    until(lambda: user._fut_waiter)
    return [holder, user]


def test_a_lock_that_a_task_of_another_loop_holds_is_no_knot_while_that_task_can_move(loop):
    with running_elsewhere(asyncio.new_event_loop) as other:
        tasks = hold_elsewhere(other, loop)
        watcher, found = watched(loop)
        watcher(True)
        for task in tasks:
            task.cancel()
    assert found == []


def cross_locks(other: asyncio.AbstractEventLoop, loop: EmbeddedLoop) -> list[Any]:
    first, second = asyncnb.Lock(), asyncnb.Lock()
    here = asyncnb.Task(both_slowly(first, second), loop=loop, name="here")
    there = asyncnb.Task(both_slowly(second, first), loop=other, name="there")
    until(lambda: first._waiters and second._waiters)
    return [here, there]


def test_locks_that_tasks_of_two_loops_hold_crosswise_are_a_knot(loop):
    with running_elsewhere(asyncio.new_event_loop) as other:
        tasks = cross_locks(other, loop)
        watcher, found = watched(loop)
        watcher(True)
        for task in tasks:
            task.cancel()
    crossed = CROSSED.replace("`a`", "`here`").replace("`b`", "`there`")
    assert found == [crossed.replace('"b"', '"there"')]


async def both_slowly(first: Any, second: Any) -> None:
    async with first:
        while not second.locked():
            await asyncio.sleep(0)
        async with second:
            pass


async def waits_in_asyncnb(task: Any) -> None:
    await asyncnb.wait([task])


def until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.001)
