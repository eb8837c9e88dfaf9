"""LaunchedTask: the task that ``launch()`` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from asyncnb._core.launched.registry import registry
from asyncnb._core.launched.time_limit import BEGUN
from asyncnb._core.primitives.tasks import Task

if TYPE_CHECKING:
    from asyncnb._core.launched.record import TaskRecord

_T = TypeVar("_T")


class LaunchedTask(Task[_T]):
    """A task with a record, which is in a slot: an attribute dict would take 200 bytes more."""

    __slots__ = ("_record",)

    _record: TaskRecord
    _launched = True

    def _before_cancel(self) -> None:
        if self._record.first_limit is not BEGUN:
            registry.watch_end(self)  # a coroutine that has not begun does not notice its end


# As its repr and every message name it: for users, there is one kind of task.
LaunchedTask.__name__ = LaunchedTask.__qualname__ = Task.__name__
