"""Makes frames that stand in for others, for formatters of tracebacks that need real ones."""

from __future__ import annotations

import ast
import types
from typing import Any


def stand_in(
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
