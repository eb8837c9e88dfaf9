"""Shows failures of tasks that were neither launched nor awaited in the cell that created them.

asyncio reports them when the task is garbage-collected, in a log that a notebook shows in whichever
cell is running, or nowhere. In a headless run, which keeps no output of a cell that has ended, such
a failure appears in the cell that ends next.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import TYPE_CHECKING, Any

from asyncnb._core.introspection.unmanaged import context_of, current_cell
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._kernel.current_cell import cell_id, cell_number, current_record
from asyncnb._kernel.ipykernel.parents import is_headless
from asyncnb._kernel.output.router import OutputRouter
from asyncnb._kernel.undo import UndoStack

if TYPE_CHECKING:
    from asyncnb._core.introspection.info import CellRef

#: The message of the cell whose code is running.
_message: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar(
    "asyncnb_cell_message", default=None
)


class UnawaitedFailures:
    """Notes which cell is running, and routes what asyncio would log to the right cell."""

    def __init__(self, ip: Any, output: OutputRouter) -> None:
        self.ip = ip
        self._output = output
        self._undo = UndoStack()
        #: In a headless run: the failure, its cell, and the message of that cell.
        self._unseen: list[tuple[BaseException, CellRef | None, dict[str, Any]]] = []

    def install(self, kernel_loop: asyncio.AbstractEventLoop | None) -> None:
        """Hook the start of cells, and the kernel's own loop if there is one."""
        self._undo.append(self.ip.events.callbacks["pre_run_cell"], self._cell_starts)
        if kernel_loop is not None:
            self._hook(kernel_loop)

    def uninstall(self) -> None:
        """Remove the hooks; failures that no cell could show are logged."""
        for exc, cell, _ in self._unseen:
            self.ip.log.error("%s", _introduction(cell), exc_info=exc)
        self._unseen.clear()
        self._undo.unwind()

    def _hook(self, loop: Any) -> None:
        # Not set_exception_handler(): that one is the user's, and a handler of the user's may well
        # delegate to the default one.
        original = loop.default_exception_handler

        def default_exception_handler(context: dict[str, Any]) -> None:
            if not self.handle(context):
                original(context)

        if hasattr(loop, "__dict__"):  # a compiled loop may not allow new attributes
            self._undo.set(loop, "default_exception_handler", default_exception_handler)

    def _cell_starts(self, info: Any) -> None:
        from asyncnb._core.introspection.info import CellRef  # not in the cell that loads asyncnb

        message = self._output.parent()
        # It is not in the history yet.
        number = cell_number(self.ip) + 1 if info.store_history else 0
        current_cell.set(CellRef(number, cell_id(message)))
        _message.set(message)

    def cell_ended(self) -> None:
        """Show the failures that were not shown at once in the cell that ends now."""
        unseen, self._unseen = self._unseen, []
        for exc, cell, message in unseen:
            if message is not self._output.parent():
                print(_introduction(cell), file=sys.stderr)
            self._output.show_error(exc)

    def handle(self, context: dict[str, Any]) -> bool:
        """Take what asyncio would log; True if it will be shown. Called by finalisers, anywhere."""
        task, exc = context.get("future"), context.get("exception")
        if not isinstance(task, asyncio.Task) or not isinstance(exc, BaseException):
            return False
        if not str(context.get("message")).endswith("exception was never retrieved"):
            return False
        origin = context_of(task)
        loop = running_embedded_loop()
        if origin is None or loop is None:
            return False
        record = origin.get(current_record)
        message = origin.get(_message) if record is None else record.origin.message
        if not message and record is None and origin.get(current_cell) is None:
            return False
        if record is None and message and is_headless(message):
            self._unseen.append((exc, origin.get(current_cell), message))
            return True
        shown_in = self._output.context(message or {})
        shown_in.run(current_record.set, record)
        try:
            # Nothing more here: the code that the garbage collector interrupted may hold any lock.
            loop.call_soon_threadsafe(self._output.report_unawaited, exc, shown_in)
        except RuntimeError:  # the loop has just been closed
            return False
        return True


def _introduction(cell: CellRef | None) -> str:
    maker = str(cell or "") or "an earlier cell"
    return f"asyncnb: a task of {maker} that was never awaited failed after that cell had ended:"
