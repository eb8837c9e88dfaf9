"""``--cron``: the lines of crontab, which cronsim reads."""

from __future__ import annotations

import re
import time
from datetime import datetime, tzinfo
from typing import Any

from asyncnb._core.base.errors import did_you_mean
from asyncnb._core.repeating.local_time import LOCAL

#: The short forms that cron has, too.
SHORT_FORMS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = "minute, hour, day of month, month and day of week"
_EXAMPLE = '"*/5 * * * *", in quotes'


class CronSchedule:
    """The moments of one line of crontab, in local time; ``Schedule`` of ``_core``.

    When the clocks change, as in Debian's cron: a run at a time that is skipped takes place right
    after the gap, one at a time that comes twice takes place once; lines for every hour or minute
    keep their interval. Raises ValueError, with a sentence that begins with "takes" or "needs", for
    a line that is invalid or never due, and if cronsim is not installed.
    """

    def __init__(self, line: str, zone: tzinfo = LOCAL) -> None:
        self.line = " ".join(line.split())
        self._zone = zone
        self._expression = _checked(self.line)
        try:
            from cronsim import CronSim, CronSimError
        except ModuleNotFoundError:
            raise ValueError(
                "needs the package cronsim: `%pip install asyncnb[cron]` installs it"
            ) from None
        self._simulate: Any = CronSim
        try:
            never = self.after(time.time()) is None
        except CronSimError as exc:
            what = re.sub("^Bad ", "", str(exc)).replace("-", " ")
            raise ValueError(
                f"takes {_FIELDS}, such as {_EXAMPLE}; the {what} of {self.line!r} makes no sense"
            ) from None
        if never:
            raise ValueError(f"takes a line whose time comes; {self.line!r} has none in 50 years")

    def after(self, moment: float) -> float | None:
        """Return the first moment of the line after ``moment``, as ``time.time()``, or None."""
        for found in self._simulate(self._expression, datetime.fromtimestamp(moment, self._zone)):
            # In the hour that comes twice, a fixed time is found again, an hour ago.
            if (due := float(found.timestamp())) > moment:
                return due
        return None

    def __repr__(self) -> str:
        return f"CronSchedule({self.line!r})"


def _checked(line: str) -> str:
    if line.startswith("@"):
        if line not in SHORT_FORMS:
            known = ", ".join(SHORT_FORMS)
            raise ValueError(f"takes {known}, not {line!r}.{did_you_mean(line, SHORT_FORMS)}")
        return SHORT_FORMS[line]
    number = len(line.split())
    if number == 6:
        raise ValueError(
            f"takes five fields: {_FIELDS}; {line!r} has six, and cron has no seconds. --every "
            "repeats a cell after seconds"
        )
    if number != 5:
        raise ValueError(f"takes five fields: {_FIELDS}, such as {_EXAMPLE}; {line!r} has {number}")
    return line
