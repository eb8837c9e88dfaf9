"""Tasks whose cluster, or the network to it, is gone."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest

import asyncnb
from asyncnb._offload.engines import process
from asyncnb._offload.engines.dask import DaskEngine
from tests.offload.conftest import OutputCapture, by_value
from tests.offload.test_dask import distributed, stay

dask = pytest.importorskip("dask", reason="dask is not installed for this Python")

#: A whole cluster in one process, which can be killed or cut off at once and starts in a second.
_CLUSTER = """
import asyncio, sys
from distributed import Scheduler, Worker
async def main():
    async with Scheduler(host=sys.argv[1], port=0, dashboard=False) as scheduler:
        async with Worker(scheduler.address, nthreads=2, host=sys.argv[1]):
            print(scheduler.address, flush=True)
            await scheduler.finished()
asyncio.run(main())
"""


@pytest.fixture
def cluster():
    """Return a function that starts a cluster, by a command if given: its process and address."""
    started = []

    def start(host="127.0.0.1", *before):
        cluster = subprocess.Popen(
            [*before, sys.executable, "-c", _CLUSTER, host],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        started.append(cluster)
        assert cluster.stdout is not None
        return cluster, cluster.stdout.readline().strip()

    yield start
    asyncnb.embedded_loop().shutdown()
    process.close()
    for each in started:
        if each.poll() is None:
            os.killpg(each.pid, signal.SIGKILL)
        each.wait(20)
        each.stdout.close()


@pytest.fixture
def quick():
    """Make dask check its connections more often."""
    with dask.config.set(
        {
            "distributed.client.heartbeat": "200ms",
            "distributed.comm.timeouts.connect": "1s",
        }
    ):
        yield


@by_value
def answer():
    return 42


def fails_and_the_rest_keeps_running(client, task, match):
    with pytest.raises(asyncnb.WorkerLostError, match=match):
        task.join(30)
    assert task.info().state == "failed"
    with pytest.raises(asyncnb.WorkerLostError, match=r"lost its scheduler|is clos"):
        asyncnb.offload(answer, on=client).join(30)
    assert asyncnb.offload(answer, on="process").join(30) == 42


@pytest.mark.usefixtures("quick")
def test_a_killed_scheduler_fails_its_tasks_and_no_others(cluster, monkeypatch):
    scheduler, address = cluster()
    captured = OutputCapture(monkeypatch)
    with distributed.Client(address, timeout=2) as client:
        assert asyncnb.offload(answer, on=client).join(30) == 42
        task = asyncnb.offload(stay, on=client)
        captured.wait_for("begun")
        scheduler.kill()
        fails_and_the_rest_keeps_running(client, task, "lost its scheduler")


def _ip(*command):
    done = subprocess.run(["ip", *command], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"networks cannot be made here: ip {' '.join(command)}: {done.stderr.strip()}")


@pytest.fixture
def network():
    """A separate network and a cable to it: its name, an address in it, what cuts the cable."""
    if shutil.which("ip") is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("cutting a network takes Linux, root and the program ip")
    name, here = f"asyncnb{os.getpid()}", f"anb{os.getpid()}"[:15]
    _ip("netns", "add", name)
    try:
        _ip("link", "add", here, "type", "veth", "peer", "name", "there", "netns", name)
        _ip("addr", "add", "10.213.77.1/30", "dev", here)
        _ip("link", "set", here, "up")
        _ip("-n", name, "addr", "add", "10.213.77.2/30", "dev", "there")
        _ip("-n", name, "link", "set", "there", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        yield name, "10.213.77.2", lambda: _ip("-n", name, "link", "set", "there", "down")
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.mark.usefixtures("quick")
def test_a_cut_network_fails_the_tasks_behind_it(network, cluster, monkeypatch):
    name, host, cut = network
    _, address = cluster(host, "ip", "netns", "exec", name)
    captured = OutputCapture(monkeypatch)
    with distributed.Client(address, timeout=2) as client:
        assert asyncnb.offload(answer, on=client).join(30) == 42
        task = asyncnb.offload(stay, on=client)
        captured.wait_for("begun")
        # How long data may stay unanswered: dask sets 30 s and accepts no less than 11.
        line = client.scheduler_comm.comm.stream.socket
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000)
        cut()
        fails_and_the_rest_keeps_running(client, task, "lost its scheduler")


def test_a_result_lost_before_it_is_fetched_fails_its_task(cluster, monkeypatch):
    scheduler, address = cluster()
    fetch = DaskEngine._done

    async def kill_then_fetch(engine, job):
        scheduler.kill()
        await fetch(engine, job)

    with distributed.Client(address, timeout=2) as client:
        assert asyncnb.offload(answer, on=client).join(30) == 42
        monkeypatch.setattr(DaskEngine, "_done", kill_then_fetch)
        with pytest.raises(asyncnb.WorkerLostError, match="lost"):
            asyncnb.offload(bytes, 10_000_000, on=client).join(30)
