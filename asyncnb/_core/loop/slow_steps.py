"""The longest steps of a loop, and the highest lag of its last minute: what the watchdog has seen.

Only the watchdog's thread writes; any thread reads.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from asyncnb._core.introspection.info import CellRef
    from asyncnb._core.loop.blocked import Blocked

#: How many of the longest steps are kept.
MOST = 10
#: Seconds after which a lag is no longer among those of which the highest is shown.
LAG_SECONDS = 60.0
#: The lowest lag in seconds that is worth being shown after it is over.
MIN_LAG = 0.1


class SlowStep(NamedTuple):
    """A long step that the watchdog has seen, of a task or a callback.

    ``seconds`` is how long it took, ``name`` that of its task or callback, ``ended`` when it ended
    (``time.time()``). A step that was reported as blocking the loop has more: the ``task_id`` and
    ``cell`` of its launched task, ``where`` it was (``In[4], line 2``), and the ``call`` it was in
    the middle of (``time.sleep(3)``), or ``""``.
    """

    seconds: float
    name: str
    ended: float = 0.0
    task_id: int | None = None
    cell: CellRef | None = None
    where: str = ""
    call: str = ""

    def __str__(self) -> str:
        at = f", {self.where}" if self.where else ""
        return f"{self.name}{at}" + (f": {self.call}" if self.call else "")


def slow_step(seconds: float, name: str, blocked: Blocked | None) -> SlowStep:
    """Return a step that ends now; ``blocked`` is how it was reported, if it was."""
    step = SlowStep(seconds, name, time.time())
    if blocked is None:
        return step
    _, task_id, _, cell, where, _, call, _ = blocked
    return step._replace(task_id=task_id, cell=cell, where=where, call=call)


class HighestLag(NamedTuple):
    """The highest lag within the last minute: its seconds, and the step that took most of it.

    ``step`` is None if it was no single step, but many short ones.
    """

    seconds: float
    step: SlowStep | None


class SlowSteps:
    """Keeps the ten longest steps, and what is needed to know the highest lag of a minute."""

    def __init__(self) -> None:
        #: The longest step of all, reported or not.
        self.slowest: SlowStep | None = None
        self._longest: tuple[SlowStep, ...] = ()
        #: Times and lags, falling: one that is not higher than a later one is never the highest.
        self._lags: deque[tuple[float, HighestLag]] = deque()

    @property
    def longest(self) -> tuple[SlowStep, ...]:
        """The ten longest of the steps that were reported as blocking the loop, longest first."""
        return self._longest

    def add(self, seconds: float, name: str, blocked: Blocked | None) -> SlowStep:
        """Note a step that has ended; ``blocked`` is how it was reported, if it was."""
        step = slow_step(seconds, name, blocked)
        if blocked is not None:
            ordered = sorted((*self._longest, step), key=lambda each: -each.seconds)
            self._longest = tuple(ordered[:MOST])
        if self.slowest is None or seconds > self.slowest.seconds:
            self.slowest = step
        return step

    def add_lag(self, seconds: float, step: SlowStep | None) -> None:
        """Note that the loop took ``seconds`` to answer, for the most part because of ``step``."""
        now = time.monotonic()
        lags = self._lags
        while lags and (lags[-1][1].seconds <= seconds):
            lags.pop()
        lags.append((now, HighestLag(seconds, step)))
        while now - lags[0][0] > LAG_SECONDS:
            lags.popleft()

    def highest_lag(self) -> HighestLag | None:
        """Return the highest lag of the last minute, None if the loop was not asked in it."""
        oldest = time.monotonic() - LAG_SECONDS
        return next((lag for at, lag in self._lags.copy() if at >= oldest), None)
