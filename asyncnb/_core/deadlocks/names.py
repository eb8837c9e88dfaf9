"""The names that suspended code has for objects: ``lock``, ``self.queue``."""

from __future__ import annotations

import types
from typing import Any

from asyncnb._core.deadlocks.waits import is_library
from asyncnb._core.introspection.call_graph import code_of
from asyncnb._core.introspection.kinds import attributes_of


def variable_in(link: Any, thing: Any) -> str | None:
    """Return the name that the user's code in a suspended coroutine has for ``thing``, or None."""
    frame, code = frame_of(link), code_of(link)
    if frame is None or code is None or is_library(code.co_filename):
        return None
    names = dict(frame.f_locals)
    for name, value in names.items():
        if value is thing:
            return name
    for name in code.co_names:
        if frame.f_globals.get(name) is thing:
            return name
    for name, value in names.items():
        for attribute, inner in attributes_of(value).items():
            if inner is thing:
                return f"{name}.{attribute}"
    return None


def frame_of(link: Any) -> types.FrameType | None:
    """Return the frame of a suspended coroutine or generator."""
    for name in ("cr_frame", "ag_frame", "gi_frame"):
        frame = getattr(link, name, None)
        if frame is not None:
            return frame  # type: ignore[no-any-return]
    return None
