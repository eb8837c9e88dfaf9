"""The last column of the table: facts about a task other than its state and time."""

from __future__ import annotations

from asyncnb._core.base.text import count, duration
from asyncnb._core.introspection.info import ENDED, TaskInfo
from asyncnb._core.launched.adjustable import calls_line


def note(info: TaskInfo) -> str:
    """Return one line: the failure or the progress, and the time left until its timeout."""
    parts = []
    if info.rounds is not None:
        failed = f", {info.failures} failed" if info.failures else ""
        skipped = f", {info.skipped} skipped" if info.skipped else ""
        parts.append(f"{count(info.rounds, 'round')}{failed}{skipped}")
    elif info.failures:
        parts.append(count(info.failures, "failed attempt"))
    if info.next_run is not None:
        from asyncnb._core.repeating.local_time import clock_text  # seldom needed

        parts.append(f"next {clock_text(info.next_run)}")
    if info.error:
        error = info.error.partition("\n")[0]
        parts.append(error.removeprefix(f"NotRunError: {info.name} "))  # the row has the name
    elif info.calls is not None:
        if info.calls.started or info.calls.total is not None:  # else it may wait for others
            parts.append(calls_line(info.calls))
    elif info.progress is not None:
        done, total = info.progress
        parts.append(f"{done}" if total is None else f"{done}/{total}")
    if info.follows and info.after:
        parts.append(f"follows {', '.join(info.after)}")
    if info.timeout is not None and info.state not in ENDED:
        parts.append(f"{duration(info.timeout)} left")
    return ", ".join(parts)
