"""Two cells that do opposite things at once: it ends in one of the two orders, in no third state.

Each pair of actions is done one after the other on tasks of their own, in both orders; then on
another one by two threads at the same time. How that ends has to be one of the two ends seen.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asyncnb
from asyncnb._core.launched.time_limit import set_limit

LONG = 1000.0


class Subject:
    """A launched task in an open group, and what the actions do to it."""

    def __init__(self, body: Callable[[], Any]) -> None:
        self.group = asyncnb.open_group(f"group {id(self)}")
        self.task: Any = asyncnb.launch(body(), name="before", timeout=LONG)
        self.added: Any = None
        settle()

    def cancel(self) -> None:
        self.task.cancel()

    def rename(self) -> None:
        self.task.set_name("after")

    def more_time(self) -> None:
        self.limit(5 * LONG)

    def no_limit(self) -> None:
        self.limit(None)

    def no_time(self) -> None:
        self.limit(0)

    def limit(self, seconds: float | None) -> None:
        try:
            set_limit(self.task._record, seconds)
        except ValueError:
            pass  # too late: the task has ended, which is what counts below

    def pause(self) -> None:
        self.task.pause()

    def pause_with_its_clock(self) -> None:
        self.task.pause(pause_timeouts=True)

    def resume(self) -> None:
        self.task.resume()

    def close(self) -> None:
        try:
            self.group.join(timeout=0)
        except TimeoutError:
            pass  # there was a task to wait for

    def cancel_group(self) -> None:
        self.group.cancel()

    def add(self) -> None:
        self.added = coro = asyncio.sleep(LONG)
        try:
            self.added = self.group.create_task(coro, name="added")
        except RuntimeError as exc:
            self.added = exc

    def end(self) -> tuple[object, ...]:
        """Return the state once the loop has done all that was requested."""
        settle()
        info = self.task.info()
        left = None if info.timeout is None else round(info.timeout / LONG)
        added: object = self.added
        if isinstance(added, asyncio.Task):
            added = added.info().state
        elif added is not None:
            added = type(added).__name__
        return (
            info.state,
            info.name,
            left if info.state in ("waiting", "paused") else None,
            type(info.error and self.task._exception).__name__,
            added,
            self.group.closed,
            len(self.group),
        )

    def clean_up(self) -> None:
        tasks = [t for t in (self.task, self.added) if isinstance(t, asyncio.Task)]
        self.group.cancel()
        for task in tasks:
            task.cancel()
        _, left = asyncnb.run(asyncnb.wait(tasks, timeout=10))
        assert not left


def settle() -> None:
    """Let the loop take all the turns that it has any reason to take."""

    async def turns() -> None:
        for _ in range(12):
            await asyncio.sleep(0)

    asyncnb.run(turns())


async def waits() -> None:
    await asyncio.sleep(LONG)


async def cleans_up() -> None:
    try:
        await asyncio.sleep(LONG)
    finally:
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def waits_for_a_task() -> None:
    await asyncnb.create_task(asyncio.sleep(LONG))


@pytest.fixture(autouse=True)
def threads_that_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_order(body: Callable[[], Any], *actions: Callable[[Subject], None]) -> tuple[object, ...]:
    subject = Subject(body)
    try:
        for action in actions:
            action(subject)
            settle()
        return subject.end()
    finally:
        subject.clean_up()


def at_once(
    body: Callable[[], Any],
    first: Callable[[Subject], None],
    second: Callable[[Subject], None],
    head_start: int,
) -> tuple[object, ...]:
    subject = Subject(body)
    ready = threading.Barrier(2)

    def act(action: Callable[[Subject], None], spins: int) -> None:
        ready.wait(10)
        for _ in range(spins):
            pass
        action(subject)

    threads = [
        threading.Thread(target=act, args=(first, max(0, -head_start))),
        threading.Thread(target=act, args=(second, max(0, head_start))),
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        return subject.end()
    finally:
        subject.clean_up()


PAIRS = [
    (Subject.cancel, Subject.rename),
    (Subject.cancel, Subject.more_time),
    (Subject.cancel, Subject.no_limit),
    (Subject.cancel, Subject.no_time),
    (Subject.cancel, Subject.pause),
    (Subject.cancel, Subject.pause_with_its_clock),
    (Subject.pause, Subject.resume),
    (Subject.pause, Subject.no_time),
    (Subject.pause_with_its_clock, Subject.no_time),
    (Subject.pause_with_its_clock, Subject.more_time),
    (Subject.pause_with_its_clock, Subject.no_limit),
    (Subject.more_time, Subject.no_limit),
    (Subject.close, Subject.add),
    (Subject.cancel_group, Subject.add),
]


@settings(max_examples=60, deadline=None)
@given(
    pair=st.sampled_from(PAIRS),
    body=st.sampled_from([waits, cleans_up, waits_for_a_task]),
    head_start=st.integers(-300, 300),
)
def test_two_opposite_actions_end_in_one_of_the_two_orders(
    pair: Any, body: Callable[[], Any], head_start: int
) -> None:
    one, other = pair
    ends = {in_order(body, one, other), in_order(body, other, one)}
    assert at_once(body, one, other, head_start) in ends
