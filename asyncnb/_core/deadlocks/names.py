"""What suspended code calls an object, ``lock`` or ``self.queue``, and where it entered it."""

from __future__ import annotations

import ast
import contextlib
import linecache
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


def entered_at(link: Any, thing: Any) -> int | None:
    """Return the line of the ``with`` by which suspended code is inside ``thing``.

    None if it is inside of it in another way, or its source is not there or no plain Python.
    """
    frame, name = frame_of(link), variable_in(link, thing)
    if frame is None or name is None:
        return None
    tree = _parsed(linecache.getlines(frame.f_code.co_filename, frame.f_globals))
    found = [
        node.lineno
        for node in ast.walk(tree or ast.Module([], []))
        if isinstance(node, ast.AsyncWith | ast.With)
        and node.body[0].lineno <= frame.f_lineno <= (node.end_lineno or 0)
        and any(ast.unparse(item.context_expr) == name for item in node.items)
    ]
    return max(found, default=None)


def _parsed(lines: list[str]) -> ast.Module | None:
    """Return the tree of a file or cell, whose magics are left out; None if it has no other."""
    plain = [line if not line.lstrip().startswith(("%", "!")) else "\n" for line in lines]
    for source in (lines, plain):
        with contextlib.suppress(SyntaxError, ValueError):
            return ast.parse("".join(source))
    return None


def frame_of(link: Any) -> types.FrameType | None:
    """Return the frame of a suspended coroutine or generator."""
    for name in ("cr_frame", "ag_frame", "gi_frame"):
        frame = getattr(link, name, None)
        if frame is not None:
            return frame  # type: ignore[no-any-return]
    return None
