"""The cell in the foreground: which it is, and stopping it, neither a task nor another cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncnb._core.base.errors import CommandError
from asyncnb._core.base.text import count
from asyncnb._core.frontend import Foreground
from asyncnb._core.launched.registry import registry
from asyncnb._kernel.current_cell import cell_number

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._kernel.awaiting.running_cell import RunningCell
    from asyncnb._kernel.ipykernel.interrupts import InterruptGuard


def stop_foreground(cell_id: str, running: RunningCell | None, guard: InterruptGuard | None) -> str:
    """Interrupt the cell with this id, which awaits or blocks, and return a text for the user.

    ``running`` is the cell, if it awaits. Cells that are queued behind it run. Return an empty text
    if it is not in the foreground; raise CommandError if it has not begun, or is just ending. Does
    not wait; any thread but the main one.
    """
    blocked = ""
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
    if not living:
        return f"interrupting the cell{blocked}"
    keep, them = ("keeps", "it") if living == 1 else ("keep", "them")
    return (
        f"interrupting the cell{blocked}; {count(living, 'task')} that it launched {keep} running: "
        f"stop it again to cancel {them}"
    )


def _is_of(cell: object, cell_id: str) -> bool:
    return getattr(cell, "id", None) == cell_id


def foreground(
    ip: InteractiveShell, running: RunningCell | None, guard: InterruptGuard | None
) -> Foreground | None:
    """Return the cell that the main thread runs, or waits for: ``running``, if it awaits."""
    handled = None if guard is None else guard.running
    if running is not None:
        return Foreground(cell_number(ip), running.id, running.created, running.task)
    return None if handled is None else Foreground(cell_number(ip), *handled, None)
