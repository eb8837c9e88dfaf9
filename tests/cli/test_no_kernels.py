"""A connection file that leads to something else than a kernel: said so, in time, in little memory.

Real servers on 127.0.0.1: some are silent, some speak HTTP, some send garbage, endlessly, and some
sign what is no answer.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from jupyter_client.session import Session

KEY = b"a key"
PORTS = ("shell", "iopub", "stdin", "hb", "control")
#: Runs the command line, then says what memory it has had at most, in kB. Linux's getrusage counts
#: that of the process that started it, too.
MEASURED = """
import pathlib, sys
from asyncnb._cli.main import main
code = main(sys.argv[1:])
status = pathlib.Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else ["VmHWM: 0 kB"]
print(*[line.split()[1] for line in lines if line.startswith("VmHWM")], file=sys.stderr)
sys.exit(code)
"""

Serve = Callable[[Any, Session, list[bytes]], None]


class Silent(socketserver.BaseRequestHandler):
    """Accepts, reads, and says nothing."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while self.request.recv(1000):
                pass


class Endless(socketserver.BaseRequestHandler):
    """Sends bytes that are nothing, as long as there is a reader."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.request.sendall(b"\xff\0\0\0\0\0\0\0\1\x7f3" * 10_000)


class Greeted(socketserver.BaseRequestHandler):
    """Greets as ZeroMQ does, and announces a frame of 2**62 bytes."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.request.sendall(b"\xff" + b"\0" * 8 + b"\x7f\3\0NULL" + b"\0" * 48)
            self.request.sendall(b"\4\x19\5READY\x0bSocket-Type\0\0\0\6ROUTER")
            self.request.sendall(b"\2" + (2**62).to_bytes(8, "big") + b"x" * 1000)
            while self.request.recv(1000):
                pass


class Web(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class Threads(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False


def echo(router: Any, session: Session, frames: list[bytes]) -> None:
    router.send_multipart(frames)


def forge(router: Any, session: Session, frames: list[bytes]) -> None:
    """Answer as a kernel with another key does."""
    answer(router, Session(key=b"another"), frames, {"comms": {"x": {}}})


def flood(router: Any, session: Session, frames: list[bytes]) -> None:
    """Send more than is asked for, none of it signed."""
    junk = [frames[0], b"<IDS|MSG>", b"0" * 64, *[b"{}"] * 3, b"x" * 10**6]
    for _ in range(3000):
        if router.poll(1000, zmq.POLLOUT):
            router.send_multipart(junk, zmq.DONTWAIT)


def deep(router: Any, session: Session, frames: list[bytes]) -> None:
    """Sign more levels than a parser can read."""
    parts = [b"{}", b"{}", b"{}", b"[" * 100_000 + b"]" * 100_000]
    router.send_multipart([frames[0], b"<IDS|MSG>", session.sign(parts), *parts])


def odd(router: Any, session: Session, frames: list[bytes]) -> None:
    """Sign what has the wrong types in it."""
    for parent in (b'{"msg_id": []}', b'{"msg_id": {}}', b"[]", b"null", b"7"):
        parts = [b"{}", parent, b"{}", b"{}"]
        router.send_multipart([frames[0], b"<IDS|MSG>", session.sign(parts), *parts])


def lie(router: Any, session: Session, frames: list[bytes]) -> None:
    """Say that asyncnb is there, and nothing of what was asked for."""
    answer(router, session, frames, {"status": "ok", "comms": {"x": {}}})


def answer(router: Any, session: Session, frames: list[bytes], content: Any) -> None:
    if b"<IDS|MSG>" not in frames:
        return  # a heartbeat
    ident, parts = frames[0], frames[frames.index(b"<IDS|MSG>") + 2 :]
    parent = {"header": json.loads(parts[0])}
    session.send(router, "reply", content, parent=parent, ident=ident)


def half(router: Any, session: Session, frames: list[bytes]) -> None:
    """Say hello as asyncnb does, and nothing after that."""
    content = {"status": "ok", "comms": {"x": {}}, "version": 1, "tasks": 5}
    answer(router, session, frames, content)


ROUTERS: dict[str, Serve] = {
    "echo": echo,
    "forge": forge,
    "flood": flood,
    "deep": deep,
    "odd": odd,
    "lie": lie,
    "half": half,
}
SERVERS: dict[str, Any] = {"silent": Silent, "endless": Endless, "greeted": Greeted, "web": Web}


class Routers:
    """One thread with a ROUTER for each of the servers that speak ZeroMQ."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.stop = threading.Event()
        self.sockets: dict[Any, Serve] = {}
        self.ports: dict[str, int] = {}
        for name, serve in ROUTERS.items():
            router = self.context.socket(zmq.ROUTER)
            router.linger, router.sndhwm = 0, 10
            self.ports[name] = router.bind_to_random_port("tcp://127.0.0.1")
            self.sockets[router] = serve
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        poller, session = zmq.Poller(), Session(key=KEY)
        for router in self.sockets:
            poller.register(router, zmq.POLLIN)
        while not self.stop.is_set():
            for router, _ in poller.poll(50):
                self.sockets[router](router, session, router.recv_multipart())
        self.context.destroy(linger=0)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Path]:
    """A folder with a connection file for each of the servers."""
    routers = Routers()
    ports = dict(routers.ports)
    servers = {name: Threads(("127.0.0.1", 0), handler) for name, handler in SERVERS.items()}
    with contextlib.ExitStack() as stack:
        for name, server in servers.items():
            ports[name] = server.server_address[1]
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        stack.callback(routers.thread.join, 30)
        stack.callback(routers.stop.set)
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports["nothing"] = free.getsockname()[1]
        for name, port in ports.items():
            said: dict[str, object] = {f"{each}_port": port for each in PORTS}
            said |= {"transport": "tcp", "ip": "127.0.0.1", "key": KEY.decode()}
            said["signature_scheme"] = "hmac-sha256"
            (tmp_path / f"kernel-{name}.json").write_text(json.dumps(said))
        (tmp_path / "kernel-list.json").write_text("[1, 2]")
        (tmp_path / "kernel-cut.json").write_text('{"transport": "tc')
        (tmp_path / "kernel-deeper.json").write_text("[" * 100_000)
        (tmp_path / "kernel-ports.json").write_text('{"transport":"tcp","ip":"","control_port":-1}')
        yield tmp_path


def test_what_is_no_kernel_is_said_to_be_none(runtime: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "ps", "--json", "--all", "--timeout", "3"],
        env=os.environ | {"JUPYTER_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = {each["id"]: each for each in json.loads(done.stdout)["kernels"]}
    assert found.keys() == {*SERVERS, *ROUTERS, "nothing"}
    assert found.pop("nothing")["state"] == "dead"
    assert {name: each["state"] for name, each in found.items()} == dict.fromkeys(
        found, "no answer"
    )
    assert all(each["error"] for each in found.values())
    assert int(done.stderr.splitlines()[-1]) < 200_000, "more than 200 MB of memory"
