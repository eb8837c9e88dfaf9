"""Times of day and dates in local time, with the two days a year on which the clock is changed."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from asyncnb._core.repeating.local_time import LOCAL, clock_text, parse_time

BERLIN = ZoneInfo("Europe/Berlin")  # 02:00 is 03:00 on 2026-03-29, 03:00 is 02:00 on 2026-10-25


def epoch(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


def found(text: str, now: str | float) -> str:
    moment = parse_time(text, epoch(now) if isinstance(now, str) else now, BERLIN)
    return datetime.fromtimestamp(moment, BERLIN).isoformat()


@pytest.mark.parametrize(
    ("text", "now", "moment"),
    [
        ("09:00", "2026-06-01 08:00", "2026-06-01T09:00:00+02:00"),
        ("9:00", "2026-06-01 08:00", "2026-06-01T09:00:00+02:00"),
        ("08:00", "2026-06-01 08:00", "2026-06-02T08:00:00+02:00"),
        ("08:00:01", "2026-06-01 08:00", "2026-06-01T08:00:01+02:00"),
        ("2026-12-01 09:00", "2026-06-01 08:00", "2026-12-01T09:00:00+01:00"),
        ("2026-12-01T09:00:30", "2026-06-01 08:00", "2026-12-01T09:00:30+01:00"),
        ("2026-12-01 09:00 Z", "2026-06-01 08:00", "2026-12-01T10:00:00+01:00"),
        ("2026-12-01 09:00+05:30", "2026-06-01 08:00", "2026-12-01T04:30:00+01:00"),
        # The gap: the moment after it.
        ("02:30", "2026-03-28 20:00", "2026-03-29T03:00:00+02:00"),
        ("2026-03-29 02:30", "2026-03-28 20:00", "2026-03-29T03:00:00+02:00"),
        ("02:30", "2026-03-29 03:10", "2026-03-30T02:30:00+02:00"),
    ],
)
def test_a_time_is_the_next_moment_at_which_the_clock_shows_it(text, now, moment):
    assert found(text, now) == moment


def test_of_a_time_that_comes_twice_it_is_the_next_one():
    now = epoch("2026-10-25 01:00")
    hour = 3600
    assert found("02:30", now) == "2026-10-25T02:30:00+02:00"
    assert found("02:30", now + 2 * hour) == "2026-10-25T02:30:00+01:00"
    assert found("2026-10-25 02:30", now + 2 * hour) == "2026-10-25T02:30:00+01:00"
    assert found("02:30", now + 3 * hour) == "2026-10-26T02:30:00+01:00"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "takes a time such as 09:00 or a date and time such as '2026-06-02 09:00', not ''"),
        ("25:00", "takes a time from 00:00 to 23:59:59, not '25:00'"),
        ("09:60", "takes a time from 00:00 to 23:59:59"),
        ("9am", "The clock has 24 hours: 5 pm is 17:00"),
        ("+10m", "In 10 m it is 08:10"),
        ("+20h", "In 20 h it is 2026-06-02 04:00"),
        ("2026-12-01", "A date and its time need quotes: '2026-12-01 09:00'"),
        ("2026-02-30 09:00", "takes a date and a time that exist"),
        ("2026-06-01 07:59", "takes a time in the future, and '2026-06-01 07:59' is past"),
        ("tomorrow", "takes a time such as 09:00"),
        ("0001-01-01 00:00", "takes a time that the clock can show, not '0001-01-01 00:00'"),
        ("+ 99999999999999999 h", "takes a time such as 09:00"),
    ],
)
def test_what_is_no_time_to_come_is_refused_with_a_sentence(text, sentence):
    with pytest.raises(ValueError) as refused:
        parse_time(text, epoch("2026-06-01 08:00"), BERLIN)
    assert sentence in str(refused.value)


def test_a_moment_is_shown_as_briefly_as_it_is_clear():
    now = epoch("2026-06-01 08:00")
    assert clock_text(epoch("2026-06-01 09:00"), now, BERLIN) == "09:00"
    assert clock_text(epoch("2026-06-01 09:00:05"), now, BERLIN) == "09:00:05"
    assert clock_text(epoch("2026-06-02 09:00"), now, BERLIN) == "2026-06-02 09:00"


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process cannot be set here")
def test_the_zone_of_the_machine_has_all_its_changes():
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    try:
        start = datetime(2026, 1, 1, tzinfo=UTC)
        for hours in (*range(0, 24 * 365, 37), *range(2086, 2092), *range(7126, 7134)):
            moment = start + timedelta(hours=hours)
            ours, theirs = moment.astimezone(LOCAL), moment.astimezone(BERLIN)
            assert ours.replace(tzinfo=None) == theirs.replace(tzinfo=None)
            assert (ours.fold, ours.utcoffset()) == (theirs.fold, theirs.utcoffset())
            assert ours.timestamp() == moment.timestamp()
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()
