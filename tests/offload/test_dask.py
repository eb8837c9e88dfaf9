"""A real dask cluster on this machine: live output, a cancel that stops the work, lost workers."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import threading
import time

import pytest

import asyncnb
from tests.offload.conftest import OutputCapture, by_value, ended

distributed = pytest.importorskip(
    "distributed", reason="dask.distributed is not installed for this Python"
)


@pytest.fixture(scope="module")
def client(dask_cluster):
    with distributed.Client(dask_cluster(sys.executable)) as client:
        yield client
        asyncnb.embedded_loop().shutdown()


@by_value
def say(path):
    print("said", flush=True)
    while not os.path.exists(path):
        time.sleep(0.01)
    return "done"


@by_value
def stay():
    try:
        print("begun", flush=True)  # a cancel may arrive while this returns
        while True:
            time.sleep(0.01)
    finally:
        print("cleaned up", flush=True)


@by_value
def hold():
    print("begun", flush=True)
    time.sleep(600)


@by_value
def end():
    os._exit(3)


@by_value
def fail():
    return 1 / 0


def test_a_call_on_a_cluster(client, monkeypatch, tmp_path):
    captured = OutputCapture(monkeypatch)
    task = asyncnb.offload(say, str(tmp_path / "go"), on=client)
    captured.wait_for("said\n")
    asyncnb.run(asyncnb.sleep(0))
    info = task.info()
    assert (info.kind, info.state) == ("dask", "running")
    assert info.worker in client.scheduler_info()["workers"]
    (tmp_path / "go").touch()
    assert task.join(20) == "done"


def test_a_large_result_and_an_error(client):
    assert asyncnb.offload(bytes, 1_000_000, on=client).join(20) == bytes(1_000_000)
    with pytest.raises(ZeroDivisionError):
        asyncnb.offload(fail, on=client).join(20)


def test_cancel_stops_the_function_and_not_its_worker(client, monkeypatch):
    captured = OutputCapture(monkeypatch)
    task = asyncnb.offload(stay, on=client)
    captured.wait_for("begun")
    task.cancel()
    assert ended(task) == "cancelled"
    assert captured.text.getvalue() == "begun\ncleaned up\n"
    workers = set(client.scheduler_info()["workers"])
    assert task.info().worker in workers


def test_a_queued_task_never_starts_when_cancelled(client, monkeypatch, tmp_path):
    captured = OutputCapture(monkeypatch)
    busy = [asyncnb.offload(stay, on=client) for _ in range(2)]
    captured.wait_for("begun\nbegun")
    late = [asyncnb.offload((tmp_path / name).touch, on=client) for name in "abc"]
    for task in (*late, *busy):
        task.cancel()
    assert {ended(task) for task in (*late, *busy)} == {"cancelled"}
    assert not list(tmp_path.iterdir())


def test_the_worker_of_a_function_that_does_not_stop_is_restarted(client, monkeypatch):
    monkeypatch.setattr("asyncnb._offload.engines.dask.CANCEL_GRACE_SECONDS", 0.3)
    captured = OutputCapture(monkeypatch)
    monkeypatch.setattr(sys, "stderr", errors := io.StringIO())
    task = asyncnb.offload(hold, on=client)
    captured.wait_for("begun")
    task.cancel()
    assert ended(task) == "cancelled"
    assert "did not stop within 0.3 s" in errors.getvalue()
    assert asyncnb.offload(abs, -1, on=client).join(30) == 1  # by the other worker


def test_map_on_a_cluster(client):
    async def main():
        found = await asyncnb.map(abs, range(-200, 0), on=client)
        assert found == list(range(200, 0, -1))

    asyncnb.run(main(), timeout=60)


def test_the_executor_of_a_client_is_the_cluster_itself(client):
    task = asyncnb.offload(abs, -1, on=client.get_executor())
    assert task.join(20) == 1
    assert task.info().kind == "dask"


@by_value
def stay_until_stopped(path):
    try:
        print("begun", flush=True)  # a cancel may come while this returns
        while True:
            time.sleep(0.01)
    finally:
        open(path, "w").close()


def test_a_running_function_is_stopped_when_its_client_is_gone(dask_cluster, monkeypatch, tmp_path):
    captured = OutputCapture(monkeypatch)
    path = tmp_path / "stopped"
    with distributed.Client(dask_cluster(sys.executable)) as other:
        task = asyncnb.offload(stay_until_stopped, str(path), on=other)
        captured.wait_for("begun")
    with pytest.raises(asyncnb.WorkerLostError):
        task.join(20)
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, "it is still running"
        time.sleep(0.01)


def test_a_client_whose_loop_is_closed_before_it_reports(dask_cluster, monkeypatch):
    captured = OutputCapture(monkeypatch)
    late = threading.Event()
    with distributed.Client(dask_cluster(sys.executable)) as other:
        # Dask has one thread for callbacks.
        other.submit(abs, -1).add_done_callback(lambda _: late.wait(20))
        task = asyncnb.offload(stay, on=other)
        captured.wait_for("begun")
    assert not task.done()
    late.set()
    with pytest.raises(asyncnb.WorkerLostError, match="closed"):
        task.join(20)


def test_an_asynchronous_client_and_one_that_is_closed(client, monkeypatch):
    captured = OutputCapture(monkeypatch)
    address = client.scheduler.address

    async def main():
        async with distributed.Client(address, asynchronous=True) as client:
            assert await asyncnb.offload(abs, -1, on=client) == 1
            task = asyncnb.offload(stay, on=client)
            await asyncio.to_thread(captured.wait_for, "begun")
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            task = asyncnb.offload(stay, on=client)
            await asyncio.to_thread(captured.wait_for, "cleaned up\nbegun")
            await client.close()
            with pytest.raises(asyncnb.WorkerLostError):
                await task
            with pytest.raises(asyncnb.WorkerLostError, match="closed"):
                await asyncnb.offload(abs, -1, on=client)

    asyncnb.run(main(), timeout=60)


def test_a_lost_worker_fails_its_task_once_and_no_others(client, monkeypatch, tmp_path):
    client.wait_for_workers(2, timeout=60)
    captured = OutputCapture(monkeypatch)
    other = asyncnb.offload(say, str(tmp_path / "go"), on=client)
    captured.wait_for("said")
    with pytest.raises(asyncnb.WorkerLostError, match="KilledWorker"):
        asyncnb.offload(end, on=client).join(30)
    (tmp_path / "go").touch()
    assert other.join(20) == "done"


def test_overlapping_jobs_in_this_process_do_not_affect_its_own_progress(monkeypatch):
    from asyncnb import track
    from asyncnb._core.base.progress_observers import observe_progress

    seen = []
    end = observe_progress(lambda progress: seen.append((progress.label, progress.done)))
    begun = [threading.Event() for _ in range(2)]
    ended = [threading.Event() for _ in range(2)]
    monkeypatch.setitem(globals(), "_events", (begun, ended))
    try:
        with distributed.Client(
            processes=False, n_workers=1, threads_per_worker=4, dashboard_address=None
        ) as local:
            jobs = [asyncnb.offload(_report_here, index, on=local) for index in range(2)]
            assert all(event.wait(20) for event in begun)
            list(track([1], name="while they run"))
            for event, job in zip(ended, jobs, strict=True):  # the job that began first ends first
                event.set()
                job.join(20)
            list(track([1], name="afterwards"))
    finally:
        end()
        asyncnb.embedded_loop().shutdown()
    assert seen.count(("while they run", 1)) == 2  # the item and the end
    assert seen.count(("afterwards", 1)) == 2
    # Each job's reports arrived once, by its relay, and not as this process's own as well.
    assert [label for label, _ in seen].count("job 0") == [label for label, _ in seen].count(
        "job 1"
    )
    assert seen.count(("job 0", 2)) == 1


def _report_here(index):
    import sys

    from asyncnb import track

    begun, ended = sys.modules["tests.offload.test_dask"]._events
    for _ in track(range(2), name=f"job {index}"):
        pass
    begun[index].set()
    assert ended[index].wait(20)
    return index


_events = None
