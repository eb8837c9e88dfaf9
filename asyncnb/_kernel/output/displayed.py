"""How IPython displays objects of asyncnb's classes, in a way that can be undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._kernel.undo import UndoStack


def show_as(
    ip: InteractiveShell,
    undo: UndoStack,
    module: str,
    name: str,
    bundle: Callable[[Any], Any],
) -> None:
    """Have ``ip`` display objects of a class by the mime bundle that ``bundle`` returns.

    The class is given by its name, so that its module need not be imported.
    """
    display: Any = ip.display_formatter
    formatter = display.mimebundle_formatter

    def forget() -> None:
        if formatter.deferred_printers.get((module, name)) is bundle:
            del formatter.deferred_printers[module, name]
        for kind, printer in [*formatter.type_printers.items()]:  # set by the first display
            if printer is bundle:
                del formatter.type_printers[kind]

    undo.push(forget)
    formatter.for_type_by_name(module, name, bundle)
