"""Locations in code, as text: ``In[3], line 2``, ``asyncio/queues.py, line 158``."""

from __future__ import annotations

import functools
import linecache
import os
import sys
import types
from collections.abc import Callable, Iterable
from typing import NamedTuple

from asyncnb._core import frontend
from asyncnb._core.base.frames import is_asyncio_frame, is_launching_frame, is_waiting_frame

#: Code of coroutines that only wrap a user's coroutine: their frames are omitted.
wrappers: set[types.CodeType] = set()


def hide_wrapper(function: Callable[..., object]) -> None:
    """Omit the frames of ``function``, which only wraps a user's coroutine, from stacks."""
    wrappers.add(function.__code__)


def cell_of(filename: str) -> str | None:
    """Return the ``In[n]`` that a file name's code came from, None if it is not a cell."""
    return frontend.current.cell_of(filename)


class Place(NamedTuple):
    """One frame of a stack: its location, line and function.

    ``where`` is ``In[n]`` for code of a cell, otherwise the file's path relative to the entry of
    ``sys.path`` it was found in; ``function`` is empty for a cell's own code, outside of any
    function; ``source`` is the text of the line, empty if it is not available.
    """

    where: str
    line: int
    function: str
    source: str

    def __str__(self) -> str:
        head = f"{self.where}, line {self.line}"
        if self.function:
            head += f", in {self.function}"
        return f"{head}\n    {self.source}" if self.source else head


def place(frame: types.FrameType, line: int | None = None) -> Place:
    """Return the location of ``frame``, at its current line or at ``line``. Any thread."""
    code = frame.f_code
    line = line or frame.f_lineno or 0
    if line < 1:  # compiled code of other libraries has no line numbers
        line = max(code.co_firstlineno, 0)
    source = linecache.getline(code.co_filename, line, frame.f_globals).strip()
    return Place(where(code.co_filename), line, function_name(code), source)


def where(filename: str) -> str:
    """Return ``In[n]`` for the code of a cell, otherwise the path relative to ``sys.path``."""
    return cell_of(filename) or _relative_path(filename)


def function_name(code: types.CodeType) -> str:
    """Return a name such as ``fetch()``; an empty string for a cell's own code."""
    name = code.co_qualname
    if name.startswith("<cell line") or (name == "<module>" and cell_of(code.co_filename)):
        return ""
    return f"{name}()"


@functools.lru_cache(maxsize=1024)
def _relative_path(filename: str) -> str:
    # The longest entry of sys.path that contains the file: site-packages is inside the library.
    for folder in sorted({p for p in sys.path if p}, key=len, reverse=True):
        if filename.startswith(folder.rstrip(os.sep) + os.sep):
            return filename[len(folder.rstrip(os.sep)) + 1 :].replace(os.sep, "/")
    return filename


def strip_outer_frames(frames: Iterable[types.FrameType]) -> list[types.FrameType]:
    """Return frames, outermost first, without asyncnb's launching frames and those above them."""
    kept = []
    waits = False
    for frame in frames:
        if is_launching_frame(frame):
            waits = is_waiting_frame(frame)
        elif not (waits and is_asyncio_frame(frame)):
            kept.append(frame)
            waits = False
    start = 0
    outer = frontend.current.outer_frame_paths
    while start < len(kept) and kept[start].f_code.co_filename.startswith(outer):
        start += 1
    return kept[start:]
