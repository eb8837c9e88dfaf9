"""The interpreter's own asyncio tests pass with asyncnb in asyncio's place.

The files of the newest Python 3.15 run on all older interpreters, too, where one is installed;
``CONFORMANCE_LIBRARY`` names its ``lib/python3.15`` if it is not found. ``make conformance`` also
counts what the standard library alone fails of the same tests, for the table at the end.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SUITES = ["futures", "futures2", "tasks", "taskgroups", "timeouts", "waitfor", "threads", "runners"]
SUITES += ["eager_task_factory", "graph", "locks", "queues"]
#: Whose semantics asyncnb has, on every Python.
NEWEST = (3, 15)

pytestmark = pytest.mark.timeout(600)  # that many tests, some of which hang or crash on their own

ROOT = Path(__file__).parents[2]


@cache
def newer_library() -> Path | None:
    """Find the standard library, with its tests, of the newest Python 3.15 on this machine."""
    if sys.version_info >= NEWEST:
        return None
    if named := os.environ.get("CONFORMANCE_LIBRARY"):
        return Path(named)
    name = "python{}.{}".format(*NEWEST)
    found: dict[Path, tuple[int, ...]] = {}
    if interpreter := shutil.which(name):
        code = "import sys, sysconfig; print(sysconfig.get_path('stdlib'), *sys.version_info[:3])"
        command = [interpreter, "-c", code]
        words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        found[Path(words[0])] = tuple(map(int, words[1:]))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for library in pyenv.glob(f"versions/*/lib/{name}"):
        found[library] = tuple(map(int, re.findall(r"\d+", library.parents[1].name)))
    for base in ("/usr/local", "/usr", "/opt/homebrew"):
        found.setdefault(Path(base, "lib", name), ())  # its release is not known
    complete = [library for library in found if has_suite(library, "tasks")]
    return max(complete, key=lambda library: found[library], default=None)


def has_suite(library: Path | None, suite: str) -> bool:
    if library is None:
        asyncio_tests = pytest.importorskip("test.test_asyncio", reason="the tests are not there")
        library = Path(asyncio_tests.__file__).parents[2]
    return (library / "test" / "test_asyncio" / f"test_{suite}.py").exists()


def start(
    suite: str, library: Path | None, *options: str, given: str = ""
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "dev", "-W", "ignore"]
    command += ["-m", "tests.conformance.run_suite", f"test_{suite}"]
    command += ["--library", str(library)] if library is not None else []
    command += options
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        input=given,
        text=True,
        timeout=300,
        check=False,
    )


def run(suite: str, library: Path | None, *options: str) -> dict[str, Any]:
    done = start(suite, library, *options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def check(report: dict[str, Any]) -> None:
    assert report["ran"] > 0
    assert not report["unexpected"]
    assert not report["stale"], f"these pass, so they need no exclusion: {report['stale']}"
    failures = "\n\n".join(f"{name}\n{text}" for name, text in report["failures"].items())
    assert not failures, failures


def standard(suite: str, library: Path | None, *options: str) -> tuple[int, int]:
    """Return how many tests run with the standard library alone, and how many fail.

    One that crashes the interpreter or never ends fails, and the rest runs in another process.
    """
    ran: set[str] = set()
    failed: set[str] = set()
    skipped: set[str] = set()
    while True:
        done = start(suite, library, "--standard", *options, given="\n".join(ran))
        started = re.findall(r"^runs (\S+)$", done.stderr, re.MULTILINE)
        failed.update(re.findall(r"^failed (\S+)", done.stderr, re.MULTILINE))
        skipped.update(re.findall(r"^skipped (\S+)", done.stderr, re.MULTILINE))
        ran.update(started)
        if done.returncode == 0:
            return len(ran - skipped), len(failed)
        assert started, done.stderr[-5000:]
        failed.add(started[-1])


Record = Callable[[str, object], None]


def conform(record: Record, suite: str, library: Path | None, *options: str) -> None:
    report = run(suite, library, *options)
    files = ".".join(map(str, sys.version_info[:2] if library is None else NEWEST))
    row: list[Any] = [" ".join([suite, *options]).replace("--", "on "), files]
    row += [report["ran"], len(report["failures"]), len(report["excluded"])]
    if os.environ.get("CONFORMANCE_STANDARD"):
        row += standard(suite, library, *options)
    record("conformance", row)
    check(report)


@pytest.mark.parametrize("loop", ["", "uvloop"])
@pytest.mark.parametrize("suite", SUITES)
def test_own_suite(suite: str, loop: str, record_property: Record) -> None:
    if not has_suite(None, suite):
        pytest.skip(f"this Python has no tests of {suite}")
    if loop:
        pytest.importorskip("uvloop")
    conform(record_property, suite, None, *([f"--{loop}"] if loop else []))


@pytest.mark.skipif(sys.version_info >= NEWEST, reason="these are the interpreter's own")
@pytest.mark.parametrize("loop", ["", "uvloop"])
@pytest.mark.parametrize("suite", SUITES)
def test_suite_of_the_newest_python(suite: str, loop: str, record_property: Record) -> None:
    library = newer_library()
    if library is None:
        pytest.skip("no Python 3.15 with its tests is installed")
    if loop:
        pytest.importorskip("uvloop")
    conform(record_property, suite, library, *([f"--{loop}"] if loop else []))
