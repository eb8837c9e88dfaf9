"""What the outside may know of a task: frozen facts, raw numbers, no formatting."""

from __future__ import annotations

from typing import Final, NamedTuple

#: Every state a task can be in, in the order of a life.
STATES: Final = (
    "pending",
    "running",
    "waiting",
    "paused",
    "cancelling",
    "done",
    "failed",
    "cancelled",
)
#: The states of tasks that have ended.
ENDED: Final = frozenset({"done", "failed", "cancelled"})


# Named tuples: a frozen dataclass takes five times as long to define, at every start.
class CellRef(NamedTuple):
    """The cell that launched a task.

    ``number`` is n of ``In[n]`` (0 where there is no history); ``id`` is the front end's cell
    id, or None where the front end sends none (Jupyter protocol 5.x leaves it optional).
    """

    number: int
    id: str | None = None

    def __str__(self) -> str:
        return f"In[{self.number}]" if self.number else ""


class TaskInfo(NamedTuple):
    """A snapshot of one task; times are seconds since the epoch (``time.time()``).

    ``kind`` is ``"loop"`` or ``"thread"``; ``group`` is the name of its open group; ``timeout`` is
    the seconds left of its time limit, if it has one; ``error`` of a failed task is
    ``Type: message``.
    """

    id: int
    name: str
    state: str
    kind: str
    group: str | None
    parent: int | None
    cell: CellRef | None
    created: float
    started: float | None
    ended: float | None
    timeout: float | None
    error: str | None

    @property
    def elapsed(self) -> float | None:
        """Seconds from start to end of a task that has ended, None before."""
        if self.started is None or self.ended is None:
            return None
        return self.ended - self.started
