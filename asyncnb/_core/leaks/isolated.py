"""Tasks that only their own code refers to: the garbage collector may end them in the middle."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import types
from collections.abc import Iterable
from typing import Any

from asyncnb._core.leaks.reach import namespaces
from asyncnb._core.leaks.resources import module_of

#: Tasks whose holders are looked for one by one, levels of holders, and holders in all. What takes
#: more is held by something larger than a forgotten task.
MAX_TASKS, MAX_LEVELS, MAX_HOLDERS = 50, 12, 2000


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
        self._seen: set[int] = set()
        seen, referents, is_tracked = self._seen, gc.get_referents, gc.is_tracked
        waiting = list(roots)
        waiting += sys._current_frames().values()
        waiting += namespaces()
        # Not the frames of this look, whose variables are the tasks.
        frame: types.FrameType | None = sys._getframe()
        while frame is not None and frame.f_globals.get("__name__", "").startswith("asyncnb."):
            seen.add(id(frame))
            frame = frame.f_back
        waiting += [] if frame is None else [frame]
        waiting = [each for each in waiting if id(each) not in seen]
        seen.update(map(id, waiting))
        while waiting:
            for held in referents(waiting.pop()):
                key = id(held)
                if key not in seen and is_tracked(held):
                    seen.add(key)
                    waiting.append(held)

    def __contains__(self, thing: object) -> bool:
        return id(thing) in self._seen


def isolated(tasks: list[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Return those of ``tasks`` that nothing holds but what they themselves hold.

    ``tasks`` and the list of the caller are the only references that may be made meanwhile.
    """
    ours = {id(tasks)}
    tasks = tasks[:MAX_TASKS]
    closure: dict[int, Any] = {id(task): task for task in tasks}
    ours |= {id(tasks), id(closure)}
    held: set[int] = set()
    frontier = list(tasks)
    ours.add(id(frontier))
    for _ in range(MAX_LEVELS):
        found = gc.get_referrers(*frontier)
        ours.add(id(found))
        new: list[Any] = []
        ours.add(id(new))
        for holder in found:
            key = id(holder)
            if key in ours or key in closure or _are_arguments(holder, frontier):
                continue
            if isinstance(holder, types.FrameType) and holder.f_code.co_filename.startswith(_HERE):
                continue
            closure[key] = holder
            if _is_root(holder):
                held.add(key)
            else:
                new.append(holder)
        frontier = new
        if not new or len(closure) > MAX_HOLDERS:
            break
    held.update(map(id, frontier))
    waiting = [closure[key] for key in held]
    while waiting:
        for thing in gc.get_referents(waiting.pop()):
            key = id(thing)
            if key in closure and key not in held:
                held.add(key)
                waiting.append(thing)
    return [task for task in tasks if id(task) not in held]


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
    if isinstance(holder, types.ModuleType | type | types.FrameType | asyncio.AbstractEventLoop):
        return True
    if isinstance(holder, asyncio.Handle) or module_of(kind).startswith(("uvloop", "winloop")):
        return True
    return kind is dict and "__name__" in holder and "__builtins__" in holder
