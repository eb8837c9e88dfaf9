"""The tasks inside launched tasks, as a tree: found by looking, never recorded.

A task runs in a copy of the context in which it was created, and that names the launched task it
belongs to. Among these tasks, the parent of one is the task that waits for it: that holds it in a
TaskGroup, a gather or a wait, or awaits it. A task that no other one waits for is a child of the
launched task itself: Python does not keep which task created it.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from asyncnb._core.introspection.call_graph import awaited_by, frames_of_coroutine
from asyncnb._core.introspection.counts import Counts
from asyncnb._core.introspection.handle import TaskHandle, current_record
from asyncnb._core.introspection.stack import working_task
from asyncnb._core.introspection.unmanaged import (
    context_of,
    current_cell,
    state_of,
    unmanaged_task_info,
)

if TYPE_CHECKING:
    from asyncnb._core.introspection.info import TaskInfo

#: ``TaskInfo.id``: that of its record for a launched task, ``-id(task)`` for any other; None for
#: what belongs to no launched task.
Id: TypeAlias = "int | None"

#: Children of a task that are asked for the group they are in, to count its failures.
_ASKED_FOR_GROUP = 100


class Inner:
    """The unfinished tasks that were not launched, by the task that each of them is inside.

    It holds the tasks that it has found, so do not keep it. Any thread.
    """

    def __init__(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Look at ``tasks``, all unfinished tasks of some loops. Any thread, a snapshot."""
        holders: dict[Any, asyncio.Task[Any]] = {}
        plain = []
        for task in tasks:
            # A gather lists its children; not all of them refer to it.
            children = getattr(getattr(task, "_fut_waiter", None), "_children", None)
            if children:
                for child in tuple(children):
                    holders.setdefault(child, task)
            if not getattr(task, "_launched", False):
                plain.append(task)
        roots: dict[asyncio.Task[Any], TaskHandle | None] = {
            task: None if context is None else context.get(current_record)
            for task, context in zip(plain, _contexts_of(plain), strict=True)
        }
        records = {root for root in roots.values() if root is not None}
        workers = dict(_workers(records))
        for worker in workers:
            roots.pop(worker, None)
        self._workers = workers
        #: Each task with the task or the record that it is inside.
        self._parents: dict[asyncio.Task[Any], Any] = roots
        if len(roots) > 1 or any(map(_is_lost, roots)):
            self._parents = self._inside(roots, workers, holders)
        self._children: dict[Id, list[asyncio.Task[Any]]] = {}
        lists: dict[Any, list[asyncio.Task[Any]]] = {}
        for task, parent in self._parents.items():
            try:
                lists[parent].append(task)
            except KeyError:
                self._children[_id_of(parent)] = lists[parent] = [task]
        #: The launched tasks that have something inside, also ended ones, by their ids.
        self.launched: dict[int, TaskHandle] = {
            parent.id: parent
            for parent in lists
            if parent is not None and not isinstance(parent, asyncio.Task)
        }

    def _inside(
        self,
        roots: dict[asyncio.Task[Any], TaskHandle | None],
        workers: dict[asyncio.Task[Any], TaskHandle],
        holders: dict[Any, asyncio.Task[Any]],
    ) -> dict[asyncio.Task[Any], Any]:
        """Return what each task is inside: a task that waits for it, else its launched task."""
        parents: dict[asyncio.Task[Any], Any] = dict(roots)
        nested = []
        owners: dict[int, tuple[Any, asyncio.Task[Any] | None]] = {}
        for task, root in roots.items():
            holder = holders.get(task)
            if holder is None:
                for recorded in getattr(task, "_asyncio_awaited_by", None) or ():  # by 3.14 itself
                    if isinstance(recorded, asyncio.Task) and not recorded.done():
                        holder = recorded
                        break
                else:
                    for callback, _ in getattr(task, "_callbacks", None) or ():
                        # All children of a group have a callback of the same object.
                        owner = getattr(callback, "__self__", callback)
                        try:
                            holder = owners[id(owner)][1]
                        except KeyError:
                            holder = next(iter(awaited_by(task)), None)
                            if not isinstance(owner, asyncio.Task):
                                owners[id(owner)] = owner, holder
                        if holder is not None:
                            break
            if holder is None or holder is task:
                continue
            if holder in roots:
                if roots[holder] is root or (root is None and _is_lost(task)):
                    parents[task] = holder
                    nested.append(task)
            elif root is None and getattr(holder, "_launched", False) and _is_lost(task):
                parents[task] = holder._record  # type: ignore[attr-defined]
        _break_rings(parents, nested, roots)
        return parents

    def children(self, id: Id) -> list[asyncio.Task[Any]]:
        """Return the unfinished tasks directly inside a task, by name, numbers in their order.

        Not the launched ones, whose records say where they belong. ``id`` is as in ``TaskInfo``;
        for None, return those that belong to no launched task.
        """
        return sorted(self._children.get(id, ()), key=by_name)

    def parent(self, task: asyncio.Task[Any]) -> Id:
        """Return the id of the task that ``task`` is inside; None if it belongs to none.

        For a task that does the work of a launched one, such as with ``--on kernel``, that is it.
        """
        return _id_of(self._parents.get(task) or self._workers.get(task))

    def with_id(self, id: int) -> asyncio.Task[Any] | None:
        """Return the unfinished task with this id, which is not a launched one; None if ended."""
        return self._by_id.get(id)

    @functools.cached_property
    def _by_id(self) -> dict[int, asyncio.Task[Any]]:
        return {-id(task): task for task in self._parents}

    def path(self, id: Id) -> str:
        """Return the names of the task with this id and of those it is inside, with slashes."""
        names: list[str] = []
        while id is not None and id < 0 and (task := self.with_id(id)) is not None:
            names.append(task.get_name())
            id = self.parent(task)
        if id is not None and id in self.launched:
            names.append(self.launched[id].name)
        return "/".join(reversed(names))

    def has_children(self, id: Id) -> bool:
        """Return whether unfinished tasks are inside a task."""
        return id in self._children

    def counts(self, id: Id, task: asyncio.Task[Any] | None = None) -> Counts:
        """Return how many tasks are directly inside a task; pass it too unless it is launched.

        Of those that have ended, only some are known: the children of the gather or wait that the
        task awaits, and the failures that a TaskGroup is about to raise. A TaskGroup forgets a
        child that is done, and so do as_completed() and create_task().
        """
        inside = self._children.get(id, ())
        if task is None and (record := self.launched.get(id or 0)) is not None:
            task = record.task
        states = dict.fromkeys(("done", "failed", "cancelled"), 0)
        for child in set(getattr(getattr(task, "_fut_waiter", None), "_children", None) or ()):
            if isinstance(child, asyncio.Task) and child.done():
                states[state_of(child)] += not getattr(child, "_launched", False)
        groups: dict[Any, list[Any]] = {}
        for child in inside[:_ASKED_FOR_GROUP]:
            for callback, _ in getattr(child, "_callbacks", None) or ():
                group = getattr(callback, "__self__", None)
                errors = getattr(group, "_errors", None)
                if isinstance(errors, list):
                    groups[group] = errors
        states["failed"] += sum(map(len, groups.values()))
        return Counts(len(inside), **states)


