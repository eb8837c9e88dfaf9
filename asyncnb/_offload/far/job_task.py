"""The task of a job's coroutine; it notes which tasks of its TaskGroup failed with what.

The same for the far end as ``_core/introspection/leaves.py`` is for the kernel, where it says why.
The notes are sent back as attributes of the exceptions.
"""

from __future__ import annotations

import asyncio
import sys
import types
from typing import Any

_GROUP_CHILD_DONE = asyncio.TaskGroup._on_task_done.__code__


class JobTask(asyncio.Task[Any]):
    """A task of the standard library whose group, when its first child fails, cancels it."""

    def cancel(self, msg: Any | None = None) -> bool:
        caller = sys._getframe(1)
        if caller.f_code is _GROUP_CHILD_DONE:
            _note(caller)
            group = caller.f_locals["self"]
            group._errors = _NotedErrors(group._errors)
        return super().cancel(msg)


class _NotedErrors(list[BaseException]):
    def append(self, exc: BaseException) -> None:
        super().append(exc)
        caller = sys._getframe(1)
        if caller.f_code is _GROUP_CHILD_DONE:
            _note(caller)


def _note(frame: types.FrameType) -> None:
    """Note the name of the child that is done, whose group's method ``frame`` belongs to."""
    found = frame.f_locals
    exc, task, group = found["exc"], found["task"], found["self"]
    if "_asyncnb_task" not in vars(exc):
        vars(exc)["_asyncnb_task"] = task.get_name()
        vars(exc)["_asyncnb_tasks"] = len(group._tasks) + 1
