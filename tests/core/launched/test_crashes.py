"""A loop whose thread has ended: its tasks, groups and waits end, with a reason."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

import asyncnb
from asyncnb import EmbeddedLoop
from asyncnb._core.config import RESULTS
from asyncnb._core.launched import named_groups as _named_groups
from asyncnb._core.launched import start as _start
from asyncnb._core.launched.registry import registry
from asyncnb._core.loop import embedded as _loop
from asyncnb._core.loop.current import shutdown
from asyncnb.testing import clear_ended, validate

Crash = Callable[[], EmbeddedLoop]


class BreaksWhenStopped(EmbeddedLoop):
    def run_forever(self) -> None:
        super().run_forever()
        if not self._state.cleaned_up:
            raise OSError("the selector is gone")


@pytest.fixture
def crash(monkeypatch: pytest.MonkeyPatch) -> Iterator[Crash]:
    """Make the embedded loop crash when this is called; a new one works again."""
    assert shutdown(10)
    monkeypatch.setattr(_loop, "EmbeddedLoop", BreaksWhenStopped)
    loops = [asyncnb.embedded_loop()]
    monkeypatch.undo()

    def crash() -> EmbeddedLoop:
        loop = loops.pop()
        loop.call_soon_threadsafe(loop.stop)
        loop.thread.join(10)
        assert loop.dead
        return loop

    yield crash
    validate()
    assert all(task.done() for task in asyncnb.tasks())
    clear_ended()
    assert asyncnb.run(asyncio.sleep(0, "works")) == "works"


def started(name: str) -> asyncnb.Task[None]:
    begun = threading.Event()

    async def work() -> None:
        begun.set()
        await asyncio.sleep(60)

    task = asyncnb.launch(work(), name=name)
    assert begun.wait(10)
    return task


def test_a_task_of_a_crashed_loop_has_failed_and_says_why(crash: Crash) -> None:
    task = started("lost")
    assert crash().lost_tasks == 1
    facts = task.info()
    assert facts.state == "failed"
    assert facts.ended is not None
    assert facts.error is not None
    assert "OSError: the selector is gone" in facts.error
    with pytest.raises(asyncnb.EmbeddedLoopError, match="start the task again") as caught:
        task.join(5)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_task_that_had_not_begun_leaves_no_coroutine_that_was_never_awaited(crash: Crash) -> None:
    held, go = threading.Event(), threading.Event()

    async def block() -> None:
        held.set()
        go.wait(10)
        asyncio.get_running_loop().stop()

    asyncnb.launch(block())
    assert held.wait(10)
    ran: list[int] = []

    async def never() -> None:
        ran.append(1)

    tasks = [asyncnb.launch(never()) for _ in range(3)]
    coros = [task.get_coro() for task in tasks]
    go.set()
    crash()
    del coros
    assert {task.info().state for task in tasks} <= {"failed", "done"}


def test_those_who_wait_for_a_lost_task_are_released(crash: Crash) -> None:
    task, group = started("lost"), asyncnb.open_group("pages")
    group.create_task(asyncio.sleep(60))
    caught: list[str] = []
    waiting = threading.Barrier(4)

    def wait(how: Callable[[], object]) -> None:
        waiting.wait(10)
        try:
            how()
        except asyncnb.EmbeddedLoopError as exc:
            caught.append(str(exc)[:25])

    async def elsewhere() -> None:
        await task

    threads = [
        threading.Thread(target=wait, args=(how,))
        for how in (task.join, group.join, lambda: asyncio.run(elsewhere()))
    ]
    for thread in threads:
        thread.start()
    waiting.wait(10)
    crash()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert len(caught) == 3


class Pauses(EmbeddedLoop):
    """Stays between two runs, on its own thread, until it may continue."""

    between: threading.Event
    go: threading.Event
    crashes: bool

    def run_forever(self) -> None:
        super().run_forever()
        if not self._state.cleaned_up:
            self.between.set()
            assert self.go.wait(10)
            if self.crashes:
                raise OSError("the selector is gone")


@pytest.mark.parametrize("crashes", [False, True])
@pytest.mark.parametrize("how", ["await", "wait", "as_completed"])
def test_one_can_begin_to_wait_when_the_loop_is_between_two_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, crashes: bool, how: str
) -> None:
    assert shutdown(10)
    Pauses.between, Pauses.go, Pauses.crashes = threading.Event(), threading.Event(), crashes
    monkeypatch.setattr(_loop, "EmbeddedLoop", Pauses)
    loop = asyncnb.embedded_loop()
    monkeypatch.undo()
    may_end: list[bool] = []

    async def work() -> str:
        while not may_end:
            await asyncio.sleep(0.001)
        return "done"

    async def waits() -> str:
        if how == "wait":
            done, _ = await asyncnb.wait([task], timeout=10)
            return await done.pop()
        if how == "as_completed":
            return await next(iter(asyncnb.as_completed([task])))
        return await task

    async def begins() -> str:
        waiting = asyncio.create_task(waits())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        Pauses.go.set()
        may_end.append(True)
        return await asyncio.wait_for(waiting, 10)

    task = asyncnb.launch(work())
    loop.call_soon_threadsafe(loop.stop)
    assert Pauses.between.wait(10)
    if crashes:
        with pytest.raises(asyncnb.EmbeddedLoopError):
            asyncio.run(begins())
        loop.thread.join(10)
    else:
        assert asyncio.run(begins()) == "done"
    clear_ended()
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


#: CPython's own raises a group of GeneratorExit where its body is collected, on any loop.
ITS_OWN = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("make", [asyncio.create_task, asyncnb.create_task])
@pytest.mark.parametrize(
    "group", [pytest.param(asyncio.TaskGroup, marks=ITS_OWN), asyncnb.TaskGroup, None]
)
def test_the_plain_tasks_of_a_crashed_loop_end_and_nothing_is_logged(
    crash: Crash, caplog: pytest.LogCaptureFixture, make: Any, group: Any
) -> None:
    begun, go = threading.Event(), threading.Event()
    plain: list[asyncio.Task[None]] = []

    async def begin(create: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> None:
        held = asyncio.Event()

        async def child(waits: bool) -> None:
            await (asyncio.sleep(60) if waits else held.wait())

        async def awaits(task: asyncio.Task[None]) -> None:
            await task

        plain.extend(create(child(waits)) for waits in (True, False))
        plain.append(create(awaits(plain[0])))
        await asyncio.sleep(0)
        begun.set()
        go.wait(10)
        asyncio.get_running_loop().stop()
        plain.append(create(child(True)))  # which will not begin
        await asyncio.sleep(60)

    async def body() -> None:
        if group is None:
            await begin(make)
        async with group() as g:
            await begin(g.create_task)

    task = asyncnb.launch(body())
    assert begun.wait(10)
    go.set()
    loop = crash()
    assert len(plain) == 4
    assert loop.lost_tasks == 1  # those that were launched
    for each in (task, *plain):
        error = each.exception()
        assert isinstance(error, asyncnb.EmbeddedLoopError)
        assert isinstance(error.__cause__, OSError)
    assert asyncnb.all_tasks(loop) == set()
    del each, error, task, loop
    plain.clear()
    clear_ended()
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


@pytest.mark.usefixtures("crash")
@pytest.mark.parametrize("turns", range(4))
def test_a_lost_task_is_closed_from_the_outside_to_the_inside(
    monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    # At one of these turns the block has been woken and has not gone on, and the history has let
    # go of the task: nothing but the group in its own coroutine still holds it.
    ignored: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: ignored.append(str(args.exc_value)))
    closed = threading.Event()

    async def child() -> None:
        await asyncio.sleep(0)  # else the block had nothing to wait for
        stop_after(turns)

    def stop_after(turns: int) -> None:
        loop = asyncio.get_running_loop()
        if turns:
            loop.call_soon(stop_after, turns - 1)
        else:
            loop.stop()

    async def group() -> None:
        try:
            async with asyncnb.TaskGroup() as g:
                g.create_task(child())
        finally:
            closed.set()

    registry.set_results_limit(0)
    try:
        asyncnb.launch(group()).get_loop().thread.join(10)
        for _ in range(20):
            asyncnb.run(asyncnb.launch(asyncio.sleep(0)))
        gc.collect()
        assert closed.is_set()
        assert ignored == []
    finally:
        registry.set_results_limit(RESULTS)


def test_the_history_does_not_keep_a_crashed_loop(
    crash: Crash, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_loop.logger, "disabled", True)  # pytest keeps the exception's frames

    async def fails() -> None:
        raise ValueError("told already")

    asyncnb.embedded_loop().set_exception_handler(lambda *_: None)
    asyncnb.launch(asyncio.sleep(0, 7), name="ended").join(10)
    failed = asyncnb.launch(fails(), name="failed")
    asyncnb.run(asyncnb.wait([failed]))
    record = failed._record
    del failed
    started("lost")
    asyncnb.embedded_loop().watch(0)  # its thread holds the loop until it looks again
    loop = weakref.ref(crash())
    registry.set_results_limit(0)
    try:
        asyncnb.launch(asyncio.sleep(0)).join(10)
        gc.collect()
        assert loop() is None
        assert asyncnb.task("ended").result() == 7
        lost = asyncnb.task("lost")
        assert lost.get_loop().is_closed()
        with pytest.raises(asyncnb.ResultDroppedError, match="The embedded loop crashed"):
            lost.result()
        with pytest.raises(asyncnb.ResultDroppedError):
            asyncnb.run(lost)
        assert asyncnb.run(asyncnb.wait([lost]))[0] == {lost}
        caplog.clear()
        record.unseen = True  # as where a notebook has shown the failure
        assert len(asyncnb.tasks(all=True)) >= 3  # objects that no code asks for the exception
        gc.collect()
        assert caplog.messages == []
    finally:
        registry.set_results_limit(RESULTS)


def test_a_group_of_a_crashed_loop_is_closed_and_its_name_is_free(crash: Crash) -> None:
    group = asyncnb.open_group("pages")
    task = group.create_task(asyncio.sleep(60))
    crash()
    assert _named_groups.find_group("pages") is None
    with pytest.raises(asyncnb.EmbeddedLoopError, match="start the group again"):
        group.join(5)
    with pytest.raises(RuntimeError, match=r"ended with the embedded loop.*open_group"):
        group.create_task(asyncio.sleep(0))
    assert task.done()
    with asyncnb.open_group("pages") as again:
        result = again.create_task(asyncio.sleep(0, 5))
    assert (again is not group, result.result()) == (True, 5)


def test_cancel_of_everything_passes_over_lost_tasks(crash: Crash) -> None:
    started("lost")
    crash()
    new = started("new")
    assert asyncnb.cancel("*") == [new]
    with pytest.raises(asyncio.CancelledError):
        new.join(10)
    assert asyncnb.task("lost").info().state == "failed"


def test_a_crash_that_could_not_be_mended_at_once_is_mended_by_the_next_launch(
    crash: Crash, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = started("lost")
    monkeypatch.setattr(_loop, "_dead_loop_hooks", [])
    crash()
    assert task.info().state == "waiting"
    monkeypatch.undo()
    assert asyncnb.cancel("lost") == []
    assert task.info().state == "failed"
    assert asyncnb.launch(asyncio.sleep(0, 5)).join(10) == 5


def test_a_task_that_does_not_end_with_a_shutdown_says_so_once_the_loop_has() -> None:
    let_go = threading.Event()

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                let_go.set()

    task = asyncnb.launch(stubborn(), name="stubborn")
    asyncnb.launch(asyncio.sleep(0)).join(10)
    loop = asyncnb.embedded_loop()
    loop.shutdown(0.1)
    loop.thread.join(10)
    assert let_go.is_set()
    assert task.info().error is not None
    assert "was shut down before" in str(task.info().error)
    assert loop.crash is None
    clear_ended()


def test_a_launch_whose_loop_ends_just_then_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = asyncnb.embedded_loop()

    def ends_now() -> EmbeddedLoop:
        before.shutdown(5)
        return before

    ran: list[int] = []

    async def work() -> None:
        ran.append(1)

    coro = work()
    with monkeypatch.context() as patch:
        patch.setattr(_start, "embedded_loop", ends_now)
        with pytest.raises(asyncnb.EmbeddedLoopError, match=r"'unlucky'.*Launch it again"):
            asyncnb.launch(coro, name="unlucky")
    assert coro.cr_frame is None  # closed
    assert asyncnb.tasks("unlucky") == []
    validate()
    assert ran == []
    assert asyncnb.launch(asyncio.sleep(0, 5)).join(10) == 5
