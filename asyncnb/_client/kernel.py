"""One kernel as a client sees it: whether it is there, whether asyncnb is loaded, and requests."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from asyncnb._client.errors import NoAnswerError, NotLoadedError, RefusedError
from asyncnb._client.wire import ConnectionInfo, Message, Wire

#: Seconds that a kernel has to answer. Its control channel answers in milliseconds, unless code in
#: C holds the interpreter.
PATIENCE: Final = 5.0
TARGET: Final = "asyncnb"
VERSION: Final = 1


class RemoteKernel:
    """A kernel that is reached by its connection file. One thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.info = ConnectionInfo.read(path)
        self._control: Wire | None = None
        self._replies: dict[str, Message] = {}
        self._loaded = False

    def __enter__(self) -> RemoteKernel:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def id(self) -> str:
        """Its id: that of a Jupyter server, or the name of the connection file."""
        return self.path.stem.removeprefix("kernel-")

    def close(self) -> None:
        """Close the connection."""
        if self._control is not None:
            self._control.close()
            self._control = None

    @property
    def host(self) -> str:
        """The address to connect to."""
        return "127.0.0.1" if self.info.ip in ("0.0.0.0", "*", "") else self.info.ip

    def listens(self) -> bool:
        """Return whether a process listens at its address: a connection file may outlive it."""
        if self.info.transport != "tcp":
            return Path(self.info.address("control").removeprefix("ipc://")).exists()
        try:
            socket.create_connection((self.host, self.info.ports["control"]), 1.0).close()
        except OSError:
            return False
        return True

    @property
    def control(self) -> Wire:
        """The control channel, connected at its first use."""
        if self._control is None:
            self._control = Wire(self.info, "control")
        return self._control

    def send(self, content: Mapping[str, Any], msg_type: str = "asyncnb_request") -> str:
        """Send a request on the control channel; return its id, for `reply`."""
        return self.control.send(msg_type, dict(content))

    def reply(self, msg_id: str, timeout: float = PATIENCE) -> Message:
        """Wait for the reply to a request; NoAnswerError after ``timeout`` seconds."""
        until = time.monotonic() + timeout
        while msg_id not in self._replies:
            left = until - time.monotonic()
            if left <= 0:
                raise NoAnswerError(f"{self.id} has not answered within {timeout:g} s.")
            message = self.control.receive(left)
            if message is not None:
                self._replies[str(message["parent_header"].get("msg_id"))] = message["content"]
        return self._replies.pop(msg_id)

    def load_state(self, timeout: float = PATIENCE) -> bool:
        """Return whether asyncnb is loaded in it. A kernel without it is not disturbed."""
        if not self._loaded:
            asked = self.send({"target_name": TARGET}, "comm_info_request")
            self._loaded = bool(self.reply(asked, timeout).get("comms"))
        return self._loaded

    def ask(self, verb: str, timeout: float = PATIENCE, **arguments: Any) -> Message:
        """Send a request of the protocol and return the reply.

        RefusedError with the kernel's sentence, NotLoadedError without asyncnb, NoAnswerError
        after ``timeout`` seconds.
        """
        if not self.load_state(timeout):
            raise NotLoadedError(
                f"{self.id} runs without asyncnb. In the notebook: %load_ext asyncnb"
            )
        answer = self.reply(self.send({"c": verb, "version": VERSION, **arguments}), timeout)
        if answer.get("status") != "ok":
            raise RefusedError(str(answer.get("evalue") or "The kernel refused the request."))
        return answer
