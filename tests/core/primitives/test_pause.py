"""Pause and resume: a held task takes no step, whatever it waited for."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import asyncnb
from asyncnb import Task, create_task, timeout
from asyncnb._core.launched.record import Placement
from asyncnb._core.primitives.pause import CancelWatch, StepInterceptor, pause, resume
from asyncnb.testing import run_virtual


class Steps:
    """Counts the steps of the coroutine that it is given to."""

    def __init__(self) -> None:
        self.count = 0

    async def over(self, wait: Callable[[], Awaitable[Any]], times: int = 10) -> int:
        for _ in range(times):
            self.count += 1
            await wait()
        return self.count


async def turns(number: int = 10) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


WAITS: dict[str, Callable[[], Awaitable[Any]]] = {
    "a timer": lambda: asyncio.sleep(1),
    "a task": lambda: create_task(asyncio.sleep(1)),
    "gather": lambda: asyncnb.gather(asyncio.sleep(1), asyncio.sleep(2)),
    "shield": lambda: asyncnb.shield(asyncio.sleep(1)),
    "a timeout": lambda: asyncnb.wait_for(asyncio.sleep(1), 500),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=list(WAITS))
def test_a_paused_task_takes_no_step_and_then_goes_on_where_it_stood(wait: Any) -> None:
    async def main() -> None:
        steps = Steps()
        task = create_task(steps.over(wait))
        await asyncio.sleep(0)
        assert steps.count == 1
        for _ in range(3):
            assert task.pause()
            before = steps.count
            await asyncio.sleep(10)
            assert steps.count == before
            assert task.resume()
            await asyncio.sleep(2.5)
        assert await task == 10

    run_virtual(main())


def test_a_task_that_never_waits_is_held_all_the_same() -> None:
    async def main() -> None:
        steps = Steps()
        task = create_task(steps.over(lambda: asyncio.sleep(0), 100))
        for _ in range(5):
            await turns(3)
            before = steps.count
            task.pause()
            await turns(10)
            assert steps.count == before
            task.resume()
        assert await task == 100

    run_virtual(main())


def test_a_task_paused_before_its_first_step_does_not_begin() -> None:
    async def main() -> None:
        steps = Steps()
        task = create_task(steps.over(lambda: asyncio.sleep(0)))
        task.pause()
        await asyncio.sleep(1)
        assert steps.count == 0
        task.resume()
        assert await task == 10

    run_virtual(main())


@pytest.mark.parametrize(
    "make",
    [lambda coro, _: asyncnb.launch(coro), lambda coro, loop: Task(coro, loop=loop)],
    ids=["launch", "Task"],
)
@pytest.mark.parametrize("then", ["resume", "cancel"])
def test_a_task_made_in_another_thread_and_paused_before_its_first_step_does_not_begin(
    make: Any, then: str
) -> None:
    async def main() -> None:
        steps, made = Steps(), []
        loop = asyncio.get_running_loop()
        body = steps.over(lambda: asyncio.sleep(0))
        thread = threading.Thread(target=lambda: made.append(make(body, loop)))
        thread.start()
        thread.join()  # this step blocks the loop: the task cannot have begun
        assert made[0].pause()
        await turns()
        assert steps.count == 0
        assert getattr(made[0], then)()
        if then == "resume":
            assert await made[0] == 10
        else:
            await asyncio.wait(made)
            assert made[0].cancelled() and steps.count == 0

    asyncnb.launch(main()).join(10)


def test_a_task_that_pauses_itself_finishes_its_step() -> None:
    async def main() -> None:
        seen: list[str] = []

        async def body() -> None:
            me: Any = asyncio.current_task()
            me.pause()
            seen.append("the rest of the step")
            await asyncio.sleep(0)
            seen.append("the next step")

        task = create_task(body())
        await asyncio.sleep(1)
        assert seen == ["the rest of the step"]
        task.resume()
        await task
        assert seen == ["the rest of the step", "the next step"]

    run_virtual(main())


@pytest.mark.parametrize("ready", [False, True], ids=["still waits", "could go on"])
@pytest.mark.parametrize("wait", WAITS.values(), ids=list(WAITS))
def test_cancelling_a_paused_task_lets_it_clean_up(wait: Any, ready: bool) -> None:
    async def main() -> None:
        log: list[str] = []

        async def body() -> None:
            try:
                while True:
                    await wait()
            finally:
                await asyncio.sleep(1)
                log.append("cleaned up")

        task = create_task(body())
        await asyncio.sleep(0)
        task.pause()
        if ready:
            await asyncio.sleep(10)
        assert task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == ["cleaned up"]

    run_virtual(main())


def test_what_the_awaited_thing_raised_reaches_the_resumed_task() -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()

        async def body() -> str:
            try:
                await future
            except ValueError as exc:
                return str(exc)
            return ""

        task = create_task(body())
        await asyncio.sleep(0)
        task.pause()
        future.set_exception(ValueError("meanwhile"))
        await turns()
        assert not task.done()
        task.resume()
        assert await task == "meanwhile"

    run_virtual(main())


def test_an_awaited_future_that_is_cancelled_does_not_end_the_pause() -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        task = create_task(asyncio.wait_for(future, 60))
        await asyncio.sleep(0)
        task.pause()
        future.cancel()
        await asyncio.sleep(10)
        assert not task.done()
        task.resume()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())


def test_time_limits_go_on_in_a_pause() -> None:
    async def main() -> None:
        task = create_task(asyncio.sleep(100), timeout=5)
        await asyncio.sleep(1)
        task.pause()
        with pytest.raises(TimeoutError):
            await task
        assert asyncio.get_running_loop().time() == 5

    run_virtual(main())


def test_time_limits_stand_still_if_their_clock_is_stopped() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def body() -> None:
            async with timeout(10), timeout(5):
                await asyncio.sleep(100)

        task = create_task(body())
        await asyncio.sleep(1)
        task.pause(pause_timeouts=True)
        await asyncio.sleep(50)
        assert not task.done()
        task.resume()
        with pytest.raises(TimeoutError):
            await task
        assert loop.time() == 55

    run_virtual(main())


def test_a_limit_set_anew_in_a_pause_is_kept() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = create_task(asyncio.sleep(100), timeout=5)
        await asyncio.sleep(1)
        task.pause(pause_timeouts=True)
        assert task.timeout is not None
        task.timeout.reschedule(20)
        task.resume()
        with pytest.raises(TimeoutError):
            await task
        assert loop.time() == 20

    run_virtual(main())


def test_a_paused_child_does_not_stop_its_group_from_being_cancelled() -> None:
    async def main() -> None:
        async def fail() -> None:
            await asyncio.sleep(1)
            raise ValueError("boom")

        with pytest.raises(ExceptionGroup):
            async with asyncnb.TaskGroup() as group:
                child: Any = group.create_task(asyncio.sleep(60))
                group.create_task(fail())
                await asyncio.sleep(0)
                child.pause()
        assert child.cancelled()
        assert asyncio.get_running_loop().time() == 1

    run_virtual(main())


def test_pausing_and_resuming_twice_is_as_once_and_ended_tasks_are_left_alone() -> None:
    async def main() -> None:
        task = create_task(asyncio.sleep(1, "done"))
        await asyncio.sleep(0)
        assert task.resume() is False
        assert task.pause() is True
        assert task.pause() is True
        assert task.resume() is True
        assert task.resume() is False
        assert await task == "done"
        assert task.pause() is False
        assert task.resume() is False

    run_virtual(main())


def test_a_task_that_is_being_cancelled_is_not_held() -> None:
    async def main() -> None:
        task = create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        task.cancel()
        assert task.pause() is False
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())


def test_a_launched_task_is_held_when_pause_returns_in_another_thread() -> None:
    count = 0

    async def spin() -> None:
        nonlocal count
        while True:
            count += 1
            await asyncio.sleep(0)

    task = asyncnb.launch(spin(), name="spin")
    try:
        for _ in range(20):
            assert task.pause()
            assert task.info().state == "paused"
            before = count
            asyncnb.run(turns(50))
            assert count == before
            assert task.resume()
            asyncnb.run(turns(50))
            assert count > before
    finally:
        task.cancel()
        asyncnb.run(asyncnb.wait([task]))
    assert task.info().state == "cancelled"


def test_a_loop_that_hides_its_queue_lets_one_more_step_pass() -> None:
    uvloop = pytest.importorskip("uvloop")

    class Loop(uvloop.Loop):  # type: ignore[misc, name-defined]
        pass

    async def main() -> None:
        steps = Steps()
        task = Task(steps.over(lambda: asyncio.sleep(0), 100))
        await turns(5)
        task.pause()
        before = steps.count
        await turns(50)
        assert steps.count <= before + 1
        assert "call_soon" not in vars(asyncio.get_running_loop())
        task.resume()
        assert await task == 100
        gate = asyncio.get_running_loop().create_future()
        waits = Task(steps.over(lambda: gate, 1))
        await turns(2)
        waits.pause()
        gate.set_result(None)
        await turns(5)
        assert not waits.done()
        waits.resume()
        assert await waits == 101
        spins = Task(steps.over(lambda: asyncio.sleep(0), 100))
        spins.pause()
        await turns(5)
        spins.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spins
        # Many at a time, resumed in the order they were paused in: nothing of it stays behind.
        crowd = [Task(steps.over(lambda: asyncio.sleep(0), 100)) for _ in range(5)]
        await turns(2)
        for _ in range(20):
            for one in crowd:
                one.pause()
            for one in crowd:
                one.resume()
        assert "call_soon" not in vars(asyncio.get_running_loop())
        await asyncnb.gather(*crowd)

    loop = Loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_a_task_in_a_thread_is_not_paused_but_refused() -> None:
    task = asyncnb.launch(asyncio.sleep(60), name="pretends")
    try:
        assert task._record is not None
        task._record.placement = Placement("thread")
        with pytest.raises(RuntimeError, match="only code there can be paused"):
            task.pause()
        assert task.info().state != "paused"
    finally:
        task.cancel()
        asyncnb.run(asyncnb.wait([task]))


def test_a_blocked_loop_does_not_block_who_pauses() -> None:
    blocked, free = threading.Event(), threading.Event()

    async def block() -> None:
        blocked.set()
        free.wait(10)
        await turns()

    task = asyncnb.launch(block(), name="block")
    try:
        assert blocked.wait(10)
        assert task.pause()
        assert task.info().state == "running"
        free.set()
        asyncnb.run(turns(10))
        assert task.info().state == "paused"
    finally:
        free.set()
        task.cancel()
        asyncnb.run(asyncnb.wait([task]))


def test_a_loop_whose_attributes_lead_back_to_it_is_freed_after_a_pause() -> None:
    async def main() -> weakref.ref[asyncio.AbstractEventLoop]:
        loop: Any = asyncio.get_running_loop()
        loop.wrapped = loop.call_later  # as what hooks a loop keeps the method of before
        task: Any = asyncio.current_task()
        StepInterceptor.of(loop).discard(task)  # the part of a pause that stays with the loop
        return weakref.ref(loop)

    loop = asyncio.run(main())
    gc.collect()
    assert loop() is None


STANDARD_WAITS: dict[str, Callable[[], Awaitable[Any]]] = {
    "a timer": lambda: asyncio.sleep(1),
    "its turn": lambda: asyncio.sleep(0),
    "a task": lambda: asyncio.create_task(asyncio.sleep(1)),
    "gather": lambda: asyncio.gather(asyncio.sleep(1), asyncio.sleep(2)),
}


@pytest.mark.parametrize("wait", STANDARD_WAITS.values(), ids=list(STANDARD_WAITS))
def test_a_task_of_asyncios_own_class_is_paused_like_asyncnbs(wait: Any) -> None:
    async def main() -> None:
        steps = Steps()
        task = asyncio.create_task(steps.over(wait))
        assert type(task) is asyncio.Task
        await asyncio.sleep(0)
        for _ in range(3):
            assert pause(task)
            await asyncio.sleep(0)
            before = steps.count
            await asyncio.sleep(10)
            assert steps.count == before and not task.done()
            assert resume(task) and not resume(task)
            await asyncio.sleep(0)
        assert await task == 10

    run_virtual(main())


@pytest.mark.parametrize("after", [0, 10])
@pytest.mark.parametrize("wait", STANDARD_WAITS.values(), ids=list(STANDARD_WAITS))
def test_a_paused_task_of_asyncios_own_class_is_cancelled_and_cleans_up(
    wait: Any, after: float
) -> None:
    async def main() -> None:
        cleaned = []

        async def work() -> None:
            try:
                while True:
                    await wait()
            finally:
                await asyncio.sleep(1)
                cleaned.append(True)

        async with asyncio.timeout(20 + after):
            async with asyncio.TaskGroup() as group:
                task = group.create_task(work())
                await asyncio.sleep(0)
                pause(task)
                await asyncio.sleep(after)
                task.cancel()
        assert cleaned == [True] and task.cancelled()

    run_virtual(main())


def test_a_loop_without_paused_tasks_of_asyncios_own_class_looks_for_none() -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(asyncio.sleep(60)) for _ in range(3)]
        await asyncio.sleep(0)
        for task in tasks:
            pause(task)
        watch = CancelWatch.of(asyncio.get_running_loop())
        assert watch._timer is not None
        resume(tasks[0])
        tasks[1].cancel()
        await asyncio.sleep(1)
        assert tasks[1].cancelled() and watch._timer is not None
        tasks[2].cancel()
        await asyncio.sleep(1)
        assert watch._timer is None
        tasks[0].cancel()

    run_virtual(main())


def test_a_paused_task_that_nothing_else_refers_to_is_not_collected() -> None:
    async def main() -> None:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            await asyncio.sleep(1)
            ended.set_result(None)

        task = weakref.ref(asyncio.create_task(work()))
        await asyncio.sleep(0)
        pause(task())
        await asyncio.sleep(10)
        gc.collect()
        resume(task())
        await asyncio.wait_for(ended, 1)

    run_virtual(main())
