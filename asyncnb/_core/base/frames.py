"""Which frames of a stack are asyncnb's own, and which of those a user need not see.

A module whose frames appear between the user's code and the code that runs it declares this with a
global, as functions do for pytest with ``__tracebackhide__``, so that the module may move or be
renamed.

    __asyncnb_frames__ = "launches"  # runs a coroutine of the user
    __asyncnb_frames__ = "waits"     # the same, and awaits something itself in the meantime
    __asyncnb_frames__ = "loop"      # runs an event loop, which is idle there when it has no work

All code on the kernel side counts as "launches", and all of the offloading as "waits".
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import selectors
import sys
import traceback
import types
from collections.abc import Sequence

#: The folder of this package, and that of asyncio, each with a separator at its end.
PACKAGE = __file__[: -len(os.path.join("_core", "base", "frames.py"))]
ASYNCIO = os.path.dirname(asyncio.__file__) + os.sep

_KERNEL = os.path.join(PACKAGE, "_kernel", "")
_OFFLOAD = os.path.join(PACKAGE, "_offload", "")


def is_internal_frame(frame: types.FrameType) -> bool:
    """Return whether ``frame`` belongs to asyncnb."""
    return frame.f_code.co_filename.startswith(PACKAGE)


def is_asyncio_frame(frame: types.FrameType) -> bool:
    """Return whether ``frame`` belongs to asyncio."""
    return frame.f_code.co_filename.startswith(ASYNCIO)


def is_launching_frame(frame: types.FrameType) -> bool:
    """Return whether ``frame`` belongs to code that launches and runs tasks."""
    if frame.f_globals.get("__asyncnb_frames__") in ("launches", "waits"):
        return True
    return frame.f_code.co_filename.startswith((_KERNEL, _OFFLOAD))


def is_waiting_frame(frame: types.FrameType) -> bool:
    """Return whether ``frame`` belongs to code that launches tasks and itself awaits something."""
    if frame.f_globals.get("__asyncnb_frames__") == "waits":
        return True
    return frame.f_code.co_filename.startswith(_OFFLOAD)


def is_idle_frame(frame: types.FrameType) -> bool:
    """Return whether ``frame`` is where a loop without work is idle."""
    if frame.f_globals.get("__asyncnb_frames__") == "loop":
        return True
    return frame.f_code.co_filename == selectors.__file__


def is_loop_frame(frame: types.FrameType) -> bool:
    """Return whether ``frame`` belongs to asyncnb, asyncio or a selector."""
    return frame.f_code.co_filename.startswith((PACKAGE, ASYNCIO, selectors.__file__))


def clear_ended_frames(exc: BaseException) -> None:
    """Free what the ended functions in the traceback of ``exc`` hold, and leave suspended ones.

    A coroutine that has caught the exception and waits again is in its traceback as well. Up to
    Python 3.12, clearing its frame closes it, and nothing tells whether it has ended: there, frames
    of coroutines and generators keep what they hold.
    """
    suspendable = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
    for frame, _ in traceback.walk_tb(exc.__traceback__):
        if sys.version_info < (3, 13) and frame.f_code.co_flags & suspendable:
            continue
        with contextlib.suppress(RuntimeError):  # it runs, or is suspended
            frame.clear()


def joined(entries: Sequence[types.TracebackType]) -> types.TracebackType | None:
    """Return a traceback of these entries of others, in this order; None for no entries."""
    kept = None
    for entry in reversed(entries):
        kept = types.TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return kept
