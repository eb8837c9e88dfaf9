"""Helpers for the tests of offloading; they also check that no process is left alive."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

import asyncnb


@pytest.fixture(scope="session", autouse=True)
def _needs_cloudpickle() -> None:
    if importlib.util.find_spec("cloudpickle") is None:
        pytest.skip("cloudpickle, a dependency of asyncnb, is not installed for this Python")


@functools.cache
def lacking(python: str, *modules: str) -> str:
    """Return those of the modules that this Python does not have."""
    code = f"import importlib.util as u; print(*[m for m in {modules} if not u.find_spec(m)])"
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()


#: Run by the Python of a kernel: a dask cluster in its own process.
_DASK = """
import sys, time
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1",
                      dashboard_address="127.0.0.1:0", silence_logs=60) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture(scope="session")
def dask_cluster() -> Iterator[Callable[[str], str]]:
    """Return a function from a Python to the address of a dask cluster: two workers of one thread.

    It has its own process, as a real one has, and serves all tests: it takes seconds to start.
    """
    started: dict[str, tuple[subprocess.Popen[str], str]] = {}

    def start(python: str) -> str:
        if python not in started:
            if missing := lacking(python, "distributed"):
                pytest.skip(f"{missing}: not installed for {python}")
            process = subprocess.Popen(
                [python, "-c", _DASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            started[python] = process, process.stdout.readline().strip()
        return started[python][1]

    yield start
    for process, _ in started.values():
        process.communicate(timeout=60)


@pytest.fixture(scope="session")
def engines() -> Iterator[Callable[[str], str]]:
    """Return a function from a Python to the connection file of a cluster of two engines."""
    started: dict[str, tuple[subprocess.Popen[str], str]] = {}

    def start(python: str) -> str:
        if python not in started:
            if missing := lacking(python, "ipyparallel"):
                pytest.skip(f"{missing}: not installed for {python}")
            process = subprocess.Popen(
                [python, "-c", _ENGINES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            started[python] = process, process.stdout.readline().strip()
        return started[python][1]

    yield start
    for process, _ in started.values():
        process.communicate(timeout=60)


_ENGINES = """
import os, sys, tempfile
import ipyparallel
with tempfile.TemporaryDirectory() as folder:
    os.environ["IPYTHONDIR"] = folder
    cluster = ipyparallel.Cluster(n=2, controller_ip="127.0.0.1", log_level=40)
    try:
        cluster.start_and_connect_sync()
        print(cluster.profile_dir + "/security/ipcontroller-" + cluster.cluster_id + "-client.json",
              flush=True)
        sys.stdin.read()
    finally:
        cluster.stop_cluster_sync()
"""


@pytest.fixture(scope="session", autouse=True)
def _no_process_survives() -> Iterator[None]:
    yield
    _, alive = psutil.wait_procs(workers(psutil.Process()), timeout=10)
    assert not alive, f"still alive: {alive}"


class OutputCapture:
    """The standard output of this process during a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.text = io.StringIO()
        monkeypatch.setattr(sys, "stdout", self.text)

    def wait_for(self, words: str) -> None:
        """Wait until ``words`` were printed."""
        deadline = time.monotonic() + 20
        while words not in self.text.getvalue():
            assert time.monotonic() < deadline, self.text.getvalue()
            time.sleep(0.01)


def ended(task: asyncnb.Task[Any]) -> str:
    """Wait for the end of ``task``; return its state."""
    with contextlib.suppress(asyncnb.CancelledError):
        task.join(20)
    return task.info().state


def by_value(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make ``function`` look like one of a notebook, which workers cannot import."""
    function.__module__ = "__main__"
    return function


#: In a traceback: a frame of the far end.
FAR = re.compile(r"\bfar[/\\]|_asyncnb_(far|dask|ipyparallel)")

#: Part of the command line of any process that a test of this folder may start.
STARTED_HERE = ("_offload", "multiprocessing", "loky", "distributed", "ipyparallel")


def workers(process: psutil.Process) -> list[psutil.Process]:
    """Return the worker processes below ``process``, but not the kernels of other tests."""
    found = []
    for child in process.children(recursive=True):
        try:
            line = " ".join(child.cmdline())
        except psutil.NoSuchProcess:
            continue
        # multiprocessing's resource tracker ends with the process that it serves.
        if "resource_tracker" not in line and any(name in line for name in STARTED_HERE):
            found.append(child)
    return found
