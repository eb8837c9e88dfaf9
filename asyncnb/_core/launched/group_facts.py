"""What is kept of an open group after its end: how it ended, and which of its tasks failed."""

from __future__ import annotations

import weakref
from asyncio import Task
from typing import Any

from asyncnb._core.base.errors import safe_str

#: Failures that the message of a group's error names.
MAX_NAMED = 3


class GroupFacts:
    """What the records of a group's tasks keep of it: not what its end would raise, nor frames."""

    __slots__ = ("failed", "group", "timed_out")

    def __init__(self, group: Any) -> None:
        #: The group, or None when it has ended and no code holds it.
        self.group: weakref.ref[Any] = weakref.ref(group)
        self.timed_out: bool = False
        #: Which tasks failed, where, with what: the first few.
        self.failed: list[str] = []

    def note_failure(self, task: Any, error: BaseException) -> None:
        """Note the failure of ``task``, if it is one of the first few."""
        if len(self.failed) < MAX_NAMED:
            self.failed.append(_failure_line(task, error))

    def summary(self, failures: int) -> str:
        """Return the message for so many failures: the first few of them, and how many more."""
        more = failures - len(self.failed)
        return "; ".join(self.failed) + (f"; and {more} more" if more > 0 else "")


def _failure_line(task: Any, error: BaseException) -> str:
    """Return ``child (In[3]): ValueError: boom``."""
    name = task.get_name() if isinstance(task, Task) else type(task).__name__
    cell = str(getattr(getattr(task, "_record", None), "cell", None) or "")
    text = (safe_str(error).splitlines() or [""])[0]
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{name} ({cell}): {what}" if cell else f"{name}: {what}"
