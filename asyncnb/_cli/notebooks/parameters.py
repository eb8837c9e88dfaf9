"""Parameters of a run: a cell with assignments, placed as papermill places it."""

from __future__ import annotations

import ast
import keyword
from collections.abc import Mapping, Sequence
from typing import Any, Final

from asyncnb._cli.notebooks.errors import NotebookError

#: The tags of papermill: the cell with the defaults, and the one with the values of a run.
DEFAULTS: Final = "parameters"
INJECTED: Final = "injected-parameters"


def parse(pairs: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return the values by name; what is not a Python literal is a text.

    Raises NotebookError for what cannot be assigned to.
    """
    found = {}
    for name, text in pairs:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise NotebookError(f"-p {name} {text}: {name!r} is not the name of a variable.")
        try:
            found[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found[name] = text
    return found


def inject(notebook: Any, values: Mapping[str, Any]) -> list[str]:
    """Put a cell with ``values`` below the cell with the defaults, or at the top.

    A cell of an earlier run is replaced. Return the names that the cell with the defaults does
    not assign: they may be misspelt.
    """
    import nbformat

    if not values:
        return []
    lines = ["# Parameters", *(f"{name} = {value!r}" for name, value in values.items())]
    cell = nbformat.v4.new_code_cell(  # type: ignore[no-untyped-call]
        "\n".join(lines), metadata={"tags": [INJECTED]}
    )
    if (notebook.nbformat, notebook.nbformat_minor) < (4, 5):
        del cell["id"]  # cells have none there
    cells = [each for each in notebook.cells if INJECTED not in _tags(each)]
    at, unknown = 0, []
    for index, each in enumerate(cells):
        if DEFAULTS in _tags(each):
            at, unknown = index + 1, _unassigned(each.source, values)
            break
    notebook.cells = [*cells[:at], cell, *cells[at:]]
    return unknown


def _tags(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags", ()))


def _unassigned(source: str, names: Mapping[str, Any]) -> list[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a magic
        return []
    assigned = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return [name for name in names if name not in assigned]
