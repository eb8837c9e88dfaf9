"""What the tests of work elsewhere need, and that none of its processes is left alive."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
from collections.abc import Iterator

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


@pytest.fixture(scope="session", autouse=True)
def _no_process_survives() -> Iterator[None]:
    yield
    _, alive = psutil.wait_procs(workers(psutil.Process()), timeout=10)
    assert not alive, f"still alive: {alive}"


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
