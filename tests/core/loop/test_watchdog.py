"""The watchdog: what blocks the loop is reported once, and interrupted on demand."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asyncnb import EmbeddedLoop, Task
from asyncnb._core.base import async_raise as _breakin
from asyncnb._core.base.call_soon_hook import replaced_call_soon
from asyncnb._core.loop import slow_steps, tripwire
from asyncnb._core.loop import watchdog as _watchdog
from asyncnb._core.loop.blocked import Blocked
from asyncnb._core.loop.watchdog import Watchdog
from asyncnb._core.primitives.pause import StepInterceptor


class Watched:
    """A loop whose watchdog has a low threshold, and its reports."""

    def __init__(self) -> None:
        self.loop = EmbeddedLoop()
        self.said: queue.SimpleQueue[Blocked | None] = queue.SimpleQueue()
        self.loop.on_blocked.add(lambda _, blocked: self.said.put(blocked))
        self.loop.start()
        self.loop.watch(0.05)

    def fall_asleep(self) -> Watchdog:
        """Wait until the watchdog sleeps until something happens; return it."""
        dog = self.loop.watchdog
        assert dog is not None
        bed = dog._wake = Bed(dog._wake)  # type: ignore[assignment]
        assert bed.asleep.wait(10)
        return dog

    def start(self, coro: Any, name: str = "it") -> Task[Any]:
        return Task(coro, loop=self.loop, name=name)

    def answer(self) -> None:
        answered = threading.Event()
        self.loop.call_soon_threadsafe(answered.set)
        assert answered.wait(10)

    def report(self) -> Blocked:
        found = self.said.get(timeout=10)
        assert found is not None
        return found

    def assert_over(self) -> None:
        assert self.said.get(timeout=10) is None
        assert self.loop.blocked is None


class Bed:
    """The lock that a watchdog sleeps on, which reports a long sleep."""

    def __init__(self, lock: Any) -> None:
        self.release = lock.release
        self._acquire = lock.acquire
        self.asleep = threading.Event()

    def acquire(self, timeout: float) -> bool:
        if timeout == _watchdog._SLEEP_SECONDS:
            self.asleep.set()
        return bool(self._acquire(timeout=timeout))


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.loop.shutdown(1.0)
    assert watched.loop.watchdog is None
    assert not watched.loop.thread.is_alive()


async def hold(gate: threading.Event) -> None:
    await asyncio.sleep(0)
    gate.wait(20)


async def spin(log: list[str] | None = None) -> None:
    await asyncio.sleep(0)
    try:
        while True:
            pass
    finally:
        if log is not None:
            await asyncio.sleep(0)
            log.append("cleaned up")


def test_a_blocking_task_is_named_once_with_its_line_and_frames(watched: Watched) -> None:
    gate = threading.Event()
    task = watched.start(hold(gate), name="sleeper")
    blocked = watched.report()
    assert blocked.name == "sleeper"
    assert blocked.task_id is None  # not a launched one
    assert any("hold(): gate.wait(20)" in frame for frame in blocked.frames)
    assert "_run_until_ended" not in str(blocked.frames)
    assert blocked.seconds >= 0.05
    now = watched.loop.blocked
    assert now is not None
    assert now.name == "sleeper"
    gate.set()
    task.join(10)
    watched.assert_over()
    assert watched.said.empty()
    slowest = watched.loop.statistics().slowest
    assert slowest is not None
    assert slowest.name == "sleeper"
    assert slowest.seconds >= 0.05


def test_what_blocks_is_named_as_the_call_and_is_among_the_longest_steps(watched: Watched) -> None:
    gate = threading.Event()
    task = watched.start(hold(gate), name="sleeper")
    blocked = watched.report()
    assert (blocked.call, blocked.inside) == ("gate.wait(20)", "")
    assert "test_watchdog.py, line" in blocked.where
    assert watched.loop.statistics().longest_steps == ()  # it has not ended
    gate.set()
    task.join(10)
    watched.assert_over()
    [step] = watched.loop.statistics().longest_steps
    assert (step.name, step.call, step.where) == ("sleeper", "gate.wait(20)", blocked.where)
    assert step.seconds >= 0.05
    watched.loop.watch(0.06)  # another watchdog of the same loop
    assert watched.loop.statistics().longest_steps == (step,)


def test_code_that_runs_and_runs_is_not_named_as_one_of_its_calls(watched: Watched) -> None:
    task = watched.start(spin())
    blocked = watched.report()
    assert blocked.call == ""
    assert "spin()" in blocked.frames[-1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        task.join(10)
    watched.assert_over()


def test_a_step_that_stays_long_is_looked_at_again(watched: Watched) -> None:
    first, second = threading.Event(), threading.Event()

    async def both() -> None:
        await asyncio.sleep(0)
        first.wait(20)
        second.wait(20)

    task = watched.start(both())
    assert watched.report().call == "first.wait(20)"
    first.set()
    while (now := watched.loop.blocked) is not None and now.call != "second.wait(20)":
        time.sleep(0.001)
    assert now is not None
    second.set()
    task.join(10)
    watched.assert_over()
    [step] = watched.loop.statistics().longest_steps
    assert step.call == "second.wait(20)"


def test_a_lag_that_is_over_is_the_highest_of_the_minute_and_not_the_present_one(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    task = watched.start(hold(gate), name="sleeper")
    watched.report()
    now = watched.loop.statistics()
    assert now.lag is not None
    assert now.highest_lag is not None
    assert now.lag > 0
    assert now.highest_lag.step is not None
    assert now.highest_lag.step.name == "sleeper"
    gate.set()
    task.join(10)
    watched.assert_over()
    watched.fall_asleep()  # nothing wakes it for an old value to expire
    after = watched.loop.statistics()
    assert after.lag == 0.0
    assert after.highest_lag is not None
    assert after.highest_lag.seconds >= 0.04
    assert after.highest_lag.step == after.longest_steps[0]
    monkeypatch.setattr(slow_steps, "LAG_SECONDS", 0.0)  # a minute later
    assert watched.loop.statistics().highest_lag is None
    assert watched.loop.statistics().longest_steps == after.longest_steps


def test_ten_steps_are_kept_the_longest_first() -> None:
    steps = slow_steps.SlowSteps()
    for seconds in (*range(1, 31), 0.5):
        blocked = Blocked(seconds, None, f"{seconds}", None, "In[1], line 1", (), "f()")
        steps.add(seconds, f"{seconds}", blocked)
    assert [step.seconds for step in steps.longest] == list(range(30, 20, -1))
    steps.add(99, "not reported", None)
    assert steps.slowest is not None
    assert steps.slowest.name == "not reported"
    assert steps.longest[0].seconds == 30


def test_the_highest_lag_is_that_of_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(slow_steps.time, "monotonic", lambda: now)
    steps = slow_steps.SlowSteps()
    lags = {0: 5.0, 10: 1.0, 20: 3.0, 30: 2.0, 50: 0.5}
    found = []
    for second in range(0, 120, 10):
        now = float(second)
        if second in lags:
            steps.add_lag(lags[second], None)
        highest = steps.highest_lag()
        found.append(highest and highest.seconds)
    assert found == [5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 3.0, 3.0, 2.0, 0.5, 0.5]


def test_a_blocking_callback_is_named(watched: Watched) -> None:
    gate = threading.Event()

    def callback() -> None:
        gate.wait(20)

    watched.loop.call_soon_threadsafe(callback)
    blocked = watched.report()
    assert "callback" in blocked.name
    assert "gate.wait(20)" in blocked.frames[0]
    gate.set()
    watched.assert_over()


def test_the_context_of_the_blocking_task_is_available(watched: Watched) -> None:
    mark = contextvars.ContextVar("mark", default="none")
    gate = threading.Event()

    async def parent() -> None:
        mark.set("parent's")
        await asyncio.Task(hold(gate))  # the standard task, whose context 3.11 keeps to itself

    task = watched.start(parent())
    watched.report()
    dog = watched.loop.watchdog
    assert dog is not None
    assert dog.context is not None
    assert dog.context[mark] == "parent's"
    gate.set()
    task.join(10)
    watched.assert_over()


def test_many_short_steps_do_not_count_as_blocking(watched: Watched) -> None:
    async def short() -> None:
        for _ in range(5):
            await asyncio.sleep(0)
            sum(range(1000))

    async def busy() -> None:
        tasks = []
        for number in range(3000):  # a round through all of them takes longer than the threshold
            tasks.append(asyncio.create_task(short()))
            if number % 10 == 0:
                await asyncio.sleep(0)
        for task in tasks:
            await task

    watched.start(busy()).join(60)
    watched.answer()
    if not watched.said.empty():
        raise AssertionError(watched.said.get())


def test_a_loop_without_work_is_not_asked(watched: Watched) -> None:
    watched.answer()
    asked = watched.loop.watchdog._asked_at  # type: ignore[union-attr]
    looked = threading.Event()
    dog = watched.loop.watchdog
    assert dog is not None
    original = dog._current

    def look() -> Any:
        found = original()
        looked.set()
        return found

    dog._current = look  # type: ignore[method-assign]
    dog._wire.trip()  # it may be asleep
    assert looked.wait(10)
    assert asked == dog._asked_at == 0.0


def test_a_task_that_blocks_after_a_long_rest_is_reported(watched: Watched) -> None:
    begin = asyncio.Event()
    gate = threading.Event()

    async def patient() -> None:
        await begin.wait()
        gate.wait(20)

    task = watched.start(patient(), name="patient")
    watched.answer()
    watched.fall_asleep()
    watched.loop.call_soon_threadsafe(begin.set)
    assert watched.report().name == "patient"
    gate.set()
    task.join(10)
    watched.assert_over()


def test_the_timer_of_a_task_wakes_the_watchdog(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watchdog, "_SLEEP_SECONDS", 60.0)  # the timer is earlier
    gate = threading.Event()
    timers: list[asyncio.TimerHandle] = []

    async def sleeper() -> None:
        done = asyncio.get_running_loop().create_future()
        timers.append(watched.loop.call_later(1.0, done.set_result, None))
        await done
        gate.wait(20)

    task = watched.start(sleeper(), name="sleeper")
    watched.answer()
    watched.fall_asleep()
    assert not task.done()
    assert watched.report().name == "sleeper"
    gate.set()
    task.join(10)
    watched.assert_over()


def test_work_from_another_thread_wakes_the_watchdog(watched: Watched) -> None:
    watched.fall_asleep()
    gate = threading.Event()
    watched.loop.call_soon_threadsafe(gate.wait, 20)
    assert "wait" in watched.report().name
    gate.set()
    watched.assert_over()


def test_a_task_launched_after_a_long_rest_is_reported(watched: Watched) -> None:
    watched.fall_asleep()
    gate = threading.Event()
    task = watched.start(hold(gate), name="new")
    assert watched.report().name == "new"
    gate.set()
    task.join(10)
    watched.assert_over()


def test_a_cancel_after_a_long_rest_finds_the_blocking_task(watched: Watched) -> None:
    watched.fall_asleep()
    task = watched.start(spin())
    while asyncio.current_task(watched.loop) is not task:
        pass
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        task.join(10)


def test_nothing_of_the_tripwire_stays_on_a_loop_that_works(watched: Watched) -> None:
    before = dict(watched.loop.__dict__)
    dog = watched.fall_asleep()
    assert watched.loop.__dict__ != before
    watched.answer()
    assert watched.loop.__dict__ == before
    assert dog._wire not in tripwire.wires.values()


def test_a_watchdog_that_is_stopped_in_its_sleep_ends_at_once(watched: Watched) -> None:
    dog = watched.fall_asleep()
    dog.stop()
    assert not dog._thread.is_alive()
    assert "call_soon" not in watched.loop.__dict__


def test_a_tripwire_that_a_pause_displaced_counts_as_not_set(watched: Watched) -> None:
    loop = watched.loop
    loop.watch(0)
    before = dict(loop.__dict__)
    tripped = threading.Event()
    wire = tripwire.Tripwire(loop, tripped.set)
    assert not wire.set()
    assert wire.set()
    interceptor = StepInterceptor.of(loop)
    assert not wire.set()
    interceptor.discard(None)
    assert not wire.set()
    assert wire.set()
    with replaced_call_soon(loop):
        watched.answer()
        assert tripped.wait(10)
    watched.answer()
    del loop.__dict__["_asyncnb_step_interceptor"]
    loop.call_soon_threadsafe(loop.call_soon, int)
    watched.answer()
    assert loop.__dict__ == before


def test_callbacks_that_the_tripwire_misses_keep_the_watchdog_awake(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timer whose callback touches no task: it cannot be noticed, only looked for."""
    monkeypatch.setattr(_watchdog, "_SLEEP_SECONDS", 0.5)
    dog = watched.fall_asleep()
    armed, fired = threading.Event(), threading.Event()

    def arm() -> None:
        watched.loop.call_later(0.4, fired.set)
        armed.set()

    watched.loop.call_soon_threadsafe(arm)
    assert armed.wait(10)
    watched.fall_asleep()
    assert fired.wait(10)
    while not dog._awake_until:
        time.sleep(0.001)
    monkeypatch.setattr(_watchdog, "_SLEEP_SECONDS", 60.0)  # too long for this test
    gate = threading.Event()
    watched.loop.call_soon_threadsafe(watched.loop.call_later, 0.5, gate.wait, 20)
    assert "wait" in watched.report().name
    gate.set()
    watched.assert_over()


