"""What the tests of work elsewhere need, and that none of its processes is left alive."""

from __future__ import annotations

import functools
import importlib.util
import re
import subprocess
from collections.abc import Callable, Iterator

import psutil
import pytest


@pytest.fixture(scope="session", autouse=True)
def _needs_cloudpickle() -> None:
    if importlib.util.find_spec("cloudpickle") is None:
        pytest.skip("cloudpickle, a dependency of asyncnb, is not installed for this Python")


@functools.cache
def lacking(python: str, *modules: str) -> str:
    """Those of the modules that this Python does not have."""
    code = f"import importlib.util as u; print(*[m for m in {modules} if not u.find_spec(m)])"
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()


#: Run by the Python of a kernel: a cluster whose scheduler is nobody's own process.
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
    """Called with a Python: the address of a dask cluster of two workers with one thread each.

    In a process of its own, as a real one is, and one for all tests: it takes seconds to start.
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
    """Called with a Python: the connection file of an ipyparallel cluster of two engines."""
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


#: In a traceback: a frame of the far end.
FAR = re.compile(r"\bfar[/\\]|_asyncnb_(far|dask|ipyparallel)")

#: In the command line of whatever a test of this folder may start.
STARTED_HERE = ("_offload", "multiprocessing", "loky", "distributed", "ipyparallel")


def workers(process: psutil.Process) -> list[psutil.Process]:
    """The worker processes below this one; kernels of other tests are not meant."""
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
