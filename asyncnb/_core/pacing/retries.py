"""The retries of one run: decides about each failure, counts, waits, and holds the pace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from asyncnb._core.base.text import duration
from asyncnb._core.pacing.backoff import Backoff
from asyncnb._core.pacing.policy import LONGEST_RETRY_AFTER, Retry
from asyncnb._core.pacing.retry_after import find_answer

__asyncnb_frames__ = "waits"

T = TypeVar("T")


class Holdable(Protocol):
    """A Rate, or what else starts calls and can be made to wait."""

    def hold(self, seconds: float, /) -> None:
        """Start no call for ``seconds``."""


class RunRetries:
    """The retries of one run: counts them, decides about each failure, and waits.

    Used on the thread of the run's loop.
    """

    def __init__(self, retry: Retry) -> None:
        self.retry = retry
        #: The retries of this run so far.
        self.count = 0
        self._backoff = Backoff(retry.first, retry.longest, retry.jitter)

    def after(self, exc: BaseException, attempt: int) -> float | None:
        """Return the seconds to wait before the next attempt, None to give up.

        ``attempt`` counts the attempts so far; the last one raised ``exc``. If it could be tried
        again but for what the server asks or for the budget, a note on ``exc`` says so. Raises what
        a predicate raises.
        """
        retry = self.retry
        if attempt > retry.times or not isinstance(exc, Exception):
            return None
        answer = find_answer(exc) if retry.retry_after or retry.on is None else None
        if not retry.wants(exc, answer):
            return None
        asked = answer.retry_after if answer is not None and retry.retry_after else None
        if asked is not None and asked > retry.retry_after:
            exc.add_note(
                f"Not tried again: the server asks to wait for {duration(asked)}, longer than "
                f"Retry(retry_after={retry.retry_after:g}) allows."
            )
            return None
        if retry.budget is not None and self.count >= retry.budget:
            exc.add_note(f"Not tried again: Retry(budget={retry.budget}) is used up for this run.")
            return None
        self.count += 1
        return self._backoff.delay(attempt) if asked is None else asked + self._backoff.spread()

    def hold(self, exc: BaseException, rate: Holdable) -> None:
        """Hold ``rate`` if ``exc`` is the answer of a service that wants no calls for a while."""
        hold_for(exc, rate, self.retry.retry_after)

    async def call(
        self,
        attempt: Callable[[Any], Awaitable[T]],
        item: Any,
        *,
        rate: Holdable | None = None,
        on_retry: Callable[[Exception, float], object] | None = None,
    ) -> T:
        """Await ``attempt(item)`` until one succeeds or the failure is final; return its result.

        ``on_retry(exc, delay)`` is called before each wait; ``rate`` is held if the service asks
        for it. Raises the last failure; cancellation propagates at once. On any running loop.
        """
        attempts = 0
        while True:
            attempts += 1
            try:
                return await attempt(item)
            except Exception as exc:
                if rate is not None:
                    self.hold(exc, rate)
                delay = self.after(exc, attempts)
                if delay is None:
                    raise
                if on_retry is not None:
                    on_retry(exc, delay)
            await asyncio.sleep(delay)


def hold_for(exc: BaseException, rate: Holdable, longest: float = LONGEST_RETRY_AFTER) -> None:
    """Hold ``rate`` for as long as the 429 or 503 in ``exc`` asks, if not for over ``longest``."""
    answer = find_answer(exc)
    if answer is not None and answer.holds:
        assert answer.retry_after is not None
        if answer.retry_after <= longest:
            rate.hold(answer.retry_after)
