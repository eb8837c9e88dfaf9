"""`asyncnb demo`: the copy of the quick start, and a real JupyterLab that serves it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from asyncnb._cli import demo
from asyncnb._cli.main import main
from tests.kernel.driver import ROOT, environment

QUICKSTART = ROOT / "notebooks" / "01_quickstart.ipynb"


@pytest.fixture
def started(monkeypatch) -> list[list[str]]:
    """Collect the commands that would be run."""
    commands: list[list[str]] = []
    monkeypatch.setattr(demo, "find_spec", lambda name: True)
    monkeypatch.setattr(demo, "_run", lambda command: commands.append(command) or 0)
    return commands


def test_the_quick_start_is_copied_and_a_changed_copy_is_kept(tmp_path, capsys, started):
    folder = tmp_path / "a" / "demo"
    assert main(["demo", "--folder", str(folder), "--no-browser", "--", "--port", "1"]) == 0
    copy = folder / "01_quickstart.ipynb"
    assert copy.read_bytes() == QUICKSTART.read_bytes()
    assert all(folder.joinpath(picture).is_file() for picture in pictures(QUICKSTART))
    [command] = started
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert command[3] == f"--ServerApp.root_dir={folder}"
    assert command[5:] == ["--no-browser", "--port", "1"]
    assert f"{copy} is there.\n" in capsys.readouterr().err

    copy.write_text("mine")
    assert main(["demo", "--folder", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kept"] == ["01_quickstart.ipynb"]
    assert told["command"] == started[1] == command[:5]
    assert copy.read_text() == "mine"


def test_without_jupyterlab_it_says_what_to_install(tmp_path, capsys, started, monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    assert main(["demo", "--folder", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert f"{sys.executable} -m pip install jupyterlab\n" in told
    assert (tmp_path / "01_quickstart.ipynb").exists() and not started
    assert main(["demo", "--folder", str(tmp_path), "--json"]) == 1
    assert "pip install jupyterlab" in json.loads(capsys.readouterr().out)["error"]["text"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, capsys, started):
    (tmp_path / "file").write_text("")
    assert main(["demo", "--folder", str(tmp_path / "file")]) == 1
    assert "Choose another --folder" in capsys.readouterr().err and not started


@pytest.mark.skipif(find_spec("jupyterlab") is None, reason="needs JupyterLab")
@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGTERM that can be handled")
def test_jupyterlab_serves_the_copy_and_ends_with_the_command(tmp_path):
    command = [sys.executable, "-m", "asyncnb", "demo", "--no-browser", "--", "--allow-root"]
    process = subprocess.Popen(
        [*command, "--ip=127.0.0.1", "--port=0"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    told, address = "", None
    try:
        for line in process.stderr:
            told += line
            address = re.search(r"http://(127\.0\.0\.1:\d+)/lab/tree/(\S+)\?token=(\w+)", line)
            if address:
                break
        assert address is not None, told
        host, name, token = address.groups()
        assert name == "01_quickstart.ipynb"
        url = f"http://{host}/api/contents/{name}?content=1&token={token}"
        served = get(url)["content"]
        assert "".join(served["cells"][0]["source"]).startswith("# Quick start")
    finally:
        process.terminate()
        rest = process.stderr.read()  # until JupyterLab, which holds it, has ended, too
        assert process.wait(30) in (0, 1), rest
    assert (tmp_path / "asyncnb-demo" / "01_quickstart.ipynb").exists()


def pictures(notebook: Path) -> list[str]:
    """Return the paths of the pictures that the text of a notebook shows."""
    cells = json.loads(notebook.read_text())["cells"]
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)


def get(url: str) -> dict[str, Any]:
    """Get JSON from a server that prints its address just before it listens there."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + 30
    while True:
        try:
            with direct.open(url, timeout=30) as reply:
                return dict(json.load(reply))
        except urllib.error.URLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)  # a port says nothing when it opens


def test_the_demo_is_small():
    assert set(demo.FILES) == {QUICKSTART.name, *pictures(QUICKSTART)}
    assert sum((Path(QUICKSTART.parent, name)).stat().st_size for name in demo.FILES) < 100_000
    assert os.path.exists(QUICKSTART)
