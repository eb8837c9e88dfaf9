"""Stops the cell in the foreground by its id: that one, and neither a task nor another cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncnb._core.base.errors import CommandError
from asyncnb._core.base.text import count
from asyncnb._core.launched.registry import registry

if TYPE_CHECKING:
    from asyncnb._kernel.awaiting.autoawait import AwaitCells
    from asyncnb._kernel.ipykernel.interrupts import InterruptGuard


def stop_foreground(cell_id: str, await_cells: AwaitCells, guard: InterruptGuard | None) -> str:
    """Interrupt the cell with this id, which awaits or blocks, and return a text for the user.

    Cells that are queued behind it run. Return an empty text if it is not in the foreground; raise
    CommandError if it has not begun, or is just ending. Does not wait; any thread but the main one.
    """
    blocked = ""
    running = await_cells.with_id(cell_id)
    if running is not None and running.stop():
        by = running.loop.blocked
        if by is not None and by.name != "cell":
            blocked = f"; {by.name!r} blocks the loop, so its cleanup runs when that is over"
    else:
        began = None if guard is None else guard.stop(cell_id)
        if began is None:
            return ""
        if not began:
            raise CommandError("The cell is just starting, or ending. Try again if it still runs.")
    living = sum(r.ended is None and _is_of(r.cell, cell_id) for r in registry.records())
    if living:
        keep = "keeps" if living == 1 else "keep"
        return (
            f"interrupting the cell{blocked}; {count(living, 'task')} that it launched {keep} "
            "running: stop it again to cancel them"
        )
    return f"interrupting the cell{blocked}"


def _is_of(cell: object, cell_id: str) -> bool:
    return getattr(cell, "id", None) == cell_id
