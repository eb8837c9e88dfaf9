"""Which cell the running code belongs to, told to kernels that do not ask their context.

ipykernel 7 needs none of this. ipykernel 6 keeps one parent header for displays and one for
results, JupyterLite's kernel a single one for all, which the page reads with every message.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

from asyncnb._kernel.undo import UndoStack

#: The message whose cell gets the output of the running code, where that is not the cell that
#: the main thread is running.
parent_message: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar(
    "asyncnb_parent", default=None
)


def header(message: dict[str, Any]) -> dict[str, Any]:
    """Return the header of ``message``, or what is one already."""
    found: dict[str, Any] = message.get("header", message)
    return found


def route_by_context(undo: UndoStack, kernel: Any, *parts: Any) -> None:
    """Let ``kernel`` and ``parts``, its publishers, go by the context."""
    if not hasattr(kernel, "session") and hasattr(kernel, "get_parent"):  # JupyterLite
        vars(kernel).setdefault("_parent_header", {})
        _tell(undo, kernel, "_parent_header", vars(kernel), lambda parent: parent)
        return
    for part in parts:
        variable = getattr(part, "_parent_header", None)
        if not hasattr(part, "set_thread_parent") and not isinstance(
            variable, contextvars.ContextVar
        ):
            part.parent_header  # a trait's default is made on first access  # noqa: B018
            _tell(undo, part, "parent_header", part._trait_values, header)


def _tell(
    stack: UndoStack,
    part: Any,
    name: str,
    values: dict[str, Any],
    told: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    """Give ``part`` a ``name`` that follows the context; ``values`` keeps it where none is set."""

    def get(self: Any) -> Any:
        parent = parent_message.get()
        return values[name] if parent is None else told(parent)

    def put(self: Any, value: Any) -> None:
        values[name] = value

    stack.give_class(part, {name: property(get, put)})
