"""The time limit of a launched task, set from other threads while it runs or before it does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import asyncnb
from asyncnb._core.launched.time_limit import BEGUN, TaskTimeout, set_limit


async def forever() -> None:
    await asyncio.Event().wait()


def now() -> float:
    return asyncnb.embedded_loop().time()


@contextmanager
def blocked_loop() -> Iterator[None]:
    """Keep the embedded loop from taking a step."""
    entered, go = threading.Event(), threading.Event()
    asyncnb.embedded_loop().call_soon_threadsafe(lambda: (entered.set(), go.wait(10)))
    assert entered.wait(10)
    try:
        yield
    finally:
        go.set()


def running(coro: Coroutine[Any, Any, Any], **kwargs: Any) -> Any:
    """Launch ``coro`` and return its task when it has had its first turn."""
    task = asyncnb.launch(coro, **kwargs)
    asyncnb.run(asyncio.sleep(0))
    return task


def test_nobody_pays_for_a_limit_that_nobody_asks_for() -> None:
    task = running(forever())
    assert task._timeout is None and task.info().timeout is None
    task.cancel()


def test_a_running_task_gets_a_limit_from_another_thread() -> None:
    task = running(forever(), name="unlimited")
    limit = task.timeout
    assert limit is task.timeout and limit.when() is None and not limit.expired()
    limit.reschedule(now() - 1)
    with pytest.raises(TimeoutError, match=r"'unlimited' did not finish within \S+ s"):
        task.join(10)
    assert limit.expired() and limit is task.timeout


def test_the_limit_stands_around_what_the_task_has_entered_already() -> None:
    deadlines: list[float | None] = []
    go, looked = asyncio.Event(), threading.Event()

    async def inside() -> None:
        async with asyncnb.timeout(1000), asyncnb.TaskGroup() as group:

            async def child() -> None:
                await go.wait()
                deadlines.append(asyncnb.current_deadline())

            await group.create_task(child())
            deadlines.append(asyncnb.current_deadline())
        deadlines.append(asyncnb.current_deadline())
        looked.set()
        await forever()

    task = running(inside())
    when = now() + 500
    task.timeout.reschedule(when)
    asyncnb.embedded_loop().call_soon_threadsafe(go.set)
    assert looked.wait(10)
    assert deadlines == [when] * 3
    task.cancel()


def test_a_child_of_a_group_sees_a_limit_set_after_the_group_was_entered() -> None:
    go = asyncio.Event()

    async def child() -> float | None:
        await go.wait()
        return asyncnb.current_deadline()

    async def parent() -> float | None:
        async with asyncnb.TaskGroup() as group:
            found = group.create_task(child())
        return found.result()

    task = running(parent())
    when = now() + 500
    task.timeout.reschedule(when)
    asyncnb.embedded_loop().call_soon_threadsafe(go.set)
    assert task.join(10) == when


def test_a_limit_expires_through_inner_timeouts_that_have_not() -> None:
    said: list[str] = []

    async def inside() -> None:
        try:
            async with asyncnb.timeout(1000):
                await forever()
        except TimeoutError:
            said.append("inner")
            raise
        except asyncio.CancelledError:
            said.append("cancelled")
            raise

    task = running(inside())
    task.timeout.reschedule(now())
    with pytest.raises(TimeoutError, match="did not finish within"):
        task.join(10)
    assert said == ["cancelled"]


def test_a_limit_is_set_before_the_first_turn_and_counts_from_there() -> None:
    with blocked_loop():
        task = asyncnb.launch(forever(), timeout=5)
        assert task.timeout.remaining() == 5 and task.info().timeout == 5
        assert set_limit(task._record, 20, more=True) == 25
        assert task.timeout.remaining() == 25
    asyncnb.run(asyncio.sleep(0))
    assert 24 < (task.timeout.remaining() or 0) <= 25
    task.cancel()


def test_a_deadline_is_set_before_the_first_turn() -> None:
    with blocked_loop():
        task = asyncnb.launch(forever(), timeout=5)
        when = now() + 70
        task.timeout.reschedule(when)
        assert 69 < (task.timeout.remaining() or 0) <= 70
    asyncnb.run(asyncio.sleep(0))
    assert task.timeout.when() == when
    assert set_limit(task._record, None) is None
    assert task.timeout.when() is None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        task.join(10)


def test_a_seconds_limit_replaces_a_deadline_before_the_first_turn() -> None:
    with blocked_loop():
        task = asyncnb.launch(forever())
        task.timeout.reschedule(now() + 70)
        assert set_limit(task._record, 0) == 0
    with pytest.raises(TimeoutError, match="did not finish within 0 s"):
        task.join(10)


def test_no_number_is_refused_and_changes_nothing() -> None:
    task = running(forever())
    with blocked_loop():
        early = asyncnb.launch(forever(), timeout=5)
        for each in (task, early):
            with pytest.raises(ValueError, match="a deadline must be a number"):
                each.timeout.reschedule(float("nan"))
        assert task.timeout.when() is None and early.timeout.remaining() == 5
    asyncnb.cancel(task.get_name(), early.get_name())


def test_a_task_that_ended_without_a_limit_has_none() -> None:
    task = asyncnb.launch(asyncio.sleep(0))
    task.join(10)
    assert task.timeout is None
    with pytest.raises(ValueError, match="has ended"):
        set_limit(task._record, 5)


def test_a_limit_asked_for_in_the_last_step_ends_with_the_task() -> None:
    limits: list[asyncnb.Timeout] = []

    async def last_step() -> None:
        task = asyncnb.current_task()
        asker = threading.Thread(target=lambda: limits.append(task.timeout))
        asker.start()
        asker.join(10)

    asyncnb.launch(last_step()).join(10)
    asyncnb.run(asyncio.sleep(0))
    with pytest.raises(RuntimeError, match="already ended"):
        limits[0].reschedule(now() + 1000)
    assert not asyncnb.embedded_loop()._asyncnb_timeouts  # type: ignore[attr-defined]


def test_a_limit_that_comes_too_late_for_the_task_ends_at_once() -> None:
    # Between a task's last look at its limit and its end there is no code to wait in.
    task = asyncnb.launch(asyncio.sleep(0))
    task.join(10)
    limit = TaskTimeout(task._record)
    limit._record.first_limit = BEGUN
    limit.enter_around(task)
    asyncnb.run(asyncio.sleep(0))
    with pytest.raises(RuntimeError, match="already ended"):
        limit.reschedule(now() + 1000)


def test_a_task_reschedules_its_own_limit() -> None:
    async def itself() -> bool:
        task = asyncnb.current_task()
        task.timeout.reschedule(now() + 50)
        assert asyncnb.current_deadline() == task.timeout.when()
        task.timeout.reschedule(now())
        try:
            await forever()
        except asyncio.CancelledError:
            return task.timeout.expired()
        return False

    # The cancellation was caught: the result is kept, as with any `async with timeout()`.
    assert asyncnb.launch(itself()).join(10) is True
