"""An nbclient that also stores what arrives for a cell after its end."""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from queue import Empty
from typing import Any, Final

from jupyter_core.paths import jupyter_runtime_dir
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete, DeadKernelError

#: Seconds between two looks at whether the kernel process is still there.
LOOK: Final = 1.0
#: Of the displays with which asyncnb brings late output to programs that drop it
#: (``_kernel/output/headless.py``). This one does not drop it, so they end up empty.
LATE_DISPLAY: Final = "asyncnb-"


class KeepingClient(NotebookClient):
    """Runs cells one by one, and files each message under the cell that it belongs to.

    nbclient drops what belongs to no running cell. One event loop.
    """

    def __init__(self, notebook: Any, **options: Any) -> None:
        super().__init__(notebook, **options)
        self._index_of: dict[str, int] = {}  # by the id of the request
        self._running: int | None = None
        self._clears: dict[int, bool] = {}
        self._late_displays: dict[int, list[Any]] = {}
        self._idle: set[str] = set()

    async def start(self, env: Mapping[str, str]) -> dict[str, Any]:
        """Start the kernel; return its answer to ``kernel_info_request``."""
        manager: Any = self.create_kernel_manager()
        # Where `asyncnb ps` finds it.
        os.makedirs(jupyter_runtime_dir(), exist_ok=True)
        manager.connection_file = str(Path(jupyter_runtime_dir(), f"kernel-{uuid.uuid4()}.json"))
        if any("ipykernel" in part for part in manager.kernel_spec.argv):
            # Its warnings, about its transport for one, say nothing about the notebook.
            self.extra_arguments = [*self.extra_arguments, "--log-level=ERROR"]
        # What the process itself writes must not get between the lines of --json.
        await self.async_start_new_kernel(env=dict(env), stdout=2)
        await self.async_start_new_kernel_client()
        channel: Any = self._client.iopub_channel
        receive = channel.get_msg

        async def get_msg(timeout: float | None = None) -> dict[str, Any]:
            message: dict[str, Any] = await receive(timeout=timeout)
            self._file(message)
            return message

        channel.get_msg = get_msg
        return await self._reply(self._client.kernel_info())

    @property
    def _client(self) -> Any:
        return self.kc

    @property
    def _manager(self) -> Any:
        return self.km

    # Cells.

    async def run_cell(self, index: int) -> None:
        """Run a cell, if it has code. Raises what nbclient raises."""
        self._running = index
        try:
            await self.async_execute_cell(self.nb.cells[index], index)
        finally:
            self._running = None

    async def run_aside(self, code: str, *, silent: bool = False) -> dict[str, Any]:
        """Run code that belongs to no cell of the notebook; return the reply."""
        asked = self._client.execute(code, silent=silent, store_history=False)
        reply = await self._reply(asked)
        while asked not in self._idle:
            try:
                await self._client.iopub_channel.get_msg(timeout=LOOK)
            except Empty:
                await self.check_alive()
        return reply

    async def _reply(self, asked: str, channel: Any = None) -> dict[str, Any]:
        channel = self._client.shell_channel if channel is None else channel
        while True:
            try:
                reply = await channel.get_msg(timeout=LOOK)
            except Empty:
                await self.check_alive()
                continue
            if reply["parent_header"].get("msg_id") == asked:
                content: dict[str, Any] = reply["content"]
                return content

    async def ask(self, content: dict[str, Any], kind: str = "asyncnb_request") -> dict[str, Any]:
        """Send a request of the protocol on the control channel; return the reply."""
        message = self._client.session.msg(kind, content)
        self._client.control_channel.send(message)
        return await self._reply(message["header"]["msg_id"], self._client.control_channel)

    # The kernel.

    async def check_alive(self) -> None:
        """Raise DeadKernelError if the kernel process has ended."""
        if not await self._manager.is_alive():
            raise DeadKernelError("Kernel died")

    async def interrupt(self) -> None:
        """Interrupt the running cell."""
        await self._manager.interrupt_kernel()

    async def listen(self) -> None:
        """Store what arrives for the cells, until cancelled."""
        while True:
            await self._client.iopub_channel.get_msg(timeout=None)

    async def stop(self, *, now: bool) -> None:
        """End the kernel, and store what it has sent until its end."""
        if self.km is None:
            return
        try:
            if self.kc is not None and not now:
                listening = asyncio.ensure_future(self.listen())
                try:
                    await self._manager.shutdown_kernel()
                finally:
                    listening.cancel()
                    await asyncio.wait({listening})
                try:
                    while True:
                        await self._client.iopub_channel.get_msg(timeout=0.05)
                except Empty:
                    pass
        finally:
            if self._manager.has_kernel:
                await self._manager.shutdown_kernel(now=True)
            if self.kc is not None:
                self._client.stop_channels()

    # Messages.

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """Note which cell the request belongs to, and store the message in it."""
        self._index_of[msg["parent_header"]["msg_id"]] = cell_index
        return super().process_message(msg, cell, cell_index)

    def output(self, outs: Any, msg: Any, display_id: Any, cell_index: int) -> Any:
        """Note which outputs are displays for late output."""
        made = super().output(outs, msg, display_id, cell_index)
        if made is not None and str(display_id or "").startswith(LATE_DISPLAY):
            self._late_displays.setdefault(cell_index, []).append(made)
        return made

    def _file(self, message: dict[str, Any]) -> None:
        parent = message["parent_header"].get("msg_id")
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            self._idle.add(parent)
        index = self._index_of.get(parent)
        if index is None or index == self._running:
            return
        # nbclient has one flag for all cells.
        kept, self.clear_before_next_output = (
            self.clear_before_next_output,
            self._clears.get(index, False),
        )
        try:
            self.process_message(message, self.nb.cells[index], index)
        except CellExecutionComplete:
            pass
        finally:
            self._clears[index] = self.clear_before_next_output
            self.clear_before_next_output = kept

    def tidied(self) -> Any:
        """Return the notebook as it is to be saved: streams in one piece, no emptied displays.

        The notebook itself must keep its outputs in their places: displays are found by these.
        """
        node = type(self.nb)
        cells = []
        for index, cell in enumerate(self.nb.cells):
            if cell.cell_type == "code":
                made = self._late_displays.get(index, ())
                empty = {id(each) for each in made if not each["data"].get("text/plain")}
                outputs = [each for each in cell.outputs if id(each) not in empty]
                cell = node({**cell, "outputs": _joined(outputs)})
            cells.append(cell)
        return node({**self.nb, "cells": cells})


def _joined(outputs: list[Any]) -> list[Any]:
    """Return the outputs with neighbours of the same stream as one."""
    found: list[Any] = []
    for name, group in itertools.groupby(outputs, lambda output: output.get("name")):
        if name is None:  # only streams have one
            found += group
        else:
            pieces = list(group)
            text = "".join(piece["text"] for piece in pieces)
            found.append(type(pieces[0])({**pieces[0], "text": text}))
    return found
