"""Runs cells in a kernel as a front end does, and files what arrives for them.

One thread has the sockets: the shell channel, on which cells are sent, and IOPub, which brings
their output, also long after a cell with background tasks has ended.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import zmq

from asyncnb._client.errors import ClientError, NoAnswerError
from asyncnb._client.received import Received
from asyncnb._client.wire import ConnectionInfo, Message, Wire

#: Seconds in which IOPub has to be connected.
CONNECT_SECONDS: Final = 10.0
#: Cells whose output is kept; the oldest are dropped, and so is what arrives for them.
MAX_CELLS: Final = 200


class Executor:
    """Sends cells to one kernel. ``run``, ``wait`` and ``close``: any thread.

    A thread is started by the first ``run`` and ended by ``close``.
    """

    def __init__(self, info: ConnectionInfo) -> None:
        self._info = info
        self._news = threading.Condition()
        self._outbox: deque[tuple[Received, Message | None, Message, str | None]] = deque()
        self._by_request: dict[str, Received] = {}
        self._thread: threading.Thread | None = None
        self._connected = False
        self._failure: Exception | None = None
        self._stopping = False
        address = f"inproc://asyncnb-execute-{uuid.uuid4().hex}"
        context: zmq.Context[Any] = zmq.Context.instance()
        self._woken = context.socket(zmq.PAIR)
        self._woken.bind(address)
        self._wake = context.socket(zmq.PAIR)
        self._wake.linger = 0
        self._wake.connect(address)

    def run(
        self,
        code: str,
        *,
        cell_id: str,
        store_history: bool = True,
        silent: bool = False,
        subshell: str | None = None,
    ) -> Received:
        """Send a cell; return what will arrive for it. NoAnswerError if the kernel is silent."""
        self._start()
        received = Received(cell_id, code)
        content = {
            "code": code,
            "silent": silent,
            "store_history": store_history and not silent,
            "user_expressions": {},
            # As front ends for users: asyncnb keeps late output for programs that do not.
            "allow_stdin": True,
            # Cells that are queued behind this one are not the client's.
            "stop_on_error": False,
        }
        with self._news:
            self._outbox.append((received, content, {"cellId": cell_id}, subshell))
            self._poke()
        return received

    def wait(self, arrived: Callable[[], Any], timeout: float) -> bool:
        """Wait until a condition on what has arrived holds, or for ``timeout`` seconds."""
        with self._news:
            return bool(self._news.wait_for(lambda: arrived() or self._stopping, timeout))

    def catch_up(self, timeout: float) -> bool:
        """Wait until what the kernel has sent so far has arrived; return whether it has.

        Text that is printed waits in the kernel for a fifth of a second, and is not sent yet.
        """
        self._start()
        marker = Received("", "")
        with self._news:
            self._outbox.append((marker, None, {}, None))
            self._poke()
        return self.wait(lambda: marker.idle, timeout)

    def close(self) -> None:
        """Close the sockets, and end the thread."""
        with self._news:
            self._stopping = True
            self._news.notify_all()
            thread = self._thread
            self._poke()
        if thread is not None:
            thread.join(5.0)
        else:
            self._woken.close(linger=0)
        self._wake.close(linger=0)

    def _poke(self) -> None:
        try:
            self._wake.send(b"", zmq.NOBLOCK)
        except zmq.Again:  # there is no thread, or it has plenty of pokes to read
            pass

    def _start(self) -> None:
        with self._news:
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(
                    target=self._serve, name="asyncnb client", daemon=True
                )
                self._thread.start()
            self._news.wait_for(
                lambda: self._connected or self._failure or self._stopping, CONNECT_SECONDS + 1
            )
            if self._failure is not None:
                raise ClientError(str(self._failure)) from self._failure
            if not self._connected:
                raise NoAnswerError("The kernel has not answered: nothing was sent.")

    # Its thread.

    def _serve(self) -> None:
        wires: list[Wire] = []
        try:
            for channel in ("iopub", "shell", "control"):
                wires.append(Wire(self._info, channel))
            iopub, shell, control = wires
            self._connect(iopub, control)
            with self._news:
                self._connected = True
                self._news.notify_all()
            poller = zmq.Poller()
            for socket in (iopub.socket, shell.socket, control.socket, self._woken):
                poller.register(socket, zmq.POLLIN)
            while not self._stopping:
                ready = dict(poller.poll())
                if self._woken in ready:
                    self._woken.recv()
                    self._send_all(shell, control)
                if iopub.socket in ready:
                    self._read(iopub)
                for wire in (shell, control):
                    if wire.socket in ready:
                        self._read(wire)
        except Exception as exc:
            with self._news:
                self._failure = exc
                self._news.notify_all()
        finally:
            for wire in wires:
                wire.close()
            self._woken.close(linger=0)

    def _connect(self, iopub: Wire, control: Wire) -> None:
        """Return when IOPub brings what the kernel publishes: it connects when it can."""
        until = time.monotonic() + CONNECT_SECONDS
        while not self._stopping:
            asked = control.send("kernel_info_request", {})
            again = time.monotonic() + 0.5
            while (left := again - time.monotonic()) > 0:
                message = iopub.receive(min(left, 0.1))
                if message is not None and message["parent_header"].get("msg_id") == asked:
                    return
                if self._stopping:
                    break
            if time.monotonic() > until:
                raise NoAnswerError(
                    f"The kernel has not answered within {CONNECT_SECONDS:g} s: nothing was sent."
                )

    def _send_all(self, shell: Wire, control: Wire) -> None:
        while self._outbox:
            received, content, metadata, subshell = self._outbox.popleft()
            if content is None:
                asked = control.send("kernel_info_request", {})
            else:
                asked = shell.send("execute_request", content, metadata, subshell)
            self._by_request[asked] = received
            while len(self._by_request) > MAX_CELLS:
                del self._by_request[next(iter(self._by_request))]

    def _read(self, wire: Wire) -> None:
        """File what has arrived on a channel, and notify the waiters once."""
        for _ in range(1000):
            message = wire.receive(0)
            if message is None:
                break
            received = self._by_request.get(str(message["parent_header"].get("msg_id")))
            if received is None:
                continue
            msg_type = str(message["header"].get("msg_type"))
            if msg_type == "execute_reply":
                received.reply = message["content"]
            else:
                received.take(msg_type, message["content"])
        with self._news:
            self._news.notify_all()