def test_a_suspended_process_does_not_count_as_blocking(watched: Watched) -> None:
    """The watchdog woke an hour late, in the middle of a step."""
    dog = watched.loop.watchdog
    assert dog is not None
    dog.stop()
    gate = threading.Event()
    task = watched.start(hold(gate))
    while asyncio.current_task(watched.loop) is not task:
        pass
    now = time.monotonic()
    dog._check(now, 2 * dog._period(), 0.0)
    assert dog.blocked is None
    gate.set()
    task.join(10)


def test_a_cancel_from_outside_interrupts_a_spinning_task_and_its_cleanup_runs(
    watched: Watched,
) -> None:
    log: list[str] = []
    task = watched.start(spin(log))
    watched.report()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        task.join(10)
    assert log == ["cleaned up"]  # not cancelled a second time by the request that was queued
    watched.assert_over()
    watched.answer()


def test_a_cancel_that_came_before_the_block_was_noticed_counts_too(watched: Watched) -> None:
    task = watched.start(spin())
    while asyncio.current_task(watched.loop) is not task:
        pass
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        task.join(10)


def test_the_other_tasks_keep_running_after_an_interrupt(watched: Watched) -> None:
    async def tick() -> int:
        for _ in range(5):
            await asyncio.sleep(0.001)
        return 5

    others = [watched.start(tick()) for _ in range(20)]
    task = watched.start(spin())
    watched.report()
    task.cancel()
    assert [other.join(10) for other in others] == [5] * 20
    assert not any(other.cancelling() for other in others)


