"""LoopStatistics: a snapshot of an embedded loop."""

from __future__ import annotations

from typing import NamedTuple

from asyncnb._core.loop.watchdog import SlowStep


class LoopStatistics(NamedTuple):
    """A snapshot of the embedded loop.

    ``kind`` names the implementation, ``tasks`` counts its unfinished tasks, ``uptime`` is in
    seconds, ``stops`` counts the times that user code stopped the loop and it went on.

    ``lag`` is how long the loop took, in seconds, to answer when the watchdog last asked it, or has
    taken so far; it is 0.0 for a loop that has had no work in the last seconds, and None without a
    watchdog. ``ready`` counts the callbacks that wait for their turn, None where the loop
    (uvloop) does not tell. ``slowest`` is the longest step the watchdog has seen; it looks seven
    times a second, so most steps shorter than that pass unseen.
    """

    kind: str
    running: bool
    tasks: int
    uptime: float
    stops: int
    lag: float | None
    ready: int | None
    slowest: SlowStep | None
