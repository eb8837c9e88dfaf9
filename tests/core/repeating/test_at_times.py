"""Work at times of the wall clock, on a virtual loop clock and a wall clock that can be set."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import asyncnb
from asyncnb._core.repeating.at_times import (
    LOOK_SECONDS,
    MARGIN_SECONDS,
    run_at,
    run_on_schedule,
    sleep_until,
)
from asyncnb._core.repeating.repeat import RunCounts
from asyncnb.testing import run_virtual

HOUR = 3600.0


class Wall:
    """A wall clock that runs with the loop's, can be set, and runs on while the machine sleeps."""

    def __init__(self) -> None:
        self.set_by = 0.0

    def __call__(self) -> float:
        return 1_000_000.0 + asyncio.get_running_loop().time() + self.set_by


class Every:
    """A schedule: each multiple of a period, up to an end."""

    def __init__(self, period: float, end: float = float("inf")) -> None:
        self.period, self.end = period, end

    def after(self, moment: float) -> float | None:
        found = (moment // self.period + 1) * self.period
        return found if found <= self.end else None


class Job:
    """Writes down the wall time of its runs; takes, and raises, what the lists say."""

    def __init__(self, wall: Wall, takes: list[float] = [], fails: tuple[int, ...] = ()) -> None:  # noqa: B006
        self.wall, self.takes, self.fails = wall, takes, fails
        self.rounds = RunCounts(repeats=True)
        self.runs: list[float] = []
        self.late: list[float] = []
        self.next: list[float | None] = []
        self.errors: list[BaseException] = []

    async def __call__(self) -> int:
        number = len(self.runs)
        self.runs.append(round(self.wall() - 1_000_000.0 - MARGIN_SECONDS, 3))
        if number < len(self.takes):
            await asyncio.sleep(self.takes[number])
        if number in self.fails:
            raise LookupError(number)
        return number

    async def on_result(self, _: int) -> None:
        pass

    async def on_error(self, exc: BaseException) -> None:
        self.errors.append(exc)

    def watched(self) -> dict[str, Any]:
        return {
            "on_next": lambda: self.next.append(self.rounds.next_run),
            "on_late": lambda when, late: self.late.append(round(late)),
            "clock": self.wall,
        }

    def on(self, schedule: Any) -> Any:
        return run_on_schedule(
            schedule,
            self,
            self.rounds,
            on_result=self.on_result,
            on_error=self.on_error,
            **self.watched(),
        )


def steer(job: Job, coro: Any, *steps: tuple[float, float]) -> None:
    """Run ``coro``; at each loop time of ``steps`` set the wall clock by that much; then cancel."""

    async def main() -> None:
        task = asyncnb.create_task(coro)
        for at, by in steps:
            await asyncio.sleep(at - asyncio.get_running_loop().time())
            job.wall.set_by += by
        task.cancel()
        await asyncio.wait([task])

    run_virtual(main())


def test_a_run_at_a_moment_takes_place_once_and_says_when_it_is_due():
    job = Job(Wall())

    async def main() -> int:
        return await run_at(1_000_000 + 2 * HOUR, job, job.rounds, **job.watched())

    assert run_virtual(main()) == 0
    assert job.runs == [2 * HOUR]
    assert job.next == [1_000_000 + 2 * HOUR, None]
    assert job.late == []


def test_a_moment_that_the_machine_sleeps_through_is_made_up_for_when_it_wakes():
    job = Job(Wall())
    moment = run_at(1_000_000 + HOUR, job, job.rounds, **job.watched())
    steer(job, moment, (600.0, 2 * HOUR), (2 * HOUR, 0.0))  # lid closed for two hours
    [ran] = job.runs
    assert 600 + 2 * HOUR - MARGIN_SECONDS <= ran <= 600 + 2 * HOUR + LOOK_SECONDS
    [late] = job.late
    assert HOUR + 600 <= late <= HOUR + 600 + LOOK_SECONDS


def test_a_clock_that_is_set_back_moves_the_moment_away():
    job = Job(Wall())
    moment = run_at(1_000_000 + HOUR, job, job.rounds, **job.watched())
    steer(job, moment, (600.0, -HOUR), (5 * HOUR, 0.0))
    assert job.runs == [HOUR]


def test_a_schedule_keeps_its_beat_and_counts_what_a_slow_run_skips():
    job = Job(Wall(), takes=[10, 150], fails=(0,))
    steer(job, job.on(Every(60)), (330.0, 0.0))
    assert job.runs == [20, 80, 260, 320]  # 1,000,020 is a multiple of 60
    assert (job.rounds.done, job.rounds.failed, job.rounds.skipped) == (4, 1, 2)
    assert [type(each) for each in job.errors] == [LookupError]
    assert job.rounds.last_error == "LookupError: 0"


def test_of_the_runs_that_the_machine_sleeps_through_one_is_made_up_for():
    job = Job(Wall())
    steer(job, job.on(Every(600)), (1000.0, 2 * HOUR), (2000.0, 0.0))
    assert job.runs[:2] == [200, 800]
    woke = 1000 + 2 * HOUR
    assert woke <= job.runs[2] <= woke + LOOK_SECONDS
    assert job.runs[3] == 200 + 600 * 14
    assert job.rounds.skipped == 11
    assert len(job.late) == 1


def test_a_clock_that_is_set_back_a_little_repeats_no_run():
    job = Job(Wall())
    steer(job, job.on(Every(600)), (810.0, -900.0), (3000.0, 0.0))
    assert job.runs == [200, 800, 1400, 2000]


def test_a_clock_that_is_set_back_far_starts_the_schedule_anew():
    job = Job(Wall())
    steer(job, job.on(Every(600)), (810.0, -10 * HOUR), (2100.0, 0.0))
    assert job.runs[:2] == [200, 800]
    assert job.runs[2:] == [-34_600, -34_000]


def test_a_schedule_without_a_further_moment_ends():
    job = Job(Wall())

    async def main() -> None:
        await job.on(Every(600, end=1_000_900))

    run_virtual(main())
    assert job.runs == [200, 800]


def test_a_cancelled_wait_leaves_no_next_run():
    job = Job(Wall())
    steer(job, job.on(Every(600)), (10.0, 0.0))
    assert job.runs == []
    assert job.rounds.next_run is None
    assert not job.rounds.running


def test_a_wait_for_the_past_returns_at_once():
    async def main() -> float:
        assert await sleep_until(5.0, lambda: 10.0)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(0.0)
