"""Signed messages of the Jupyter protocol over ZeroMQ, for one thread.

jupyter_client does the same, but its import takes five times as long as all else that ``asyncnb
ps`` does.

See https://jupyter-client.readthedocs.io/en/stable/messaging.html, "The Wire Protocol".
"""

from __future__ import annotations

import datetime
import getpass
import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import zmq

from asyncnb._client.errors import ClientError, NoAnswerError

DELIMITER: Final = b"<IDS|MSG>"
#: Of the Jupyter protocol; the newest that a client needs here.
PROTOCOL: Final = "5.3"

#: The most messages that wait to be read, besides those in the system's buffers, and the most
#: bytes of a part of one: a connection that brings more is closed.
MAX_WAITING: Final = 10
MAX_BYTES: Final = 100_000_000

Message = dict[str, Any]


@dataclass(frozen=True)
class ConnectionInfo:
    """What a connection file says."""

    path: Path
    transport: str
    ip: str
    ports: Mapping[str, int]
    key: bytes
    digest: str
    curve: tuple[bytes, bytes] | None  # public, secret
    kernel_name: str

    @classmethod
    def read(cls, path: Path) -> ConnectionInfo:
        """Read a connection file; ClientError if it is none."""
        try:
            found = json.loads(path.read_bytes())
            ports = {
                "shell": int(found["shell_port"]),
                "iopub": int(found["iopub_port"]),
                "control": int(found["control_port"]),
                "hb": int(found.get("hb_port") or 0),  # 0: it has none
            }
            scheme, _, digest = str(found.get("signature_scheme") or "hmac-sha256").partition("-")
            if scheme != "hmac" or digest not in hashlib.algorithms_available:
                raise ValueError(f"signature_scheme {found['signature_scheme']!r} is not known")
            keys = [str(found.get(f"curve_{name}key") or "") for name in ("public", "secret")]
            return cls(
                path=path,
                transport=str(found["transport"]),
                ip=str(found["ip"]),
                ports=ports,
                key=str(found.get("key") or "").encode(),
                digest=digest,
                curve=(keys[0].encode(), keys[1].encode()) if all(keys) else None,
                kernel_name=str(found.get("kernel_name") or ""),
            )
        except OSError as exc:
            raise ClientError(f"{path} cannot be read: {exc.strerror or exc}.") from None
        except (KeyError, TypeError, ValueError, RecursionError) as exc:
            raise ClientError(f"{path} is not a connection file of a kernel ({exc}).") from None

    def address(self, channel: str) -> str:
        """Return the ZeroMQ address of a channel: ``control``, ``iopub``, ``shell`` or ``hb``."""
        between = "-" if self.transport == "ipc" else ":"
        return f"{self.transport}://{self.ip}{between}{self.ports[channel]}"


class Wire:
    """One channel of a kernel. The thread that made it."""

    def __init__(self, info: ConnectionInfo, channel: str) -> None:
        self._info = info
        self._session = uuid.uuid4().hex
        self.socket = (
            zmq.Context[zmq.Socket[bytes]]
            .instance()
            .socket({"iopub": zmq.SUB, "hb": zmq.REQ}.get(channel, zmq.DEALER))
        )
        self.socket.linger = 0
        # A kernel sends what was asked for; what is no kernel may send without an end. It is found
        # out on the other channels: those that bring outputs, of whatever size, come later.
        self.socket.rcvhwm = 0
        if channel in ("control", "hb"):
            self.socket.rcvhwm, self.socket.maxmsgsize = MAX_WAITING, MAX_BYTES
        self.socket.sndhwm = 0  # no more waits to be sent than was asked for: see `send`
        try:
            if info.curve is not None:
                public, secret = info.curve
                self.socket.curve_publickey = public
                self.socket.curve_secretkey = secret
                self.socket.curve_serverkey = public
            if channel == "iopub":
                self.socket.subscribe(b"")
            self.socket.connect(info.address(channel))
        except (zmq.ZMQError, ValueError) as exc:
            self.socket.close()
            raise ClientError(
                f"{info.path} has keys or an address that ZeroMQ refuses ({exc})."
            ) from None

    def close(self) -> None:
        """Close the socket; what was not sent is dropped."""
        self.socket.close()

    def send(
        self,
        msg_type: str,
        content: Message,
        metadata: Message | None = None,
        subshell: str | None = None,
    ) -> str:
        """Send a message, to the kernel's main shell or to a subshell; return its id.

        NoAnswerError if there is no connection, as to a kernel with other keys; never waits.
        """
        msg_id = uuid.uuid4().hex
        header = {
            "msg_id": msg_id,
            "msg_type": msg_type,
            "session": self._session,
            "username": _username(),
            "date": datetime.datetime.now(datetime.UTC).isoformat(),
            "version": PROTOCOL,
        }
        if subshell is not None:
            header["subshell_id"] = subshell
        parts = [json.dumps(part).encode() for part in (header, {}, metadata or {}, content)]
        try:
            self.socket.send_multipart([DELIMITER, self._sign(parts), *parts], zmq.DONTWAIT)
        except zmq.Again:
            raise NoAnswerError(
                f"{self._info.path} has the address of a kernel that refuses the connection: it "
                "has other keys for encryption, or it hangs."
            ) from None
        return msg_id

    def receive(self, timeout: float) -> Message | None:
        """Return the next message, or None after ``timeout`` seconds, or if it was none.

        What is not signed with the kernel's key, or is no message, is dropped.
        """
        if not self.socket.poll(max(0, int(1000 * timeout))):
            return None
        return self.read(self.socket.recv_multipart())

    def read(self, frames: list[bytes]) -> Message | None:
        """Return the message in ``frames``, or None if it is none of the kernel's."""
        try:
            start = frames.index(DELIMITER) + 1
            signature, *parts = frames[start : start + 5]
            if len(parts) != 4 or not hmac.compare_digest(signature, self._sign(parts)):
                return None
            header, parent, metadata, content = (json.loads(part) for part in parts)
        except (ValueError, RecursionError):  # no JSON, or deeper than can be read
            return None
        if not all(isinstance(part, dict) for part in (header, parent, content)):
            return None
        if not isinstance(parent.setdefault("msg_id", ""), str):
            return None
        return {
            "header": header,
            "parent_header": parent,
            "metadata": metadata,
            "content": content,
            "buffers": frames[start + 5 :],
        }

    def _sign(self, parts: list[bytes]) -> bytes:
        if not self._info.key:
            return b""
        signature = hmac.new(self._info.key, digestmod=self._info.digest)
        for part in parts:
            signature.update(part)
        return signature.hexdigest().encode()


def _username() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return "username"  # what jupyter_client says then
