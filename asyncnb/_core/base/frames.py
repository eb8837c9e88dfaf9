"""Which frames of a stack are asyncnb's own, and which of these a user need not see.

A module whose frames stand between the user's code and what runs it says so by a global, as
functions do for pytest by ``__tracebackhide__``: so it may move or be renamed.

    __asyncnb_frames__ = "launches"  # carries a coroutine of the user's
    __asyncnb_frames__ = "waits"     # the same, and awaits something itself meanwhile
    __asyncnb_frames__ = "loop"      # runs an event loop, which rests there when it has no work

All code of the kernel's side launches, and all of the offloading waits.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import types

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


def launches(frame: types.FrameType) -> bool:
    """Return whether ``frame`` belongs to what launches tasks and runs them."""
    if frame.f_globals.get("__asyncnb_frames__") in ("launches", "waits"):
        return True
    return frame.f_code.co_filename.startswith((_KERNEL, _OFFLOAD))


def launches_and_waits(frame: types.FrameType) -> bool:
    """Return whether ``frame`` launches tasks and itself awaits something for that."""
    if frame.f_globals.get("__asyncnb_frames__") == "waits":
        return True
    return frame.f_code.co_filename.startswith(_OFFLOAD)


def rests(frame: types.FrameType) -> bool:
    """Return whether a loop without work stands in ``frame``."""
    if frame.f_globals.get("__asyncnb_frames__") == "loop":
        return True
    return frame.f_code.co_filename == selectors.__file__


def is_loop_frame(frame: types.FrameType) -> bool:
    """Return whether ``frame`` is asyncnb's, asyncio's or a selector's."""
    return frame.f_code.co_filename.startswith((PACKAGE, ASYNCIO, selectors.__file__))
