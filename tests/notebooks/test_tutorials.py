"""The tutorials run, show what they show in their saved outputs, and a broken one is noticed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def nbval(notebook: Path) -> subprocess.CompletedProcess[str]:
    """Run a notebook under nbval, its outputs compared; in a process of its own, undistributed."""
    sanitizers = str(ROOT / "notebooks" / "sanitize.cfg")
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", "-q"]
    command += ["-c", os.devnull, "--rootdir", str(notebook.parent)]
    command += ["--nbval", "--nbval-sanitize-with", sanitizers, str(notebook)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)


@pytest.mark.parametrize("notebook", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_and_shows_what_it_shows(notebook: Path) -> None:
    done = nbval(notebook)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("notebook", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_has_its_outputs_saved_and_is_small(notebook: Path) -> None:
    cells = [c for c in nbformat.read(notebook, as_version=4).cells if c.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert any(cell.outputs for cell in cells)
    assert notebook.stat().st_size < 200_000


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('packages = ["asyncio", ', 'packages = ["asyncio" '),  # other packages: outputs differ
        ("await asyncnb.task", "await asyncnb.tusk"),  # a cell fails
    ],
)
def test_a_broken_tutorial_fails(tmp_path: Path, right: str, wrong: str) -> None:
    text = (ROOT / "notebooks" / "01_quickstart.ipynb").read_text()
    right, wrong = right.replace('"', '\\"'), wrong.replace('"', '\\"')
    assert right in text
    broken = tmp_path / "broken.ipynb"
    broken.write_text(text.replace(right, wrong))
    done = nbval(broken)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "failed" in done.stdout


def test_the_demo_prints_what_the_quickstart_produced() -> None:
    command = [sys.executable, "tests/demo.py", "notebooks/01_quickstart.ipynb"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "prime number 3000 is 27449" in done.stdout
    assert "crawl asyncio" in done.stdout
