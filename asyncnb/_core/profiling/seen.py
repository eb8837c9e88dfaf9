"""What code a thread or a suspended task is in, as cheap keys; and what the keys mean.

A key is read a hundred times a second, so it has the ids of code objects and line numbers only.
The places they represent, without the frames of asyncio and asyncnb, are found when a profile is
shown.
"""

from __future__ import annotations

import concurrent.futures
import os
import re
import threading
import types
from typing import Any

from asyncnb._core import frontend
from asyncnb._core.base.frames import ASYNCIO, PACKAGE
from asyncnb._core.introspection.places import Place, function_name, where

#: Ids of code objects and line numbers in turn, outermost first.
Key = tuple[int, ...]

#: Frames of a stack that are kept: the innermost ones.
MAX_FRAMES = 100
#: Frames that are searched for the outermost one of a task.
_MAX_SEARCHED = 10_000

_THREADS = (threading.__file__, os.path.dirname(concurrent.futures.__file__) + os.sep)
#: What changes from one look to the next in the description of a wait.
_CHANGES = re.compile(r", [^,]* left$|, \d+ of \d+ done$| \((\d+ [a-z]|[^()]* of )[^()]*\)$")


class Codes(dict[int, types.CodeType]):
    """The code objects whose ids are in keys; they stay alive as long as this does."""

    def key_of_running(
        self, top: types.FrameType, outermost: types.FrameType | None
    ) -> tuple[Key, bool]:
        """Return the key of the stack below ``top``, and whether ``outermost`` was found in it."""
        parts: list[int] = []
        frame: types.FrameType | None = top
        searched = 0
        while frame is not None:
            if searched < MAX_FRAMES:
                code = frame.f_code
                self[id(code)] = code
                parts += (frame.f_lineno or 0, id(code))
            if frame is outermost:
                return tuple(parts[::-1]), True
            searched += 1
            if searched > _MAX_SEARCHED:
                break
            frame = frame.f_back
        return tuple(parts[::-1]), False

    def key_of_suspended(self, frames: list[types.FrameType]) -> Key:
        """Return the key of an await chain, outermost frame first."""
        parts: list[int] = []
        for frame in frames[-MAX_FRAMES:]:
            code = frame.f_code
            self[id(code)] = code
            parts += (id(code), frame.f_lineno or 0)
        return tuple(parts)

    def places(self, key: Key) -> tuple[Place, ...]:
        """Return the places of a key; see ``shown``."""
        pairs = zip(key[::2], key[1::2], strict=True)
        return shown(
            (self[code].co_filename, function_name(self[code]), line) for code, line in pairs
        )


def shown(stack: Any) -> tuple[Place, ...]:
    """Return the places of ``stack``, of (file, function, line), as a user wants to see them.

    Without what runs the code, and without frames of asyncio and asyncnb, except for one that names
    what the code has called if it is in there.
    """
    outer = (PACKAGE, ASYNCIO, *_THREADS, *frontend.current.outer_frame_paths)
    found: list[Place] = []
    folded: Place | None = None
    for file, function, line in stack:
        if file.startswith((PACKAGE, ASYNCIO)):
            library = "asyncnb" if file.startswith(PACKAGE) else "asyncio"
            folded = folded or Place(library, 0, function, "")
        elif found or not file.startswith(outer):
            found.append(_place(file, function, line))
            folded = None
    if found and folded is not None:
        found.append(folded)
    return tuple(found)


def _place(file: str, function: str, line: int) -> Place:
    import linecache

    return Place(where(file), line, function, linecache.getline(file, line).strip())


def lasting(wait: str) -> str:
    """Return the description of a wait without what changes: ``sleep, 3.2 s left`` is ``sleep``."""
    return _CHANGES.sub("", wait)
