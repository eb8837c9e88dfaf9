"""Rate: never more calls than it says in any window of the period, on any loop and thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiolimiter import AsyncLimiter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncnb import Rate
from asyncnb._core.pacing.rate import as_pacer
from asyncnb._core.pacing.rates import parse_pace
from asyncnb._core.pacing.window import Window
from asyncnb.testing import run_virtual


def now() -> float:
    return asyncio.get_running_loop().time()


async def starts(rate: Rate, count: int) -> list[float]:
    """The times at which ``count`` calls start that all ask at once."""
    times: list[float] = []

    async def call() -> None:
        await rate.acquire()
        times.append(now())

    await asyncio.gather(*[call() for _ in range(count)])
    return times


def most_in_a_window(times: list[float], period: float) -> int:
    """The most of ``times`` in any half-open interval of that length: one begins with a call."""
    return max(sum(begin <= time < begin + period for time in times) for begin in times)


@pytest.mark.parametrize(
    ("value", "count", "period", "text"),
    [
        ("60/min", 60, 60, "60/min"),
        ("5/s", 5, 1, "5/s"),
        ("1000/h", 1000, 3600, "1000/h"),
        (" 5 / second ", 5, 1, "5/s"),
        ("5 per minute", 5, 60, "5/min"),
        ("10_000/day", 10_000, 86400, "10000/day"),
        ("1,000/Hours", 1000, 3600, "1000/h"),
        ("100/10s", 100, 10, "100/10 s"),
        ("3/500ms", 3, 0.5, "3/0.5 s"),
        ("0.5/s", 1, 2, "0.5/s"),
        (7, 7, 1, "7/s"),
        (2.5, 5, 2, "2.5/s"),
        (1 / 60, 1, 60, "0.0166666666667/s"),
    ],
)
def test_a_rate_is_read(value: object, count: int, period: float, text: str) -> None:
    pace = parse_pace(value)
    assert (pace.count, pace.text) == (count, text)
    assert pace.period == pytest.approx(period)


@pytest.mark.parametrize(
    ("value", "error", "sentence"),
    [
        ("fast", ValueError, "rate must be"),
        ("", ValueError, "rate must be"),
        ("60", ValueError, 'write "60/s", "60/min" or "60/h"'),
        ("60/", ValueError, "does not say per what"),
        ("60/minit", ValueError, "unknown unit 'minit'.*Did you mean 'min"),
        ("5/month", ValueError, "unknown unit"),
        ("0/s", ValueError, "rate must be above 0"),
        ("-5/s", ValueError, "rate must be above 0"),
        ("5/0s", ValueError, "longer than 0 seconds"),
        ("5/1.2.3s", ValueError, "rate must be"),
        ("60/min/s", ValueError, "rate must be"),
        (0, ValueError, "no call would ever start"),
        (-1.5, ValueError, "above 0"),
        (float("nan"), ValueError, "above 0"),
        (1e-310, ValueError, "would start no call"),
        (float("inf"), ValueError, "no limit at all"),
        (10**400, ValueError, "no limit at all"),
        (True, TypeError, "not True"),
        ((60, 60), TypeError, "not tuple"),
        (b"5/s", TypeError, "not bytes"),
        (Rate, TypeError, "the class Rate: call it first"),
        (AsyncLimiter, TypeError, "the class AsyncLimiter: call it first"),
        (asyncio.Semaphore(3), TypeError, "limit="),
        (threading.Lock(), TypeError, "async acquire"),
    ],
)
def test_a_rate_that_makes_no_sense_is_refused(
    value: object, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        as_pacer(value)
    rate = Rate("5/s")
    with pytest.raises(error, match=sentence):
        rate.change(value)
    assert rate.text == "5/s"


@pytest.mark.parametrize(
    ("value", "burst", "error"),
    [
        ("5/s", 0, ValueError),
        ("5/s", 6, ValueError),
        ("5/s", "1", TypeError),
        (None, 1, ValueError),
    ],
)
def test_a_burst_that_makes_no_sense_is_refused(
    value: object, burst: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="burst"):
        Rate(value, burst=burst)


def test_calls_are_evenly_spaced_after_a_small_burst() -> None:
    async def main() -> None:
        times = await starts(Rate("60/min"), 61)
        assert times[:7] == pytest.approx([0, 0, 0, 0, 0, 0, 1.0017], abs=1e-3)
        assert times[60] == pytest.approx(60.1)  # a minute and a bit: the window of the first one
        assert await starts(Rate("60/min", burst=60), 60) == [pytest.approx(times[60])] * 60
        even = await starts(Rate(10), 3)
        assert even[1] - even[0] == pytest.approx(0.102)

    run_virtual(main())


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_no_window_of_the_period_has_more_calls(data: st.DataObject) -> None:
    """Whatever the pace, burst, breaks, cancellations, lateness of the loop, and holds."""
    count = data.draw(st.integers(1, 12), "count")
    period = data.draw(st.sampled_from([0.05, 1.0, 60.0]), "period")
    burst = data.draw(st.none() | st.integers(1, count), "burst")
    step = st.sampled_from(["ask", "wait", "block", "cancel", "hold"])
    steps = data.draw(st.lists(st.tuples(step, st.integers(0, 3 * count)), max_size=25), "steps")
    times: list[float] = []

    async def main() -> None:
        rate = Rate(f"{count}/{period * 1000:g}ms", burst=burst)
        tasks: list[asyncio.Task[None]] = []

        async def call() -> None:
            await rate.acquire()
            times.append(now())

        for what, size in steps:
            seconds = size * period / count
            if what == "ask":
                tasks += [asyncio.create_task(call()) for _ in range(size)]
            elif what == "wait":
                await asyncio.sleep(seconds)
            elif what == "block":
                loop: Any = asyncio.get_running_loop()
                loop.advance(seconds)
            elif what == "cancel" and tasks:
                tasks[size % len(tasks)].cancel()
            elif what == "hold":
                rate.hold(seconds)
        if tasks:
            await asyncio.wait(tasks)
        assert rate.waiting == 0
        assert len(times) + sum(task.cancelled() for task in tasks) == len(tasks)

    run_virtual(main())
    if times:
        assert most_in_a_window(times, period) <= count


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1001, 4000),
    st.lists(st.floats(0, 0.01, allow_subnormal=False), min_size=1, max_size=20),
)
def test_large_counts_are_kept_in_little_memory_and_never_exceeded(
    count: int, gaps: list[float]
) -> None:
    window = Window(parse_pace(f"{count}/s", count))
    times: list[float] = []
    time = 0.0
    while len(times) < 2 * count + 10:
        if not window.take(time):
            time = max(window.due(time), time + gaps[len(times) % len(gaps)])
            continue
        times.append(time)
        time += gaps[len(times) % len(gaps)] / 50
    assert len(window._entries) <= 1100
    for earlier, later in zip(times, times[count:], strict=False):
        assert later - earlier >= 1


def test_no_throughput_is_lost() -> None:
    """The window of a steady run is full: within the two per cent that the period is longer."""

    async def main() -> None:
        for value in ("5/s", "60/min", "200/s"):
            rate, pace = Rate(value), parse_pace(value)
            times = await starts(rate, 3 * pace.count)
            seconds = times[-1] - times[0]
            assert (len(times) - 1) / (seconds / pace.period) >= 0.98 * pace.count

    run_virtual(main())


def test_calls_start_in_the_order_in_which_they_asked() -> None:
    async def main() -> None:
        rate, order = Rate("5/s"), []

        async def call(number: int) -> None:
            async with rate:
                order.append(number)

        tasks = []
        for number in range(12):
            tasks.append(asyncio.create_task(call(number)))
            await asyncio.sleep(0.05)
        await asyncio.wait(tasks)
        assert order == list(range(12))

    run_virtual(main())


def test_a_cancelled_call_takes_no_turn() -> None:
    async def main() -> None:
        rate = Rate("1/s")
        first, *others = [asyncio.create_task(starts(rate, 1)) for _ in range(4)]
        await first
        others[0].cancel()  # the one whose turn is next
        await asyncio.sleep(0.5)
        others[1].cancel()
        assert await others[2] == [pytest.approx(1.02)]
        assert rate.waiting == 0

    run_virtual(main())


def test_a_changed_rate_holds_for_calls_that_wait() -> None:
    async def main() -> None:
        rate = Rate("1/h")
        waiting = asyncio.create_task(starts(rate, 7))
        await asyncio.sleep(10)
        rate.change("2/s")
        assert (await waiting)[1:3] == pytest.approx([10, 10.51], abs=0.01)
        assert rate.text == "2/s"
        slower = asyncio.create_task(starts(rate, 4))
        await asyncio.sleep(0.1)
        rate.change("1/min")
        begin = now()
        rate.change(None)
        assert max(await slower) == begin
        assert rate.text == "unlimited"
        assert rate.try_acquire()

    run_virtual(main())


def test_calls_before_a_change_count_for_the_new_rate() -> None:
    async def main() -> None:
        rate = Rate("10/min", burst=10)
        times = await starts(rate, 10)
        rate.change("5/min", burst=5)
        times += await starts(rate, 1)
        assert times[-1] == pytest.approx(60.1)

    run_virtual(main())


def test_a_hold_stops_all_calls_and_then_spaces_them_evenly() -> None:
    async def main() -> None:
        for rate in (Rate("60/min"), Rate(None), Rate(AsyncLimiter(64, 64))):
            begin = now()
            waiting = asyncio.create_task(starts(rate, 20))
            rate.hold(30)
            rate.hold(5)  # a shorter one does not end a longer one
            assert rate.held == pytest.approx(30)
            assert not rate.try_acquire()
            times = [time - begin for time in await waiting]
            assert min(times) == pytest.approx(30)
            assert rate.held == 0
            if rate.text == "60/min" and rate._limiter is None:
                assert times[1] == pytest.approx(31.0, abs=0.01)
        for bad in (-1, "5", None, float("inf")):
            with pytest.raises((TypeError, ValueError)):
                rate.hold(bad)  # type: ignore[arg-type]

    run_virtual(main())


def test_one_rate_is_shared_by_several_loops_in_threads() -> None:
    rate, times, lock = Rate("200/s", burst=20), [], threading.Lock()

    async def call() -> None:
        await rate.acquire()
        with lock:
            times.append(time.monotonic())

    async def main() -> None:
        await asyncio.gather(*[call() for _ in range(40)])

    in_threads(main, 3)
    assert len(times) == 120
    assert most_in_a_window(sorted(times), 1.0) <= 200
    assert max(times) - min(times) >= (120 - 20 - 4) * 1.02 / 200
    assert not rate._lines


def in_threads(main: Callable[[], Coroutine[Any, Any, None]], count: int) -> None:
    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_loop_that_stopped_does_not_stop_the_others() -> None:
    """Its calls, which nothing wakes any more, were first in the line."""
    rate = Rate("1/h")
    stopped = asyncio.new_event_loop()
    left = stopped.create_task(rate.acquire())
    other = stopped.create_task(rate.acquire())
    stopped.run_until_complete(left)

    async def main() -> None:
        waiting = asyncio.create_task(rate.acquire())
        await asyncio.sleep(0)
        rate.change("1000/s")
        await waiting

    asyncio.run(main())
    other.cancel()
    with pytest.raises(asyncio.CancelledError):
        stopped.run_until_complete(other)
    stopped.close()
    assert rate.waiting == 0
    assert not rate._lines


def test_the_limiter_of_aiolimiter_decides_itself() -> None:
    async def main() -> None:
        own, through = AsyncLimiter(4, 1), Rate(AsyncLimiter(4, 1))
        assert through.text == "4/s"

        async def call(times: list[float], limiter: Any) -> None:
            async with limiter:
                times.append(now())

        expected: list[float] = []
        await asyncio.gather(*[call(expected, own) for _ in range(20)])
        begin = now()
        assert [time - begin for time in await starts(through, 20)] == pytest.approx(expected)
        # It counts on average: three more than that in its first second.
        assert most_in_a_window(expected, 1.0) == 7

    run_virtual(main())


def test_an_object_with_an_async_acquire_decides_and_can_be_replaced() -> None:
    class Gate:
        def __init__(self) -> None:
            self.asked = self.cancelled = 0
            self.error: Exception | None = None

        async def acquire(self) -> None:
            self.asked += 1
            if self.error is not None:
                raise self.error
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise

    async def main() -> None:
        gate = Gate()
        rate = Rate(gate)
        assert (rate.text, repr(rate)) == ("Gate", "<Rate Gate>")
        waiting = asyncio.create_task(starts(rate, 3))
        gone = asyncio.create_task(rate.acquire())
        await asyncio.sleep(1)
        assert (gate.asked, rate.waiting) == (4, 4)
        gone.cancel()
        await asyncio.sleep(1)
        assert gate.cancelled == 1
        rate.change("1/s")
        assert await waiting == pytest.approx([2, 3.02, 4.04])
        assert gate.cancelled == 4
        in_line = asyncio.create_task(rate.acquire())
        await asyncio.sleep(0.1)
        gate.error = ZeroDivisionError("broken")
        rate.change(gate)
        with pytest.raises(ZeroDivisionError, match="broken"):
            await in_line
        assert rate.waiting == 0

    run_virtual(main())


def test_a_rate_that_was_used_on_a_simulated_clock_can_be_used_on_another() -> None:
    rate = Rate("10/h")

    async def main() -> None:
        await asyncio.sleep(5000)
        assert await starts(rate, 2) == pytest.approx([now() - 360.01, now()])

    asyncio.run(asyncio.wait_for(rate.acquire(), 5))
    run_virtual(main())
    run_virtual(main())


def test_ten_thousand_calls_wait_and_are_cancelled_from_the_last_one_on() -> None:
    async def main() -> None:
        rate = Rate("1/h")
        tasks = [asyncio.create_task(rate.acquire()) for _ in range(10_000)]
        await asyncio.sleep(0)
        assert rate.waiting == 9_999
        for task in reversed(tasks):
            task.cancel()
        await asyncio.wait(tasks)
        assert rate.waiting == 0

    run_virtual(main())
