"""The lines of crontab: when they are due, and which are refused."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from asyncnb._kernel.cron import SHORT_FORMS, CronSchedule

BERLIN = ZoneInfo("Europe/Berlin")  # 02:00 is 03:00 on 2026-03-29, 03:00 is 02:00 on 2026-10-25


def due(line: str, start: str, number: int) -> list[str]:
    """The next moments of ``line``, without the year."""
    schedule, found = CronSchedule(line, BERLIN), []
    moment: float | None = datetime.fromisoformat(start).replace(tzinfo=BERLIN).timestamp()
    for _ in range(number):
        assert moment is not None
        moment = schedule.after(moment)
        assert moment is not None
        found.append(datetime.fromtimestamp(moment, BERLIN).strftime("%m-%d %H:%M %z"))
    return found


def test_a_line_is_due_when_cron_says():
    assert due("*/20 9-10 * * MON", "2026-06-01 09:30", 3) == [
        "06-01 09:40 +0200",
        "06-01 10:00 +0200",
        "06-01 10:20 +0200",
    ]


@pytest.mark.parametrize("short", SHORT_FORMS)
def test_each_short_form_is_a_line(short):
    assert CronSchedule(short).after(0.0) is not None


def test_what_is_due_in_the_hour_that_is_skipped_is_due_after_it():
    assert due("30 2 * * *", "2026-03-28 12:00", 2) == ["03-29 03:00 +0200", "03-30 02:30 +0200"]
    assert due("0 * * * *", "2026-03-29 01:00", 2) == ["03-29 03:00 +0200", "03-29 04:00 +0200"]


def test_what_is_due_in_the_hour_that_comes_twice_is_due_once_unless_it_is_hourly():
    assert due("30 2 * * *", "2026-10-25 01:00", 2) == ["10-25 02:30 +0200", "10-26 02:30 +0100"]
    assert due("0 * * * *", "2026-10-25 01:30", 3) == [
        "10-25 02:00 +0200",
        "10-25 02:00 +0100",
        "10-25 03:00 +0100",
    ]
    # Asked in the second of these hours, it is not due in the first.
    second = datetime(2026, 10, 25, 2, 10, fold=1, tzinfo=BERLIN).timestamp()
    found = CronSchedule("30 2 * * *", BERLIN).after(second)
    assert found is not None and found > second
    assert datetime.fromtimestamp(found, BERLIN).strftime("%m-%d %H:%M") == "10-26 02:30"


def test_a_line_that_never_comes_is_refused():
    with pytest.raises(ValueError, match="takes a line whose time comes"):
        CronSchedule("* * */20 * 1L")
