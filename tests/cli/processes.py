"""The command `asyncnb` as a process: its lines as they come, or the screen of a terminal."""

from __future__ import annotations

import os
import queue
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.driver import DEADLINE, ROOT, Kernel

COMMAND = [sys.executable, "-m", "asyncnb"]


class Process:
    """A running command; its stdout is read line by line only when a test asks for it."""

    def __init__(self, env: dict[str, str], *arguments: str) -> None:
        self._process = subprocess.Popen(
            [*COMMAND, *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.pid = self._process.pid
        self.signal = self._process.send_signal
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader: threading.Thread | None = None

    def line(self) -> str:
        """The next line; "" at the end."""
        if self._reader is None:
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()
        return self._lines.get(timeout=DEADLINE)

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def end(self, timeout: float = DEADLINE) -> tuple[int, str, str]:
        """Wait for the end: the exit code, the rest of stdout, stderr."""
        if self._reader is None:
            out, err = self._process.communicate(timeout=timeout)
            return self._process.returncode, out, err
        rest = []
        while line := self._lines.get(timeout=timeout):
            rest.append(line)
        err = self._process.stderr.read()
        return self._process.wait(timeout), "".join(rest), err

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(DEADLINE)
        if self._reader is not None:
            self._reader.join(DEADLINE)
        self._process.stdout.close()
        self._process.stderr.close()


class Screen:
    """A running command in its own terminal."""

    def __init__(self, env: dict[str, str], *arguments: str, size: tuple[int, int]) -> None:
        import pty

        pyte = pytest.importorskip("pyte")
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._terminal, inner = pty.openpty()
        self._set_size(*size)
        self._process = subprocess.Popen(
            [*COMMAND, *arguments],
            env=env | {"TERM": "xterm-256color"},
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
        )
        os.close(inner)
        self.written = b""

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def row(self, text: str) -> str:
        """The one line of a task with this text."""
        [found] = [line for line in self.lines if text in line and line.startswith("  ")]
        return found

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        self._screen.resize(lines, columns)
        self._set_size(columns, lines)

    def _set_size(self, columns: int, lines: int) -> None:
        import fcntl
        import termios

        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait_for(self, what: str | Callable[[Screen], Any], timeout: float = DEADLINE) -> None:
        """Read until the screen has this text, or a condition holds."""
        until = time.monotonic() + timeout
        while not (what in self.text if isinstance(what, str) else what(self)):
            left = until - time.monotonic()
            assert left > 0 and self._read(left), f"no {what!r} on\n{self.text}"

    def _read(self, timeout: float) -> bool:
        if not select.select([self._terminal], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # Linux: the other end was closed
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)

    def end(self, timeout: float = DEADLINE) -> int:
        """Read to the end; return the exit code."""
        until = time.monotonic() + timeout
        while self._read(max(0.0, until - time.monotonic())):
            pass
        return self._process.wait(max(0.1, until - time.monotonic()))

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(DEADLINE)
        os.close(self._terminal)


class Commands:
    """Starts commands that see the kernels of one folder, and ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[Process | Screen] = []
        self.env = dict(os.environ) | {
            "JUPYTER_RUNTIME_DIR": str(folder),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "PYTHONIOENCODING": "utf-8",
        }  # fmt: skip

    def add(self, kernel: Kernel, id: str) -> None:
        """Make commands find a kernel by this id."""
        content = (kernel.scratch / "connection.json").read_bytes()
        (self.folder / f"kernel-{id}.json").write_bytes(content)

    def start(self, *arguments: str) -> Process:
        process = Process(self.env, *arguments)
        self._started.append(process)
        return process

    def screen(self, *arguments: str, size: tuple[int, int] = (100, 16)) -> Screen:
        screen = Screen(self.env, *arguments, size=size)
        self._started.append(screen)
        return screen

    def close(self) -> None:
        for each in self._started:
            each.kill()


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    """An empty runtime folder, and commands that see it."""
    found = Commands(tmp_path)
    yield found
    found.close()


@pytest.fixture
def of_kernel(commands: Commands, kernel: Kernel) -> Commands:
    """Commands that see the shared kernel, as `mine`."""
    commands.add(kernel, "mine")
    return commands