def test_cancelling_another_task_leaves_the_blocking_one_alone(watched: Watched) -> None:
    gate = threading.Event()
    blocker = watched.start(hold(gate))
    other = watched.start(asyncio.sleep(60))
    watched.report()
    other.cancel()
    gate.set()
    blocker.join(10)
    with pytest.raises(asyncio.CancelledError):
        other.join(10)


def test_a_task_that_has_yielded_is_not_interrupted(watched: Watched) -> None:
    gate = threading.Event()
    task = watched.start(hold(gate))
    gate.set()
    task.join(10)
    assert not _breakin.raise_in_task(watched.loop, task, asyncio.CancelledError)
    watched.answer()


@pytest.mark.parametrize("file", ["cell.py", "debugpy/_vendored/pydevd/_pydevd_bundle/trace.py"])
def test_a_debugger_that_traces_the_task_is_not_interrupted(watched: Watched, file: str) -> None:
    gate, begun = threading.Event(), threading.Event()
    names: dict[str, Any] = {}
    source = "def trace(gate, begun):\n    while not gate.is_set():\n        begun.set()"
    exec(compile(source, file, "exec"), names)

    async def traced() -> None:
        names["trace"](gate, begun)

    task = watched.start(traced())
    assert begun.wait(10)
    hit = _breakin.raise_in_task(watched.loop, task, Shot)
    gate.set()
    watched.answer()
    assert hit is (file == "cell.py")
    assert isinstance(task.exception(), Shot) is hit


