"""The call that a frame is in the middle of, as its source text: ``time.sleep(3)``.

A function in C has no frame, so the innermost frame of a blocked thread says only in which line it
is. The instruction that the frame executes knows the columns of its expression. Any thread.
"""

from __future__ import annotations

import functools
import itertools
import linecache
import opcode
import os
import types
from collections.abc import Sequence
from typing import NamedTuple

from asyncnb._core.base.frames import is_internal_frame
from asyncnb._core.base.text import escape_control_chars
from asyncnb._core.introspection.places import cell_of, where

#: Characters of a call that are shown.
MAX_LENGTH = 60
#: What the innermost frame may be in the middle of for long: a call of C code. A frame that has
#: called Python code may do that with any instruction.
_IN_C = ("CALL", "BINARY_", "COMPARE_", "CONTAINS_", "IMPORT_", "BEFORE_WITH", "PRECALL")
_SPAN_LINES = 20


class Call(NamedTuple):
    """A call that takes long, as source texts.

    ``text`` is the call in your line, with ``where`` and ``line``; ``inside`` is the call that it
    comes to in a library, as far as it is another one. Both are empty where it is not known.
    """

    text: str
    inside: str
    where: str
    line: int


def find_call(frames: Sequence[types.FrameType]) -> Call:
    """Return the call that ``frames``, outermost first and not empty, are in the middle of."""
    at = users_frame(frames)
    # Of a library of the user's the last line before the standard library, whose functions have
    # well-known names; of the standard library itself nothing.
    last = at
    while last + 1 < len(frames) and not is_standard(frames[last + 1]):
        last += 1
    frame, top = frames[at], frames[-1]
    text = call_text(frame, is_top=frame is top)
    inside = ""
    if last != at and not is_internal_frame(frames[last]):
        inside = call_text(frames[last], is_top=frames[last] is top)
    return Call(text, inside, where(frame.f_code.co_filename), frame.f_lineno or 0)


def users_frame(frames: Sequence[types.FrameType]) -> int:
    """Return the index of the innermost frame of a cell, or else of code outside of libraries.

    If all are in libraries, return that of the innermost one.
    """
    for belongs in (_is_in_cell, _is_in_no_library):
        for index in range(len(frames) - 1, -1, -1):
            if belongs(frames[index]):
                return index
    return len(frames) - 1


def _is_in_cell(frame: types.FrameType) -> bool:
    return cell_of(frame.f_code.co_filename) is not None


def _is_in_no_library(frame: types.FrameType) -> bool:
    return not is_internal_frame(frame) and not _library_of(frame.f_code.co_filename)


def is_standard(frame: types.FrameType) -> bool:
    """Return whether ``frame`` belongs to the standard library."""
    return _library_of(frame.f_code.co_filename) == "standard"


@functools.lru_cache(maxsize=1024)
def _library_of(filename: str) -> str:
    if filename.startswith("<frozen"):
        return "standard"
    parts = filename.split(os.sep)
    if "site-packages" in parts or "dist-packages" in parts:
        return "other"
    import sysconfig  # seldom needed

    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    return "standard" if filename.startswith(tuple(f + os.sep for f in folders)) else ""


def call_text(frame: types.FrameType, *, is_top: bool) -> str:
    """Return the source of the call that ``frame`` is in the middle of, on one line, or ``""``.

    ``is_top`` says that no other frame is above it, so that only a call of C code counts.
    """
    code, index = frame.f_code, frame.f_lasti
    if index < 0 or (is_top and not opcode.opname[code.co_code[index]].startswith(_IN_C)):
        return ""
    at = next(itertools.islice(code.co_positions(), index // 2, None), (None,) * 4)
    line, end_line, column, end_column = at
    if line is None or end_line is None or column is None or end_column is None:
        return ""  # python -X no_debug_ranges
    if not line <= end_line <= line + _SPAN_LINES:
        end_line, end_column = line, 1_000_000
    lines = [
        linecache.getline(code.co_filename, number, frame.f_globals).rstrip("\n").encode()
        for number in range(line, end_line + 1)
    ]
    lines[-1] = lines[-1][:end_column]  # columns count bytes
    # The columns of a method that is not in the line of its object leave the object out.
    is_method = lines[0][:column].rstrip().endswith(b".")
    lines[0] = ("….".encode() if is_method else b"") + lines[0][column:]
    text = b"\n".join(lines).decode(errors="replace")
    first = linecache.getline(code.co_filename, line, frame.f_globals).strip()
    if first.startswith("with ") and not text.endswith(")"):
        # What waits is the beginning of the block; 3.11 says that it is all of the block.
        text = text.partition("\n")[0].rstrip(":") if text.startswith("with ") else f"with {text}"
    return escape_control_chars(_on_one_line(text), MAX_LENGTH)


def _on_one_line(text: str) -> str:
    if "\n" not in text:
        return text
    import ast  # seldom needed

    try:
        return ast.unparse(ast.parse(f"({text})", mode="eval"))  # without its comments
    except (SyntaxError, ValueError):
        return text
