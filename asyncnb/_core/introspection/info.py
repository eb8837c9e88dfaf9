"""What the outside may know of a task: frozen facts, raw numbers, no formatting.

Named tuples, here and elsewhere in the package: a dataclass takes a millisecond of ``%load_ext`` to
make.
"""

from __future__ import annotations

import contextvars
from typing import Any, Final, NamedTuple, Protocol

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

    ``kind`` is ``"loop"``, ``"thread"`` or ``"kernel"``, or for a task that runs elsewhere
    ``"process"``, ``"executor"``, ``"dask"`` or ``"ipyparallel"``, and ``worker`` says where it
    runs (None while it waits for one); ``group`` is the name of its open group; ``timeout`` is
    the seconds left of its time limit, if it has one; ``progress`` is (items done, items in all or
    None), of a task that reports it; ``error`` of a failed task is
    ``Type: message``. ``waiting_on`` says what a suspended task waits for, such as ``sleep, 3.2 s
    left``. ``cpu`` is the seconds of processor time used and ``steps`` the number of times that the
    loop ran it; both are None where nobody counts, as counting would slow down each step. They are
    known of a task launched with ``--trace``, ``cpu`` there being the seconds for which its steps
    had the loop, and ``cpu`` of one in a worker thread: at any time on Linux, elsewhere once it has
    ended. ``rounds`` is how often the body of a task with ``--every`` has run to its end, and
    ``failures`` how often it failed, or was tried again with ``--retry``; ``error`` is then the
    last of its failures.
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
    progress: tuple[int, int | None] | None
    error: str | None
    waiting_on: str | None = None
    cpu: float | None = None
    steps: int | None = None
    worker: str | None = None
    rounds: int | None = None
    failures: int = 0

    @property
    def elapsed(self) -> float | None:
        """Seconds from start to end of a task that has ended, None before."""
        if self.started is None or self.ended is None:
            return None
        return self.ended - self.started


class TaskHandle(Protocol):
    """What is known of a launched task besides the task: what the lower floors ask of its record.

    Its members may be used in any thread.
    """

    id: int
    parent: int | None
    cell: CellRef | None
    cancel_asked: bool
    last_name: str
    trace: Any

    @property
    def name(self) -> str:
        """The task's name."""
        ...

    @property
    def task(self) -> Any:
        """The task, or what stands for it."""
        ...

    def changed(self) -> None:
        """Notify the observers that a fact of the task is new."""

    def info(self) -> TaskInfo:
        """Return a snapshot of the task's facts."""
        ...

    def printed(self) -> str:
        """Return the end of what the task printed."""
        ...

    def time_limit(self) -> Any:
        """Return the ``Timeout`` of the whole task; None if it ended without one."""
        ...

    def pause_refusal(self) -> str | None:
        """Return the sentence for a task that cannot be paused, None for one that can."""
        ...

    def report_failure(self) -> None:
        """Pass the exception of a task that has failed to its loop's exception handler."""

    def set_shown(self) -> None:
        """Note that all that the task's end has to say is shown."""

    def never_retrieved(self) -> bool:
        """Note that a failed task is gone, and no code asked for its exception.

        Returns whether it was shown, so that nothing has to be logged.
        """
        ...


#: The record of the launched task that the running code belongs to, with all that it starts.
current_record: contextvars.ContextVar[TaskHandle | None] = contextvars.ContextVar(
    "asyncnb_record", default=None
)
