"""MapCounts: how far a map is; Meter: what its driver counts, and what others may change."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Seconds over which the present speed is measured; but always over some items, because calls that
#: take a minute would else have a speed now and none a moment later.
SPEED_SECONDS = 10.0
SPEED_SAMPLES = 16


@dataclass(frozen=True, slots=True)
class MapCounts:
    """A snapshot of how far a run of ``asyncnb.map`` is, as counts of items.

    ``total`` is None if the items have no length. ``started`` items were taken from the iterable,
    ``running`` of them have not ended. Of those that have, ``done`` have a result, ``failed`` an
    exception; ``saved`` of those done came from the save file without a call. ``retried`` counts
    repeated calls. ``seconds`` is the time since the start, until the end of an ended run;
    ``per_second`` how many items end per second at present, averaged over the last 10 s or more,
    without those from the save file; ``eta`` the seconds left at that speed, None if unknown.
    """

    total: int | None
    started: int
    running: int
    done: int
    failed: int
    retried: int
    saved: int
    seconds: float
    per_second: float
    eta: float | None

    @property
    def ended(self) -> int:
        """The number of items that have a result or an exception."""
        return self.done + self.failed


class Meter:
    """What a run counts, and the two settings that may change while it runs.

    ``TaskRecord.adjustable`` of its task: it outlives the run, and so it refers to neither items
    nor results. The counts are written by the thread of the run's loop.
    """

    def __init__(self, total: int | None, limit: int, pacer: Any = None) -> None:
        self.total = total
        self.started = self.done = self.failed = self.retried = self.saved = 0
        #: Returns the run, None once no code holds it.
        self.run: Callable[[], Any] = lambda: None
        self.pacer = pacer
        self._clock: Callable[[], float] = time.monotonic
        self.began: float | None = None
        self.stopped: float | None = None
        #: Called when a setting changes; None while nothing runs.
        self.on_change: Callable[[], object] | None = None
        self._limit = limit
        #: When how many items had ended, from time to time.
        self._samples: deque[tuple[float, int]] = deque()

    @property
    def limit(self) -> int:
        """How many items may run at the same time. Settable from any thread, at any time.

        If it is lowered, items that are already running finish. Raises TypeError or ValueError for
        anything but an integer from 1.
        """
        return self._limit

    @limit.setter
    def limit(self, value: int) -> None:
        from asyncnb._core.primitives.limiter import check_limit  # seldom needed

        self._limit = check_limit("map", value)
        if (notify := self.on_change) is not None:
            notify()

    @property
    def rate(self) -> str | None:
        """The rate of calls, as a text such as "60/min", or None. Settable from any thread.

        Takes what ``map(rate=...)`` takes; None removes the limit. If several runs share one Rate,
        it changes for all of them. Raises TypeError or ValueError for anything else.
        """
        pacer = self.pacer
        return None if pacer is None or pacer.unlimited else str(pacer.text)

    @rate.setter
    def rate(self, value: Any) -> None:
        from asyncnb._core.pacing.rate import Rate, as_pacer  # seldom needed

        if self.pacer is None or isinstance(value, Rate):
            self.pacer = as_pacer(value)  # calls that wait for the one before do so to the end
        else:
            self.pacer.change(value)
        if (notify := self.on_change) is not None:
            notify()

    @property
    def paced(self) -> bool:
        """Whether calls have to wait for their turn, because of a rate or of a service."""
        pacer = self.pacer
        return pacer is not None and (not pacer.unlimited or pacer.held > 0)

    def hold(self, seconds: float) -> None:
        """Start no call for ``seconds``: a service has asked for that. Any thread."""
        if self.pacer is None:
            from asyncnb._core.pacing.rate import as_pacer  # seldom needed

            self.pacer = as_pacer(None)
        self.pacer.hold(seconds)

    def begin(self, clock: Callable[[], float]) -> None:
        """Start the clock, or continue after a retry."""
        self._clock = clock
        now = clock()
        if self.began is not None and self.stopped is not None:
            now -= self.stopped - self.began
        self.began, self.stopped = now, None
        self._samples.clear()
        self._samples.append((clock(), self.done + self.failed - self.saved))

    def end(self) -> None:
        """Stop the clock."""
        if self.stopped is None:
            self.stopped = self._clock()

    def sample(self) -> None:
        """Note the present counts, for the speed. What came from a save file took no call."""
        now, called = self._clock(), self.done + self.failed - self.saved
        samples = self._samples
        if not samples or samples[-1][1] != called:
            samples.append((now, called))
            while len(samples) > SPEED_SAMPLES and now - samples[1][0] > SPEED_SECONDS:
                samples.popleft()

    def counts(self) -> MapCounts:
        """Return a snapshot. Any thread."""
        ended = self.done + self.failed
        seconds = speed = 0.0
        if self.began is not None:
            now = self.stopped or self._clock()
            seconds = now - self.began
            since, before = self.began, 0
            if self.stopped is None and (samples := self._samples.copy()):
                since, before = samples[0]
            speed = (ended - self.saved - before) / (now - since) if now > since else 0.0
        eta = None
        if self.total is not None:
            left = max(0, self.total - ended)
            eta = 0.0 if not left else left / speed if speed > 0 else None
        return MapCounts(
            total=self.total,
            started=self.started,
            running=max(0, self.started - ended),
            done=self.done,
            failed=self.failed,
            retried=self.retried,
            saved=self.saved,
            seconds=seconds,
            per_second=speed,
            eta=eta,
        )
