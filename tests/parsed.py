"""The code of asyncnb as trees, parsed once for all tests that read it."""

from __future__ import annotations

import ast
import functools
import gc
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "asyncnb"


@functools.cache
def trees() -> dict[Path, ast.Module]:
    """The tree of each file of the package. They are shared: do not change them."""
    found = {
        path: ast.parse(path.read_text(encoding="utf-8"), str(path))
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    gc.freeze()  # some hundred thousand objects, which stay: no collection needs to visit them
    return found


@functools.cache
def nodes(kind: type[ast.AST]) -> list[tuple[Path, ast.AST]]:
    """All nodes of this kind, each with its file, relative to the package."""
    return [
        (path.relative_to(PACKAGE), node)
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, kind)
    ]
