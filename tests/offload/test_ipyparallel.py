"""A real ipyparallel cluster on this machine: live output, cancels, a lost engine."""

from __future__ import annotations

import os
import sys
import time

import pytest

import asyncnb
from tests.offload.conftest import OutputCapture, by_value, ended

ipyparallel = pytest.importorskip(
    "ipyparallel", reason="ipyparallel is not installed for this Python"
)


@pytest.fixture(scope="module")
def client(engines):
    client = ipyparallel.Client(engines(sys.executable))
    yield client
    asyncnb.embedded_loop().shutdown()
    client.close()


@pytest.fixture
def view(client):
    return client.load_balanced_view()


@by_value
def say(path):
    print("said")
    while not os.path.exists(path):
        time.sleep(0.01)
    return "done"


@by_value
def stay():
    try:
        print("begun")  # a cancel may arrive while this returns
        time.sleep(600)
    finally:
        print("cleaned up")


@by_value
def end():
    os._exit(3)


@by_value
async def later(message):
    import asyncio

    await asyncio.sleep(0)
    print(message)
    return message


def test_a_call_on_an_engine(view, monkeypatch, tmp_path):
    captured = OutputCapture(monkeypatch)
    task = asyncnb.offload(say, str(tmp_path / "go"), on=view)
    captured.wait_for("said\n")
    asyncnb.run(asyncnb.sleep(0))
    info = task.info()
    assert (info.kind, info.state) == ("ipyparallel", "running")
    assert str(info.worker).startswith("engine ")
    (tmp_path / "go").touch()
    assert task.join(20) == "done"


def test_errors_coroutines_and_other_kinds_of_view(client, view, monkeypatch):
    captured = OutputCapture(monkeypatch)
    with pytest.raises(ZeroDivisionError):
        asyncnb.offload(divmod, 1, 0, on=view).join(20)
    assert asyncnb.offload(later, "there", on=view).join(20) == "there"
    assert captured.text.getvalue() == "there\n"
    for on in (client, client[:], client[1]):
        assert asyncnb.offload(abs, -1, on=on).join(20) == 1
    assert asyncnb.offload(os.getpid, on=client[1]).join(20) == client[1].apply_sync(os.getpid)


def test_cancel_interrupts_the_function_and_not_its_engine(client, view, monkeypatch):
    captured = OutputCapture(monkeypatch)
    engines = client.ids
    task = asyncnb.offload(stay, on=view)
    captured.wait_for("begun")
    task.cancel()
    assert ended(task) == "cancelled"
    assert captured.text.getvalue() == "begun\ncleaned up\n"
    assert asyncnb.offload(abs, -1, on=view).join(20) == 1
    assert client.ids == engines


def test_a_queued_task_never_starts_when_cancelled(view, monkeypatch, tmp_path):
    captured = OutputCapture(monkeypatch)
    busy = [asyncnb.offload(stay, on=view) for _ in range(2)]
    captured.wait_for("begun\nbegun")
    late = [asyncnb.offload((tmp_path / name).touch, on=view) for name in "abc"]
    for task in (*late, *busy):
        task.cancel()
    assert {ended(task) for task in (*late, *busy)} == {"cancelled"}
    assert asyncnb.offload(abs, -1, on=view).join(20) == 1
    assert not list(tmp_path.iterdir())


def test_map_on_a_cluster(view):
    async def main():
        found = await asyncnb.map(abs, range(-100, 0), on=view)
        assert found == list(range(100, 0, -1))

    asyncnb.run(main(), timeout=60)


def test_a_lost_engine_fails_its_task_and_no_others(view, monkeypatch, tmp_path):
    captured = OutputCapture(monkeypatch)
    other = asyncnb.offload(say, str(tmp_path / "go"), on=view)
    captured.wait_for("said")
    with pytest.raises(asyncnb.WorkerLostError, match="died while running"):
        asyncnb.offload(end, on=view).join(60)
    (tmp_path / "go").touch()
    assert other.join(20) == "done"
    assert asyncnb.offload(abs, -1, on=view).join(20) == 1
