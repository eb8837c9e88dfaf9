"""`asyncnb ps`: what it says of real kernels in each state that a kernel can be in."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from zmq import curve_keypair

from tests.cli.kernels import Runtime, closed_port, named, runtime
from tests.kernel.driver import DEADLINE, Kernel

__all__ = ["runtime"]

NOTEBOOK = "/home/me/work/analysis.ipynb"
PATIENT = "task = asyncnb.launch(asyncio.Event().wait(), name='patient')"


@pytest.fixture(scope="module")
def mine(python: str) -> Iterator[Kernel]:
    kernel = Kernel(python, **named(NOTEBOOK))
    kernel.ok(PATIENT)
    yield kernel
    kernel.shutdown(now=True)


def only(listed: dict[str, Any]) -> dict[str, Any]:
    [kernel] = listed["kernels"]
    return dict(kernel)


def test_kernels_are_listed_by_notebook_with_a_tree_of_tasks(
    runtime: Runtime, mine: Kernel
) -> None:
    runtime.add(mine, "0123-45")
    mine.ok(
        "async def parent():\n"
        "    await asyncnb.launch(asyncio.Event().wait(), name='child', group='g')\n"
        "tree = asyncnb.launch(parent(), name='parent')\n"
        "await asyncio.sleep(0)\n"
        "over = asyncnb.launch(asyncio.sleep(0), name='over')\nawait over"
    )
    head, columns, *rows = runtime.run("ps").stdout.splitlines()
    assert head.startswith(f"{NOTEBOOK}  pid {mine.pid}  up ")
    assert head.endswith("  idle")
    assert columns.split() == ["ID", "NAME", "STATE", "AGE", "WAITS", "FOR", "GROUP"]
    assert [row.split()[1] for row in rows] == ["patient", "parent", "child"]
    assert rows[1].index("parent") + 2 == rows[2].index("child"), "the child is indented"
    assert rows[2].endswith("  g")
    assert "over" in runtime.run("ps", "--all").stdout
    listed = only(runtime.run("ps", "--json").json)
    assert listed["state"] == "alive"
    assert listed["notebook"] == NOTEBOOK
    assert listed["busy"] is listed["blocked"] is None
    assert [task["name"] for task in listed["tasks"]] == ["patient", "parent", "child"]
    shown = runtime.run("ps", "--limit", "1").stdout
    assert "and 2 more tasks; --limit N shows more" in shown
    mine.ok("asyncnb.cancel('parent')\n%tasks clear")


def test_ten_thousand_ended_tasks_hide_none_that_live(runtime: Runtime, mine: Kernel) -> None:
    runtime.add(mine, "a")
    mine.ok(
        "%asyncnb option history 3000\n"
        "async def nothing(): pass\n"
        "for n in range(2500): asyncnb.launch(nothing(), name=f'ended {n}')\n"
        "late = asyncnb.launch(asyncio.Event().wait(), name='late')\nawait asyncio.sleep(0)"
    )
    assert "late" in runtime.run("ps").stdout
    listed = only(runtime.run("ps", "--all", "--json").json)
    assert len(listed["tasks"]) == listed["total"] == len({each["id"] for each in listed["tasks"]})
    mine.ok("asyncnb.cancel('late')\n%tasks clear")


def test_a_cell_that_runs_or_awaits_is_named_with_its_number(
    runtime: Runtime, mine: Kernel
) -> None:
    runtime.add(mine, "a")
    cell = mine.submit("print('runs')\nwhile not task.done(): time.sleep(0.01)", cell_id="it")
    cell.wait_for("runs")
    busy = only(runtime.run("ps", "--json").json)["busy"]
    assert (busy["cell"], busy["cell_id"], busy["awaits"]) == (cell.number, "it", False)
    assert f"  In[{cell.number}] runs since " in runtime.run("ps").stdout
    runtime.run("cancel", "patient")
    cell.wait()
    mine.ok(PATIENT)
    cell = mine.submit("print('awaits')\nawait asyncio.wait([task])").wait_for("awaits")
    assert f"  In[{cell.number}] awaits since " in runtime.run("ps").stdout
    runtime.run("cancel", "patient")
    cell.wait()
    mine.ok(PATIENT)
    assert runtime.run("ps").stdout.splitlines()[0].endswith("  idle")


def test_what_blocks_the_loop_is_shown(runtime: Runtime, mine: Kernel) -> None:
    runtime.add(mine, "a")
    mine.ok(
        "import pathlib; marker = pathlib.Path('over')\n"
        "async def rude():\n"
        "    while not marker.exists(): time.sleep(0.01)\n"
        "rude = asyncnb.launch(rude(), name='rude')"
    )
    until = time.monotonic() + DEADLINE
    while not (blocked := only(runtime.run("ps", "--json").json)["blocked"]):
        assert time.monotonic() < until
    assert blocked["name"] == "rude"
    assert "  loop blocked for " in runtime.run("ps").stdout
    assert "rude: running" in runtime.run("stack", "rude").stdout
    (mine.scratch / "over").touch()
    mine.ok("await rude")


def test_an_encrypted_kernel_is_listed_and_one_with_other_keys_is_not_waited_for(
    runtime: Runtime, start_kernel: Callable[..., Kernel], python: str
) -> None:
    if not has_encryption(python):
        pytest.skip("this ipykernel or jupyter_client has no encryption")
    runtime.add(start_kernel(encrypted=True), "encrypted")
    info = json.loads((runtime.folder / "kernel-encrypted.json").read_bytes())
    other = dict(zip(("curve_publickey", "curve_secretkey"), curve_keypair(), strict=True))
    runtime.write("plain", **{name: info[name] for name in info if "curve" not in name})
    runtime.write("other", **info | {name: key.decode() for name, key in other.items()})
    runtime.write("invalid", **info | {"curve_publickey": "x"})
    assert "  encrypted  idle" in runtime.run("ps", "-k", "encrypted").stdout
    listed = runtime.run("ps", "--json", "--timeout", "1").json["kernels"]
    found = {each["id"]: each["state"] for each in listed}
    assert found.pop("encrypted") == "alive"
    assert {*found.values()} == {"no answer"}, listed
    assert "that ZeroMQ refuses" in runtime.refused("stack", "-k", "invalid")


def has_encryption(python: str) -> bool:
    """Whether jupyter_client here, and ipykernel there, encrypt what they send."""
    offer = "import ipykernel.kernelspec as k; print(k.get_kernel_dict().get('metadata'))"
    done = subprocess.run([python, "-c", offer], capture_output=True, text=True, check=True)
    here = KernelManager.class_traits(config=True).get("transport_encryption")
    return here is not None and "curve" in done.stdout


def test_foreign_kernels_dead_ones_and_files_of_no_kernel(
    runtime: Runtime, mine: Kernel, start_kernel: Callable[..., Kernel]
) -> None:
    foreign = start_kernel(extension=False, **named("/x/foreign.ipynb"))
    runtime.add(mine, "mine")
    runtime.add(foreign, "foreign")
    dead = {f"{name}_port": closed_port() for name in ("shell", "iopub", "control", "hb")}
    runtime.write("dead", transport="tcp", ip="127.0.0.1", key="", **dead)
    runtime.write("bad", transport="tcp")
    (runtime.folder / "kernel-half.json").write_text('{"shell_port": 1')
    (runtime.folder / "kernel-binary.json").write_bytes(b"\xff\xfe\x00")
    shown = runtime.run("ps").stdout
    assert "1 kernel has ended; --all lists them." in shown
    assert shown.count("is not a connection file of a kernel") == 3
    version = foreign.evaluate("__import__('sys').version.split()[0]")
    assert f"python {version}, without asyncnb" in shown
    if sys.platform == "linux":
        assert f"/x/foreign.ipynb  pid {foreign.pid}" in shown
    listed = runtime.run("ps", "--json").json
    states = {each["id"]: each["state"] for each in listed["kernels"]}
    assert states == {"mine": "alive", "foreign": "without asyncnb", "dead": "dead"}
    assert len(listed["not_kernels"]) == 3
    assert "dead  has ended" in runtime.run("ps", "--all").stdout
    assert "is not running" in runtime.refused("cancel", "x", "-k", "dead")
    assert "%load_ext asyncnb" in runtime.refused("cancel", "x", "-k", "foreign")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGSTOP")
def test_a_stopped_kernel_and_a_port_of_another_program_cost_the_patience_once(
    runtime: Runtime, mine: Kernel, start_kernel: Callable[..., Kernel]
) -> None:
    stopped = start_kernel(extension=False)
    runtime.add(mine, "alive")
    runtime.add(stopped, "stopped")
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = dict.fromkeys(("shell_port", "iopub_port", "control_port", "hb_port"))
        ports = dict.fromkeys(ports, other.getsockname()[1])
        runtime.write("reused", transport="tcp", ip="127.0.0.1", key="k", **ports)
        info = json.loads((mine.scratch / "connection.json").read_bytes())
        runtime.write("wrong signature", **info | {"key": "another one"})
        os.kill(stopped.pid, signal.SIGSTOP)
        try:
            listed = runtime.run("ps", "--json", "--timeout", "1").json
        finally:
            os.kill(stopped.pid, signal.SIGCONT)
    found = {each["id"]: each for each in listed["kernels"]}
    assert found["alive"]["state"] == "alive"
    assert found["wrong signature"]["state"] == "no answer"
    assert found["reused"]["error"].endswith("or another program has its port now.")
    if sys.platform == "linux":
        assert f"`kill -CONT {stopped.pid}` continues it" in found["stopped"]["error"]
