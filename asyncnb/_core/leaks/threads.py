"""Threads that still run code for a task that was cancelled, as a thread cannot be."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import contextvars
import functools
import gc
import sys
import threading
import types
from collections.abc import Iterable
from typing import Any

from asyncnb._core.introspection.kinds import is_a
from asyncnb._core.introspection.places import cell_of, place, where
from asyncnb._core.leaks.finding import Finding
from asyncnb._core.leaks.snapshot import cell_of_context

_ADVICE = "it ends when its function returns: have that look at a flag, or give its call a timeout"
_EXECUTORS = concurrent.futures.thread.__file__


def left() -> Iterable[Finding]:
    """Yield the threads whose task was cancelled and whose function has not returned."""
    yield from _workers()
    yield from _executor_calls()


def _workers() -> Iterable[Finding]:
    registry = sys.modules.get("asyncnb._core.launched.registry")
    if registry is None:
        return
    from asyncnb._core.introspection.stack import worker_of  # only where tasks were launched

    frames = sys._current_frames()
    for record in registry.registry.living():
        if record.kind == "thread" and record.state() == "cancelling":
            worker = worker_of(record.task)
            if worker is not None and worker.thread.is_alive():
                yield Finding(
                    "thread",
                    f"thread of {record.name!r}",
                    _ADVICE,
                    worker.thread,
                    place=_place(frames.get(worker.thread.ident or 0)),
                    cell=record.cell,
                )


def _executor_calls() -> Iterable[Finding]:
    threads = {thread.ident: thread for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        item = _item_of(frame)
        if item is None or ident not in threads or not _is_given_up(item.future):
            continue
        function, context = _call_of(item)
        yield Finding(
            "thread",
            f"thread that runs {function or 'a call'}",
            _ADVICE,
            threads[ident],
            place=_place(frame),
            cell=cell_of_context(context),
        )


def _item_of(frame: types.FrameType | None) -> Any:
    """Return the call that an executor's thread works on; None for any other thread."""
    while frame is not None:
        if frame.f_code.co_filename == _EXECUTORS:
            item = frame.f_locals.get("self")
            if hasattr(item, "future"):
                return item
        frame = frame.f_back
    return None


def _place(frame: types.FrameType | None) -> str:
    """Return the innermost line of a cell; empty if the thread runs no code of a cell."""
    while frame is not None:
        if cell_of(frame.f_code.co_filename):
            at = place(frame)
            return f"{at.where}, line {at.line}"
        frame = frame.f_back
    return ""


def _is_given_up(future: Any) -> bool:
    """Return whether an asyncio future that waits for this one has been cancelled."""
    seen: set[int] = set()
    level = [future]
    for _ in range(6):
        below: list[Any] = []
        for each in level:
            for held in gc.get_referents(each):
                if id(held) in seen:
                    continue
                seen.add(id(held))
                if is_a(held, asyncio.Future):
                    return bool(held.cancelled())
                if is_a(held, types.FunctionType):
                    below += held.__closure__ or ()
                elif is_a(held, dict | list | types.CellType):
                    below.append(held)
        level = below
    return False


def _call_of(item: Any) -> tuple[str, contextvars.Context | None]:
    """Return the name of the function that an executor calls, and the context it runs in."""
    context: contextvars.Context | None = None
    level = [item]
    for _ in range(12):
        below: list[Any] = []
        for each in level:
            for held in gc.get_referents(each):
                if is_a(held, contextvars.Context):
                    context = held
                elif is_a(held, types.FunctionType | types.BuiltinFunctionType):
                    own = getattr(held, "__self__", None)
                    if is_a(own, contextvars.Context):
                        context = own
                    elif not _is_machinery(held):
                        return f"{_name(held)}()", context
                elif is_a(held, tuple | list | dict | functools.partial | types.MethodType):
                    below.append(held)
        level = below
    return "", context


def _name(function: Any) -> str:
    """Return ``time.sleep`` for a function in C, ``work`` for one in Python."""
    if is_a(function, types.BuiltinFunctionType) and function.__module__:
        return f"{function.__module__}.{function.__name__}"
    return str(function.__qualname__)


def _is_machinery(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and where(code.co_filename).startswith(
        ("asyncnb/", "asyncio/", "concurrent/")
    )
