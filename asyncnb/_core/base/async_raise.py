"""Raise an exception in a task whose code blocks its loop, without hitting anything else.

``PyThreadState_SetAsyncExc`` raises in a thread, wherever that thread is by then: the task may have
just yielded, and the exception would hit the loop's own code or another task. So the exception is
sent only when it is certain to surface in the task's code: checking the thread and sending are one
call, during which no other thread runs, and the instruction that the thread is executing is one
that ends with a check for pending exceptions.
"""

from __future__ import annotations

import asyncio
import ctypes
import operator
import sys
import time
import types
from collections.abc import Callable
from itertools import compress
from typing import Any

from asyncnb._core.base.breakpoints import is_debugger_code
from asyncnb._core.base.frames import is_loop_frame

#: Attempts, a millisecond apart, to find the task at an instruction where it can be interrupted.
_MAX_ATTEMPTS = 20

_send_to = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.py_object)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)


def raise_in_task(
    loop: Any,
    task: asyncio.Task[Any],
    exc: type[BaseException],
    *,
    within: Callable[[types.FrameType], bool] | None = None,
    attempts: int = _MAX_ATTEMPTS,
) -> bool:
    """Raise ``exc`` in the code of ``task`` that blocks its ``loop``; call from another thread.

    In code that waits inside a C function (``time.sleep``), it surfaces when that function returns.
    With ``within``, raise only while a frame of the task for which ``within`` is true is active.
    Return whether the exception was sent: False if the task is not in the middle of a step, or
    could not be interrupted without endangering what runs after it, such as during one long
    operation in C code.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False  # nothing stops the thread between the check and the sending
    ident = loop.thread.ident
    for number in range(attempts):
        if number:
            time.sleep(0.001)
        if asyncio.current_task(loop) is not task:
            return False
        frame = sys._current_frames().get(ident)
        if frame is None or not _is_in_task_code(frame, task, within):
            continue
        if send_if_in_frame(ident, frame, exc):
            return True
    return False


def _is_in_task_code(
    frame: types.FrameType,
    task: asyncio.Task[Any],
    within: Callable[[types.FrameType], bool] | None,
) -> bool:
    """Return whether an exception in ``frame``, its thread's current one, hits the task's code."""
    if is_loop_frame(frame):
        return False  # a call_soon() cut in half would damage every task of the loop
    coro: Any = task.get_coro()
    outermost = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None)
    inner: types.FrameType | None = frame
    inside = within is None
    while inner is not None and inner is not outermost:
        if is_debugger_code(inner.f_code):
            return False  # the debugger would stop answering, or stop tracing this thread
        inside = inside or (within is not None and within(inner))
        inner = inner.f_back
    return inside and inner is not None and outermost is not None


def send_if_in_frame(
    ident: int, frame: types.FrameType, exc: type[BaseException], *, offset: int | None = None
) -> bool:
    """Send ``exc`` if the thread is still in ``frame``, at an instruction that will notice it.

    With ``offset``, only if that is the offset of the instruction.
    """
    if offset is None:
        offset = frame.f_lasti
    if not _checks_pending(frame.f_code, offset):
        return False
    # One call into C code, in which nothing lets another thread run: the thread stays where it was
    # found until the exception is pending.
    return bool(
        sum(
            map(
                _send_to,
                compress(
                    (ident,),
                    map(
                        operator.and_,
                        map(operator.is_, _top_frames(ident), (frame,)),
                        map(operator.eq, map(operator.attrgetter("f_lasti"), (frame,)), (offset,)),
                    ),
                ),
                (exc,),
            )
        )
    )


def send_if_user_code(ident: int, frame: types.FrameType, exc: type[BaseException]) -> bool:
    """Do the same as :func:`send_if_in_frame`, except in the middle of a loop's own code."""
    if is_loop_frame(frame):
        return False
    return send_if_in_frame(ident, frame, exc)


def _top_frames(ident: int) -> Any:
    return map(operator.itemgetter(ident), map(operator.call, (sys._current_frames,)))


def _checks_pending(code: types.CodeType, offset: int) -> bool:
    """Return whether the instruction at ``offset`` checks for exceptions at its end (3.11-3.15)."""
    from opcode import opname  # rarely needed

    if not 0 <= offset < len(code.co_code):
        return False
    name = opname[code.co_code[offset]]
    if name.startswith("CALL_INTRINSIC"):
        return False
    return name.startswith(("CALL", "PRECALL")) or "JUMP_BACKWARD" in name
