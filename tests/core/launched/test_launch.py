"""launch, run, tasks, task and cancel in plain Python."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import asyncnb
from asyncnb.testing import clear_ended


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    clear_ended()
    yield
    for task in asyncnb.tasks():
        task.cancel()
    for task in asyncnb.tasks():
        try:
            task.join(10)  # type: ignore[attr-defined]
        except (asyncio.CancelledError, ValueError, TimeoutError, RuntimeError):
            continue
    clear_ended()


async def forever() -> None:
    await asyncio.Event().wait()


def test_a_launched_task_is_there_at_once_and_runs_without_being_held() -> None:
    gate = threading.Event()

    async def work() -> int:
        await asyncio.to_thread(gate.wait, 10)
        return 5

    asyncnb.launch(work(), name="held")
    gc.collect()
    found = asyncnb.task("held")
    assert not found.done()
    gate.set()
    assert found.join(10) == 5
    assert asyncnb.task("held") is found
    assert found.info().state == "done"


def test_launch_from_a_thread_and_from_another_loop() -> None:
    results: list[int] = []

    def in_thread() -> None:
        results.append(asyncnb.launch(asyncio.sleep(0, 1)).join(10))

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()

    async def elsewhere() -> int:
        return await asyncnb.launch(asyncio.sleep(0, 2))

    results.append(asyncio.run(elsewhere()))
    assert results == [1, 2]


def test_many_launches_from_many_threads_lose_none() -> None:
    def launch_some(thread: int) -> None:
        for i in range(200):
            asyncnb.launch(asyncio.sleep(0, i), name=f"{thread}-{i}")

    threads = [threading.Thread(target=launch_some, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tasks = asyncnb.tasks("*-*")
    assert len(tasks) == 800
    assert sum(task.join(10) for task in tasks) == 4 * sum(range(200))  # type: ignore[attr-defined]


def test_states() -> None:
    task = asyncnb.launch(forever(), name="waits")
    asyncnb.run(asyncio.sleep(0))
    assert task.info().state == "waiting"
    assert asyncnb.tasks(state="waiting") == [task]
    assert asyncnb.cancel("wai*") == [task]
    with pytest.raises(asyncio.CancelledError):
        task.join(10)
    assert task.info().state == "cancelled"


def test_a_task_with_a_timeout_is_cancelled_and_can_be_given_more_time() -> None:
    task = asyncnb.launch(forever(), name="limited", timeout=60)
    asyncnb.run(asyncio.sleep(0))
    assert task.timeout is not None
    assert 59 < (task.info().timeout or 0) <= 60
    task.timeout.reschedule(asyncnb.embedded_loop().time())
    with pytest.raises(TimeoutError, match="'limited'"):
        task.join(10)


def test_history_is_bounded() -> None:
    for i in range(1100):
        asyncnb.launch(asyncio.sleep(0), name=f"h{i}")
    asyncnb.task("h1099").join(10)
    asyncnb.run(asyncio.sleep(0))  # the history learns of an end one turn after the waiters
    assert len(asyncnb.tasks("h*")) == 1000


@pytest.mark.parametrize("wrong", [5, None, "text", print, asyncio.sleep])
def test_what_cannot_be_awaited_is_refused(wrong: object) -> None:
    before = asyncnb.tasks()
    with pytest.raises(TypeError, match="launch takes a coroutine"):
        asyncnb.launch(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="run takes a coroutine"):
        asyncnb.run(wrong)  # type: ignore[arg-type]
    assert asyncnb.tasks() == before


@pytest.mark.parametrize("wrong", [-1, float("nan"), "5", True])
def test_a_timeout_that_is_no_time_is_refused(wrong: object) -> None:
    coro = forever()
    with pytest.raises((TypeError, ValueError), match="timeout must be"):
        asyncnb.launch(coro, timeout=wrong)  # type: ignore[arg-type]
    coro.close()
    assert asyncnb.tasks() == []


def test_a_coroutine_is_launched_once() -> None:
    coro = forever()
    task = asyncnb.launch(coro)
    asyncnb.run(asyncio.sleep(0))
    with pytest.raises(RuntimeError, match="already been started or awaited"):
        asyncnb.launch(coro)
    assert asyncnb.tasks() == [task]


def test_a_name_that_matches_nothing_is_an_error_with_near_names() -> None:
    asyncnb.launch(forever(), name="download")
    with pytest.raises(LookupError, match="'download'"):
        asyncnb.task("downlaod")
    with pytest.raises(LookupError, match="'download'"):
        asyncnb.cancel("download", "downlaod")
    assert asyncnb.tasks(state="cancelling") == []
    with pytest.raises(ValueError, match="waiting"):
        asyncnb.tasks(state="wating")


def test_a_task_that_takes_its_cancellation_back_is_no_longer_cancelling() -> None:
    heard, ended = threading.Event(), threading.Event()

    async def stubborn() -> None:
        for _ in range(2):
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                heard.set()
            while not ended.is_set():
                await asyncio.sleep(0.001)
            ended.clear()
            assert asyncio.current_task().uncancel() == 0
            heard.clear()

    task = asyncnb.launch(stubborn(), name="stubborn")
    asyncnb.run(asyncio.sleep(0))
    asyncnb.cancel("stubborn")
    assert task.info().state == "cancelling"  # before the loop has heard of it, too
    assert heard.wait(10) and task.info().state == "cancelling"
    ended.set()
    while heard.is_set():
        asyncnb.run(asyncio.sleep(0))
    assert task.info().state == "waiting"
    asyncnb.cancel("stubborn")
    assert heard.wait(10) and task.info().state == "cancelling"
    ended.set()
    task.join(10)
    assert task.info().state == "done"


def test_run_on_the_loops_own_thread_is_refused_at_once() -> None:
    async def main() -> None:
        asyncnb.run(asyncio.sleep(60))

    with pytest.raises(asyncnb.WrongThreadError, match="await"):
        asyncnb.launch(main()).join(10)


def test_run_works_inside_another_running_loop_and_with_a_loop_of_ones_own() -> None:
    asyncnb.embedded_loop()

    async def which() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def inside() -> tuple[object, object]:
        return asyncnb.run(which()), asyncnb.run(which(), loop_factory=asyncio.SelectorEventLoop)

    embedded, own = asyncio.run(inside())
    assert embedded is asyncnb.embedded_loop()
    assert type(own) is asyncio.SelectorEventLoop


def test_run_cancels_after_its_timeout() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await forever()
        finally:
            cleaned.append("up")

    with pytest.raises(TimeoutError):
        asyncnb.run(work(), timeout=0.01)
    assert cleaned == ["up"]


def test_the_stack_of_a_launched_task_begins_with_the_users_own_coroutine() -> None:
    event = threading.Event()

    async def mine() -> None:
        event.set()
        await asyncio.get_running_loop().create_future()

    for timeout in (None, 60):
        event.clear()
        task = asyncnb.launch(mine(), timeout=timeout)
        assert event.wait(10)
        asyncnb.run(asyncio.sleep(0))
        assert [frame.f_code.co_name for frame in task.get_stack()] == ["mine"]
        graph = asyncnb.capture_call_graph(task)
        assert [entry.frame.f_code.co_name for entry in graph.call_stack] == ["mine"]
        task.cancel()


def test_launch_joins_an_open_group_by_name_whatever_its_on_error() -> None:
    group = asyncnb.open_group("crowd", on_error="continue")
    task = asyncnb.launch(asyncio.sleep(0, 1), group="crowd")
    group.join(10)
    assert task.result() == 1
    assert task.info().group == "crowd"


def test_a_group_launches_its_tasks_and_launch_joins_a_group() -> None:
    group = asyncnb.open_group("work")
    one = group.create_task(asyncio.sleep(0, 1), name="one")
    two = asyncnb.launch(asyncio.sleep(0, 2), name="two", group="work")
    group.join(10)
    assert (one.result(), two.result()) == (1, 2)
    assert {t.info().group for t in asyncnb.tasks()} == {"work"}  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="closed to new tasks"):
        coro = forever()
        try:
            asyncnb.launch(coro, group=group)
        finally:
            coro.close()


@pytest.mark.parametrize("options", [{"loop_factory": asyncio.SelectorEventLoop}, {"debug": True}])
@pytest.mark.parametrize("fails", [False, True])
def test_run_with_a_loop_of_its_own_cleans_up_inside_a_running_loop(
    options: dict[str, Any], fails: bool
) -> None:
    ended: list[str] = []
    held: list[object] = []

    async def background() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append("task")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append("generator")

    async def work() -> bool:
        held.append(asyncio.create_task(background()))
        held.append(generator := numbers())
        await anext(generator)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, threading.get_ident)
        held.append(loop)
        if fails:
            raise LookupError
        return loop.get_debug()

    async def main() -> None:
        if fails:
            with pytest.raises(LookupError):
                asyncnb.run(work(), **options)
        else:
            assert asyncnb.run(work(), **options) is options.get("debug", False)

    before = set(threading.enumerate())
    asyncio.run(main())
    assert ended == ["task", "generator"]
    loop = held[-1]
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert loop.is_closed()
    assert {
        t for t in threading.enumerate() if t.name.startswith(("asyncio", "asyncnb run"))
    } <= before


def test_run_closes_the_coroutine_when_its_loop_cannot_be_made() -> None:
    def fails() -> asyncio.AbstractEventLoop:
        raise OSError("no more files")

    async def main() -> None:
        coro = asyncio.sleep(0)
        with pytest.raises(OSError, match="no more files"):
            asyncnb.run(coro, loop_factory=fails)
        assert coro.cr_frame is None

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [None, 5.0])
@pytest.mark.parametrize("embedded", [True, False])
def test_run_refuses_a_task_of_the_loop_that_this_thread_runs(
    timeout: float | None, embedded: bool
) -> None:
    options: dict[str, Any] = {} if embedded else {"debug": False}
    asyncnb.embedded_loop()

    async def main() -> None:
        task = asyncio.create_task(asyncio.sleep(0, 5))
        for waits in (task, asyncio.gather(task)):
            with pytest.raises(asyncnb.WrongThreadError, match="await task"):
                asyncnb.run(waits, timeout=timeout, **options)
        assert await task == 5
        assert asyncnb.run(task, timeout=timeout, **options) == 5  # done: nothing to wait for

    asyncio.run(main())


def test_run_in_executor_refuses_what_would_only_make_a_coroutine() -> None:
    async def work() -> None: ...

    async def main() -> None:
        loop = asyncio.get_running_loop()
        wrongs: list[Any] = [work, work(), functools.partial(work)]
        for wrong in wrongs:
            with pytest.raises(TypeError, match="takes a plain function"):
                await loop.run_in_executor(None, wrong)
        assert await loop.run_in_executor(None, int, "5") == 5

    asyncnb.run(main())
