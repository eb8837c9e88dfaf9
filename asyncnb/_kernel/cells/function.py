"""Compiles a cell as a function of one item, whose variables are its own: for ``%%amap``."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from IPython.core.error import UsageError

from asyncnb._kernel.cells.compiled import parse_cell

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: The parameter, if the item is unpacked: no name that code can have.
_PARAMETER = ".0"
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


class CellFunction(NamedTuple):
    """A cell as a function of one item; ``awaits``: whether it is an ``async def`` function."""

    function: Callable[[Any], Any]
    awaits: bool


def compile_function(
    ip: InteractiveShell,
    body: str,
    target: ast.expr,
    *,
    name: str,
    magic: str,
    sent: str,
    as_async: bool,
) -> CellFunction:
    """Compile ``body`` as a function of an item, which is assigned to ``target``.

    What the cell assigns is local to each call; its other names are those of the notebook. Its last
    expression is what the function returns. With ``as_async`` it is an ``async def`` function even
    if it has no ``await``. Raises SyntaxError, and UsageError for a cell that cannot be one.
    """
    try:
        tree, file, _ = parse_cell(ip, body, magic=magic, sent=sent)
        statements = tree.body
        if isinstance(last := statements[-1], ast.Expr):
            statements[-1] = ast.copy_location(ast.Return(last.value), last)
        own = list(_own_nodes(statements))
        _check(own, target)
        awaits = any(_is_await(node) for node in own)
        parameter = target.id if isinstance(target, ast.Name) else _PARAMETER
        if parameter is _PARAMETER:
            value = ast.Name(_PARAMETER, ast.Load())
            statements.insert(0, ast.copy_location(ast.Assign([target], value), statements[0]))
        kind: Any = ast.AsyncFunctionDef if awaits or as_async else ast.FunctionDef
        arguments = ast.arguments(
            posonlyargs=[], args=[ast.arg(parameter)], kwonlyargs=[], kw_defaults=[], defaults=[]
        )
        tree.body = [kind(name="_", args=arguments, body=statements, decorator_list=[])]
        if hasattr(tree.body[0], "type_params") or "type_params" in kind._fields:
            tree.body[0].type_params = []
        ast.copy_location(tree.body[0], statements[0])
        tree.body[0].lineno = 1  # that of the magic, from which IPython counts the lines
        ast.fix_missing_locations(tree)
        code = compile(tree, file, "exec", ip.compile.flags, dont_inherit=True)
    except SyntaxError as exc:
        exc._asyncnb_in_cell = True  # type: ignore[attr-defined]  # see Tracebacks
        raise
    found: dict[str, Any] = {}
    exec(code, ip.user_global_ns, found)  # the function's globals are the notebook's variables
    function = found["_"]
    function.__name__ = function.__qualname__ = name
    # The cell has no `def` line: as a function, inspect would look for one, and IPython show none
    # of the lines of the cell.
    names = {"co_name": "<module>", "co_qualname": "<module>"}
    function.__code__ = function.__code__.replace(**names)
    # What a save file knows it by.
    function._asyncnb_source = f"for {ast.unparse(target)}\n{body}"
    return CellFunction(function, awaits)


def _own_nodes(statements: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield the nodes of ``statements`` that are not inside a function or class defined there."""
    todo: list[ast.AST] = list(reversed(statements))
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, _SCOPES):
            todo += reversed(list(ast.iter_child_nodes(node)))


def _is_await(node: ast.AST) -> bool:
    return isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith) or (
        isinstance(node, ast.comprehension) and bool(node.is_async)
    )


def _check(own: list[ast.AST], target: ast.expr) -> None:
    """Refuse what a function of one item cannot do; ``own``: the nodes of its scope."""
    bound = {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}
    adds: list[str] = []
    for node in own:
        if isinstance(node, ast.Yield | ast.YieldFrom):
            raise UsageError(
                "%%amap: the cell is a function of one item, and with a `yield` it would be a "
                "generator. Its last expression, or a `return`, is what it gives."
            )
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            adds.append(node.target.id)
        elif isinstance(node, ast.Global):
            bound.update(node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            bound.add(node.name)
    added = {id(node.target) for node in own if isinstance(node, ast.AugAssign)}
    bound |= {
        node.id
        for node in own
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in added
    }
    for name in adds:
        if name not in bound:
            raise UsageError(
                f"%%amap: {name!r} is changed, but each item has its own variables, so it has no "
                f"value there. Let the last expression be what an item gives, and combine the "
                f"results afterwards; or write `global {name}`, and mind that items run at the "
                "same time."
            )
