"""The record of a launched task, as far as the lower layers use it; that of the running code.

Not beside ``TaskInfo``, whose many fields make its module one of the slowest to import.
"""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from asyncnb._core.introspection.info import CellRef, TaskInfo


class TaskHandle(Protocol):
    """The record of a launched task, as far as the lower layers use it.

    Its members may be used from any thread.
    """

    id: int
    parent: int | None
    cancel_asked: bool
    last_name: str
    trace: Any

    @property
    def cell(self) -> CellRef | None:
        """The cell that launched the task, or None."""
        ...

    @property
    def kind(self) -> str:
        """Where it runs, as ``TaskInfo.kind``."""
        ...

    @property
    def name(self) -> str:
        """The task's name."""
        ...

    @property
    def task(self) -> Any:
        """The task, or the object that represents it."""
        ...

    def changed(self) -> None:
        """Notify the observers that a fact about the task has changed."""

    def info(self) -> TaskInfo:
        """Return a snapshot of the facts about the task."""
        ...

    def printed(self) -> str:
        """Return the last part of what the task has printed."""
        ...

    def time_limit(self) -> Any:
        """Return the ``Timeout`` of the whole task; None if the task ended without one."""
        ...

    def pause_refusal(self) -> str | None:
        """Return why the task cannot be paused, as a sentence; None if it can."""
        ...

    def report_failure(self) -> None:
        """Pass the exception of a task that has failed to its loop's exception handler."""

    def set_shown(self) -> None:
        """Record that everything about the end of the task has been shown."""

    def never_retrieved(self) -> bool:
        """Record that a failed task was garbage-collected and its exception never retrieved.

        Return whether the failure was shown, so that nothing needs to be logged.
        """
        ...


#: The record of the launched task that the running code belongs to; inherited by its tasks.
current_record: contextvars.ContextVar[TaskHandle | None] = contextvars.ContextVar(
    "asyncnb_record", default=None
)
