"""Retry: which failures are tried again, how often and when; objects of tenacity are taken, too."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from operator import index
from typing import TYPE_CHECKING, Any, TypeVar

from asyncnb._core.base.seconds import check_timeout
from asyncnb._core.base.text import brief, duration
from asyncnb._core.pacing.backoff import FIRST_DELAY, LONGEST_DELAY, Backoff
from asyncnb._core.pacing.retry_after import Answer, find_answer

if TYPE_CHECKING:
    from asyncnb._core.pacing.rate import Rate

__asyncnb_frames__ = "waits"

T = TypeVar("T")
On = Any  # type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], object]

#: Mistakes in the program: another attempt would fail in the same way.
MISTAKES = (
    TypeError,
    AttributeError,
    NameError,
    ImportError,
    SyntaxError,
    NotImplementedError,
    AssertionError,
    RecursionError,
)
#: The longest Retry-After that is waited for, in seconds.
LONGEST_RETRY_AFTER = 3600.0
_EXAMPLES = "retry=3, retry=asyncnb.Retry(3, on=OSError) or an AsyncRetrying of tenacity"


@dataclass(frozen=True)
class Retry:
    """Which failures of a call are tried again, how often and when: for ``retry=`` of ``map``.

    ``retry=3`` is ``Retry(3)``: up to three retries, so four attempts.

    ``on`` says what is tried again: an exception class, a tuple of them, or a function that takes
    the exception and returns whether to try again. By default that is every Exception, timeouts
    included, except

    - mistakes in the program, which more attempts do not mend: TypeError, AttributeError,
      NameError, ImportError, SyntaxError, NotImplementedError, AssertionError, RecursionError;
    - HTTP responses that blame the request: a status from 400 to 499, other than 408, 409, 421,
      423, 425 and 429.

    Cancellation, KeyboardInterrupt and SystemExit are never tried again.

    The delay before a retry is a random time between 0 and ``first`` seconds, then between 0 and
    twice as long each time, at most ``longest`` ("full jitter"); with ``jitter=False`` it is the
    longest of these times. If the server says ``Retry-After``, in seconds or as a date, that is the
    delay instead, plus up to ``first`` seconds of jitter, and with status 429 or 503 the whole run
    waits, as more calls would be refused as well. Read are exceptions of httpx, aiohttp, requests
    and urllib, those modelled on them, and exceptions with a response among their arguments.
    ``retry_after`` is the longest such time in seconds: a call that is asked to wait longer fails.
    ``retry_after=0`` ignores what the server says.

    ``budget`` is the number of retries of a whole run, over all items: a service that is down is
    not called ten thousand times more.

    Raises TypeError or ValueError, with a sentence, for values that make no sense.
    """

    times: int = 3
    on: On = field(default=None, kw_only=True)
    first: float = field(default=FIRST_DELAY, kw_only=True)
    longest: float = field(default=LONGEST_DELAY, kw_only=True)
    jitter: bool = field(default=True, kw_only=True)
    retry_after: float = field(default=LONGEST_RETRY_AFTER, kw_only=True)
    budget: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "times", _check_count(self.times, "retry", "the number of retries"))
        _check_on(self.on)
        for name in ("first", "longest", "retry_after"):
            set_field(self, name, _check_seconds(getattr(self, name), name))
        if self.first > self.longest:
            raise ValueError(
                f"Retry(first={self.first:g}, longest={self.longest:g}): the first delay is longer "
                "than the longest one"
            )
        if not isinstance(self.jitter, bool):
            raise TypeError(f"Retry(jitter=...) must be True or False, not {brief(self.jitter)}")
        if self.budget is not None:
            set_field(
                self,
                "budget",
                _check_count(self.budget, "Retry(budget)", "retries of the whole run"),
            )


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
        if not _wanted(retry.on, exc, answer):
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

    def hold(self, exc: BaseException, rate: Rate) -> None:
        """Hold ``rate`` if ``exc`` is the answer of a service that wants no calls for a while."""
        hold_for(exc, rate, self.retry.retry_after)

    async def call(
        self,
        attempt: Callable[[Any], Awaitable[T]],
        item: Any,
        *,
        rate: Rate | None = None,
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


def hold_for(exc: BaseException, rate: Rate, longest: float = LONGEST_RETRY_AFTER) -> None:
    """Hold ``rate`` for as long as the 429 or 503 in ``exc`` asks, if not for over ``longest``."""
    answer = find_answer(exc)
    if answer is not None and answer.holds:
        assert answer.retry_after is not None
        if answer.retry_after <= longest:
            rate.hold(answer.retry_after)


def as_retry(value: object) -> RunRetries | None:
    """Return the retries of one run for ``retry=value``; None for None.

    ``value`` is a number of retries, a Retry, or a ``Retrying`` or ``AsyncRetrying`` object of
    tenacity. Raises TypeError or ValueError, with a sentence, for anything else.
    """
    if value is None:
        return None
    if isinstance(value, Retry):
        return RunRetries(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return RunRetries(Retry(value))
    tenacity = sys.modules.get("tenacity")  # an object of it exists only if it was imported
    if tenacity is not None and isinstance(value, tenacity.BaseRetrying):
        from asyncnb._core.pacing.tenacity_retries import TenacityRetries

        return TenacityRetries(value)
    given = type(value).__name__
    if isinstance(value, bool):
        hint = ": write how often, retry=3" if value else ": omit it, or set it to None"
        raise TypeError(f"retry={value} does not say how often{hint}")
    if isinstance(value, type):
        if issubclass(value, BaseException):
            raise TypeError(
                f"retry={value.__name__} does not say how often: "
                f"asyncnb.Retry(3, on={value.__name__})"
            )
        raise TypeError(f"retry must be an object, not the class {value.__name__}: call it first")
    if callable(value):
        raise TypeError(
            f"retry must be {_EXAMPLES}, not a function: a decorator such as tenacity's @retry "
            "belongs on the function that map calls; a predicate is asyncnb.Retry(3, on=function)"
        )
    if isinstance(value, float | str):
        given = brief(value, 40)
    raise TypeError(f"retry must be {_EXAMPLES}, not {given}")


def _wanted(on: On, exc: Exception, answer: Answer | None) -> bool:
    if on is None:
        return not isinstance(exc, MISTAKES) and not (answer is not None and answer.final)
    if isinstance(on, type | tuple):
        return isinstance(exc, on)
    return bool(on(exc))


def _check_count(value: object, what: str, meaning: str) -> int:
    if isinstance(value, bool):
        raise TypeError(f"{what} must be an integer, {meaning}, not {value}")
    try:
        number = index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"{what} must be an integer, {meaning}, not {type(value).__name__}"
        ) from None
    if number < 0:
        raise ValueError(f"{what} must be 0 or more, {meaning}, not {brief(number)}")
    return number


def _check_seconds(value: object, name: str) -> float:
    seconds = check_timeout(value, what=f"Retry({name}=...)")
    if seconds is None or seconds == float("inf"):
        raise ValueError(f"Retry({name}=...) must be a number of seconds, not {value}")
    return seconds


def _check_on(on: On) -> None:
    if on is None:
        return
    kinds = on if isinstance(on, tuple) else (on,)
    if isinstance(on, type | tuple):
        for kind in kinds:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise TypeError(f"Retry(on=...): {brief(kind)} is not an exception class")
            if not issubclass(kind, Exception):
                raise TypeError(
                    f"Retry(on={kind.__name__}): only subclasses of Exception are tried again, so "
                    "that a run can be cancelled and interrupted"
                )
        if not kinds:
            raise ValueError("Retry(on=()) would try nothing again: retry=0 says that")
        return
    if not callable(on):
        raise TypeError(
            "Retry(on=...) must be an exception class, a tuple of them or a function of the "
            f"exception, not {type(on).__name__}"
        )
    if inspect.iscoroutinefunction(on):
        raise TypeError("Retry(on=...) must be a plain function, not an async def")
