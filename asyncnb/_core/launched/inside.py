"""The tasks inside launched tasks, by path: ``crawl/page 7`` is the task "page 7" inside "crawl".

Imported when the tasks inside are first asked for; nothing here is called while tasks run.
"""

from __future__ import annotations

import asyncio
import fnmatch
import itertools
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from asyncnb._core import frontend
from asyncnb._core.base.errors import TaskNotFoundError
from asyncnb._core.base.text import shown_as
from asyncnb._core.introspection.info import TaskInfo
from asyncnb._core.introspection.inner import Id, Inner, inner_info
from asyncnb._core.introspection.stack import await_chain, waiting_on
from asyncnb._core.introspection.unmanaged import state_of
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import NEAR_AMONG, registry
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._core.primitives.all_tasks import tasks_of
from asyncnb._core.primitives.pause import pause, resume
from asyncnb._core.primitives.tasks import Task


class InnerTask:
    """A task inside a launched one; commands use it as they use the record of a launched task."""

    __slots__ = ("name", "parent", "task")

    def __init__(self, task: asyncio.Task[Any], parent: Id, name: str) -> None:
        self.task: Any = task
        self.parent = parent
        #: Its path.
        self.name = name

    @property
    def id(self) -> int:
        """The id of its ``TaskInfo``."""
        return -id(self.task)

    def state(self) -> str:
        """Return the state; from any thread."""
        return state_of(self.task)

    def info(self) -> TaskInfo:
        """Return a frozen snapshot, with the name without the path; from any thread."""
        return inner_info(self.task, self.parent)

    def pause(self, *, pause_timeouts: bool = False) -> bool:
        """Pause the task, as ``Task.pause`` does; any thread."""
        return pause(self.task, pause_timeouts=pause_timeouts)

    def resume(self) -> bool:
        """Resume the task, as ``Task.resume`` does; any thread."""
        return resume(self.task)


def look_inside() -> Inner:
    """Look at all unfinished tasks of the embedded loop and the kernel's own. Any thread."""
    loops = [running_embedded_loop(), *frontend.current.other_loops()]
    return Inner(tasks_of([loop for loop in loops if loop is not None]))


def find_inside(path: str, *, exactly: bool = False, inner: Inner | None = None) -> list[InnerTask]:
    """Return the unfinished tasks that the glob ``path`` names, oldest launched task first.

    A path is the name of a launched task, a slash, and the name of a task inside it; a task inside
    that one follows after another slash. Each of the names may be a glob, which matches one name:
    ``crawl/*`` are the tasks directly inside "crawl". A name may also be written as a table shows
    it. With ``exactly``, there are no globs. Any thread.
    """
    if "/" not in path:
        return []
    inner = look_inside() if inner is None else inner
    found: dict[asyncio.Task[Any], InnerTask] = {}
    todo: deque[tuple[int, str, str]] = deque()
    launched = sorted(inner.launched.values(), key=lambda record: record.id)
    for head, tail in _splits(path):
        hits = _matching(head, {record.name for record in launched}, exactly)
        todo += [(record.id, record.name, tail) for record in launched if record.name in hits]
    while todo:
        parent, above, rest = todo.popleft()
        children = inner.children(parent)
        names = {child.get_name() for child in children}
        hits = _matching(rest, names, exactly)
        for child in children if hits else ():
            name = child.get_name()
            if name in hits:
                found[child] = InnerTask(child, parent, f"{above}/{name}")
        for head, tail in _splits(rest):
            hits = _matching(head, names, exactly)
            todo += [
                (-id(child), f"{above}/{child.get_name()}", tail)
                for child in children
                if child.get_name() in hits and inner.has_children(-id(child))
            ]
    return list(found.values())


def find_by_id(id: int, name: str) -> InnerTask | None:
    """Return the unfinished task with this id and name inside a launched task, or None."""
    inner = look_inside()
    task = inner.with_id(id)
    if task is None or task.get_name() != name:
        return None
    parent = inner.parent(task)
    above = inner.path(parent)
    return InnerTask(task, parent, f"{above}/{name}" if above else name)


