"""What `tests/reruns.py` does with tests that fail once, twice, or hang when run again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.reruns import MOST

pytest.importorskip("pytest_rerunfailures")

TESTS = """
import time
import pytest

ran = set()

def fails_once(name):
    first = name not in ran
    ran.add(name)
    assert not first, f"the first time of {name}"

@pytest.mark.parametrize("n", range(%d))
def test_fails_once(n):
    fails_once(n)

def test_passes():
    pass
"""
HANGS = """
@pytest.mark.timeout(1)
def test_hangs_when_run_again():
    fails_once("this")
    time.sleep(60)
"""


def run(folder: Path, text: str) -> tuple[int, str]:
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.reruns", "--reruns", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={folder}", str(folder)],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


def test_a_test_that_fails_once_is_listed_and_its_run_passes(tmp_path: Path) -> None:
    code, text = run(tmp_path, TESTS % MOST)
    assert code == 0, text
    assert f"{MOST} failed once and were run again" in text
    assert "the first time of 3" in text
    assert f"{MOST + 1} passed" in text and f"{MOST} rerun" in text


def test_a_run_with_many_of_them_fails(tmp_path: Path) -> None:
    code, text = run(tmp_path, TESTS % (MOST + 1))
    assert code == 1, text
    assert "which is a failure of this run" in text


def test_what_fails_twice_or_hangs_when_run_again_fails(tmp_path: Path) -> None:
    code, text = run(tmp_path, TESTS % 0 + HANGS)
    assert code == 1, text
    assert "Timeout (>1.0s)" in text and "1 failed" in text
