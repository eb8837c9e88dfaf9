"""Tasks that only their own code refers to: the garbage collector may end them in the middle."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import types
from collections.abc import Iterable
from typing import Any

from asyncnb._core.introspection.kinds import is_a
from asyncnb._core.leaks.reach import Ids, namespaces
from asyncnb._core.leaks.resources import module_of

#: Tasks whose holders are looked for, and levels of holders. What takes more, or has more holders
#: in a level, is held by something larger than a forgotten task.
MAX_TASKS, MAX_LEVELS, MAX_FRONTIER = 50, 12, 200


def candidates(tasks: Iterable[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Return the tasks that wait for something, and that no registry holds."""
    found = []
    for task in tasks:
        if task.done() or getattr(task, "_record", None) is not None:
            continue
        coro: Any = task.get_coro()
        if inspect.iscoroutine(coro) and inspect.getcoroutinestate(coro) == inspect.CORO_SUSPENDED:
            found.append(task)
    return found


class Marks:
    """All that the interpreter itself leads to: modules, running code, loops and their handles."""

    def __init__(self, roots: Iterable[Any]) -> None:
        self._seen = Ids()
        buckets, referents, is_tracked = self._seen.buckets, gc.get_referents, gc.is_tracked
        # Not the frames of this look, whose variables are the tasks.
        frame: types.FrameType | None = sys._getframe()
        while frame is not None and frame.f_globals.get("__name__", "").startswith("asyncnb."):
            self._seen.add(frame)
            frame = frame.f_back
        waiting = [*roots, *namespaces(), *sys._current_frames().values(), frame]
        waiting = [each for each in waiting if each not in self._seen]
        for each in waiting:
            self._seen.add(each)
        while waiting:
            for held in referents(waiting.pop()):
                if is_tracked(held):
                    key = id(held)
                    seen = buckets[key >> 4 & 63]
                    if key not in seen:
                        seen.add(key)
                        waiting.append(held)

    def __contains__(self, thing: object) -> bool:
        return thing in self._seen


def isolated(tasks: list[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Return those of ``tasks`` that nothing holds but what they themselves hold.

    ``tasks`` and the list of the caller are the only references that may be made meanwhile.
    """
    ours = {id(tasks)}
    tasks = tasks[:MAX_TASKS]
    closure: dict[int, Any] = {id(task): task for task in tasks}
    held: set[int] = set()
    frontier: list[Any] = list(tasks)
    ours |= {id(tasks), id(closure), id(frontier)}
    for _ in range(MAX_LEVELS):
        # It compares each object of the process with each of these, and nothing else runs then.
        found = gc.get_referrers(*frontier)
        new: list[Any] = []
        ours |= {id(found), id(new)}
        for holder in found:
            key = id(holder)
            if key in ours or key in closure or _are_arguments(holder, frontier):
                continue
            if type(holder) is types.FrameType and holder.f_code.co_filename.startswith(_HERE):
                continue
            closure[key] = holder
            if _is_root(holder):
                _hold(holder, closure, held)
            else:
                new.append(holder)
        frontier = [each for each in new if id(each) not in held]
        ours.add(id(frontier))
        if not frontier or all(id(task) in held for task in tasks):
            break
        if len(frontier) > MAX_FRONTIER:
            return []
    for holder in frontier:
        _hold(holder, closure, held)
    return [task for task in tasks if id(task) not in held]


def _hold(holder: Any, closure: dict[int, Any], held: set[int]) -> None:
    """Note that ``holder``, and all of ``closure`` that it leads to, is held from outside."""
    held.add(id(holder))
    waiting = [holder]
    while waiting:
        for thing in gc.get_referents(waiting.pop()):
            key = id(thing)
            if key in closure and key not in held:
                held.add(key)
                waiting.append(thing)


_HERE = __file__.rpartition("isolated")[0]


def _are_arguments(holder: Any, frontier: list[Any]) -> bool:
    """Return whether ``holder`` is the tuple that ``get_referrers`` itself got (3.14)."""
    return (
        type(holder) is tuple
        and len(holder) == len(frontier)
        and all(a is b for a, b in zip(holder, frontier, strict=True))
    )


def _is_root(holder: Any) -> bool:
    kind = type(holder)
    if is_a(holder, types.ModuleType | type | types.FrameType | asyncio.AbstractEventLoop):
        return True
    if is_a(holder, asyncio.Handle) or module_of(kind).startswith(("uvloop", "winloop")):
        return True
    return kind is dict and "__name__" in holder and "__builtins__" in holder
