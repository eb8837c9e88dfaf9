"""The names of notebooks after a rename, from a real Jupyter server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.kernels import Runtime, runtime
from tests.kernel.driver import DEADLINE, environment

__all__ = ["runtime"]

pytest.importorskip("jupyter_server")


class Server:
    """A Jupyter server that writes its file, and those of its kernels, into a runtime folder."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        folder.mkdir()
        env = environment(folder) | {"JUPYTER_RUNTIME_DIR": str(runtime.folder)}
        command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"]
        command += [f"--ServerApp.root_dir={folder}", "--ServerApp.port=0"]
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        until = time.monotonic() + DEADLINE
        while not (found := list(runtime.folder.glob("jpserver-*.json"))):
            assert self.process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        self.info = json.loads(found[0].read_bytes())

    def ask(self, method: str, address: str, /, **content: Any) -> Any:
        request = urllib.request.Request(
            self.info["url"] + address,
            json.dumps(content).encode() if content else None,
            {"Authorization": f"token {self.info['token']}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return json.loads(answer.read() or b"null")

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(DEADLINE)


@pytest.fixture
def server(runtime: Runtime, tmp_path: Path) -> Iterator[Server]:
    server = Server(runtime, tmp_path / "server")
    yield server
    server.end()


@pytest.mark.skipif(sys.platform == "win32", reason="terminate() would leave the kernel")
def test_a_renamed_notebook_is_found_by_its_new_name(runtime: Runtime, server: Server) -> None:
    kernel = {"name": "python3"}
    names = {"path": "old.ipynb", "name": "old.ipynb", "type": "notebook"}
    session = server.ask("POST", "api/sessions", kernel=kernel, **names)
    id, root = session["kernel"]["id"], server.info["root_dir"]
    server.ask("PATCH", f"api/sessions/{session['id']}", path="new.ipynb", name="new.ipynb")
    try:
        until = time.monotonic() + DEADLINE
        while True:  # until it listens: its connection file is there before
            [listed] = runtime.run("ps", "--json", "--server", "--timeout", "20").json["kernels"]
            if listed["state"] != "dead":
                break
            assert time.monotonic() < until
        assert (listed["id"], listed["notebook"]) == (id, os.path.join(root, "new.ipynb"))
        assert "new.ipynb runs without asyncnb" in runtime.refused("cancel", "x", "-k", "new")
        # A server that has gone, or a file of no server, costs nothing.
        (runtime.folder / "jpserver-1.json").write_text('{"url": "http://127.0.0.1:1/"}')
        (runtime.folder / "jpserver-2.json").write_text("[")
        assert "new.ipynb" in runtime.run("ps", "--server").stdout
    finally:
        server.ask("DELETE", f"api/sessions/{session['id']}")
