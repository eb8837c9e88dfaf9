"""What is kept of an open group after it has ended: how it ended, and which tasks failed."""

from __future__ import annotations

import weakref
from asyncio import Task
from typing import Any

from asyncnb._core.introspection.leaves import leaf_line

#: Failures that the message of a group's error names.
MAX_NAMED = 3


class GroupFacts:
    """What the records of a group's tasks keep about the group: neither exceptions nor frames."""

    __slots__ = ("cancelled", "failed", "group", "name", "timed_out")

    def __init__(self, group: Any) -> None:
        self.name: str = group.name
        #: The group; None if it has ended and no code holds it.
        self.group: weakref.ref[Any] = weakref.ref(group)
        self.timed_out: bool = False
        #: Whether the group was cancelled as a whole, by a call or with the code inside of it.
        self.cancelled: bool = False
        #: The first few failures: which task failed, where, and with what.
        self.failed: list[str] = []

    def note_failure(self, task: Any, error: BaseException) -> None:
        """Record the failure of ``task`` if it is one of the first few."""
        if len(self.failed) < MAX_NAMED:
            self.failed.append(_failure_line(task, error))

    def summary(self, failures: int) -> str:
        """Return the message for ``failures`` failures: the first few, and how many more."""
        more = failures - len(self.failed)
        return "; ".join(self.failed) + (f"; and {more} more" if more > 0 else "")


def _failure_line(task: Any, error: BaseException) -> str:
    """Return ``child (In[3]): ValueError: boom``."""
    name = task.get_name() if isinstance(task, Task) else type(task).__name__
    cell = str(getattr(getattr(task, "_record", None), "cell", None) or "")
    what = leaf_line(error)
    return f"{name} ({cell}): {what}" if cell else f"{name}: {what}"
