"""A front end without a widget: it asks on the control channel, and reads IOPub for itself."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import zmq
from jupyter_client.blocking import BlockingKernelClient

from tests.kernel.driver import DEADLINE, Kernel


class ControlClient:
    """A separate connection. ``heard``: all that IOPub brought, in order."""

    def __init__(self, kernel: Kernel) -> None:
        self._client = BlockingKernelClient(
            connection_file=str(kernel.scratch / "connection.json"),
            # One that it made would be garbage-collected unclosed.
            context=zmq.Context.instance(),
        )
        self._client.load_connection_file()
        self._client.start_channels(shell=False, iopub=True, stdin=False, hb=False, control=True)
        self.session = self._client.session
        self.heard: list[dict[str, Any]] = []
        self._replies: dict[str, dict[str, Any]] = {}
        self.wait_for_iopub()

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.stop_channels()

    def wait_for_iopub(self) -> None:
        """Wait until IOPub brings what this connection asks for: it connects when it can."""
        while True:
            id = self.send({"target_name": "asyncnb"}, "comm_info_request")
            self.reply(id)
            while self._client.iopub_channel.socket.poll(100):
                message = self._client.get_iopub_msg(timeout=DEADLINE)
                if message["parent_header"].get("msg_id") == id:
                    return

    def send(self, content: Any, msg_type: str = "asyncnb_request") -> str:
        """Send a request; return its id."""
        message = self.session.msg(msg_type, content)
        self._client.control_channel.send(message)
        return str(message["header"]["msg_id"])

    def reply(self, id: str, timeout: float = DEADLINE) -> dict[str, Any]:
        """The content of the reply to a request."""
        until = time.monotonic() + timeout
        while id not in self._replies:
            message = self._client.get_control_msg(timeout=max(0.0, until - time.monotonic()))
            parent = message["parent_header"]
            assert message["msg_type"] == parent["msg_type"].replace("_request", "_reply")
            assert parent["msg_id"] not in self._replies, "answered twice"
            self._replies[parent["msg_id"]] = message["content"]
        return self._replies[id]

    def ask(self, *refused: Any, **content: Any) -> dict[str, Any]:
        """Send a request and wait for its reply."""
        return self.reply(self.send(*refused or (content,)))

    def ok(self, **content: Any) -> dict[str, Any]:
        """`ask` what is granted."""
        reply = self.ask(**content)
        assert reply["status"] == "ok", reply
        return reply

    def refused(self, *given: Any, **content: Any) -> str:
        """`ask` what is refused, and return the sentence."""
        reply = self.ask(*given, **content)
        assert reply["status"] == "error", reply
        return str(reply["evalue"])

    def find(self) -> list[str]:
        """The ids of the comms that announce asyncnb."""
        found = self.reply(self.send({"target_name": "asyncnb"}, "comm_info_request"))
        return list(found["comms"])

    def subscribe(self, show: str = "rows") -> str:
        """Subscribe; return the id of the subscription."""
        comm_id = uuid.uuid4().hex
        assert self.ok(c="subscribe", comm_id=comm_id, show=show)["version"] == 1
        return comm_id

    def read(self, arrived: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Read IOPub until a message is as asked for; return that."""
        until = time.monotonic() + DEADLINE
        while True:
            left = max(0.0, until - time.monotonic())
            message = self._client.get_iopub_msg(timeout=left)
            self.heard.append(message)
            if arrived(message):
                return message

    def message(self, comm_id: str, kind: str, **fields: Any) -> dict[str, Any]:
        """Read until the subscription brings a message of this kind; return its content."""

        def arrived(message: dict[str, Any]) -> bool:
            content = content_for(comm_id, message)
            return content.get("k") == kind and fields.items() <= content.items()

        return content_for(comm_id, self.read(arrived))


def content_for(comm_id: str, message: dict[str, Any]) -> dict[str, Any]:
    """The content of a message of a subscription; of any other one, nothing."""
    if message["msg_type"] != "comm_msg" or message["content"]["comm_id"] != comm_id:
        return {}
    data = message["content"]["data"]
    assert data["method"] == "custom"
    return dict(data["content"])
