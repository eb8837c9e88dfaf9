"""Requests to asyncnb on the kernel's control channel, which works while a cell runs.

ipykernel handles this channel in a separate thread, one message at a time, interrupts among them.
So nothing waits there, and nothing is imported: the first request makes another thread do that.

A client finds out whether asyncnb is loaded with ``comm_info_request``, which every kernel knows;
ipykernel logs an error for a request of an unknown type.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from typing import Any, Final

from asyncnb._core.base.forks import before_fork
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._kernel.ipykernel.busy_status import report_running

logger = logging.getLogger("asyncnb")

#: The types of a request and of its reply, and the target of the comm that announces asyncnb.
REQUEST: Final = "asyncnb_request"
REPLY: Final = "asyncnb_reply"
TARGET: Final = "asyncnb"


class Request:
    """One request: its content, and the ways to answer. Any thread."""

    def __init__(self, kernel: Any, idents: Any, message: dict[str, Any]) -> None:
        self.content: object = message.get("content")
        self._kernel = kernel
        self._idents = idents
        self._parent = {"header": message["header"]}

    def reply(self, content: dict[str, Any]) -> None:
        """Send the reply, in the thread that the channel belongs to; called once."""
        self._kernel.control_stream.io_loop.add_callback(self._send_reply, content)

    def _send_reply(self, content: dict[str, Any]) -> None:
        kernel = self._kernel
        kernel.session.send(
            kernel.control_stream, REPLY, content, parent=self._parent, ident=self._idents
        )

    def publish(self, comm_id: str, message: dict[str, Any], buffers: list[bytes]) -> None:
        """Send ``message`` to all front ends, as a message of the comm with this id."""
        kernel = self._kernel
        kernel.session.send(
            kernel.iopub_socket,
            "comm_msg",
            {"comm_id": comm_id, "data": {"method": "custom", "content": message}},
            parent=self._parent,
            ident=f"comm-{comm_id}".encode(),
            buffers=buffers,
        )


Serve = Callable[[Request], None]

#: The threads that import for a first request; a fork would leave the locks of their imports held.
_importing: set[threading.Thread] = set()


def _finish_imports() -> None:
    for thread in list(_importing):
        if thread is not threading.current_thread():
            thread.join(2.0)


before_fork(_finish_imports)


class ControlRequests:
    """Takes the requests of one kernel.

    ``make`` is called for the first request, in another thread, and returns what serves all of
    them: it is called in the control thread, must return at once, and replies when it can.
    """

    def __init__(self, kernel: Any, make: Callable[[], Serve]) -> None:
        self._kernel = kernel
        self._make = make
        self._serve: Serve | None = None
        self._early: list[Request] = []
        self._lock = fork_safe_lock()
        self._announcement = _Announcement(kernel)

    @staticmethod
    def suits(kernel: Any) -> bool:
        """Return whether this kernel has a control channel."""
        return getattr(kernel, "control_stream", None) is not None and hasattr(
            kernel, "control_handlers"
        )

    def install(self) -> None:
        """Take requests, and announce it."""
        self._kernel.control_handlers[REQUEST] = self.asyncnb_request
        self._announcement.publish()

    def uninstall(self) -> None:
        """Take no more requests."""
        self._announcement.withdraw()
        handlers = self._kernel.control_handlers
        if handlers.get(REQUEST) == self.asyncnb_request:
            del handlers[REQUEST]
        _finish_imports()

    def asyncnb_request(self, stream: Any, idents: Any, message: dict[str, Any]) -> None:
        """Handle a request. The control thread."""
        # When ipykernel has reported the end of this request.
        stream.io_loop.add_callback(report_running, self._kernel)
        request = Request(self._kernel, idents, message)
        with self._lock:
            serve = self._serve
            if serve is None:
                self._early.append(request)
                if len(self._early) > 1:
                    return
        if serve is not None:
            _serve(serve, request)
        else:
            thread = threading.Thread(target=self._prepare, name="asyncnb control", daemon=True)
            _importing.add(thread)
            try:
                thread.start()
            except RuntimeError:  # the system's limit of threads, or the end of the interpreter
                _importing.discard(thread)
                self._begin(_refuse)

    def _prepare(self) -> None:
        try:
            serve = self._make()
        except Exception:
            logger.exception("asyncnb cannot serve requests of front ends")
            serve = _refuse
        _importing.discard(threading.current_thread())
        self._begin(serve)

    def _begin(self, serve: Serve) -> None:
        with self._lock:  # so that later requests are not served before these
            early, self._early = self._early, []
            for request in early:
                _serve(serve, request)
            self._serve = serve if serve is not _refuse else None


def _serve(serve: Serve, request: Request) -> None:
    try:
        serve(request)
    except Exception as exc:
        logger.exception("asyncnb could not handle a request of a front end")
        request.reply({"status": "error", "ename": type(exc).__name__, "evalue": str(exc)})


def _refuse(request: Request) -> None:
    text = "asyncnb could not start to serve requests. The kernel's log says why; ask again."
    request.reply({"status": "error", "ename": "RuntimeError", "evalue": text})


class _Announcement:
    """The comm that a client finds asyncnb by. No front end has its other end."""

    target_name: Final = TARGET

    def __init__(self, kernel: Any) -> None:
        self.comm_id = uuid.uuid4().hex
        self._manager: Any = getattr(kernel, "comm_manager", None)

    def publish(self) -> None:
        if self._manager is not None:
            self._manager.register_comm(self)

    def withdraw(self) -> None:
        if self._manager is not None:
            self._manager.comms.pop(self.comm_id, None)

    def handle_msg(self, message: dict[str, Any]) -> None:
        """Ignore a message to it."""

    def handle_close(self, message: dict[str, Any]) -> None:
        """Stay: a front end that closes it does not unload asyncnb."""
        self.publish()
