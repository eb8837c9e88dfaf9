"""Delivers messages of a browser to our widgets at once, even while a cell is running.

ipykernel handles a widget's message where cells run: after the running cell. Since version 7 it
receives messages in a separate thread, the shell channel's, and there we pick out those for our
widgets. Where there is no such thread (ipykernel 6), the widget's own ``on_msg`` is used, which
is called after the cell.

In the same place, the messages of comms that code waits for are picked out (``awaited_comms.py``),
with ipykernel 6 on the main thread, where they arrive while a cell awaits on the embedded loop.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._kernel.ipykernel.busy_status import report_running
from asyncnb._kernel.ipykernel.kernel import kernel_of

logger = logging.getLogger("asyncnb")

#: Receives the content of a widget's message, and its buffers, in the shell channel's thread.
Handler = Callable[[object, list[Any]], object]

#: Receives a whole message, and what to call when it has been handled.
WholeHandler = Callable[[dict[str, Any], Callable[[], None]], None]


class Ready(Protocol):
    """Whether a message is to be taken now; ``of_own_thread``: in the shell channel's thread."""

    def __call__(self, *, of_own_thread: bool) -> bool: ...


class CommChannel:
    """Takes the custom messages of subscribed comms out of the shell channel's stream."""

    def __init__(self, ip: Any) -> None:  # Any: what is hooked here is ipykernel's, untyped
        self._kernel: Any = kernel_of(ip)
        self._handlers: dict[str, Handler] = {}
        self._original: Any = None
        self._whole: dict[str, tuple[WholeHandler, Ready]] = {}
        #: Where there is no such thread: what the shell's stream calls instead, and did before.
        self._receiver: Any = None
        self._installing = fork_safe_lock()

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

    def take_whole(self, comm_id: str, handler: WholeHandler, *, ready: Ready) -> None:
        """Pass each message of one comm to ``handler`` instead of the kernel, if ``ready()``.

        Both are called in the thread that receives, and so must return at once.
        """
        self._whole[comm_id] = handler, ready
        self.install()
        if self._original is None:
            self._install_without_thread()

    def leave(self, comm_id: str) -> None:
        """Leave the messages of this comm to the kernel again."""
        self._whole.pop(comm_id, None)

    def install(self) -> None:
        """Hook the shell channel, once, if this kernel has one that can be hooked."""
        with self._installing:
            self._install()

    def _install(self) -> None:
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

    def _install_without_thread(self) -> None:
        kernel = self._kernel
        names = ("schedule_dispatch", "dispatch_shell", "shell_stream", "io_loop")
        with self._installing:
            if self._receiver is not None or not all(hasattr(kernel, name) for name in names):
                return
            # As Kernel.start() sets it.
            original = functools.partial(kernel.schedule_dispatch, kernel.dispatch_shell)
            self._receiver = original
        # In the thread of the stream, when it is free: it receives nothing before that.
        receive = functools.partial(self._receive_on_main, original)
        kernel.io_loop.add_callback(kernel.shell_stream.on_recv, receive, copy=False)

    def uninstall(self) -> None:
        """Restore the stream's own receiver."""
        self._handlers.clear()
        self._whole.clear()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            kernel = self._kernel
            kernel.io_loop.add_callback(kernel.shell_stream.on_recv, receiver, copy=False)
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
        if (self._handlers or self._whole) and self._has_taken(message, of_own_thread=True):
            return None
        return original(message)

    def _receive_on_main(self, original: Callable[..., Any], message: list[Any]) -> Any:
        if self._whole and self._has_taken(message, of_own_thread=False):
            return None
        return original(message)

    def _has_taken(self, message: list[Any], *, of_own_thread: bool) -> bool:
        try:
            return self._take(message, of_own_thread)
        except Exception:
            # It may be any message, of any future kernel: ipykernel decides what it is.
            logger.exception("asyncnb could not read a message, and passed it on to ipykernel")
            return False

    def _take(self, message: list[Any], of_own_thread: bool) -> bool:
        """Pass ``message`` to its handler; return False if it is not for us."""
        session = self._kernel.session
        _, frames = session.feed_identities(message, copy=False)
        if b'"comm_msg"' not in frames[1].bytes:  # the header; cheaper than parsing it
            return False
        content = session.unpack(frames[4].bytes)
        awaited = self._whole.get(content.get("comm_id"))
        if awaited is not None:
            handle, ready = awaited
            if not ready(of_own_thread=of_own_thread):
                return False
            whole = session.deserialize(frames, content=True, copy=False)
            handle(whole, functools.partial(self._finish, whole))
            return True
        handler = self._handlers.get(content.get("comm_id"))
        data = content.get("data")
        if handler is None or not isinstance(data, dict) or data.get("method") != "custom":
            return False
        # Checks the signature; raises for a forged message and for a repeated one.
        whole = session.deserialize(frames, content=True, copy=False)
        try:
            handler(data.get("content"), whole.get("buffers", []))
        finally:
            self._finish(whole)
        return True

    def _finish(self, message: dict[str, Any]) -> None:
        """Report the end of ``message``, for which the front end waits. Any thread."""
        self._kernel._publish_status("idle", "shell", parent=message)
        report_running(self._kernel)
