"""Work at times of the wall clock: once at a moment, or at each moment that a schedule names.

The loop's clock, which timers use, stops while the machine sleeps (Linux, macOS) and does not
notice that the user or NTP has set the wall clock. So a wait looks at the wall clock again every
``LOOK_SECONDS``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from asyncnb._core.repeating.repeat import RunCounts, Start, run_round

__asyncnb_frames__ = "waits"

T = TypeVar("T")

#: A run is at most this late after the machine has slept or its clock was set.
LOOK_SECONDS = 10.0
#: A run that is later than this says so.
LATE_SECONDS = 60.0
#: A clock that is set back by less than this is corrected, and nothing runs twice. One that is set
#: back further was wrong before. As in Debian's cron.
SET_BACK_SECONDS = 3 * 3600.0
#: Runs that were missed are counted up to this number.
MAX_COUNTED = 10_000

#: What a run waits beyond its moment: ``time.strftime()`` reads a clock that is up to 10 ms behind
#: ``time.time()``, and a run at midnight would get yesterday's date from it.
MARGIN_SECONDS = 0.02

#: The wall clock; an argument for tests.
Clock = Callable[[], float]


class Schedule(Protocol):
    """The moments at which work is due."""

    def after(self, moment: float) -> float | None:
        """Return the first due moment after ``moment``, both as ``time.time()``, or None."""
        ...


async def sleep_until(when: float, clock: Clock = time.time) -> bool:
    """Return True when the wall clock shows ``when`` (``time.time()``) or later. Any loop.

    Return False if the clock is set back by more than three hours meanwhile.
    """
    latest = now = clock()
    when += MARGIN_SECONDS
    while now < when:
        await asyncio.sleep(min(when - now, LOOK_SECONDS))
        now = clock()
        if now < latest - SET_BACK_SECONDS:
            return False
        latest = max(latest, now)
    return True


async def run_at(
    when: float,
    start: Start[T],
    rounds: RunCounts,
    *,
    on_next: Callable[[], object],
    on_late: Callable[[float, float], object],
    clock: Clock = time.time,
) -> T:
    """Run ``start()`` when the wall clock shows ``when``, once; return its result.

    If the machine slept at that moment, it runs as soon as it is awake again. ``on_next()`` is
    called when ``rounds.next_run`` has changed, ``on_late(when, seconds)`` before a run that is
    more than a minute late.
    """
    while not await _wait_for_run(when, rounds, on_next, on_late, clock):
        pass  # the clock was set back: the moment is further away
    return await start()


async def run_on_schedule(
    schedule: Schedule,
    start: Start[T],
    rounds: RunCounts,
    *,
    on_result: Callable[[T], Awaitable[object]],
    on_error: Callable[[BaseException], Awaitable[object]],
    on_next: Callable[[], object],
    on_late: Callable[[float, float], object],
    clock: Clock = time.time,
) -> None:
    """Run ``start()`` at each moment of ``schedule``, until cancelled or until there is none left.

    Runs never overlap: moments that pass while one is running are skipped, and counted. Of those
    that pass while the machine sleeps or the task is paused, one run takes place, at once, and the
    others count as skipped, too. A clock that is set back by less than three hours repeats no run;
    if it is set back further, the schedule continues from the new time.
    Failures are treated as by ``run_periodically``.
    """
    due = schedule.after(clock())
    while due is not None:
        if not await _wait_for_run(due, rounds, on_next, on_late, clock):
            due = schedule.after(clock())
            continue
        await run_round(start, rounds, on_result=on_result, on_error=on_error)
        now = clock()
        following = schedule.after(due)
        counted = 0
        while following is not None and following <= now and counted < MAX_COUNTED:
            counted += 1
            following = schedule.after(following)
        rounds.skipped += counted
        if counted == MAX_COUNTED or now < due - SET_BACK_SECONDS:
            following = schedule.after(now)
        due = following


async def _wait_for_run(
    when: float,
    rounds: RunCounts,
    on_next: Callable[[], object],
    on_late: Callable[[float, float], object],
    clock: Clock,
) -> bool:
    rounds.next_run = when
    on_next()
    try:
        if not await sleep_until(when, clock):
            return False
    finally:
        rounds.next_run = None
        on_next()
    if (late := clock() - when) > LATE_SECONDS:
        on_late(when, late)
    return True
