"""Finding: one thing that code has left behind, as facts; text is made where it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from asyncnb._core.introspection.info import CellRef

#: The kinds, in the order in which they are shown, and the text for one that was not found.
KINDS = {
    "coroutine": "coroutines that were never awaited",
    "task": "tasks without a reference",
    "generator": "async generators left open",
    "server": "servers left open",
    "client": "clients left open",
    "connection": "connections left open",
    "thread": "threads of cancelled tasks",
}


class Finding(NamedTuple):
    """One leak.

    ``place`` is where it was made, ``In[4], line 3``, or where its code is if ``defined``; empty
    if neither is known. ``cell`` is the cell that made it. ``variable`` is the variable, or
    ``Out[5]``, that leads to it. ``thing`` is the object itself.
    """

    kind: str
    what: str
    advice: str
    thing: Any
    place: str = ""
    defined: bool = False
    cell: CellRef | None = None
    variable: str = ""
