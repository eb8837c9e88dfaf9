"""Drive a real Jupyter kernel as a front end does, and file every message under its cell.

`Kernel.submit` sends a cell and returns at once, `Kernel.run` waits for its end. Both return a
`Cell`, which goes on collecting what arrives for it later: output of background tasks is the
subject of most tests here. Nothing sleeps and looks again; whoever waits is woken by a message.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
import tempfile
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import zmq
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from jupyter_client.session import Session

from tests.kernel.ports import free_ports

ROOT = Path(__file__).parents[2]
PREAMBLE = "import asyncio, asyncnb, sys, threading, time"
DEADLINE = 30.0
#: What the path of asyncnb's own code has, and no other one: a clone, or the folder of a Python,
#: may be called asyncnb, too.
OURS = "/asyncnb/_"
PORTS = ("shell_port", "iopub_port", "stdin_port", "hb_port", "control_port")

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Error(NamedTuple):
    """An exception as a front end gets it, without terminal colours."""

    ename: str
    evalue: str
    traceback: str


#: In one line, without a name in the user's namespace: the loop is watched as ever, and what a
#: machine makes wait says nothing below the cells.
QUIET_BLOCKS = (
    "__import__('asyncnb._kernel.output.blocked', fromlist=['it'])"
    ".BlockedLoopReporter.observe = lambda *_: None"
)
IPYKERNEL = ("-m", "ipykernel_launcher", "-f", "{connection_file}")


class KernelError(Exception):
    """An expression given to `Kernel.evaluate` failed in the kernel."""


def _error(content: Mapping[str, Any]) -> Error:
    traceback = _ANSI.sub("", "\n".join(content.get("traceback", ())))
    return Error(content["ename"], content["evalue"], traceback)


class Cell:
    """One execute request: its reply, and all that arrived for it until now."""

    def __init__(self, kernel: Kernel, msg_id: str) -> None:
        self._kernel = kernel
        self.msg_id = msg_id
        self.code = ""
        self.reply: dict[str, Any] | None = None
        self.idle = False
        #: n of its In[n], as the kernel announced it; a reply counts what a subshell ran, too.
        self.number: int | None = None
        self.messages: list[dict[str, Any]] = []

    def __repr__(self) -> str:
        reply = self.reply or {}
        why = f" ({reply['ename']}: {reply['evalue']})" if reply.get("status") == "error" else ""
        return f"<Cell {self.code!r}: {self.status}{why}, said {self.text!r}>"

    def of_type(self, *types: str) -> list[dict[str, Any]]:
        """The contents of its messages of these types, in the order of arrival."""
        return [m["content"] for m in list(self.messages) if m["msg_type"] in types]

    def _stream(self, name: str) -> str:
        return "".join(c["text"] for c in self.of_type("stream") if c["name"] == name)

    @property
    def status(self) -> str:
        return self.reply["status"] if self.reply else "no reply"

    @property
    def count(self) -> int:
        """Its number: the 5 of In[5]."""
        assert self.reply is not None
        return int(self.reply["execution_count"])

    @property
    def stdout(self) -> str:
        return self._stream("stdout")

    @property
    def stderr(self) -> str:
        return self._stream("stderr")

    @property
    def displays(self) -> list[dict[str, Any]]:
        """What `display` sent: one dict of MIME type to data each."""
        return [c["data"] for c in self.of_type("display_data")]

    @property
    def updates(self) -> list[dict[str, Any]]:
        """What `update_display` sent."""
        return [c["data"] for c in self.of_type("update_display_data")]

    @property
    def result(self) -> str | None:
        """The text of its Out[n], which is None without one."""
        results = self.of_type("execute_result")
        return results[-1]["data"]["text/plain"] if results else None

    @property
    def shown(self) -> list[str]:
        """The text of every value shown, by `display` or as a result."""
        contents = self.of_type("display_data", "execute_result")
        return [c["data"].get("text/plain", "") for c in contents]

    @property
    def errors(self) -> list[Error]:
        """The tracebacks shown below the cell, of tasks too."""
        return [_error(c) for c in self.of_type("error")]

    @property
    def error(self) -> Error | None:
        """What ended the cell, else the first traceback shown below it."""
        if self.reply and self.reply["status"] == "error":
            return _error(self.reply)
        return next(iter(self.errors), None)

    @property
    def text(self) -> str:
        """All that a reader of the cell sees as text, in order."""
        parts = []
        for message in list(self.messages):
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    parts.append(content["text"])
                case "display_data" | "execute_result" | "update_display_data":
                    parts.append(content["data"].get("text/plain", "") + "\n")
                case "error":
                    parts.append(_error(content).traceback + "\n")
        return _ANSI.sub("", "".join(parts))

    def wait(self, timeout: float = DEADLINE) -> Cell:
        """Wait for the reply and for the kernel to be idle; AssertionError after `timeout`."""
        self._kernel._wait_for_end(self, timeout)
        return self

    def wait_for(self, what: str | Callable[[Cell], Any], timeout: float = DEADLINE) -> Cell:
        """Wait until its text contains a string or a condition on it holds."""

        def arrived() -> Any:
            return what in self.text if isinstance(what, str) else what(self)

        with self._kernel._news:
            if not self._kernel._news.wait_for(arrived, timeout):
                raise AssertionError(f"no {what!r} within {timeout} s in {self!r}")
        return self


class Kernel:
    """A new kernel process, with scratch directories, and the client that talks to it."""

    # The process group of every kernel started: the session fixture looks for survivors.
    started: ClassVar[list[int]] = []

    def __init__(
        self,
        python: str = sys.executable,
        *,
        command: Sequence[str] = IPYKERNEL,
        extension: bool = True,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        encrypted: bool = False,
        reports_blocks: bool = True,
    ) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="asyncnb-kernel-"))
        self.extension = extension
        self._reports_blocks = reports_blocks
        self._subshell: str | None = None
        self._arguments = list(arguments)
        self._env = environment(self.scratch) | dict(env or {})
        self._news = threading.Condition()
        self._cells: dict[str, Cell] = {}
        metadata = {"supported_encryption": ["curve"]} if encrypted else {}
        install_kernelspec(python, self.scratch / "kernels", command=command, metadata=metadata)
        self._manager = KernelManager(
            kernel_name="under-test",
            kernel_spec_manager=KernelSpecManager(
                kernel_dirs=[str(self.scratch / "kernels")], ensure_native_kernel=False
            ),
            connection_file=str(self.scratch / "connection.json"),
            client_factory=BlockingKernelClient,
            # Not one that it makes: a client that a failed test has left would end that one when it
            # is garbage-collected, in any thread, and wait there for the sockets of others.
            context=zmq.Context.instance(),
            cache_ports=False,  # would choose others
            **dict(zip(PORTS, free_ports(len(PORTS)), strict=True)),
            # An option of newer releases of jupyter_client only.
            **({"transport_encryption": "required"} if encrypted else {}),
        )
        self._manager.start_kernel(
            extra_arguments=self._arguments, env=self._env, cwd=str(self.scratch)
        )
        self.pid: int = self._manager.provisioner.pid
        Kernel.started.append(self.pid)
        self._open_channels()
        self._prepare()

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()

    # The cells

    def submit(
        self,
        code: str,
        *,
        cell_id: str | None = None,
        as_it_is: bool = False,
        metadata: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Cell:
        """Send a cell as front ends do, without waiting for anything."""
        content = {
            "code": code if as_it_is else textwrap.dedent(code).strip("\n"),
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": True,  # as front ends for people do, unlike headless runners
            "stop_on_error": True,
        } | options
        said = {"cellId": cell_id or str(uuid.uuid4()), **(metadata or {})}
        return self._request("execute_request", content, **said)

    def run(self, code: str, timeout: float = DEADLINE, **options: Any) -> Cell:
        """Send a cell and wait for its end, good or bad."""
        return self.submit(code, **options).wait(timeout)

    def ok(self, code: str, timeout: float = DEADLINE, **options: Any) -> Cell:
        """`run` a cell that has to succeed."""
        cell = self.run(code, timeout, **options)
        assert cell.status == "ok", f"{cell!r}\n{cell.error.traceback if cell.error else ''}"
        return cell

    def prompt(self, cell: Cell, timeout: float = DEADLINE) -> str:
        """The prompt with which the code of this cell asks for a line, when it does."""
        deadline = time.monotonic() + timeout
        stdin, shell = (
            getattr(self._client, f"{name}_channel").socket for name in ("stdin", "shell")
        )
        while not stdin.poll(100):
            assert not shell.poll(0), f"it ended without a question: {cell.wait()!r}"
            assert time.monotonic() < deadline, f"no question within {timeout} s from {cell!r}"
        _, message = self._client.session.recv(stdin)
        assert message["parent_header"]["msg_id"] == cell.msg_id
        return str(message["content"]["prompt"])

    def answer(self, text: str) -> None:
        """What a user types at the prompt."""
        self._client.input(text)

    @property
    def has_subshells(self) -> bool:
        """Whether this kernel can run a cell beside one that is running: ipykernel 7 can."""
        kernel = "get_ipython().kernel"
        return bool(self.evaluate(f"getattr({kernel}, '_supports_kernel_subshells', False)"))

    def aside(self, code: str, timeout: float = DEADLINE) -> Cell:
        """Run a cell in a subshell, as a subshell console does, whatever runs in the main one."""
        if self._subshell is None:
            control = self._client.control_channel
            control.start()
            control.send(self._client.session.msg("create_subshell_request", {}))
            reply = control.get_msg(timeout=DEADLINE)
            self._subshell = reply["content"]["subshell_id"]
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        return self._request("execute_request", content, subshell=self._subshell).wait(timeout)

    def evaluate(self, expression: str, timeout: float = DEADLINE) -> Any:
        """The value, a literal, of an expression in the user's namespace."""
        cell = self.run(
            "", timeout, silent=True, store_history=False, user_expressions={"it": expression}
        )
        assert cell.reply is not None
        answer = cell.reply["user_expressions"]["it"]
        if answer["status"] != "ok":
            raise KernelError(f"{answer['ename']}: {answer['evalue']} in {expression}")
        return ast.literal_eval(answer["data"]["text/plain"])

    def complete(self, code: str, timeout: float = DEADLINE) -> list[str]:
        """What Tab offers at the end of this code."""
        cell = self._request("complete_request", {"code": code, "cursor_pos": len(code)})
        reply = cell.wait(timeout).reply
        assert reply is not None
        return list(reply["matches"])

    def where(self, text: str) -> list[Cell]:
        """Every cell, and every other request, below which this text was shown."""
        return [cell for cell in list(self._cells.values()) if text in cell.text]

    def forget(self) -> None:
        """Start again with an empty notebook: `where` finds no earlier output."""
        with self._news:
            self._cells.clear()

    def drain(self) -> None:
        """Return when all output so far has arrived here."""
        # Streams are sent from a buffer five times a second; the rest goes out in order.
        self.ok("import sys; sys.stdout.flush(); sys.stderr.flush()")

    # The process

    @property
    def alive(self) -> bool:
        return bool(self._manager.is_alive())

    def interrupt(self) -> None:
        """The stop button."""
        self._manager.interrupt_kernel()

    def restart(self) -> None:
        """The restart button: the same ports, a new process, the extension loaded again."""
        self._subshell = None
        self._manager.restart_kernel()
        self.pid = self._manager.provisioner.pid
        Kernel.started.append(self.pid)
        self._prepare()

    def shutdown(self, *, now: bool = False) -> None:
        """End the process (politely, unless `now`), the channels, the reader and the scratch."""
        if not self.scratch.exists():
            return
        try:
            self._manager.shutdown_kernel(now=now)
        finally:
            self._stop.send(b"")
            self._reader.join(DEADLINE)
            self._stop.close(linger=0)
            self._client.stop_channels()
            shutil.rmtree(self.scratch, ignore_errors=True)
        assert not self._reader.is_alive(), "the thread that reads iopub did not end"

    # Below: the wire

    def _open_channels(self) -> None:
        client = self._client = self._manager.client()
        client.start_channels(shell=True, iopub=True, stdin=True, hb=False, control=False)
        address = f"inproc://stop-{uuid.uuid4()}"
        self._stop = client.context.socket(zmq.PAIR)
        self._stop.bind(address)
        stop = client.context.socket(zmq.PAIR)
        stop.connect(address)
        # A separate session: sessions keep a history of digests and are not thread-safe.
        session = Session(key=client.session.key, signature_scheme=client.session.signature_scheme)
        self._reader = threading.Thread(
            target=self._read, args=(client.iopub_channel.socket, stop, session), daemon=True
        )
        self._reader.start()

    def _prepare(self) -> None:
        # A new kernel hears before it is heard: ask until an answer comes on iopub as well.
        deadline = time.monotonic() + 2 * DEADLINE
        while True:
            try:
                self._request("kernel_info_request", {}).wait(2.0)
                break
            except AssertionError:
                if time.monotonic() > deadline or not self.alive:
                    raise
        if self.extension:
            quiet = "" if self._reports_blocks else QUIET_BLOCKS
            self.ok(f"%load_ext asyncnb\n{PREAMBLE}\n{quiet}")

    def _request(
        self, msg_type: str, content: dict[str, Any], subshell: str | None = None, **metadata: Any
    ) -> Cell:
        message = self._client.session.msg(msg_type, content, metadata=metadata)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        cell = self._cell(message["header"]["msg_id"])
        cell.code = content.get("code", "")
        self._client.shell_channel.send(message)
        return cell

    def _cell(self, msg_id: str) -> Cell:
        with self._news:
            if msg_id not in self._cells:
                self._cells[msg_id] = Cell(self, msg_id)
            return self._cells[msg_id]

    def _read(self, iopub: Any, stop: Any, session: Session) -> None:
        poller = zmq.Poller()
        poller.register(iopub, zmq.POLLIN)
        poller.register(stop, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if stop in ready:
                stop.close(linger=0)
                return
            _, message = session.recv(iopub)
            if message is None:
                continue
            cell = self._cell(message["parent_header"].get("msg_id", ""))
            with self._news:
                if message["msg_type"] == "status":
                    cell.idle = message["content"]["execution_state"] == "idle"
                elif message["msg_type"] == "execute_input":
                    cell.number = message["content"]["execution_count"]
                else:
                    cell.messages.append(message)
                self._news.notify_all()

    def _wait_for_end(self, cell: Cell, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        shell = self._client.shell_channel.socket
        while cell.reply is None:
            # In slices only so as to notice a kernel that died; a reply ends the wait at once.
            left = deadline - time.monotonic()
            if shell.poll(1000 * max(0.0, min(left, 0.5))):
                _, message = self._client.session.recv(shell)
                self._cell(message["parent_header"]["msg_id"]).reply = message["content"]
            elif left <= 0:
                raise AssertionError(f"no reply within {timeout} s to {cell!r}")
            elif not self.alive:
                raise AssertionError(f"the kernel died at {cell!r}")
        cell.wait_for(lambda c: c.idle, max(1.0, deadline - time.monotonic()))


def environment(scratch: Path) -> dict[str, str]:
    """The environment of a kernel: this checkout importable, no user's settings."""
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    keep = {k: v for k, v in os.environ.items() if k not in ("MPLBACKEND", "PYTHONSTARTUP")}
    return keep | {
        "PYTHONPATH": os.pathsep.join(path),
        "IPYTHONDIR": str(scratch / "ipython"),
        "JUPYTER_CONFIG_DIR": str(scratch / "config"),
        "JUPYTER_DATA_DIR": str(scratch / "data"),
        "JUPYTER_RUNTIME_DIR": str(scratch / "runtime"),
    }


def install_kernelspec(
    python: str,
    kernels: Path,
    name: str = "under-test",
    *,
    command: Sequence[str] = IPYKERNEL,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a kernel spec for this Python, and what starts a kernel, where such specs are."""
    import json

    (kernels / name).mkdir(parents=True, exist_ok=True)
    spec = {
        "argv": [python, *command],
        "display_name": name,
        "language": "python",
        "metadata": dict(metadata or {}),
    }
    (kernels / name / "kernel.json").write_text(json.dumps(spec))
