"""Repeated work: run periodically, and run again after a failure."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Never, TypeVar

from asyncnb._core.introspection.leaves import format_failure
from asyncnb._core.pacing.policy import Retry
from asyncnb._core.pacing.retries import RunRetries

__asyncnb_frames__ = "waits"

T = TypeVar("T")
Start = Callable[[], Coroutine[Any, Any, T]]


class RunCounts:
    """Counts what repeated work has done so far. Written only by the loop's thread."""

    __slots__ = (
        "attempts",
        "done",
        "failed",
        "last_error",
        "next_run",
        "repeats",
        "running",
        "skipped",
    )

    def __init__(self, *, repeats: bool = False) -> None:
        #: Whether it is done again and again, and not only after a failure.
        self.repeats: bool = repeats
        #: Runs that have finished, and how many of these failed.
        self.done: int = 0
        self.failed: int = 0
        #: Runs that were skipped because an earlier one was still running, or the task was paused.
        self.skipped: int = 0
        #: Attempts that failed, of work that is retried.
        self.attempts: int = 0
        #: The last failure, as ``Type: message``.
        self.last_error: str | None = None
        #: Whether a run is in progress.
        self.running: bool = False
        #: When the next run is due, as ``time.time()``, while work for a time of day waits for it.
        self.next_run: float | None = None

    def is_between_runs(self) -> bool:
        """Return whether no run is in progress, and a later one will be. Any thread."""
        return (self.repeats and not self.running) or self.next_run is not None

    def note_failure(self, exc: BaseException) -> None:
        """Keep the type and message of ``exc`` as ``last_error``."""
        self.last_error = format_failure(exc)


async def run_periodically(
    seconds: float,
    start: Start[T],
    rounds: RunCounts,
    *,
    on_result: Callable[[T], Awaitable[object]],
    on_error: Callable[[BaseException], Awaitable[object]],
) -> Never:
    """Run ``start()`` at once and then every ``seconds``, until cancelled.

    Runs start on multiples of the period and never overlap: one that takes too long causes the
    runs that were due meanwhile to be skipped. The exception of a run that fails is passed to
    ``on_error``, and the next run starts on schedule; the same holds for a run that awaits
    something cancelled, unless the task itself was cancelled. Cancellation of the task, SystemExit
    and KeyboardInterrupt propagate.
    """
    loop = asyncio.get_running_loop()
    begun, tick = loop.time(), 0
    while True:
        await run_round(start, rounds, on_result=on_result, on_error=on_error)
        now = loop.time()
        # A timer may fire slightly early (clock resolution): the tick that is due now has had its
        # run.
        following = max(tick + 1, math.ceil((now - begun) / seconds))
        rounds.skipped += following - tick - 1
        tick = following
        await asyncio.sleep(begun + tick * seconds - now)


async def run_round(
    start: Start[T],
    rounds: RunCounts,
    *,
    on_result: Callable[[T], Awaitable[object]],
    on_error: Callable[[BaseException], Awaitable[object]],
) -> None:
    """Run ``start()`` once, pass on its result or exception, and count it.

    Only a cancellation of the task itself propagates, with SystemExit and KeyboardInterrupt.
    """
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
        # The run finished anyway: its thread was done before the cancellation reached it.
        raise asyncio.CancelledError


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def run_with_retries(
    times: int,
    start: Start[T],
    rounds: RunCounts,
    *,
    on_retry: Callable[[Exception, float], object],
) -> T:
    """Run ``start()``, and retry it up to ``times`` times while it fails; return its result.

    Half a second passes before the second attempt, and twice as long before each further one, up
    to 30 s; or as long as the server asks for with Retry-After, see Retry. Every Exception is tried
    again, also a mistake in the code, which another cell may fix meanwhile.
    ``on_retry(exc, delay)`` is called before each wait. The last failure is raised; cancellation,
    SystemExit and KeyboardInterrupt propagate at once.
    """

    async def attempt(_: object) -> T:
        try:
            return await start()
        except Exception:
            rounds.attempts += 1
            raise

    def waits(exc: Exception, delay: float) -> None:
        rounds.note_failure(exc)
        on_retry(exc, delay)

    # One task has no others to keep apart from, and the delays are in its output: no jitter.
    retries = RunRetries(Retry(times, on=Exception, jitter=False))
    return await retries.call(attempt, None, on_retry=waits)
