"""LoopStatistics: a snapshot of an embedded loop."""

from __future__ import annotations

from typing import NamedTuple

from asyncnb._core.loop.watchdog import SlowStep


class LoopStatistics(NamedTuple):
    """A snapshot of the embedded loop.

    ``kind`` names the implementation, ``tasks`` counts its unfinished tasks, ``uptime`` is in
    seconds, ``stops`` counts how often user code stopped the loop and asyncnb restarted it.

    ``lag`` is how many seconds the loop took to answer the watchdog's last check, or has taken so
    far; it is 0.0 for a loop that has been idle for the last seconds, and None without a watchdog.
    ``ready`` counts the callbacks that are ready to run, None where the loop (uvloop) does not
    expose them. ``slowest`` is the longest step the watchdog has seen; it checks seven times a
    second while the loop works, so it misses most steps shorter than that.
    """

    kind: str
    running: bool
    tasks: int
    uptime: float
    stops: int
    lag: float | None
    ready: int | None
    slowest: SlowStep | None
