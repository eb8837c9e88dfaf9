"""Work that is done again: every so many seconds, and after a failure."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Never, TypeVar

from asyncnb._core.base.errors import format_exception_line

__asyncnb_frames__ = "waits"

T = TypeVar("T")
Start = Callable[[], Coroutine[Any, Any, T]]

#: Seconds before the first and before any later new attempt after a failure.
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0


class Rounds:
    """What repeated work has done so far. Written by the loop's thread alone."""

    __slots__ = ("attempts", "done", "failed", "last_error", "repeats", "running", "skipped")

    def __init__(self, *, repeats: bool = False) -> None:
        #: Whether it is done again and again, and not only after a failure.
        self.repeats: bool = repeats
        #: Rounds that have ended, and those of them that failed.
        self.done: int = 0
        self.failed: int = 0
        #: Rounds that were left out since an earlier one still ran, or the task was paused.
        self.skipped: int = 0
        #: Attempts that failed, of work that is tried again.
        self.attempts: int = 0
        #: The last failure, as ``Type: message``.
        self.last_error: str | None = None
        #: Whether a round is under way.
        self.running: bool = False

    def note_failure(self, exc: BaseException) -> None:
        """Keep what ``exc`` says."""
        self.last_error = format_exception_line(exc)


async def every(
    seconds: float,
    start: Start[T],
    rounds: Rounds,
    *,
    on_result: Callable[[T], Awaitable[object]],
    on_error: Callable[[BaseException], Awaitable[object]],
) -> Never:
    """Run ``start()`` at once and then every ``seconds``, until cancelled.

    Rounds keep to the beat and never overlap: one that takes too long leaves those out that it
    covers. One that fails is told to ``on_error``, and the next begins at its time; so is one
    whose own await was cancelled, unless somebody cancelled the task. Cancellation of the task,
    SystemExit and KeyboardInterrupt come out.
    """
    loop = asyncio.get_running_loop()
    begun, beat = loop.time(), 0
    while True:
        rounds.running = True
        try:
            value = await start()
        except (Exception, asyncio.CancelledError) as exc:
            if isinstance(exc, asyncio.CancelledError) and _is_cancelled():
                raise
            rounds.failed += 1
            rounds.note_failure(exc)
            await on_error(exc)
        else:
            await on_result(value)
        finally:
            rounds.running = False
        rounds.done += 1
        if _is_cancelled():
            # The round ended all the same: a thread that was ready before it heard of it.
            raise asyncio.CancelledError
        now = loop.time()
        # A timer may fire a clock tick early: the beat that is due now has had its round.
        following = max(beat + 1, math.ceil((now - begun) / seconds))
        rounds.skipped += following - beat - 1
        beat = following
        await asyncio.sleep(begun + beat * seconds - now)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def retrying(
    times: int,
    start: Start[T],
    rounds: Rounds,
    *,
    on_retry: Callable[[Exception, float], object],
) -> T:
    """Run ``start()``, and again up to ``times`` times while it fails; return its result.

    Half a second passes before the second attempt, and twice as long before each further one, up
    to 30 s. ``on_retry(exc, delay)`` is called before each wait. The last failure comes out;
    cancellation, SystemExit and KeyboardInterrupt come out at once.
    """
    delay = FIRST_DELAY
    for left in range(times, -1, -1):
        try:
            return await start()
        except Exception as exc:
            rounds.attempts += 1
            if not left:
                raise
            rounds.note_failure(exc)
            on_retry(exc, delay)
        await asyncio.sleep(delay)
        delay = min(2 * delay, LONGEST_DELAY)
    raise AssertionError("the last attempt either returns or raises")
