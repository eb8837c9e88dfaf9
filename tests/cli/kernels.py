"""A runtime folder of real kernels, and the command run on it in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from asyncnb._cli.main import main
from tests.kernel.driver import Kernel


class Done(NamedTuple):
    """What the command has printed."""

    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one object that it has printed."""
        [line] = self.stdout.splitlines()
        return json.loads(line)


class Runtime:
    """A runtime folder: the kernels that the command sees."""

    def __init__(self, folder: Path, captured: Callable[[], Any]) -> None:
        self.folder = folder
        self._captured = captured

    def add(self, kernel: Kernel, id: str) -> Path:
        """Make the command find a kernel by this id."""
        path = self.folder / f"kernel-{id}.json"
        try:
            path.symlink_to(kernel.scratch / "connection.json")
        except OSError:  # Windows, without the privilege
            path.write_bytes((kernel.scratch / "connection.json").read_bytes())
        return path

    def write(self, id: str, **content: Any) -> Path:
        """Write a file that has the name of a connection file."""
        path = self.folder / f"kernel-{id}.json"
        path.write_text(json.dumps(content))
        return path

    def run(self, *arguments: str, code: int = 0) -> Done:
        """Run the command; it has to end with this exit code."""
        self._captured()
        try:
            ended = main(arguments)
        except SystemExit as exit:  # argparse
            ended = int(exit.code or 0)
        done = Done(*self._captured())
        assert ended == code, done
        return done

    def refused(self, *arguments: str, code: int = 1) -> str:
        """Run the command, which has to fail; return what it says."""
        done = self.run(*arguments, code=code)
        assert not done.stdout, done
        return done.stderr


@pytest.fixture
def runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Runtime]:
    """An empty runtime folder."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    yield Runtime(tmp_path, capsys.readouterr)


def named(notebook: str, **options: Any) -> dict[str, Any]:
    """The options of a kernel that a server has started for this notebook."""
    return options | {"env": {"JPY_SESSION_NAME": notebook}}


def closed_port() -> int:
    """A port at which nothing listens."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
