"""Finds the names that a cell may read before it assigns them: only those have to be sent."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence


def names_needed(statements: Sequence[ast.stmt]) -> set[str]:
    """Return the names that ``statements`` may read from outside; possibly more, never fewer.

    Local variables of functions are among them: the caller knows which names are global.
    """
    reader = _Reader()
    reader.read_all(statements, set())
    return reader.needed


class _Reader:
    def __init__(self) -> None:
        self.needed: set[str] = set()

    def read_all(self, statements: Iterable[ast.stmt], bound: set[str]) -> None:
        """Note the names that are read; ``bound``, which grows, has those that are surely bound."""
        for statement in statements:
            self.read(statement, bound)

    def read(self, node: ast.stmt, bound: set[str]) -> None:
        if isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                self.note(item.context_expr, bound)
                if item.optional_vars is not None:
                    self.bind(item.optional_vars, bound)
            # It may suppress an exception, and then not all of its body has run.
            self.read_all(node.body, set(bound))
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            self.note(node.iter, bound)
            inside = set(bound)
            self.bind(node.target, inside)
            self.read_all(node.body, inside)
            self.read_all(node.orelse, set(bound))
        elif isinstance(node, ast.If):
            self.note(node.test, bound)
            one, other = set(bound), set(bound)
            self.read_all(node.body, one)
            self.read_all(node.orelse, other)
            bound |= one & other
        elif isinstance(node, (ast.Try, ast.TryStar)):
            self.read_all([*node.body, *node.orelse], set(bound))
            for handler in node.handlers:
                inside = set(bound) | ({handler.name} if handler.name else set())
                if handler.type is not None:
                    self.note(handler.type, bound)
                self.read_all(handler.body, inside)
            self.read_all(node.finalbody, bound)
        elif isinstance(node, ast.While):
            self.note(node.test, bound)
            self.read_all(node.body, set(bound))
            self.read_all(node.orelse, set(bound))
        else:
            self.note(node, bound)
            self._bind_by(node, bound)

    def _bind_by(self, node: ast.stmt, bound: set[str]) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self.bind(target, bound)
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                self._need(node.target.id, bound)
            if node.value is not None:
                self.bind(node.target, bound)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)

    def note(self, node: ast.AST, bound: set[str]) -> None:
        """Note each name that is read anywhere in ``node``."""
        for each in ast.walk(node):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load):
                self._need(each.id, bound)

    def _need(self, name: str, bound: set[str]) -> None:
        if name not in bound:
            self.needed.add(name)

    def bind(self, target: ast.expr, bound: set[str]) -> None:
        """Bind the names of ``target``, and note what it reads, such as the list in ``a[0]``."""
        self.note(target, bound)
        bound |= {
            each.id
            for each in ast.walk(target)
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
        }
