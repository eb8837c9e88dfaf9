"""The interpreter's own asyncio tests pass with asyncnb in asyncio's place.

3.13's files run on older interpreters, too, where a 3.13 is installed; ``CONFORMANCE_LIBRARY``
names its ``lib/python3.13`` if it is not found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SUITES = ["futures", "futures2", "tasks", "taskgroups", "timeouts", "waitfor", "threads", "runners"]
SUITES += ["eager_task_factory"]

ROOT = Path(__file__).parents[2]


@cache
def newer_library() -> Path | None:
    """Find the standard library of a Python 3.13, for an interpreter older than that."""
    if sys.version_info >= (3, 13):
        return None
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [Path(p) for p in filter(None, [os.environ.get("CONFORMANCE_LIBRARY")])]
    found += sorted(pyenv.glob("versions/3.13.*/lib/python3.13"))
    found += [Path(base) / "lib/python3.13" for base in ("/usr/local", "/usr", "/opt/homebrew")]
    for library in found:
        if (library / "test" / "test_asyncio" / "test_tasks.py").exists():
            return library
    return None


def run(suite: str, library: Path | None, *options: str) -> None:
    command = [sys.executable, "-X", "dev", "-W", "ignore"]
    command += ["-m", "tests.conformance.run_suite", f"test_{suite}"]
    command += ["--library", str(library)] if library is not None else []
    command += options
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["ran"] > 0
    assert not report["unexpected"]
    assert not report["stale"], f"these pass, so they need no exclusion: {report['stale']}"
    failures = "\n\n".join(f"{name}\n{text}" for name, text in report["failures"].items())
    assert not failures, failures


def has_suite(library: Path | None, suite: str) -> bool:
    if library is None:
        asyncio_tests = pytest.importorskip("test.test_asyncio", reason="the tests are not there")
        library = Path(asyncio_tests.__file__).parents[2]
    return (library / "test" / "test_asyncio" / f"test_{suite}.py").exists()


@pytest.mark.parametrize("suite", SUITES)
def test_own_suite(suite: str) -> None:
    if not has_suite(None, suite):
        pytest.skip(f"this Python has no tests of {suite}")
    run(suite, None)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="these are the interpreter's own")
@pytest.mark.parametrize("suite", SUITES)
def test_suite_of_3_13(suite: str) -> None:
    library = newer_library()
    if library is None:
        pytest.skip("no Python 3.13 with its tests is installed")
    run(suite, library)


@pytest.mark.parametrize("suite", SUITES)
def test_own_suite_on_uvloop(suite: str) -> None:
    pytest.importorskip("uvloop")
    if not has_suite(None, suite):
        pytest.skip(f"this Python has no tests of {suite}")
    run(suite, None, "--uvloop")
