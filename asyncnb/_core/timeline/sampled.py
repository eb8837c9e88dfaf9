"""The tasks inside launched ones that were not recorded, as looks have seen them over time.

A task that starts and ends between two looks is not seen, and the times are those of the looks.
"""

from __future__ import annotations

import asyncio
import itertools
import weakref
from typing import Any, Final

from asyncnb._core.introspection.inner import Inner
from asyncnb._core.introspection.unmanaged import state_of, unmanaged_task_info
from asyncnb._core.tracing.trace import trace_of

#: The most tasks that are kept, the newest.
MAX_SAMPLED: Final = 1000

#: Below the ids of recorded tasks; that of a task in memory may be used again.
_ids = itertools.count(-(2**40), -1)


class _Seen:
    """One task that was seen."""

    __slots__ = ("ended", "error", "first", "id", "name", "parent", "state", "task")

    def __init__(self, task: asyncio.Task[Any], parent: int, now: float) -> None:
        self.id = next(_ids)
        self.task = weakref.ref(task)
        self.parent = parent
        self.name = task.get_name()
        self.first = now
        self.ended: float | None = None
        self.state = state_of(task)
        self.error: str | None = None

    def end(self, now: float) -> None:
        self.ended = now
        task = self.task()
        if task is None or not task.done():
            self.state = "ended"  # nothing is left that says how
            return
        info = unmanaged_task_info(task)
        self.state, self.error = info.state, info.error


class Sampled:
    """What was seen inside launched tasks by looks, the newest tasks. One thread at a time."""

    def __init__(self) -> None:
        self._living: dict[int, _Seen] = {}  # by the id of the task
        self._all: dict[int, _Seen] = {}  # by their own ids, oldest first

    def look(self, inner: Inner, now: float) -> bool:
        """Keep what ``inner`` has found, as of ``now``; return whether anything came or ended."""
        found: dict[int, _Seen] = {}
        todo = [(id, id) for id in inner.launched]
        changed = False
        while todo and len(found) < MAX_SAMPLED:
            above, parent = todo.pop()
            for task in inner.children(above)[: MAX_SAMPLED - len(found)]:
                if trace_of(task) is not None:
                    continue
                key = -id(task)
                seen = self._living.get(key)
                if seen is None or seen.task() is not task:
                    seen = _Seen(task, parent, now)
                    self._all[seen.id] = seen
                    changed = True
                seen.state = state_of(task)
                found[key] = seen
                if inner.has_children(key):
                    todo.append((key, seen.id))
        for key, seen in self._living.items():
            if found.get(key) is not seen:
                seen.end(now)
                changed = True
        self._living = found
        for key in [key for key, seen in self._all.items() if seen.ended is not None]:
            if len(self._all) <= MAX_SAMPLED:
                break
            del self._all[key]
        return changed

    def rows(self) -> list[dict[str, Any]]:
        """Return a row of ``timeline_data`` for each task; times are seconds since the epoch."""
        return [
            {
                "id": seen.id, "parent": seen.parent, "name": seen.name, "state": seen.state,
                "kind": "loop", "group": None, "cell": "", "error": seen.error,
                "created": seen.first, "started": seen.first, "ended": seen.ended,
                "recorded": False, "sampled": True, "steps": 0, "seconds": 0.0, "dropped": 0,
                "runs": [], "waits": [], "events": [],
            }
            for seen in self._all.values()
        ]  # fmt: skip
