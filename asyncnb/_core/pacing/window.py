"""When the next call may start: never more than so many in any period, evenly spaced."""

from __future__ import annotations

import math
from collections import deque

from asyncnb._core.pacing.rates import Pace

#: The window that is counted is longer than the period by this many seconds, and at most by this
#: share of it. Services count calls when they arrive, and a call that travels faster than an
#: earlier one would arrive one too many in their window.
TRAVEL_SECONDS, TRAVEL_SHARE = 0.1, 0.02
#: A call that starts late by less than this, because timers are, does not delay those after it.
TIMER_SECONDS = 0.02
#: Starts that are kept as single times. Of a larger count, those within a thousandth of the
#: period are kept as one, at the time of the last of them.
MAX_ENTRIES = 1000


class Window:
    """Counts the calls that have started. Knows neither loops nor threads.

    Two rules, and the later time counts. The first is the guarantee: in any half-open interval
    that is as long as the period, at most ``count`` calls start. Most services count like this, in
    a sliding window, or in windows of the clock, which is less strict. The second spaces calls
    evenly (the "generic cell rate algorithm"), since some count shorter windows than they say:
    after a break, ``burst`` calls start at once, and the others one by one.
    """

    def __init__(self, pace: Pace | None) -> None:
        self._entries: deque[list[float]] = deque()  # [last call, number of calls, first call]
        self._calls = 0
        self._even = -math.inf  # when the next call is due if all are evenly spaced
        self._not_before = -math.inf
        self._interval = 0.0
        self.pace: Pace | None = None
        self.set_pace(pace)

    def set_pace(self, pace: Pace | None) -> None:
        """Change the pace, or remove it with None; calls that have started still count."""
        ahead = 0.0  # calls that the even spacing is ahead of the last one: of a burst
        if self.pace is not None and self._entries:
            ahead = (self._even - self._entries[-1][0]) / self._interval
        self.pace = pace
        if pace is None:
            self._entries.clear()
            self._calls = 0
            return
        self._count = pace.count
        self._span = pace.period + min(TRAVEL_SECONDS, TRAVEL_SHARE * pace.period)
        self._interval = self._span / pace.count
        self._credit = (pace.burst - 1) * self._interval
        self._merge = self._span / MAX_ENTRIES if pace.count > MAX_ENTRIES else 0.0
        if self._entries:
            last = self._entries[-1][0]
            self._even = last + min(max(ahead, 0.0), pace.burst) * self._interval
            if self._not_before > last:
                self._even = max(self._even, self._not_before + self._credit)

    def hold(self, until: float) -> None:
        """Start no call before ``until``; from then on, evenly spaced, without a burst."""
        self._not_before = max(self._not_before, until)
        if self.pace is not None:
            self._even = max(self._even, until + self._credit)

    def held_until(self) -> float:
        """Return the time before which no call starts, whatever the pace."""
        return self._not_before

    def due(self, now: float) -> float:
        """Return when the next call may start; not later than ``now`` if it may start now."""
        if self.pace is None:
            return self._not_before
        entries, span = self._entries, self._span
        while entries and entries[0][0] + span <= now:
            self._calls -= int(entries.popleft()[1])
        due = max(self._even - self._credit, self._not_before)
        if self._calls >= self._count:
            over = self._calls - self._count
            for time, calls, _ in entries:
                over -= int(calls)
                if over < 0:
                    return max(due, time + span)
        return due

    def take(self, now: float) -> bool:
        """Note a call that starts now, if it may start; return whether it may."""
        if self.due(now) > now:
            return False
        if self.pace is None:
            return True
        entries = self._entries
        if self._merge and entries and now - entries[-1][2] < self._merge:
            entries[-1][0] = now
            entries[-1][1] += 1
        else:
            entries.append([now, 1, now])
        self._calls += 1
        on_time = now - self._even < min(TIMER_SECONDS, self._interval)
        self._even = (self._even if on_time else now) + self._interval
        return True

    def restart(self) -> None:
        """Forget everything: the clock is another one."""
        self._entries.clear()
        self._calls = 0
        self._even = self._not_before = -math.inf