def find_one(path: str) -> InnerTask:
    """Return the one unfinished task with this path; raise TaskNotFoundError for none or several.

    The error suggests similar paths. Any thread.
    """
    found = find_inside(path, exactly=True)
    if not found:
        raise TaskNotFoundError(no_match_message(path))
    if len(found) > 1:
        which = "; ".join(_position(each.task) for each in found[:4])
        raise TaskNotFoundError(
            f"{len(found)} tasks have the path {path!r} ({which}). "
            f"asyncnb.tasks({path!r}) returns all of them."
        )
    return found[0]


def no_match_message(path: str) -> str:
    """Return the error for a path or pattern that names no task: with similar paths, if any."""
    inner = look_inside()
    names: list[str] = []
    childless = []
    for head, _ in _splits(path):
        for record in registry.match(head):
            if inner.has_children(record.id):
                below = _paths_below(inner, record.id, record.name)
                names += itertools.islice(below, NEAR_AMONG)
            else:
                childless.append(record.name)
    if names or not childless:
        return registry.no_match_message(path, names or None)
    return f"No task named {path!r}: no unfinished task is inside {childless[-1]!r}."


def launched_named(name: str) -> TaskRecord:
    """Return the one launched task named ``name``, as the registry's ``find`` does.

    Raises TaskNotFoundError also for the path of a task inside one, and says so. Any thread.
    """
    if "/" in name and next(registry.match(name), None) is None and find_inside(name):
        raise TaskNotFoundError(
            f"{name!r} is inside a launched task, and only launched ones have output and a time "
            "limit and can be renamed."
        )
    return registry.find(name)


def paths_inside(path: str) -> Iterator[str]:
    """Yield the paths of tasks directly inside those that ``path`` names before one of its slashes.

    Any thread.
    """
    inner = look_inside()
    for above, _ in _splits(f"{path}*"):
        for record in inner.launched.values():
            if record.name == above:
                yield from (f"{above}/{each.get_name()}" for each in inner.children(record.id))
        for parent in find_inside(above, exactly=True, inner=inner):
            yield from (f"{above}/{each.get_name()}" for each in inner.children(parent.id))


def cancel(tasks: Iterable[asyncio.Task[Any]], msg: str | None = None) -> None:
    """Request the cancellation of ``tasks``, of any loops. Any thread."""
    by_loop: dict[Any, list[asyncio.Task[Any]]] = {}
    for task in tasks:
        if isinstance(task, Task):
            task.cancel(msg)
        else:
            by_loop.setdefault(task.get_loop(), []).append(task)
    for loop, own in by_loop.items():
        loop.call_soon_threadsafe(_cancel_here, own, msg)


def _cancel_here(tasks: list[asyncio.Task[Any]], msg: str | None) -> None:
    for task in tasks:
        task.cancel(msg)


def _paths_below(inner: Inner, parent: Id, above: str) -> Iterator[str]:
    todo = [(parent, above)]
    while todo:
        id_, path = todo.pop()
        for child in inner.children(id_):
            yield f"{path}/{child.get_name()}"
            if inner.has_children(-id(child)):
                todo.append((-id(child), f"{path}/{child.get_name()}"))


def _position(task: asyncio.Task[Any]) -> str:
    """Return where a task is and what it waits for, to tell it from another one."""
    places = await_chain(task)
    where = f"{places[-1].where}, line {places[-1].line}" if places else "not started"
    waits = waiting_on(task)
    return f"{where}: {waits}" if waits else where


def _splits(path: str) -> Iterator[tuple[str, str]]:
    """Yield the two parts of ``path`` at each of its slashes: names may contain slashes as well."""
    at = path.find("/")
    while at >= 0:
        if 0 < at < len(path) - 1:
            yield path[:at], path[at + 1 :]
        at = path.find("/", at + 1)


def _matching(pattern: str, names: set[str], exactly: bool) -> set[str]:
    """Return those of ``names`` that ``pattern`` names."""
    if exactly:
        found = {pattern} & names
    else:
        hit = re.compile(fnmatch.translate(pattern)).match
        found = {name for name in names if name == pattern or hit(name)}
    return found or shown_as(pattern, names)
