"""Compiles a cell to run in the background."""

from __future__ import annotations

import ast
import inspect
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple

from IPython.core.error import UsageError

from asyncnb._kernel.current_cell import cell_number

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


class BackgroundCell(NamedTuple):
    """The code of a cell: its statements, and its last expression, whose value is the result.

    ``source`` has the lines of ``file``, ``text`` those below the magic.
    """

    body: CodeType
    last: CodeType | None
    quiet: bool
    file: str | None = None
    source: str = ""
    text: str = ""

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


def compile_cell(ip: InteractiveShell, body: str, *, magic: str, sent: str = "") -> BackgroundCell:
    """Compile ``body``, including IPython syntax, as IPython would compile the cell itself.

    ``sent`` is the whole cell as the front end has it, if it came from one. Line numbers in
    tracebacks and for the debugger are those of the whole cell, and so is the name of the file.
    Raises SyntaxError, and UsageError for a cell without code.
    """
    try:
        tree, name, above = parse_cell(ip, body, magic=magic, sent=sent)
        statements, last = tree.body, None
        if statements and isinstance(statements[-1], ast.Expr):
            last = ast.Expression(statements.pop().value)
        flags = ip.compile.flags | _AWAIT
        return BackgroundCell(
            body=compile(ast.Module(statements, []), name, "exec", flags, dont_inherit=True),
            last=None if last is None else compile(last, name, "eval", flags, dont_inherit=True),
            # Without one, IPython need not read the cell token by token.
            quiet=";" in body and bool(ip.displayhook.semicolon_at_end_of_expression(body)),
            file=name,
            source=above + body,
            text=body,
        )
    except SyntaxError as exc:
        exc._asyncnb_in_cell = True  # type: ignore[attr-defined]  # see Tracebacks
        raise


def parse_cell(ip: InteractiveShell, body: str, *, magic: str, sent: str) -> tuple[Any, str, str]:
    """Return the tree of ``body``, its file's name, and the lines of the cell above it.

    Parameters and errors are those of ``compile_cell``.
    """
    source = ip.transform_cell(body)
    whole, above = _whole_cell(magic, body, sent)
    name = ip.compile.cache(above + source, cell_number(ip), raw_code=whole)
    tree: Any = ip.compile.ast_parse("\n" * above.count("\n") + source, filename=name)
    if not tree.body:
        raise UsageError(f"{magic.split(maxsplit=1)[0]}: the cell has no code to run.")
    return ip.transform_ast(tree), name, above


def _whole_cell(magic: str, body: str, sent: str) -> tuple[str, str]:
    """Return the cell as the front end has it, and those of its lines that are above ``body``.

    ipykernel names a cell's file by a hash of the cell's text, and the front end's debugger sets
    its breakpoints in the file of that name: with one newline more or less, none is hit. IPython
    passes a magic its body with a newline added, and without what is above the magic: empty lines,
    or another magic.
    """
    for end in (body, body.removesuffix("\n")):
        if sent == end:  # the magic is not in the cell's text: the front end has added it
            return sent, ""
        above = sent.removesuffix(end)
        if above != sent and above.rstrip("\n").rpartition("\n")[2].startswith("%%"):
            return sent, above
    return f"{magic}\n{body}", f"{magic}\n"  # the cell of a script, or indented as a whole
