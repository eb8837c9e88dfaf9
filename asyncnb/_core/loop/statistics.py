"""LoopStatistics: a snapshot of an embedded loop."""

from __future__ import annotations

from typing import NamedTuple

from asyncnb._core.loop.slow_steps import HighestLag, SlowStep


class LoopStatistics(NamedTuple):
    """A snapshot of the embedded loop.

    ``kind`` names the implementation, ``tasks`` counts its unfinished tasks, ``uptime`` is in
    seconds, ``stops`` counts how often user code stopped the loop and asyncnb restarted it.

    ``lag`` is how many seconds the loop took to answer the watchdog's last check, or has taken so
    far; it is 0.0 for a loop without work, and None without a watchdog. ``highest_lag`` is the
    highest of the last minute: its ``seconds``, and the ``step`` that took most of it (None: many
    short ones); None if the loop had no work then.

    ``ready`` counts the callbacks that are ready to run, None where the loop (uvloop) does not
    expose them. ``slowest`` is the longest step the watchdog has seen; it checks seven times a
    second while the loop works, so it misses most steps shorter than that. ``longest_steps`` are
    the ten longest, longest first, of those that it reported as blocking the loop since the loop
    started.
    """

    kind: str
    running: bool
    tasks: int
    uptime: float
    stops: int
    lag: float | None
    ready: int | None
    slowest: SlowStep | None
    highest_lag: HighestLag | None = None
    longest_steps: tuple[SlowStep, ...] = ()