def inner_info(task: asyncio.Task[Any], parent: Id) -> TaskInfo:
    """Return the facts about a task inside the task with the id ``parent``. Any thread."""
    return unmanaged_task_info(task)._replace(parent=parent)


def _id_of(parent: Any) -> Id:
    if parent is None:
        return None
    if isinstance(parent, asyncio.Task):
        return -id(parent)
    found: int = parent.id
    return found


def _break_rings(
    parents: dict[asyncio.Task[Any], Any],
    nested: list[asyncio.Task[Any]],
    roots: dict[asyncio.Task[Any], TaskHandle | None],
) -> None:
    """Put one task of each ring under its launched task: tasks may wait for each other."""
    checked: set[asyncio.Task[Any]] = set()
    for task in nested:
        way = {}
        at: Any = task
        while at in roots and at not in checked:
            if at in way:
                parents[at] = roots[at]
                break
            way[at] = True
            at = parents[at]
        checked.update(way)


def _workers(
    records: Iterable[TaskHandle],
) -> Iterator[tuple[asyncio.Task[Any], TaskHandle]]:
    """Yield the tasks that do the work of launched tasks: they are these, not inside them."""
    for record in records:
        task = record.task
        if task.done():
            continue
        if task._delegate is not None:
            yield task._delegate, record
        elif record.kind == "kernel":
            yield working_task(task, frames_of_coroutine(task.get_coro())), record


def _is_lost(task: asyncio.Task[Any]) -> bool:
    """Return whether the context of ``task`` says nothing of its origin, such as an empty one."""
    context = context_of(task)
    return context is None or (
        context.get(current_record) is None and context.get(current_cell) is None
    )


def by_name(task: asyncio.Task[Any]) -> tuple[str, int, str]:
    """Sort ``page 2`` before ``page 10``; Python does not keep the order of creation."""
    name = task.get_name()
    return name.rstrip("0123456789"), len(name), name


_get_context: Any = getattr(asyncio.Task, "get_context", None)


def _contexts_of(tasks: list[Any]) -> list[contextvars.Context | None]:
    """Return the context of each task, as ``context_of`` does, but quickly for C tasks."""
    if _get_context is None:
        return [*map(_read_context, tasks)]
    try:
        return [*map(_get_context, tasks)]
    except TypeError:  # one of them is no asyncio.Task
        return [*map(context_of, tasks)]


def _read_context(task: Any) -> contextvars.Context | None:
    for held in gc.get_referents(task):
        kind = type(held)
        if kind is contextvars.Context:
            found: contextvars.Context = held
            return found
        if kind is tuple and len(held) == 3:
            return context_of(task)  # it was started eagerly, and the C task's own is not used
    return None
