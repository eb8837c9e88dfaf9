"""Tasks made in another thread than their loop's are found, named, cancelled and ended like others.

Since Python 3.14 a C task stands in a list of the thread that constructs it, and ``all_tasks()`` on
the loop's own thread reads that thread's list alone.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asyncnb
from asyncnb import EmbeddedLoop, Task, embedded_loop
from tests.core.elsewhere import FACTORIES, running_elsewhere

Loop = asyncio.AbstractEventLoop


@pytest.fixture
def loop() -> Iterator[EmbeddedLoop]:
    """The embedded loop of this process; it is shut down afterwards."""
    yield embedded_loop()
    asyncnb.embedded_loop().shutdown(5)


@pytest.fixture(params=FACTORIES)
def elsewhere(request: pytest.FixtureRequest) -> Iterator[Loop]:
    with running_elsewhere(request.param) as loop:
        yield loop


def in_a_thread_that_ends(make: Callable[[], Any]) -> Any:
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(make()))
    thread.start()
    thread.join(10)
    return made[0]


class Blocked:
    """The embedded loop, blocked by a callback until `release()`."""

    def __init__(self, loop: Loop) -> None:
        self._end, began = threading.Event(), threading.Event()
        loop.call_soon_threadsafe(lambda: (began.set(), self._end.wait(30)))
        assert began.wait(10)

    def release(self) -> None:
        self._end.set()


async def forever() -> None:
    await asyncio.Event().wait()


async def seen_on_the_loop() -> tuple[set[Any], set[Any]]:
    return asyncio.all_tasks(), asyncnb.all_tasks()


@pytest.mark.parametrize("make_in", [lambda make: make(), in_a_thread_that_ends])
def test_all_tasks_on_the_loop_sees_a_task_launched_in_another_thread(
    loop: EmbeddedLoop, make_in: Any
) -> None:
    task = make_in(lambda: asyncnb.launch(forever()))
    standard, ours = asyncnb.run(seen_on_the_loop())
    assert task in standard
    assert task in ours


@pytest.mark.parametrize("make_in", [lambda make: make(), in_a_thread_that_ends])
def test_all_tasks_on_any_loop_sees_a_task_constructed_in_another_thread(
    elsewhere: Loop, make_in: Any
) -> None:
    task = make_in(lambda: Task(forever(), loop=elsewhere))
    future = asyncio.run_coroutine_threadsafe(seen_on_the_loop(), elsewhere)
    standard, ours = future.result(10)
    assert task in standard
    assert task in ours


def test_a_subclass_of_task_can_be_constructed_in_another_thread(elsewhere: Loop) -> None:
    class Own(Task[int]):
        pass

    async def give() -> int:
        return 7

    task = Own(give(), loop=elsewhere, name="own")
    assert (task.join(10), task.get_name(), type(task)) == (7, "own", Own)


def test_a_task_launched_while_the_loop_is_blocked_is_found_named_and_cancelled_at_once(
    loop: EmbeddedLoop,
) -> None:
    blocked = Blocked(loop)
    begun = []

    async def work() -> None:
        begun.append(True)

    try:
        task = asyncnb.launch(work(), name="first name")
        assert task in asyncnb.all_tasks(loop)
        assert asyncnb.task("first name") is task
        assert task.info().state == "pending"
        task.set_name("second name")
        assert asyncnb.task("second name") is task
        assert asyncnb.cancel("second name") == [task]
        assert task.info().state == "cancelling"
    finally:
        blocked.release()
    with pytest.raises(asyncio.CancelledError):
        task.join(10)
    assert not begun
    assert task.get_coro().cr_frame is None  # closed


def test_a_task_launched_while_the_loop_is_blocked_can_be_awaited_from_another_loop(
    loop: EmbeddedLoop,
) -> None:
    blocked = Blocked(loop)

    async def main() -> int:
        task = asyncnb.launch(asyncio.sleep(0, 7))
        asyncio.get_running_loop().call_soon(blocked.release)
        return await asyncnb.wait_for(task, 10)

    assert asyncio.run(main()) == 7


def test_tasks_that_a_blocked_loop_could_not_start_end_when_it_is_shut_down(
    loop: EmbeddedLoop,
) -> None:
    blocked = Blocked(loop)
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    tasks = [asyncnb.launch(work()) for _ in range(100)]
    assert loop.shutdown(0.05) is False  # it is blocked still
    blocked.release()
    loop.thread.join(10)
    assert not loop.thread.is_alive()
    assert [task.cancelled() for task in tasks] == [True] * 100
    assert len(cleaned) == 100
    assert not asyncnb.all_tasks(loop)


def test_shutdown_cancels_tasks_that_another_thread_made_with_create_task(
    loop: EmbeddedLoop,
) -> None:
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    task = loop.create_task(work())
    asyncnb.run(asyncio.sleep(0))  # wakes the loop, which plain create_task does not
    assert loop.shutdown(5)
    assert task.cancelled()
    assert cleaned == [True]


EXIT = """
    import asyncio, asyncnb, sys, threading
    where, count = sys.argv[1], int(sys.argv[2])
    cleaned = 0

    async def work():
        global cleaned
        try:
            await asyncio.Event().wait()
        finally:
            cleaned += 1
            if cleaned == count:
                print("all of them")

    def launch_all():
        for _ in range(count):
            asyncnb.launch(work())
        launched.set()

    launched = threading.Event()
    if where == "main":
        launch_all()
    else:
        def body():
            launch_all()
            if where == "living thread":
                threading.Event().wait()
        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        launched.wait()
        if where == "ended thread":
            thread.join()
"""


@pytest.mark.parametrize("count", [1, 1_000, 10_000])
@pytest.mark.parametrize("where", ["main", "living thread", "ended thread"])
def test_a_program_that_ends_with_living_tasks_cleans_up_and_is_silent(
    where: str, count: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(EXIT), where, str(count)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "all of them\n", "")


@pytest.mark.parametrize("make", ["asyncnb.launch(forever())", "loop.create_task(forever())"])
def test_a_program_that_ends_while_the_loop_is_blocked_is_silent(make: str) -> None:
    code = f"""
        import asyncio, asyncnb, threading
        loop, began = asyncnb.embedded_loop(), threading.Event()
        loop.call_soon_threadsafe(lambda: (began.set(), threading.Event().wait()))
        began.wait()

        async def forever():
            await asyncio.Event().wait()

        tasks = [{make} for _ in range(1000)]
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
