"""The time limit of a launched task, changed from any cell while the task runs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from asyncnb._core._registry import TaskRecord
    from asyncnb._core._tasks import Task

#: Nobody has set another limit than the one the task was launched with.
UNCHANGED: Final[Any] = object()

#: Held while a limit is read and written: two cells that both add 30 s add 60.
limits_lock = threading.Lock()


def seconds_left(task: Task[Any]) -> float | None:
    """Return what is left of the task's time limit, running or stopped by a pause. Any thread."""
    limit, pause = task.timeout, task._pause
    if limit is None:
        return None
    stopped = pause.left(limit) if pause is not None else None
    return limit.remaining() if stopped is None else stopped


def set_limit(record: TaskRecord, seconds: float | None, *, more: bool = False) -> float | None:
    """Give the task ``seconds`` from now, ``seconds`` more than it has left, or no limit (None).

    Returns the seconds left from now. A limit set before the task has had its first turn counts
    from that turn. Raises ValueError, with nothing changed, for a task that has ended or whose
    time is up, and for more of a limit that it has not. From any thread.
    """
    task = record.task
    name = task.get_name()
    with limits_lock:
        if task.done():
            raise ValueError(f"{name!r} has ended; there is no time left to change")
        limit = task.timeout
        before = record.first_limit if limit is None else seconds_left(task)
        if before is UNCHANGED:
            before = None
        if more:
            if before is None:
                raise ValueError(
                    f"{name!r} has no time limit to add to; without the + it gets {seconds:g} s "
                    "from now"
                )
            assert seconds is not None
            seconds += before
        if limit is None:
            record.first_limit = seconds
        elif task._pause is None or not task._pause.set_left(limit, seconds):
            try:
                limit.reschedule(None if seconds is None else limit._loop.time() + seconds)
            except RuntimeError:
                raise ValueError(f"the time of {name!r} is up; it is ending") from None
    return seconds
