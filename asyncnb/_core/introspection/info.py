"""The public facts about a task: immutable, as raw numbers, without formatting.

These are named tuples, here and elsewhere in the package: creating a dataclass takes a millisecond
of ``%load_ext``.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: Every state a task can be in, in the order of its lifecycle.
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

    ``number`` is n of ``In[n]`` (0 if there is no history); ``id`` is the front end's cell id, or
    None if the front end sends none (it is optional in the Jupyter protocol 5.x).
    """

    number: int
    id: str | None = None

    def __str__(self) -> str:
        return f"In[{self.number}]" if self.number else ""


class CallsInfo(NamedTuple):
    """The counts so far of a task that makes many calls: a run of ``asyncnb.map``.

    ``total`` is the number of items, None if that is unknown; ``done`` counts the items that
    succeeded or came from a save file, ``failed`` those that failed after their retries,
    ``retried`` the attempts after the first ones, ``saved`` the items that came from the file.
    ``per_second`` is the number of items that ended per second, of the last few seconds, and
    ``eta`` the seconds left at that pace; both are None while they are unknown. ``limit`` is the
    maximum number of calls at a time, ``rate`` the rate as it was written, None without one.
    """

    total: int | None
    started: int
    running: int
    done: int
    failed: int
    retried: int
    saved: int
    per_second: float | None
    eta: float | None
    limit: int | None
    rate: str | None

    @property
    def progress(self) -> tuple[int, int | None]:
        """The number of items that have ended, and ``total``."""
        return self.done + self.failed, self.total


class TaskInfo(NamedTuple):
    """A snapshot of one task; times are seconds since the epoch (``time.time()``).

    * ``kind``: where the task runs: ``"loop"``, ``"thread"`` or ``"kernel"``, or elsewhere
      ``"process"``, ``"executor"``, ``"dask"`` or ``"ipyparallel"``; then ``worker`` says where
      (None while it waits for a worker).
    * ``group``: the name of its open group.
    * ``timeout``: the number of seconds left of its time limit, if it has one.
    * ``progress``: (items done, total number of items or None), for a task that reports progress.
    * ``error``: ``Type: message`` of a failed task; of one that failed with an exception group
      that of the group's first exception, with the name of the task that raised it and how many
      tasks of the group failed, if known:
      ``ConnectionError: host unreachable (page 7, 1 of 20)``.
    * ``waiting_on``: what a suspended task waits for, such as ``sleep, 3.2 s left``.
    * ``cpu``: the CPU time used, in seconds; ``steps``: the number of times that the loop ran the
      task. Both are None where they are not counted, as counting would slow down every step. Both
      are known for a task launched with ``--trace``, where ``cpu`` is the time for which its steps
      occupied the loop; ``cpu`` is also known for a task in a worker thread: on Linux at any time,
      elsewhere once it has ended.
    * ``rounds``: the number of completed runs of the body of a task with ``--every``;
      ``failures``: the number of times that it failed or was retried with ``--retry``. ``error``
      is then the most recent failure.
    * ``after``: the names of the tasks and groups that it starts after, if any (``--after``);
      ``follows``: whether a new run of one of these runs it again, too (``--follow``).
    * ``next_run``: when a task with ``--at`` or ``--cron`` that waits for its time will run;
      ``skipped``: the number of runs that did not take place because the one before took too long,
      or the machine slept.
    * ``calls``: the counts of a task that runs ``asyncnb.map``.
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
    after: tuple[str, ...] | None = None
    follows: bool = False
    next_run: float | None = None
    skipped: int = 0
    calls: CallsInfo | None = None

    @property
    def elapsed(self) -> float | None:
        """Seconds from the start to the end of a task that has ended; None before that."""
        if self.started is None or self.ended is None:
            return None
        return self.ended - self.started
