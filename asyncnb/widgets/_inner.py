"""The tasks inside launched tasks, as a dashboard shows them: folded, found when it asks.

They are recorded nowhere, so they are found by looking, at most as often as the feed samples. Of
an unfolded task a page gets the ids and names of all children once, then what comes and goes; what
they do is sent of the rows on the screen only.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Collection
from typing import Any, Final, NamedTuple

from asyncnb._core.base.text import replace_surrogates
from asyncnb._core.introspection.inner import Inner, inner_info
from asyncnb._core.introspection.stack import await_chain, awaited_by, waiting_on
from asyncnb._core.launched import commands
from asyncnb._core.launched.inside import InnerTask, look_inside
from asyncnb._core.listing.detail import MAX_FRAMES, without_countdown
from asyncnb._core.listing.rows import InnerTexts, cut, state_number

#: The most children of one task that a page gets; the counts are of all.
MAX_CHILDREN: Final = 10_000


class Child(NamedTuple):
    """A task that a page shows inside another one; this does not keep the task alive."""

    task: weakref.ref[asyncio.Task[Any]]
    parent: int


class Insides:
    """What one page shows of the tasks inside others, and what it was sent."""

    def __init__(self) -> None:
        #: The ids of the tasks whose children the page shows.
        self.unfolded: tuple[int, ...] = ()
        #: Whether the page asked for children that it was not sent yet.
        self.asked = False
        self._lists: dict[int, dict[int, Child]] = {}  # by the id of the parent
        self._children: dict[int, Child] = {}  # the same, by their own ids
        self._counts: dict[int, list[int]] = {}
        self._rows: dict[int, InnerTexts] = {}

    def forget(self) -> None:
        """Send everything again."""
        self._lists, self._children, self._counts, self._rows = {}, {}, {}, {}
        self.asked = True

    def unfold(self, ids: tuple[int, ...]) -> None:
        """Show what is inside these tasks, and nothing inside others."""
        self.asked |= bool({*ids} - {*self.unfolded})
        self.unfolded = ids
        if self._lists.keys() - {*ids}:
            # The page forgets a task that it folds, with all that it was sent of it.
            self._lists = {id: self._lists[id] for id in ids if id in self._lists}
            self._rows = {}

    def look(self, inner: Inner, visible: Collection[int]) -> dict[str, Any]:
        """Return what ``inner`` says that was not sent yet. ``visible``: the ids on the screen."""
        self.asked = False
        news: dict[str, Any] = {}
        lists, changes = {}, []
        for parent in self.unfolded:
            known = self._lists.get(parent)
            before = known or {}
            found = {-id(task): task for task in inner.children(parent)[:MAX_CHILDREN]}
            new = {
                key: Child(weakref.ref(task), parent)
                for key, task in found.items()
                if (child := before.get(key)) is None or child.task() is not task
            }
            gone = None if known is None else [key for key in before if key not in found]
            lists[parent] = {key: before[key] for key in found if key not in new} | new
            if new or gone or known is None:
                for key in new:
                    self._rows.pop(key, None)  # of an earlier task with this id
                named = [part for key in new for part in (key, shown_name(found[key]))]
                changes.append([parent, gone, named])
        self._lists = lists
        self._children = {key: child for list in lists.values() for key, child in list.items()}
        if changes:
            news["lists"] = changes
        counts = {}
        for key in {*visible, *self.unfolded}:
            numbers = inner.counts(key, self._task(key))
            if any(numbers) or key in self._counts:
                counts[key] = [key, *numbers]
        if changed := [row for key, row in counts.items() if self._counts.get(key) != row]:
            news["counts"] = changed
        self._counts |= counts
        return news

    def sample(self, visible: Collection[int]) -> dict[str, Any]:
        """Return what the children on the screen do, where that has changed. Looks at no others."""
        rows = {}
        for key in visible:
            if (task := self._task(key)) is not None:
                rows[key] = _row_of(task, self._children[key].parent)
        fresh = [row for key, row in rows.items() if self._rows.get(key) != row]
        self._rows = rows
        return {"rows": fresh} if fresh else {}

    def _task(self, key: int) -> asyncio.Task[Any] | None:
        child = self._children.get(key)
        return None if child is None else child.task()

    def detail_of(self, key: int) -> dict[str, Any] | None:
        """Return what the opened row of a child shows; None if the child has ended."""
        task = self._task(key)
        if task is None or task.done():
            return None
        return {
            "waits": without_countdown(waiting_on(task) or ""),
            "frames": [list(place) for place in await_chain(task)[-MAX_FRAMES:]],
            "awaited_by": [each.get_name() for each in awaited_by(task)[:MAX_FRAMES]],
        }


def inner_task(id: int, name: str) -> InnerTask:
    """Return the task with this id if its name is still the one that the page shows.

    Raises CommandError if it has ended: another task may have got its id then.
    """
    task = look_inside().with_id(id)
    if task is not None and shown_name(task) == name:
        name = task.get_name()  # a page gets a long one cut
    return commands.inner_with_id(id, name)


def shown_name(task: asyncio.Task[Any]) -> str:
    """Return a task's name as a page gets it, and gives it back with a command."""
    return replace_surrogates(cut(task.get_name()))


def _row_of(task: asyncio.Task[Any], parent: int) -> InnerTexts:
    info = inner_info(task, parent)
    return InnerTexts(
        info.id,
        shown_name(task),
        state_number(info.state),
        cut(without_countdown(info.waiting_on or "")),
        cut((info.error or "").partition("\n")[0]),
        info.cell.number if info.cell is not None else 0,
    )
