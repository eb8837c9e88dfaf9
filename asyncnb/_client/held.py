"""Questions that a kernel answers when something has happened, and whether it is still there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import zmq

from asyncnb._client.errors import ClientError, NoAnswerError, RefusedError
from asyncnb._client.kernel import PATIENCE, TARGET, VERSION, RemoteKernel
from asyncnb._client.wire import Message


class LostError(ClientError):
    """The kernel has ended, was restarted, or has unloaded asyncnb while it had a question."""


class HeldQuestion:
    """A question to one kernel, which is asked again as soon as it is answered.

    A kernel that ends is noticed by its connection: no answer would come. One thread.
    """

    def __init__(self, kernel: RemoteKernel, label: str) -> None:
        self._kernel = kernel
        self._label = label
        self._asked = self._check = ""
        self._until = 0.0
        self._monitor = monitor_of(kernel)

    def __enter__(self) -> HeldQuestion:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for nothing more; the kernel's connection stays open."""
        if not self._kernel.control.socket.closed:
            self._kernel.control.socket.disable_monitor()
        self._monitor.close(linger=0)

    def ask(self, verb: str, seconds: float, **arguments: Any) -> None:
        """Ask the kernel to answer when there is something to say, or after ``seconds``."""
        request = {"c": verb, "version": VERSION, "seconds": seconds, **arguments}
        self._asked = self._kernel.send(request)
        # A kernel that has just unloaded asyncnb does not answer the one, but does answer this.
        self._check = self._kernel.send({"target_name": TARGET}, "comm_info_request")
        self._until = time.monotonic() + seconds + PATIENCE

    def sockets(self) -> tuple[Any, ...]:
        """Return what to poll."""
        return self._kernel.control.socket, self._monitor

    def read(self) -> Message | None:
        """Return the answer if it has arrived.

        LostError if the kernel, or asyncnb in it, is gone, NoAnswerError if the answer is overdue,
        RefusedError with the kernel's sentence.
        """
        while (message := self._kernel.control.receive(0)) is not None:
            answer: Message = message["content"]
            asked = message["parent_header"].get("msg_id")
            if asked == self._check and not answer.get("comms"):
                raise LostError(f"asyncnb was unloaded in {self._label}.")
            if asked != self._asked:
                continue
            if answer.get("status") != "ok":
                raise RefusedError(str(answer.get("evalue") or "The kernel refused the request."))
            return answer
        if self._monitor.poll(0):
            raise LostError(f"The kernel {self._label} has ended or was restarted meanwhile.")
        if time.monotonic() >= self._until:
            raise NoAnswerError(f"{self._label} does not answer any more.")
        return None

    def answer(self, verb: str, seconds: float, **arguments: Any) -> Message:
        """Ask, and wait for the answer; errors as in `read`."""
        self.ask(verb, seconds, **arguments)
        while (found := self.read()) is None:
            poll([self], 1.0)
        return found


def poll(questions: Sequence[HeldQuestion], timeout: float) -> None:
    """Wait until one of them may have an answer, or for ``timeout`` seconds."""
    poll_sockets([socket for question in questions for socket in question.sockets()], timeout)


def poll_sockets(sockets: Sequence[Any], timeout: float) -> None:
    """Wait until one of them, files included, can be read, or for ``timeout`` seconds."""
    poller = zmq.Poller()
    for socket in sockets:
        poller.register(socket, zmq.POLLIN)
    poller.poll(max(0, int(1000 * timeout)))


def monitor_of(kernel: RemoteKernel) -> Any:
    """Return a socket that has a message when the connection to the kernel is lost."""
    return kernel.control.socket.get_monitor_socket(zmq.Event.DISCONNECTED)