class Shot(Exception):
    pass


def test_each_interrupt_hits_the_task_and_nothing_else() -> None:
    """Tasks that block in short bursts are shot at all the time: the rest stays well."""
    loop = EmbeddedLoop()
    loop.start()
    errors: list[Any] = []
    loop.call_soon_threadsafe(loop.set_exception_handler, lambda _, context: errors.append(context))
    caught = 0

    async def target() -> None:
        nonlocal caught
        while True:
            try:
                for number in range(30):
                    len(str(number))
                    time.sleep(0)  # lets the other thread in, also as the last thing before it
                await asyncio.sleep(0)
            except Shot:
                caught += 1

    async def bystander() -> None:
        while True:
            len(str(await asyncio.sleep(0, 1)))

    bystanders = [Task(bystander(), loop=loop) for _ in range(3)]
    killed = 0
    shot_at = Task(target(), loop=loop)
    for sent in range(1, 201):
        deadline = time.monotonic() + 10
        while not _breakin.raise_in_task(loop, shot_at, Shot, attempts=3):
            assert time.monotonic() < deadline, "it is never met"
        while caught + killed < sent:
            assert time.monotonic() < deadline, "it went astray"
            if shot_at.done():  # hit outside of its try
                assert isinstance(shot_at.exception(), Shot)
                killed += 1
                shot_at = Task(target(), loop=loop)
            time.sleep(0)
    answered = threading.Event()
    loop.call_soon_threadsafe(answered.set)
    assert answered.wait(10)
    assert not any(task.done() for task in bystanders), bystanders
    assert not errors
    assert loop.crash is None
    loop.shutdown(2.0)


