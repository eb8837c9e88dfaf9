"""The standard loop's ``call_soon`` at two thirds of its cost.

Every step of every task and every callback goes through ``call_soon``, and the standard one takes
three calls of Python functions to append one handle to the queue. This version does the same in one
call. A loop in debug mode, a closed loop, and Pythons on which this has not been tested use the
standard one.
"""

from __future__ import annotations

import asyncio
from asyncio import Handle, TimerHandle
from collections.abc import Callable
from contextvars import Context
from threading import get_ident
from typing import Any, TypeVar

from asyncnb._core.base.visits import guarded
from asyncnb._core.loop.guarded import (
    call_at_from_other_thread,
    call_soon_from_other_thread,
    create_task_from_other_thread,
)
from asyncnb._core.loop.tripwire import wires
from asyncnb._core.primitives.fast_timer import KNOWN, trust_call_at

_H = TypeVar("_H", bound=Handle)
_standard_call_soon: Any = asyncio.BaseEventLoop.call_soon
_standard_call_soon_threadsafe: Any = asyncio.BaseEventLoop.call_soon_threadsafe
_standard_call_at: Any = asyncio.BaseEventLoop.call_at
_standard_create_task: Any = asyncio.BaseEventLoop.create_task


class FastCallSoonLoop(asyncio.BaseEventLoop):
    """A mix-in for a loop of the standard library; put it before the loop among the bases."""

    __slots__ = ()

    _closed: bool  # attributes of the standard loop
    _debug: bool
    _ready: Any
    _task_factory: Any
    _thread_id: int | None

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        if guarded and get_ident() != self._thread_id and self._thread_id is not None:
            return call_soon_from_other_thread(self, callback, args, context)
        if self._closed or self._debug or not KNOWN:
            standard: Handle = _standard_call_soon(self, callback, *args, context=context)
            return _created_by_caller(standard)
        handle = Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        standard: Handle = _standard_call_soon_threadsafe(self, callback, *args, context=context)
        if wires and (wire := wires.get(self)) is not None:
            wire.trip()
        return _created_by_caller(standard)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> TimerHandle:
        if guarded and get_ident() != self._thread_id and self._thread_id is not None:
            return call_at_from_other_thread(self, when, callback, args, context)
        standard: TimerHandle = _standard_call_at(self, when, callback, *args, context=context)
        return _created_by_caller(standard)

    def create_task(self, coro: Any, **kwargs: Any) -> Any:
        if guarded and get_ident() != self._thread_id and self._thread_id is not None:
            return create_task_from_other_thread(self, _standard_create_task, coro, kwargs)
        if (
            self._closed
            or self._debug
            or self._task_factory is not None
            or "eager_start" in kwargs  # refused before 3.13.2
        ):
            return _standard_create_task(self, coro, **kwargs)
        # The same as the standard method, without a call in between.
        return asyncio.tasks.Task(coro, loop=self, **kwargs)


trust_call_at(FastCallSoonLoop.call_at)


def _created_by_caller(handle: _H) -> _H:
    stack: Any = handle._source_traceback  # type: ignore[attr-defined]
    if stack:
        del stack[-1]  # "created at" names the caller, not this module
    return handle
