"""Which cell the running code belongs to: its number, the front end's id; and which task."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any, cast

from asyncnb._core.introspection import handle as _handle

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._core.launched.record import TaskRecord

#: The record of the launched task that the running code belongs to. That of `_core/launched`,
#: without importing it: `%load_ext` does not wait for it.
current_record = cast("contextvars.ContextVar[TaskRecord | None]", _handle.current_record)


def cell_number(ip: InteractiveShell) -> int:
    """Return n of the ``In[n]`` that runs now, 0 where it leaves no history."""
    # Not execution_count: run_cell has raised it before the cell's code runs, and keeps it where
    # the cell is not stored.
    return max(0, len(ip.user_ns.get("In", ())) - 1)


def cell_id(parent: dict[str, Any]) -> str | None:
    """Return the front end's id of the cell that ``parent`` runs, if it sends one."""
    metadata = parent.get("metadata") or {}
    found = metadata.get("cellId") or metadata.get("cell_id")
    return found if isinstance(found, str) else None
