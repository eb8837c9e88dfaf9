"""A cell compiled for running in the background."""

from __future__ import annotations

import ast
import inspect
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple

from IPython.core.error import UsageError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def cell_number(ip: InteractiveShell) -> int:
    """Return n of the ``In[n]`` that runs now, 0 where it leaves no history."""
    # Not execution_count: run_cell has raised it before the cell's code runs, and keeps it where
    # the cell is not stored.
    return max(0, len(ip.user_ns.get("In", ())) - 1)


class BackgroundCell(NamedTuple):
    """Code of a cell: statements, and the last expression, which gives the result."""

    body: CodeType
    last: CodeType | None
    quiet: bool
    file: str | None = None
    source: str = ""

    @property
    def awaits(self) -> bool:
        """Whether the cell has an ``await`` (``async for``, ``async with``) at its top level."""
        return _is_coroutine(self.body) or (self.last is not None and _is_coroutine(self.last))

    def run(self, namespace: dict[str, Any]) -> Any:
        """Run a cell that does not await; return the value of its last expression."""
        exec(self.body, namespace)
        return None if self.last is None else eval(self.last, namespace)

    async def run_async(self, namespace: dict[str, Any]) -> Any:
        """Run the cell on the running loop; return the value of its last expression."""
        started = eval(self.body, namespace)
        if _is_coroutine(self.body):
            await started
        if self.last is None:
            return None
        value = eval(self.last, namespace)
        return await value if _is_coroutine(self.last) else value


def _is_coroutine(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_COROUTINE)


def compile_cell(ip: InteractiveShell, body: str, *, magic: str) -> BackgroundCell:
    """Compile ``body``, IPython syntax included, as IPython would the cell itself.

    Line numbers in tracebacks are those of the whole cell, whose first line is the magic.
    Raises SyntaxError, and UsageError for a cell without code.
    """
    source = ip.transform_cell(body)
    number = cell_number(ip)
    name = ip.compile.cache(f"{magic}\n{source}", number, raw_code=f"{magic}\n{body}")
    try:
        tree: Any = ip.compile.ast_parse("\n" + source, filename=name)
        if not tree.body:
            raise UsageError(f"{magic.split(maxsplit=1)[0]}: the cell has no code to run.")
        tree = ip.transform_ast(tree)
        statements, last = tree.body, None
        if statements and isinstance(statements[-1], ast.Expr):
            last = ast.Expression(statements.pop().value)
        flags = ip.compile.flags | _AWAIT
        return BackgroundCell(
            body=compile(ast.Module(statements, []), name, "exec", flags, dont_inherit=True),
            last=None if last is None else compile(last, name, "eval", flags, dont_inherit=True),
            quiet=bool(ip.displayhook.semicolon_at_end_of_expression(body)),
            file=name,
            source=f"{magic}\n{body}",
        )
    except SyntaxError as exc:
        exc._asyncnb_in_cell = True  # type: ignore[attr-defined]  # see Tracebacks
        raise
