"""Rebuilds errors of workers, with tracebacks that show where they were raised.

A traceback cannot be pickled. What arrives is a description of its frames; here, frames are made at
the same lines of the same files, so that every formatter finds the same source.
"""

from __future__ import annotations

import ast
import linecache
import pickle
import types
from typing import Any

from asyncnb._core.base.errors import RemoteError

_GROUPS = ("ExceptionGroup", "BaseExceptionGroup")


def rebuild_error(described: dict[str, Any]) -> BaseException:
    """Return the exception that ``far/outcomes.describe_error`` described."""
    exc: BaseException | None = None
    if described["pickled"] is not None:
        try:
            exc = pickle.loads(described["pickled"])
        except Exception:
            exc = None  # its class does not exist here, or differs
    if not isinstance(exc, BaseException):
        kind, message, members = described["type"], described["message"], described["members"]
        if members:  # a member that cannot be rebuilt must not lose the others
            message = message if kind in _GROUPS else f"{kind}: {message}"
            exc = BaseExceptionGroup(message, [rebuild_error(member) for member in members])
        else:
            exc = RemoteError(f"{kind}: {message}")
    _complete(exc, described)
    return exc


def _complete(exc: BaseException, described: dict[str, Any]) -> None:
    for name in ("cause", "context"):
        if described[name] is not None:
            setattr(exc, f"__{name}__", rebuild_error(described[name]))
    exc.__suppress_context__ = described["suppress"]
    exc.__traceback__ = _traceback(described["frames"])
    if isinstance(exc, BaseExceptionGroup):
        for member, known in zip(exc.exceptions, described["members"], strict=False):
            _complete(member, known)


def _traceback(frames: list[tuple[Any, ...]]) -> types.TracebackType | None:
    found: types.TracebackType | None = None
    for file, function, position, line in reversed(frames):
        if line and not linecache.getline(file, position[0]):
            # A file of another machine, or a cell unknown to this kernel: only this line is known.
            lines = ["\n"] * (position[0] - 1) + [line]
            linecache.cache[file] = (sum(map(len, lines)), None, lines, file)
        entry = _stand_in(file, function, position)
        found = types.TracebackType(found, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return found


def _stand_in(
    file: str, function: tuple[str, str, int], position: tuple[Any, ...]
) -> types.TracebackType:
    """Return a traceback with one frame of ``function``, at ``position`` of ``file``.

    Its code has the function's names and first line: for a cell, IPython 9 shows the lines of the
    function that begins there.
    """
    name, qualname, first = function
    line, end_line, column, end_column = position
    above = min(first, line) - 1  # a code object counts its lines from its first line
    there = {
        "lineno": line - above,
        "end_lineno": (end_line or line) - above,
        "col_offset": column or 0,
        "end_col_offset": end_column or 0,
    }
    statement = ast.Raise(ast.Name("stand_in", ast.Load(), **there), None, **there)
    code = compile(ast.Module([statement], []), file, "exec", dont_inherit=True)
    code = code.replace(co_name=name, co_qualname=qualname, co_firstlineno=above + 1)
    try:
        exec(code, {"stand_in": StopIteration, "__name__": "__main__"})
    except StopIteration as exc:
        assert exc.__traceback__ is not None and exc.__traceback__.tb_next is not None
        return exc.__traceback__.tb_next
    raise AssertionError("a raise that does not raise")
