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
import os
import selectors
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


def joined(entries: Sequence[types.TracebackType]) -> types.TracebackType | None:
    """Return a traceback of these entries of others, in this order; None for no entries."""
    kept = None
    for entry in reversed(entries):
        kept = types.TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return kept
