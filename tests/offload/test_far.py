"""The far end: it runs where asyncnb is not installed, and what it sends back can be read here."""

from __future__ import annotations

import asyncio
import io
import pickle
import subprocess
import sys
import time
import types
from typing import Any

import cloudpickle
import pytest

import asyncnb
from asyncnb._offload.engines import process
from asyncnb._offload.far.install import far_package, installer
from asyncnb._offload.far.remote import run_job
from asyncnb._offload.packing import pack_call
from tests.offload.conftest import OutputCapture

#: A machine without asyncnb: it gets the package, runs a job and answers on its standard output.
_WITHOUT_ASYNCNB = """
import pickle, sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "asyncnb":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NotInstalled())
install, (package, modules), payload = pickle.load(sys.stdin.buffer)
install(package, modules)
reports = []
run_job = sys.modules[f"{package}.remote"].run_job
outcome = run_job(1, "call", payload, lambda *report: reports.append(report))
known = sys.modules[f"{package}.{modules[-1][0]}"].remote is sys.modules[f"{package}.remote"]
sys.stdout.buffer.write(pickle.dumps((outcome, reports, known)))
"""


@pytest.mark.parametrize("glue", ["dask", "ipyparallel"])
def test_a_job_runs_where_asyncnb_is_not_installed(glue: str) -> None:
    def job(n: int) -> int:
        print("there")
        return 2 * n

    sent = (installer(), far_package(glue), pack_call(job, [21], {}))
    with io.BytesIO() as file:
        cloudpickle.Pickler(file).dump(sent)
        command = [sys.executable, "-c", _WITHOUT_ASYNCNB]
        done = subprocess.run(command, input=file.getvalue(), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    (status, value), reports, known = pickle.loads(done.stdout)
    assert (status, pickle.loads(value)) == ("done", 42)
    assert reports == [("output", "stdout", "there\n")]
    assert known


@pytest.fixture
def only_here(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module that could be imported in this process alone."""
    module = types.ModuleType("only_here")
    exec("def increment(n):\n    return n + 1", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    return module


def test_a_module_that_a_worker_lacks_is_named(only_here: types.ModuleType) -> None:
    task = asyncnb.offload(only_here.increment, 1, on="process")
    try:
        with pytest.raises(asyncnb.OffloadError, match="has no module 'only_here', which this"):
            task.join(30)
    finally:
        process.close()


def test_a_function_that_a_worker_lacks_is_named(only_here: types.ModuleType) -> None:
    payload = pack_call(only_here.increment, [1], {})
    status, data = run_job(1, "call", payload, lambda *report: None)
    assert (status, pickle.loads(data)) == ("done", 2)
    del only_here.increment  # as in an older version of that module
    status, data = run_job(2, "call", payload, lambda *report: None)
    assert status == "refused"
    assert "could not read what was sent: AttributeError" in pickle.loads(data)
    assert "'increment'" in pickle.loads(data)


def test_an_error_during_a_cancel_arrives_with_the_cancel_as_its_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail_in_cleanup() -> Any:
        try:
            print("begun", flush=True)  # a cancel may arrive while this returns
            time.sleep(60)
        finally:
            raise ValueError("in cleanup")

    captured = OutputCapture(monkeypatch)
    try:
        task = asyncnb.offload(fail_in_cleanup, on="process")
        captured.wait_for("begun")
        task.cancel()
        with pytest.raises(ValueError, match="in cleanup") as caught:
            task.join(20)
    finally:
        process.close()
    assert type(caught.value.__context__) is asyncio.CancelledError
