"""Asks several kernels at the same time: one that does not answer costs the limit of time once."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import zmq

from asyncnb._client.errors import ClientError, NoAnswerError
from asyncnb._client.kernel import PATIENCE, TARGET, VERSION, RemoteKernel
from asyncnb._client.wire import Message, Wire

T = TypeVar("T")

#: Seconds after which a question that changes nothing is asked again: ipykernel does not answer
#: ``comm_info_request`` if a comm was created in the same moment.
ASK_AGAIN: Final = 1.0


#: Seconds that a heartbeat has to come back: nothing but the network is in its way.
HEARTBEAT: Final = 0.5
#: Seconds that an address has to accept a connection.
CONNECT: Final = 1.0


class Question(NamedTuple):
    """One request; ``again`` if it may be sent again."""

    content: Message
    msg_type: str = "asyncnb_request"
    again: bool = False


#: Yields questions, is sent the content of the reply to each, and returns what it is for.
Talk = Generator[Question, Message, T]

COMMS: Final = Question({"target_name": TARGET}, "comm_info_request", again=True)
KERNEL_INFO: Final = Question({}, "kernel_info_request", again=True)


def verb(name: str, **arguments: Any) -> Question:
    """Return the question with this verb of the protocol."""
    return Question({"c": name, "version": VERSION, **arguments})


class _Running:
    """A talk with one kernel."""

    def __init__(self, kernel: RemoteKernel, talk: Talk[Any]) -> None:
        self.kernel = kernel
        self._talk = talk
        self._question = COMMS
        self._asked: set[str] = set()
        self._at = 0.0
        self.result: Any = None

    def step(self, answer: Message | None) -> bool:
        """Continue with this answer; return whether it has ended."""
        try:
            self._question = next(self._talk) if answer is None else self._talk.send(answer)
        except StopIteration as stop:
            self.result = stop.value
            return True
        except ClientError as exc:
            self.result = exc
            return True
        except (AttributeError, LookupError, TypeError, ValueError) as exc:
            if answer is None:
                raise
            # Signed, and yet not what the protocol says.
            self.result = NoAnswerError(
                f"{self.kernel.id} has sent an answer that this asyncnb does not understand "
                f"({type(exc).__name__}: {exc})."
            )
            return True
        self._asked.clear()
        try:
            self._send()
        except ClientError as exc:
            self.result = exc
            self.close()
            return True
        return False

    def _send(self) -> None:
        self._at = time.monotonic()
        self._asked.add(self.kernel.send(self._question.content, self._question.msg_type))

    def send_again_if_due(self) -> None:
        if self._question.again and time.monotonic() >= self._at + ASK_AGAIN:
            with contextlib.suppress(NoAnswerError):  # its time is not up
                self._send()

    def read(self) -> Message | None:
        """Return the reply to the question if the next message is that."""
        message = self.kernel.control.receive(0)
        if message is None or message["parent_header"].get("msg_id") not in self._asked:
            return None
        content: Message = message["content"]
        return content

    def close(self) -> None:
        self._talk.close()


def ask_all(
    kernels: Sequence[RemoteKernel],
    talk: Callable[[RemoteKernel], Talk[T]],
    timeout: float = PATIENCE,
) -> list[T | ClientError]:
    """Run ``talk`` with each kernel, all at once; return the results in the order of ``kernels``.

    For a kernel that has not answered all of its questions after ``timeout`` seconds, the result
    is a NoAnswerError; a ClientError that the talk raises is its result, too.
    """
    until = time.monotonic() + timeout
    running = [_Running(kernel, talk(kernel)) for kernel in kernels]
    poller = zmq.Poller()
    waiting: dict[Any, _Running] = {}
    for each in running:
        each.result = NoAnswerError(f"{each.kernel.id} has not answered within {timeout:g} s.")
        if not each.step(None):
            waiting[each.kernel.control.socket] = each
            poller.register(each.kernel.control.socket, zmq.POLLIN)
    while waiting and (left := until - time.monotonic()) > 0:
        for ready, _ in poller.poll(int(1000 * min(left, ASK_AGAIN)) + 1):
            each = waiting[ready]
            answer = each.read()
            if answer is not None and each.step(answer):
                poller.unregister(ready)
                del waiting[ready]
        for each in waiting.values():
            each.send_again_if_due()
    for each in waiting.values():
        each.close()
    return [each.result for each in running]


def heartbeats(kernels: Sequence[RemoteKernel]) -> set[RemoteKernel]:
    """Return those kernels whose heartbeat comes back: it does not need their interpreter."""
    wires: dict[Wire, RemoteKernel] = {}
    alive: set[RemoteKernel] = set()
    poller = zmq.Poller()
    for each in kernels:
        if each.info.ports["hb"]:
            with contextlib.suppress(ClientError, zmq.Again):
                wires[wire := Wire(each.info, "hb")] = each
                poller.register(wire.socket, zmq.POLLIN)
                wire.socket.send(b"ping", zmq.DONTWAIT)
    until = time.monotonic() + HEARTBEAT
    while len(alive) < len(wires) and (left := until - time.monotonic()) > 0:
        ready = dict(poller.poll(int(1000 * left) + 1))
        for wire, kernel in wires.items():
            if wire.socket in ready:
                poller.unregister(wire.socket)
                alive.add(kernel)
    for wire in wires:
        wire.close()
    return alive


def listening(kernels: Sequence[RemoteKernel]) -> list[RemoteKernel]:
    """Return those kernels at whose address a process listens; all are tried at once."""
    there = {each: each.listens() for each in kernels if each.info.transport != "tcp"}
    with selectors.DefaultSelector() as selector:
        for kernel in kernels:
            if kernel.info.transport == "tcp":
                _connect(selector, kernel)
        until = time.monotonic() + CONNECT
        while selector.get_map() and (left := until - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                selector.unregister(key.fileobj)
                there[key.data] = _is_connected(key.fileobj)
        for key in list(selector.get_map().values()):
            _is_connected(key.fileobj)  # closes it
    return [kernel for kernel in kernels if there.get(kernel)]


def _connect(selector: selectors.BaseSelector, kernel: RemoteKernel) -> None:
    ip = kernel.host
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        failed = connection.connect_ex((ip, kernel.info.ports["control"]))
    except (OSError, OverflowError):  # no such host, or no such port
        failed = errno.ECONNREFUSED
    if failed in (0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0)):
        selector.register(connection, selectors.EVENT_WRITE | selectors.EVENT_READ, kernel)
    else:
        connection.close()


def _is_connected(connection: Any) -> bool:
    with connection:
        return not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
