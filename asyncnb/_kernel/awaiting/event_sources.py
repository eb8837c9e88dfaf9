"""The events that code in a notebook awaits: IPython's own, and the messages of comms."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._kernel.awaiting.autoawait import AwaitCells
    from asyncnb._kernel.ipykernel.awaited_comms import AwaitedComms
    from asyncnb._kernel.ipykernel.comm_channel import CommChannel
    from asyncnb._kernel.output.router import OutputRouter
    from asyncnb._kernel.undo import UndoStack

#: The events that the launching cell causes after it has launched a task.
_AT_THE_END = ("post_execute", "post_run_cell")


class EventSources:
    """What a notebook adds to the sources of ``_core/events``; ``undo`` ends all of it."""

    def __init__(
        self,
        ip: InteractiveShell,
        await_cells: AwaitCells,
        output: OutputRouter,
        undo: UndoStack,
    ) -> None:
        self._ip = ip
        self._await_cells = await_cells
        self._output = output
        self._undo = undo

    @functools.cached_property
    def channel(self) -> CommChannel:
        """Where messages of a page are picked out."""
        from asyncnb._kernel.ipykernel.comm_channel import CommChannel

        channel = CommChannel(self._ip)
        self._undo.push(channel.uninstall)
        return channel

    @functools.cached_property
    def _comms(self) -> AwaitedComms:
        from asyncnb._kernel.ipykernel.awaited_comms import AwaitedComms

        comms = AwaitedComms(
            self._ip,
            self.channel,
            awaiting=lambda: self._await_cells.awaiting,
            enter=self._output.enter,
        )
        self._undo.push(comms.close)
        return comms

    def comm_awaited(self, comm_id: str) -> Callable[[], None]:
        """Handle the messages of this comm at once; return what ends that, once."""
        return self._comms.add(comm_id)

    def observe_shell(self, name: str, observer: Callable[..., None]) -> Callable[[], None]:
        """Call ``observer`` with what IPython passes at each event; return what removes it.

        The events of the cell that the calling code belongs to do not count.

        Raises RuntimeError in a cell that awaits: no other cell runs before it has ended.
        """
        if self._await_cells.is_current():
            raise RuntimeError(
                f"This cell would wait for {name!r} of another cell, and none runs before this one "
                "has ended. Wait in a task: start the cell with %%atask, or use asyncnb.launch()."
            )
        own = self._cell()

        def on_event(*args: Any) -> None:
            # A task starts while its cell is still ending, sooner or later by chance.
            if own is None or name not in _AT_THE_END or self._cell() != own:
                observer(*args)

        events = self._ip.events
        events.register(name, on_event)

        def remove() -> None:
            with contextlib.suppress(ValueError):
                events.unregister(name, on_event)

        return remove

    def _cell(self) -> str | None:
        header = self._output.parent().get("header") or {}
        found = header.get("msg_id")
        return found if isinstance(found, str) else None
