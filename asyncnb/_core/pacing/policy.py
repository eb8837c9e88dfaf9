"""Retry: which failed calls are retried, how often and when."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from operator import index
from typing import Any

from asyncnb._core.base.seconds import check_timeout
from asyncnb._core.base.text import brief
from asyncnb._core.pacing.backoff import FIRST_DELAY, LONGEST_DELAY
from asyncnb._core.pacing.retry_after import Answer

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


@dataclass(frozen=True)
class Retry:
    """Which failed calls are retried, how often and when: for ``retry=`` of ``map``.

    ``retry=3`` is ``Retry(3)``: up to three retries, so four attempts.

    ``on`` says which failures are retried: an exception class, a tuple of them, or a function that
    takes the exception and returns whether to retry. By default that is every Exception, timeouts
    included, except

    - mistakes in the program, which a retry does not fix: TypeError, AttributeError, NameError,
      ImportError, SyntaxError, NotImplementedError, AssertionError, RecursionError;
    - HTTP responses that reject the request: a status from 400 to 499, other than 408, 409, 421,
      423, 425 and 429.

    Cancellation, KeyboardInterrupt and SystemExit are never retried.

    The delay before a retry is a random time between 0 and ``first`` seconds, then between 0 and
    twice as long each time, at most ``longest`` ("full jitter"); with ``jitter=False`` it is the
    longest of these times. If the server says ``Retry-After``, in seconds or as a date, that is the
    delay instead, plus up to ``first`` seconds of jitter, and with status 429 or 503 the whole run
    waits, as more calls would be refused as well. This works for exceptions of httpx, aiohttp,
    requests and urllib, for those modelled on them, and for exceptions with a response among their
    arguments. ``retry_after`` is the longest such time in seconds: a call that is asked to wait
    longer fails. ``retry_after=0`` ignores what the server says.

    ``budget`` is the number of retries of a whole run, over all items: a service that is down does
    not get ten thousand more calls.

    Raises TypeError or ValueError for invalid values.
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

    def wants(self, exc: Exception, answer: Answer | None) -> bool:
        """Return whether ``on`` says that ``exc``, with the HTTP response in it, is retried."""
        on = self.on
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
