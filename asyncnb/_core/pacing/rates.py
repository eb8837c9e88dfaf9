"""What ``rate=`` may be: "60/min", "5/s", a number of calls per second; read, checked, written."""

from __future__ import annotations

import math
import numbers
import re
from dataclasses import dataclass
from fractions import Fraction
from operator import index

from asyncnb._core.base.errors import did_you_mean
from asyncnb._core.base.text import brief

_UNITS = {
    "ms": 0.001,
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
_SHOWN = {1.0: "s", 60.0: "min", 3600.0: "h", 86400.0: "day"}
_TEXT = re.compile(
    r"\s*(?P<count>[-+]?[\d_,]*\.?\d+)\s*(?:(?:/|per\b)\s*(?P<each>[\d.]*)\s*(?P<unit>[^\W\d]*))?\s*",
    re.IGNORECASE,
)
_EXAMPLES = '"60/min", "5/s", "1000/h" or a number of calls per second'

#: The burst is one for this many calls of a period: after a break, so many calls start at once.
BURST_SHARE = 10
#: The largest count that is not refused as a mistake.
MAX_COUNT = 10**9


@dataclass(frozen=True, slots=True)
class Pace:
    """At most ``count`` calls in any ``period`` of seconds, ``burst`` of them at once."""

    count: int
    period: float
    burst: int
    text: str


def parse_pace(value: object, burst: object = None, *, what: str = "rate") -> Pace:
    """Return the Pace that ``value`` is.

    A number is that many calls per second. Raises TypeError or ValueError, with a sentence that
    begins with ``what``, for anything that is not a rate above zero.
    """
    if isinstance(value, str):
        count, period, text = _parse_text(value, what)
    elif isinstance(value, numbers.Real) and not isinstance(value, bool):
        count, period, text = _parse_number(value, what)
    else:
        given = repr(value) if isinstance(value, bool) else type(value).__name__
        raise TypeError(
            f"{what} must be {_EXAMPLES}, an asyncnb.Rate or an object with an async acquire(), "
            f"such as aiolimiter's AsyncLimiter, not {given}"
        )
    if burst is None:
        return Pace(count, period, max(1, count // BURST_SHARE), text)
    try:
        calls = index(burst)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"burst must be an integer, the number of calls that may start at once, not "
            f"{type(burst).__name__}"
        ) from None
    if not 1 <= calls <= count:
        raise ValueError(
            f"burst must be between 1 and the {count} calls of {text}, not {brief(burst)}"
        )
    return Pace(count, period, calls, text)


def pace_text(count: float, period: float) -> str:
    """Return ``60/min`` or ``100/10 s``."""
    unit = _SHOWN.get(period)
    return f"{count:.12g}/{unit or f'{period:g} s'}"


def _parse_text(value: str, what: str) -> tuple[int, float, str]:
    found = _TEXT.fullmatch(value)
    if found is None:
        raise ValueError(f"{what} must be {_EXAMPLES}, not {brief(value, 40)}")
    number, unit = found["count"].replace("_", "").replace(",", ""), found["unit"]
    if not unit:
        shown = found["count"]
        raise ValueError(
            f'{what} {brief(value, 40)} does not say per what: write "{shown}/s", "{shown}/min" or '
            f'"{shown}/h"'
        )
    # "M" is a minute as well: no unit of a rate is a month.
    seconds = _UNITS.get(unit.lower())
    if seconds is None:
        hint = did_you_mean(unit.lower(), _UNITS)
        raise ValueError(
            f"{what} {brief(value, 40)}: unknown unit {brief(unit, 20)}; known units: ms, s, min, "
            f"h, day.{hint}"
        )
    each = _number(found["each"] or "1", value, what)
    period = each * seconds
    count = _number(number, value, what)
    _check_positive(count, value, what)
    if not 0 < period < math.inf:
        raise ValueError(f"{what} {brief(value, 40)}: the period must be longer than 0 seconds")
    if count == int(count):
        return int(count), period, pace_text(count, period)
    return *_whole(count, period), pace_text(count, period)


def _number(text: str, value: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{what} must be {_EXAMPLES}, not {brief(value, 40)}") from None


def _parse_number(value: numbers.Real, what: str) -> tuple[int, float, str]:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    _check_positive(number, value, what)
    return *_whole(number, 1.0), pace_text(number, 1.0)


def _check_positive(number: float, value: object, what: str) -> None:
    if not number > 0:
        raise ValueError(
            f"{what} must be above 0, not {brief(value)}: no call would ever start; to stop calls "
            "for a while, use pause()"
        )
    if number > MAX_COUNT:
        raise ValueError(
            f"{what} {brief(value)} is no limit at all: omit it, or set it to None, to start calls "
            "as fast as they come"
        )


def _whole(count: float, period: float) -> tuple[int, float]:
    """Return the same rate with a whole number of calls: 2.5 per second is 5 in 2 seconds."""
    exact = Fraction(count).limit_denominator(1000)
    if exact and math.isclose(exact, count, rel_tol=1e-9):
        return exact.numerator, period * exact.denominator
    if (longer := period / count) == math.inf:
        raise ValueError(f"a rate of {count:g} calls in {period:g} s would start no call")
    return 1, longer  # such as 0.000123 per second
