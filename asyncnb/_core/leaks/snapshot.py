"""One look at the objects of this process: those that may be leaks, sorted by kind."""

from __future__ import annotations

import asyncio
import contextvars
import dis
import gc
import inspect
import types
from typing import Any

from asyncnb._core.introspection.handle import current_record
from asyncnb._core.introspection.info import CellRef
from asyncnb._core.introspection.kinds import is_a
from asyncnb._core.introspection.unmanaged import current_cell
from asyncnb._core.leaks import resources


class Snapshot:
    """The objects of the kinds that leaks are made of.

    A list of a million objects is made in a hundredth of a second, and looked through in a tenth,
    in which other threads and an interrupt have their turns.
    """

    def __init__(self) -> None:
        self.coroutines: list[Any] = []
        self.async_generators: list[Any] = []
        self.generators: list[Any] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.handles: list[asyncio.Handle] = []
        self.resources: list[tuple[Any, resources.Resource]] = []
        lists: dict[type, list[Any] | None] = {
            types.CoroutineType: self.coroutines,
            types.AsyncGeneratorType: self.async_generators,
            types.GeneratorType: self.generators,
        }
        new: list[Any] = []
        known = lists.get
        for thing in gc.get_objects():
            kind = type(thing)
            found = known(kind, new)
            if found is None:
                continue
            if found is new:
                found = lists[kind] = self._list_for(kind)
                if found is None:
                    continue
            found.append(thing)
        for kind, each in lists.items():
            resource = resources.resource_of(kind)
            if resource is not None and each is not None:
                self.resources += [(thing, resource) for thing in each if resource.is_open(thing)]

    def _list_for(self, kind: type) -> list[Any] | None:
        if issubclass(kind, asyncio.Task):
            return self.tasks
        if issubclass(kind, asyncio.Handle):
            return self.handles
        return [] if resources.resource_of(kind) is not None else None

    def unawaited(self) -> list[types.CoroutineType[Any, Any, Any]]:
        """Return the coroutines that have not begun, and that no task has got."""
        of_tasks = {id(task.get_coro()) for task in self.tasks}
        return [
            coro
            for coro in self.coroutines
            if inspect.getcoroutinestate(coro) == inspect.CORO_CREATED and id(coro) not in of_tasks
        ]

    def open_generators(self) -> list[types.AsyncGeneratorType[Any, Any]]:
        """Return the async generators that were started, are not finished, and stand still."""
        return [each for each in self.async_generators if _is_suspended(each)]

    def suspended_code(self) -> list[Any]:
        """Return what is running or will be resumed: tasks, and code that has begun."""
        found: list[Any] = [task for task in self.tasks if not task.done()]
        for coro in self.coroutines:
            if inspect.getcoroutinestate(coro) in (inspect.CORO_RUNNING, inspect.CORO_SUSPENDED):
                found.append(coro)
        for each in self.generators:
            if inspect.getgeneratorstate(each) in (inspect.GEN_RUNNING, inspect.GEN_SUSPENDED):
                found.append(each)
        return found


def _is_suspended(generator: types.AsyncGeneratorType[Any, Any]) -> bool:
    frame = generator.ag_frame
    if frame is None or generator.ag_running:
        return False
    suspended = getattr(generator, "ag_suspended", None)  # 3.12
    if suspended is not None:
        return bool(suspended)
    # One that has not begun is at the instruction that made it.
    return frame.f_code.co_code[frame.f_lasti] != _RETURN_GENERATOR


_RETURN_GENERATOR = dis.opmap["RETURN_GENERATOR"]


def context_near(thing: Any, handles: dict[int, asyncio.Handle]) -> contextvars.Context | None:
    """Return the context in which a server or a connection was made; None if there is none near.

    ``handles`` are those of ``handles_of``. A context leads to the cell.
    """
    handle = handles.get(id(thing))
    level: list[Any] = [thing] if handle is None else [handle]
    for _ in range(3):
        below: list[Any] = []
        for each in level:
            for held in gc.get_referents(each):
                if type(held) is contextvars.Context:
                    return held
                if is_a(held, list | tuple) or _is_of_uvloop(held):
                    below.append(held)
        level = below
    return None


def handles_of(things: list[Any], handles: list[asyncio.Handle]) -> dict[int, asyncio.Handle]:
    """Return, by the id of each of ``things``, the handle by which a loop watches its socket."""
    wanted = {id(thing) for thing in things}
    found: dict[int, asyncio.Handle] = {}
    for handle in handles:
        for held in gc.get_referents(handle):
            if is_a(held, asyncio.AbstractEventLoop | contextvars.Context):
                continue
            for below in (held, *gc.get_referents(held)):
                if id(below) in wanted:
                    found.setdefault(id(below), handle)
    return found


def _is_of_uvloop(thing: object) -> bool:
    if is_a(thing, asyncio.AbstractEventLoop):
        return False
    return resources.module_of(type(thing)).startswith(("uvloop", "winloop"))


def cell_of_context(context: contextvars.Context | None) -> CellRef | None:
    """Return the cell whose code, or whose launched task, runs in ``context``."""
    if context is None:
        return None
    record = context.get(current_record)
    return context.get(current_cell) if record is None else record.cell