def test_the_check_and_the_sending_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing between them may be Python, where another thread could run."""
    ended = threading.Event()
    frames: list[Any] = []

    def work() -> None:
        while not ended.is_set():
            pass

    thread = threading.Thread(target=work)
    thread.start()
    try:
        import sys

        frames.append(sys._current_frames()[thread.ident or 0])
        monkeypatch.setattr(_breakin, "_send_to", lambda ident, exc: 0)
        # Found somewhere else than it was seen: nothing is sent.
        assert not _breakin.send_if_in_frame(thread.ident or 0, sys._getframe(), ValueError)
    finally:
        ended.set()
        thread.join()


def test_the_watchdog_ends_with_its_loop_and_can_be_switched_off() -> None:
    watched = Watched()
    first = watched.loop.watchdog
    assert first is not None
    assert first._thread.is_alive()
    watched.loop.watch(0)
    assert not first._thread.is_alive()
    assert watched.loop.statistics().lag is None
    watched.loop.watch(0.05)
    second = watched.loop.watchdog
    assert second is not None
    watched.loop.shutdown(1.0)
    assert not second._thread.is_alive()


def test_an_observer_that_fails_is_removed(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("broken")

    watched.loop.on_blocked.add(broken)
    after = threading.Event()
    watched.loop.on_blocked.add(lambda *_: after.set())  # called when that one is removed
    gate = threading.Event()
    task = watched.start(hold(gate))
    assert after.wait(10)
    gate.set()
    task.join(10)
    assert broken not in watched.loop.on_blocked.each
    assert "broken" in caplog.text


def test_the_cpu_time_of_a_thread_is_measured_separately() -> None:
    clock: Callable[[], float] = _watchdog.thread_clock(threading.main_thread())
    before = clock()
    sum(range(200_000))
    assert clock() > before
