"""The tasks inside launched tasks, by path: ``crawl/page 7`` is the task "page 7" inside "crawl".

Imported when somebody looks; nothing here is called while tasks run.
"""

from __future__ import annotations

import asyncio
import fnmatch
import re
from collections.abc import Callable, Iterator
from typing import Any

from asyncnb._core import frontend
from asyncnb._core.introspection.inner import Inner
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._core.primitives.all_tasks import tasks_of


def look_inside() -> Inner:
    """Look at all unfinished tasks of the embedded loop and the kernel's own. Any thread."""
    loops = [running_embedded_loop(), *frontend.current.other_loops()]
    return Inner(tasks_of([loop for loop in loops if loop is not None]))


def find_inside(path: str, inner: Inner | None = None) -> dict[asyncio.Task[Any], int | None]:
    """Return the unfinished tasks that the glob ``path`` names, each with the id of its parent.

    A path is the name of a launched task, a slash, and the name of a task inside it; a task inside
    that one follows after another slash. Each of the names may be a glob, which matches one name:
    ``crawl/*`` are the tasks directly inside "crawl". Any thread.
    """
    if "/" not in path:
        return {}
    inner = look_inside() if inner is None else inner
    found: dict[asyncio.Task[Any], int | None] = {}
    todo: list[tuple[int, str]] = []
    for head, tail in _splits(path):
        is_named = _matcher(head)
        todo += [(id, tail) for id, record in inner.launched.items() if is_named(record.name)]
    while todo:
        parent, rest = todo.pop()
        children = inner.children(parent)
        is_named = _matcher(rest)
        for child in children:
            if is_named(child.get_name()):
                found[child] = parent
        for head, tail in _splits(rest):
            is_named = _matcher(head)
            todo += [
                (-id(child), tail)
                for child in children
                if inner.has_children(-id(child)) and is_named(child.get_name())
            ]
    return found


def _splits(path: str) -> Iterator[tuple[str, str]]:
    """Yield the two parts of ``path`` at each of its slashes: names may contain slashes as well."""
    at = path.find("/")
    while at >= 0:
        if 0 < at < len(path) - 1:
            yield path[:at], path[at + 1 :]
        at = path.find("/", at + 1)


def _matcher(pattern: str) -> Callable[[str], bool]:
    hit = re.compile(fnmatch.translate(pattern)).match
    return lambda name: name == pattern or hit(name) is not None
