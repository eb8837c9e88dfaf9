"""Local time: times of day and dates as users write them, and the clock changes twice a year.

The time zone is the machine's, as ``time.localtime`` knows it. A time that the clock skips in
spring is the moment after the gap; of a time that it shows twice in autumn, the next one is meant.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, tzinfo


class LocalZone(tzinfo):
    """The machine's time zone with all its changes, unlike that of ``datetime.astimezone()``."""

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        if when is None:
            return None
        return when.replace(tzinfo=None).astimezone().utcoffset()

    def dst(self, when: datetime | None) -> timedelta | None:
        return None

    def tzname(self, when: datetime | None) -> str | None:
        return None if when is None else when.replace(tzinfo=None).astimezone().tzname()

    def fromutc(self, when: datetime) -> datetime:
        local = when.replace(tzinfo=UTC).astimezone()
        naive = local.replace(tzinfo=None)
        # The second of two equal times of day has another offset than the first.
        again = naive.astimezone().utcoffset() != local.utcoffset()
        return naive.replace(tzinfo=self, fold=int(again))

    def __repr__(self) -> str:
        return "LocalZone()"


LOCAL = LocalZone()

_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_DELAY = re.compile(r"\+\s*(\d+)\s*(s|sec|m|min|h)")
_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}


def exists(when: datetime) -> bool:
    """Return whether the clock of its zone shows ``when`` at some moment."""
    return when == when.astimezone(UTC).astimezone(when.tzinfo)


def moment(when: datetime) -> float:
    """Return ``when`` as ``time.time()``; the moment after the gap if its zone skips it."""
    when = when.replace(second=0) if not exists(when) else when
    while not exists(when):
        # Arithmetic of datetime within one zone is that of the clock on the wall.
        when += timedelta(minutes=1)
    return when.timestamp()


def parse_time(text: str, now: float, zone: tzinfo = LOCAL) -> float:
    """Return the moment that ``text`` names, as ``time.time()``.

    ``09:00`` or ``09:00:30`` is the next time that the clock shows this, today or tomorrow.
    ``2026-12-01 09:00`` is local time unless it ends with an offset (``+01:00``, ``Z``). Raises
    ValueError, with a sentence that begins with "takes", for anything else and for the past.
    """
    text = " ".join(text.split())
    if found := _TIME.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in found.groups())
        if hour > 23 or minute > 59 or second > 59:
            raise ValueError(f"takes a time from 00:00 to 23:59:59, not {text!r}")
        return _next_time_of_day(hour, minute, second, now, zone)
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2})? ?(Z|[+-]\d{2}:\d{2})?", text):
        raise ValueError(_refusal(text, now, zone))
    try:
        when = datetime.fromisoformat(text.replace("T", " ").replace(" +", "+").replace(" Z", "Z"))
    except ValueError as exc:
        raise ValueError(f"takes a date and a time that exist, not {text!r}: {exc}") from None
    try:
        if when.tzinfo is None:
            early, late = (moment(when.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
            found_at = early if early > now else late
        else:
            found_at = when.timestamp()
    except (OverflowError, ValueError, OSError):  # within a day of the first or last date there is
        raise ValueError(f"takes a time that the clock can show, not {text!r}") from None
    if found_at <= now:
        raise ValueError(f"takes a time in the future, and {text!r} is past")
    return found_at


def _next_time_of_day(hour: int, minute: int, second: int, now: float, zone: tzinfo) -> float:
    today = datetime.fromtimestamp(now, zone).replace(tzinfo=None)
    found = []
    for days in (0, 1):
        date = (today + timedelta(days=days)).date()
        for fold in (0, 1):
            when = datetime(date.year, date.month, date.day, hour, minute, second, fold=fold)
            found.append(moment(when.replace(tzinfo=zone)))
    return min(each for each in found if each > now)


def _refusal(text: str, now: float, zone: tzinfo) -> str:
    example = datetime.fromtimestamp(now + 86400, zone).strftime("%Y-%m-%d")
    hint = ""
    if delay := _DELAY.fullmatch(text):
        try:
            seconds = int(delay[1]) * _UNITS[delay[2]]
            hint = f". In {delay[1]} {delay[2]} it is {clock_text(now + seconds, now, zone)}"
        except (OverflowError, ValueError, OSError):
            pass  # there is no such date
    elif re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        hint = f". A date and its time need quotes: '{text} 09:00'"
    elif re.fullmatch(r"(?i)\d{1,2}(:\d{2})? ?[ap]\.?m\.?", text):
        hint = ". The clock has 24 hours: 5 pm is 17:00"
    forms = f"a time such as 09:00 or a date and time such as '{example} 09:00'"
    return f"takes {forms}, not {text!r}{hint}"


def clock_text(when: float, now: float | None = None, zone: tzinfo = LOCAL) -> str:
    """Return a moment as text: ``09:00`` if it is today, ``2026-12-01 09:00`` otherwise.

    With seconds if they are not 0.
    """
    at = datetime.fromtimestamp(when, zone)
    today = datetime.fromtimestamp(time.time() if now is None else now, zone).date()
    text = at.strftime("%H:%M:%S" if at.second else "%H:%M")
    return text if at.date() == today else f"{at:%Y-%m-%d} {text}"
