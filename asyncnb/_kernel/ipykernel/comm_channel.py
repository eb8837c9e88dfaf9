"""Delivers messages of a browser to our widgets at once, even while a cell is running.

ipykernel handles a widget's message where cells run: after the running cell. Since version 7 it
receives messages in a separate thread, the shell channel's, and there we pick out those for our
widgets. Where there is no such thread (ipykernel 6), the widget's own ``on_msg`` is used, which
is called after the cell.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from asyncnb._kernel.ipykernel.kernel import kernel_of

logger = logging.getLogger("asyncnb")

#: Receives the content of a widget's message, and its buffers, in the shell channel's thread.
Handler = Callable[[object, list[Any]], object]


class CommChannel:
    """Takes the custom messages of subscribed comms out of the shell channel's stream."""

    def __init__(self, ip: Any) -> None:  # Any: what is hooked here is ipykernel's, untyped
        self._kernel: Any = kernel_of(ip)
        self._handlers: dict[str, Handler] = {}
        self._original: Any = None

    @property
    def prompt(self) -> bool:
        """Whether messages arrive while a cell runs."""
        return self._original is not None

    def subscribe(self, comm_id: str, handler: Handler) -> Callable[[], None]:
        """Call ``handler`` with the messages of one comm; return what ends the subscription.

        ``handler`` runs in the shell channel's thread and so must return at once. Does nothing
        where the kernel has no such thread.
        """
        self.install()
        self._handlers[comm_id] = handler
        return lambda: self._handlers.pop(comm_id, None) and None

    def install(self) -> None:
        """Hook the shell channel, once, if this kernel has one that can be hooked."""
        kernel = self._kernel
        if self._original is not None or getattr(kernel, "shell_channel_thread", None) is None:
            return
        if not all(hasattr(kernel, name) for name in ("shell_channel_thread_main", "session")):
            return
        self._original = kernel.shell_channel_thread_main
        kernel.shell_channel_thread_main = self._receive
        # Else kernel.start(), still to come if a command-line option loads us, reads the attribute.
        if hasattr(kernel, "io_loop"):
            self._set_receiver(self._receive)

    def uninstall(self) -> None:
        """Restore the stream's own receiver."""
        self._handlers.clear()
        original, self._original = self._original, None
        if original is not None:
            if vars(self._kernel).get("shell_channel_thread_main") == self._receive:
                del self._kernel.shell_channel_thread_main
            self._set_receiver(original)

    def _set_receiver(self, receive: Callable[..., Any]) -> None:
        done = threading.Event()

        def set_it() -> None:  # a ZMQStream may be used only in its own thread
            self._kernel.shell_stream.on_recv(receive, copy=False)
            done.set()

        self._kernel.shell_channel_thread.io_loop.add_callback(set_it)
        done.wait(5.0)

    def _receive(self, message: list[Any]) -> Any:
        original = self._original or self._kernel.shell_channel_thread_main
        if self._handlers:
            try:
                if self._take(message):
                    return None
            except Exception:
                # It may be any message, of any future kernel: ipykernel decides what it is.
                logger.exception("asyncnb could not read a message, and passed it on to ipykernel")
        return original(message)

    def _take(self, message: list[Any]) -> bool:
        """Pass ``message`` to its handler; return False if it is not for us."""
        kernel, session = self._kernel, self._kernel.session
        _, frames = session.feed_identities(message, copy=False)
        if b'"comm_msg"' not in frames[1].bytes:  # the header; cheaper than parsing it
            return False
        content = session.unpack(frames[4].bytes)
        handler = self._handlers.get(content.get("comm_id"))
        data = content.get("data")
        if handler is None or not isinstance(data, dict) or data.get("method") != "custom":
            return False
        # Checks the signature; raises for a forged message and for a repeated one.
        whole = session.deserialize(frames, content=True, copy=False)
        try:
            handler(data.get("content"), whole.get("buffers", []))
        finally:
            # The front end waits for the end of each message, and takes `idle` as the state of the
            # kernel: if a cell is running, report `busy` again.
            kernel._publish_status("idle", "shell", parent=whole)
            running = self._running_cell()
            if running is not None:
                kernel._publish_status("busy", "shell", parent=running)
                if self._running_cell() is not running:  # it has just ended, and reported so
                    kernel._publish_status("idle", "shell", parent=running)
        return True

    def _running_cell(self) -> dict[str, Any] | None:
        lock = getattr(self._kernel, "_main_asyncio_lock", None)
        if lock is None or not lock.locked():
            return None
        context = getattr(self._kernel, "_shell_context", None)
        variable = getattr(self._kernel, "_shell_parent", None)
        parent = context.get(variable) if context is not None and variable is not None else None
        return parent if parent and parent.get("header", {}).get("msg_id") else None
