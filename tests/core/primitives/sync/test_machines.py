"""Random calls on two loops that take turns, against what must hold whenever all is quiet.

Both loops run in this thread, a few turns at a time, and most calls come while neither runs: then
every wake-up is on its way between threads for a while, as far as the primitive can see.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import asyncnb

which = st.integers(0, 1)
some = st.integers(0, 9)


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


class TwoLoops(RuleBasedStateMachine):
    """Tasks on two loops; what each was given is in `given`."""

    def __init__(self) -> None:
        super().__init__()
        self.loops = [asyncio.new_event_loop() for _ in range(2)]
        self.tasks: list[asyncio.Task[Any]] = []

    def start(self, coro: Any, loop: int) -> None:
        self.tasks.append(asyncio.Task(coro, loop=self.loops[loop]))

    @rule(loop=which, number=st.integers(1, 3))
    def run(self, loop: int, number: int) -> None:
        self.loops[loop].run_until_complete(turns(number))

    @rule(number=some)
    def cancel(self, number: int) -> None:
        living = [task for task in self.tasks if not task.done()]
        if living:
            living[number % len(living)].cancel()

    def settle(self) -> None:
        """Run both loops until nothing happens any more: an item may be handed on many times."""
        same = 0
        before: list[Any] = []
        while same < 2:
            for loop in self.loops:
                loop.run_until_complete(turns(6))
            self.tasks = [task for task in self.tasks if not task.done()]
            now = [(task, waiter := task._fut_waiter, waiter.done()) for task in self.tasks]  # type: ignore[attr-defined]
            same = same + 1 if now == before else 0
            before = now

    def teardown(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.settle()
        for loop in self.loops:
            loop.close()
        assert self.tasks == []


class QueueMachine(TwoLoops):
    @initialize(maxsize=st.integers(0, 2), kind=st.sampled_from(["Queue", "LifoQueue"]))
    def make(self, maxsize: int, kind: str) -> None:
        self.queue = getattr(asyncnb, kind)(maxsize)
        self.put: Counter[int] = Counter()
        self.got: Counter[int] = Counter()
        self.next = 0

    async def _get(self) -> None:
        with contextlib.suppress(asyncnb.QueueShutDown):
            self.got[await self.queue.get()] += 1

    async def _put(self, item: int) -> None:
        with contextlib.suppress(asyncnb.QueueShutDown):
            await self.queue.put(item)
            self.put[item] += 1

    @rule(loop=which, number=st.integers(1, 3))
    def get(self, loop: int, number: int) -> None:
        for _ in range(number):
            self.start(self._get(), loop)

    @rule(loop=which, number=st.integers(1, 3))
    def put_one(self, loop: int, number: int) -> None:
        for _ in range(number):
            self.next += 1
            self.start(self._put(self.next), loop)

    @rule()
    def put_nowait(self) -> None:
        self.next += 1
        with contextlib.suppress(asyncnb.QueueFull, asyncnb.QueueShutDown):
            self.queue.put_nowait(self.next)
            self.put[self.next] += 1

    @rule()
    def get_nowait(self) -> None:
        with contextlib.suppress(asyncnb.QueueEmpty, asyncnb.QueueShutDown):
            self.got[self.queue.get_nowait()] += 1

    @rule(often=some)
    def shutdown(self, often: int) -> None:
        if often == 0:
            self.queue.shutdown()

    @rule()
    def quiet(self) -> None:
        self.settle()
        queue = self.queue
        left = Counter(queue._queue)
        assert self.got + left == self.put
        assert queue._unfinished_tasks == sum(self.put.values())
        waiting = len(queue._getters) + len(queue._putters)
        assert waiting == len(self.tasks)
        assert not queue._getters or (queue.empty() and not queue._is_shutdown)
        assert not queue._putters or (queue.full() and not queue._is_shutdown)


class PermitMachine(TwoLoops):
    @initialize(value=st.integers(0, 3))
    def make(self, value: int) -> None:
        self.permits = value
        self.it: Any = asyncnb.Semaphore(value) if value else asyncnb.Lock()
        self.held = 0

    async def _hold(self) -> None:
        await self.it.acquire()
        self.held += 1

    @rule(loop=which, number=st.integers(1, 3))
    def acquire(self, loop: int, number: int) -> None:
        for _ in range(number):
            self.start(self._hold(), loop)

    @rule()
    def release(self) -> None:
        if self.held:
            self.held -= 1
            self.it.release()

    @rule(loop=which)
    def release_on_a_loop(self, loop: int) -> None:
        async def release() -> None:
            self.release()

        self.loops[loop].run_until_complete(release())

    @invariant()
    def no_more_than_there_are(self) -> None:
        if hasattr(self, "held"):
            assert self.held <= max(1, self.permits)

    @rule()
    def quiet(self) -> None:
        self.settle()
        free = self.it._value if self.permits else not self.it.locked()
        assert free + self.held == max(1, self.permits)
        assert len(self.it._waiters) == len(self.tasks)
        assert not self.tasks or not free


class ConditionMachine(TwoLoops):
    @initialize()
    def make(self) -> None:
        self.it = asyncnb.Condition()
        self.owed = 0  # notifications that a task had to take
        self.woken = 0

    async def _wait(self) -> None:
        async with self.it:
            await self.it.wait()
            self.woken += 1

    @rule(loop=which)
    def wait(self, loop: int) -> None:
        # What a cancelled task passes on goes to those that wait at that moment, as in asyncio.
        self.settle()
        if not self.tasks:
            self.owed = self.woken
        self.start(self._wait(), loop)

    @rule(loop=which, n=st.integers(1, 2))
    def notify(self, loop: int, n: int) -> None:
        self.settle()

        async def notify() -> None:
            async with self.it:
                self.owed += min(n, len(self.it._waiters))
                self.it.notify(n)

        self.loops[loop].run_until_complete(notify())

    @rule()
    def quiet(self) -> None:
        waiting = len(self.tasks)
        self.settle()
        # None is lost: it woke a task, or there was none left to take it.
        assert self.woken == self.owed or not self.tasks
        assert self.woken <= self.owed
        assert len(self.tasks) <= waiting
        assert not self.it.locked() and len(self.it._waiters) == len(self.tasks)


TestQueue = QueueMachine.TestCase
TestPermits = PermitMachine.TestCase
TestCondition = ConditionMachine.TestCase
quick = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestQueue.settings = TestPermits.settings = TestCondition.settings = quick
