"""Work done again: on the beat, and after a failure."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from asyncnb import create_task
from asyncnb._core.repeating.repeat import RunCounts, run_periodically, run_with_retries
from asyncnb.testing import run_virtual


class Work:
    """Writes down when it starts; takes, and raises, what the lists say."""

    def __init__(self, takes: list[float] = [], raises: dict[int, Any] = {}) -> None:  # noqa: B006
        self.starts: list[float] = []
        self.takes = takes
        self.raises = raises
        self.results: list[int] = []
        self.errors: list[BaseException] = []
        self.rounds = RunCounts()

    async def __call__(self) -> int:
        number = len(self.starts)
        self.starts.append(asyncio.get_running_loop().time())
        if number < len(self.takes):
            await asyncio.sleep(self.takes[number])
        if number in self.raises:
            raise self.raises[number]
        return number

    async def on_result(self, value: int) -> None:
        self.results.append(value)

    async def on_error(self, exc: BaseException) -> None:
        self.errors.append(exc)

    def every(self, seconds: float) -> Any:
        return create_task(
            run_periodically(
                seconds, self, self.rounds, on_result=self.on_result, on_error=self.on_error
            )
        )


def run_for(seconds: float, work: Work, period: float, steer: Callable[[Any], Any] = bool) -> None:
    async def main() -> None:
        task = work.every(period)
        await steer(task) if inspect.iscoroutinefunction(steer) else None
        await asyncio.sleep(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())


def test_rounds_keep_to_the_beat_however_long_they_take() -> None:
    work = Work(takes=[0.5, 0.9, 0.1])
    run_for(4.5, work, 1)
    assert work.starts == [0, 1, 2, 3, 4]
    assert work.results == [0, 1, 2, 3, 4]
    assert work.rounds.skipped == 0


def test_a_round_that_is_too_slow_leaves_rounds_out_and_they_never_pile_up() -> None:
    work = Work(takes=[0, 2.5])
    run_for(5.5, work, 1)
    assert work.starts == [0, 1, 4, 5]
    assert (work.rounds.done, work.rounds.skipped) == (4, 2)


def test_a_round_that_ends_on_the_beat_is_followed_at_once() -> None:
    work = Work(takes=[1, 1, 1])
    run_for(3.5, work, 1)
    assert work.starts == [0, 1, 2, 3]


def test_a_failing_round_is_told_and_counted_and_the_next_comes_at_its_time() -> None:
    work = Work(raises={1: ValueError("boom"), 2: asyncio.CancelledError()})
    run_for(3.5, work, 1)
    assert work.starts == [0, 1, 2, 3]
    assert [type(e) for e in work.errors] == [ValueError, asyncio.CancelledError]
    assert (work.rounds.done, work.rounds.failed) == (4, 2)
    assert work.results == [0, 3]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_is_no_failure_ends_it(error: Any) -> None:
    async def main() -> None:
        work = Work(raises={0: error()})
        with pytest.raises(error):
            await run_periodically(
                1, work, work.rounds, on_result=work.on_result, on_error=work.on_error
            )
        assert not work.rounds.running
        assert work.errors == []

    run_virtual(main())


def test_a_pause_leaves_rounds_out() -> None:
    work = Work()

    async def steer(task: Any) -> None:
        await asyncio.sleep(0.5)
        task.pause()
        await asyncio.sleep(3)
        task.resume()

    run_for(1, work, 1, steer)
    assert work.starts == [0, 3.5, 4]
    assert work.rounds.skipped == 2


def test_cancelling_ends_a_round_and_all_after_it() -> None:
    work = Work(takes=[10])
    run_for(5, work, 1)
    assert work.starts == [0]
    assert work.errors == []


def test_it_is_tried_again_later_and_later_until_it_works() -> None:
    async def main() -> None:
        failures = {n: ValueError(n) for n in range(8)}
        work, told = Work(raises=failures), []
        value = await run_with_retries(
            9, work, work.rounds, on_retry=lambda exc, delay: told.append((exc.args[0], delay))
        )
        assert value == 8
        delays = [0.5, 1, 2, 4, 8, 16, 30, 30]
        assert told == list(enumerate(delays))
        assert work.starts == [sum(delays[:n]) for n in range(9)]
        assert work.rounds.attempts == 8

    run_virtual(main())


def test_the_last_failure_comes_out() -> None:
    async def main() -> None:
        work = Work(raises={n: ValueError(n) for n in range(5)})
        with pytest.raises(ValueError, match="2"):
            await run_with_retries(2, work, work.rounds, on_retry=lambda exc, delay: None)
        assert len(work.starts) == work.rounds.attempts == 3

    run_virtual(main())


def test_a_cancelled_attempt_is_not_tried_again() -> None:
    async def main() -> None:
        work = Work(takes=[10])
        task = create_task(run_with_retries(5, work, work.rounds, on_retry=lambda exc, delay: None))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(work.starts) == 1

    run_virtual(main())


def test_the_next_attempt_is_when_the_server_asks_for_it() -> None:
    class Busy(Exception):
        status_code, headers = 503, {"Retry-After": "7"}

    async def main() -> None:
        work, told = Work(raises={0: Busy(), 1: TypeError()}), []
        await run_with_retries(2, work, work.rounds, on_retry=lambda _, delay: told.append(delay))
        assert told == [7, 1]  # a mistake is tried again, too: another cell may fix it
        assert work.starts == [0, 7, 8]

    run_virtual(main())
