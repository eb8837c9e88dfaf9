"""The front end of a notebook: what the core reports to the shell and requests from it."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import IPython

from asyncnb._core.frontend import PLAIN

if TYPE_CHECKING:
    from typing import Protocol

    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._core.frontend import Foreground
    from asyncnb._core.launched.record import TaskRecord

    class EventSources(Protocol):
        """The part of ``_kernel/awaiting/event_sources.py`` that is used here."""

        def comm_awaited(self, comm_id: str) -> Callable[[], None]: ...

        def observe_shell(self, name: str, observer: Callable[..., None]) -> Callable[[], None]: ...


class NotebookFrontEnd:
    """Implements ``asyncnb._core.frontend.FrontEnd`` for one shell."""

    def __init__(
        self,
        ip: InteractiveShell,
        *,
        loop_starting: Callable[[Any], None],
        belongs_here: Callable[[TaskRecord], bool],
        task_launching: Callable[[TaskRecord], None],
        task_ended: Callable[[TaskRecord], None],
        notify: Callable[[Any], None],
        foreground: Callable[[], Foreground | None],
        kernel_loop: Callable[[], asyncio.AbstractEventLoop | None],
        event_sources: Callable[[], EventSources],
    ) -> None:
        self._ip = ip
        self.loop_starting = loop_starting
        self.belongs_here = belongs_here
        self.task_launching = task_launching
        self.task_ended = task_ended
        self.notify = notify
        self.foreground = foreground
        self._kernel_loop = kernel_loop
        self._event_sources = event_sources
        parts = [IPython, inspect.getmodule(type(ip))]
        folders = [os.path.dirname(p.__file__) + os.sep for p in parts if p and p.__file__]
        self.outer_frame_paths = (*PLAIN.outer_frame_paths, *folders)

    def other_loops(self) -> Sequence[asyncio.AbstractEventLoop]:
        """Return the kernel's own loop, on which cells and libraries may have created tasks."""
        loop = self._kernel_loop()
        return () if loop is None else (loop,)

    def variables(self, pattern: str, limit: int) -> dict[str, Any]:
        """Return variables of the user's namespace. Any thread."""
        from asyncnb._kernel.variables import variables  # most notebooks are never asked

        return variables(self._ip, pattern, limit)

    def cell_of(self, filename: str) -> str | None:
        """Return ``In[n]`` for the file name that IPython gave to the code of a cell."""
        found = self._ip.compile.format_code_name(filename)
        return None if found is None else found[1]

    def publish(self, data: dict[str, Any], metadata: dict[str, Any], **keywords: Any) -> None:
        """Display a mime bundle received from a worker."""
        # Looked up each time: while the output of a cell is captured, it is another object.
        self._ip.display_pub.publish(data, metadata, **keywords)

    def shell_events(self) -> Sequence[str]:
        """Return the names of IPython's events."""
        return list(self._ip.events.callbacks)

    def comm_awaited(self, comm_id: str) -> Callable[[], None]:
        """Handle the messages of a comm at once, as code waits for them."""
        return self._event_sources().comm_awaited(comm_id)

    def observe_shell(self, name: str, observer: Callable[..., None]) -> Callable[[], None]:
        """Call ``observer`` at each of IPython's events of this name."""
        return self._event_sources().observe_shell(name, observer)
