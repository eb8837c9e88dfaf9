"""The tasks inside launched tasks, as a dashboard shows them: folded, found when it asks.

They are recorded nowhere, so they are found by looking, at most as often as the feed samples. Of
an unfolded task a page gets the ids and names of all children once, then what comes and goes; what
they do is sent of the rows on the screen only.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Collection
from typing import Any, Final

from asyncnb._core.base.errors import CommandError
from asyncnb._core.base.text import replace_surrogates
from asyncnb._core.introspection.inner import Inner, inner_info
from asyncnb._core.introspection.stack import await_chain, awaited_by, waiting_on
from asyncnb._core.launched.inside import look_inside
from asyncnb._core.primitives.tasks import Task
from asyncnb.widgets._detail import MAX_FRAMES, without_countdown
from asyncnb.widgets._rows import InnerTexts, cut, state_number

#: The most children of one task that a page gets; the counts are of all.
MAX_CHILDREN: Final = 10_000


class Insides:
    """What one page shows of the tasks inside others, and what it was sent."""

    def __init__(self) -> None:
        #: The ids of the tasks whose children the page shows.
        self.unfolded: tuple[int, ...] = ()
        self._names: dict[int, dict[int, str]] = {}  # by parent and child
        self._counts: dict[int, list[int]] = {}
        self._rows: dict[int, InnerTexts] = {}
        self._tasks: weakref.WeakValueDictionary[int, asyncio.Task[Any]]
        self._tasks = weakref.WeakValueDictionary()  # those on the screen

    def forget(self) -> None:
        """Send everything again."""
        self._names, self._counts, self._rows = {}, {}, {}

    def news(self, inner: Inner, visible: Collection[int]) -> dict[str, Any]:
        """Return what ``inner`` says that was not sent yet. ``visible``: the ids on the screen."""
        news: dict[str, Any] = {}
        tasks: dict[int, asyncio.Task[Any]] = {}
        parents: dict[int, int] = {}
        names: dict[int, dict[int, str]] = {}
        lists = []
        for parent in self.unfolded:
            children = {-id(task): task for task in inner.children(parent)[:MAX_CHILDREN]}
            tasks |= children
            parents |= dict.fromkeys(children, parent)
            now = names[parent] = {key: task.get_name() for key, task in children.items()}
            before = self._names.get(parent, {})
            if now != before:
                lists.append([parent, *_difference(before, now)])
        self._names = names
        self._tasks = weakref.WeakValueDictionary(
            {key: tasks[key] for key in visible if key in tasks}
        )
        if lists:
            news["lists"] = lists
        rows, counts = {}, {}
        for key in {*visible, *self.unfolded}:
            found = inner.counts(key, tasks.get(key))
            if any(found) or key in self._counts:
                counts[key] = [key, *found]
            if key in tasks:
                rows[key] = _row_of(tasks[key], parents[key])
        if changed := [row for key, row in counts.items() if self._counts.get(key) != row]:
            news["counts"] = changed
        if fresh := [row for key, row in rows.items() if self._rows.get(key) != row]:
            news["rows"] = fresh
        self._counts |= counts
        self._rows = rows
        return news

    def detail_of(self, id: int) -> dict[str, Any] | None:
        """Return what the opened row of a child shows; None if the child has ended."""
        task = self._tasks.get(id)
        if task is None or task.done():
            return None
        return {
            "waits": without_countdown(waiting_on(task) or ""),
            "frames": [list(place) for place in await_chain(task)[-MAX_FRAMES:]],
            "awaited_by": [each.get_name() for each in awaited_by(task)[:MAX_FRAMES]],
        }


def cancel(child: int, name: str, msg: str) -> str:
    """Cancel the child with this id if it still has this name. Raises CommandError."""
    task = _living(child, name)
    if isinstance(task, Task):
        task.cancel(msg)
    else:
        task.get_loop().call_soon_threadsafe(task.cancel, msg)
    return "cancellation requested for 1 task"


def pause(child: int, name: str) -> str:
    """Pause it, likewise."""
    task = _living(child, name)
    assert isinstance(task, Task)
    task.pause()
    return f"{name} is paused"


def resume(child: int, name: str) -> str:
    """Resume it, likewise."""
    task = _living(child, name)
    assert isinstance(task, Task)
    task.resume()
    return f"{name} resumed"


def _living(child: int, name: str) -> asyncio.Task[Any]:
    task = look_inside().task(child)
    if task is not None and shown_name(task.get_name()) == name:
        return task
    raise CommandError(f"{name} has ended.")


def shown_name(name: str) -> str:
    """Return a task's name as a page gets it, and gives it back with a command."""
    return replace_surrogates(cut(name))


def _difference(before: dict[int, str], now: dict[int, str]) -> tuple[list[int], list[Any]]:
    """Return the ids that are gone, and id and name of each child that is new or renamed."""
    gone = [id for id in before if id not in now]
    new: list[Any] = []
    for id, name in now.items():
        if before.get(id) != name:
            new += (id, shown_name(name))
    return gone, new


def _row_of(task: asyncio.Task[Any], parent: int) -> InnerTexts:
    info = inner_info(task, parent)
    return InnerTexts(
        info.id,
        state_number(info.state),
        cut(without_countdown(info.waiting_on or "")),
        info.cell.number if info.cell is not None else 0,
        isinstance(task, Task),
    )
