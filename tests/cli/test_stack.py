"""`asyncnb stack`: a task, the main thread, and a kernel that does not answer, from outside."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asyncnb._client import outside, processes
from asyncnb._client.errors import ClientError
from tests.cli.kernels import Runtime, named, runtime
from tests.kernel.driver import Kernel

__all__ = ["runtime"]

#: A cell that holds the interpreter in C until the file "over" is there, as bad extensions do.
HOLDS = """
import ctypes, pathlib
def hold():
    while not pathlib.Path('hold').exists(): time.sleep(0.01)
    read = ctypes.PyDLL(None).read
    pathlib.Path('held').touch()
    read(pipe, ctypes.create_string_buffer(1), 1)
print('ready')
hold()
"""


@pytest.fixture
def mine(kernel: Kernel, runtime: Runtime) -> Iterator[Kernel]:
    runtime.add(kernel, "mine")
    yield kernel


def test_a_task_is_shown_down_to_what_it_awaits(runtime: Runtime, mine: Kernel) -> None:
    mine.ok(
        "async def inner(): await asyncio.Event().wait()\n"
        "async def outer(): await inner()\n"
        "task = asyncnb.launch(outer(), name='deep')\nawait asyncio.sleep(0.01)"
    )
    said = runtime.run("stack", "deep").stdout
    assert said.splitlines()[1:] == mine.ok("%tasks stack deep").stdout.splitlines()[1:]
    assert "in inner()" in said
    assert "waits for: Event.wait" in said
    answer = runtime.run("stack", "deep", "--json").json
    assert [frame[2] for frame in answer["frames"]][:2] == ["outer()", "inner()"]
    assert answer["text"].startswith("deep: waiting")


def test_the_thread_of_a_task_is_shown(runtime: Runtime, mine: Kernel) -> None:
    mine.ok("%%atask worker\ngo = threading.Event()\nprint('in thread')\ngo.wait()").wait_for(
        "in thread"
    )
    said = runtime.run("stack", "worker").stdout
    assert "its thread is at:" in said
    assert "go.wait()" in said
    mine.ok("go.set()\n%tasks wait worker")


def test_without_a_name_it_is_the_main_thread(runtime: Runtime, mine: Kernel) -> None:
    assert runtime.run("stack").stdout == "main thread: idle\n"
    mine.ok("task = asyncnb.launch(asyncio.Event().wait(), name='gate')")
    cell = mine.submit(
        "def spin():\n    while not task.done(): time.sleep(0.01)\nprint('spins')\nspin()"
    ).wait_for("spins")
    head, *frames = runtime.run("stack").stdout.splitlines()
    assert head.startswith(f"main thread: In[{cell.number}] runs since ")
    assert frames[0].endswith(f"In[{cell.number}], line 4")
    assert "spin()" in frames[2]
    runtime.run("cancel", "gate")
    cell.wait()


def test_of_a_cell_that_awaits_it_is_what_that_awaits(runtime: Runtime, mine: Kernel) -> None:
    mine.ok("task = asyncnb.launch(asyncio.Event().wait(), name='gate')")
    cell = mine.submit("print('awaits')\nawait asyncio.wait([task])").wait_for("awaits")
    said = runtime.run("stack").stdout
    assert f"main thread: In[{cell.number}] runs since " in said
    assert "on the loop's thread" in said
    assert "await asyncio.wait([task])" in said
    runtime.run("cancel", "gate")
    cell.wait()


def test_several_kernels_need_a_choice(
    runtime: Runtime, mine: Kernel, start_kernel: Callable[..., Kernel]
) -> None:
    runtime.add(start_kernel(), "other")
    assert "2 kernels have asyncnb loaded. Name one" in runtime.refused("stack")


@pytest.mark.skipif(sys.platform == "win32", reason="no pipe that C reads in the same way")
def test_a_kernel_whose_interpreter_is_held_is_read_from_outside(
    runtime: Runtime, start_kernel: Callable[..., Kernel]
) -> None:
    kernel = start_kernel(**named("/x/held.ipynb"))
    runtime.add(kernel, "held")
    kernel.ok("import os; fifo = 'fifo'; os.mkfifo(fifo); pipe = os.open(fifo, os.O_RDWR)")
    version = tuple(kernel.evaluate("sys.version_info[:2]"))
    cell = kernel.submit(HOLDS).wait_for("ready")
    marks = kernel.scratch
    (marks / "hold").touch()
    while not (marks / "held").exists():
        assert kernel.alive
        time.sleep(0.01)
    try:
        command = ("stack", "-k", "held", "--timeout", "1")
        assert "no answer" in (shown := runtime.run("ps", "--timeout", "1").stdout)
        assert "but its heartbeat does: code in C holds the interpreter" in shown
        found = processes.processes_of([marks / "connection.json"])
        assert [each.pid for each in found.values()] == [kernel.pid]
        if version < (3, 14):
            said = runtime.refused(*command)
            assert "from outside, Python 3.14 and later can be read" in said
            assert f"`sudo py-spy dump --pid {kernel.pid}`" in said
        else:
            said = runtime.run(*command, code=_allowed(found.popitem()[1])).stdout
            if said:
                assert f"Read from outside, process {kernel.pid}:" in said
                assert ", in hold()" in said
                assert "tasks" in said
    finally:
        (marks / "fifo").write_bytes(b"x")
    cell.wait()


def _allowed(process: processes.Process) -> int:
    """The exit code: 1 where the system does not let us read processes."""
    try:
        outside.read(process)
    except ClientError as exc:
        assert "does not allow" in str(exc)
        return 1
    return 0


def test_what_cannot_be_read_from_outside_is_said(tmp_path: Path) -> None:
    this = processes.Process(2**30, False, None, sys.executable)
    with pytest.raises(ClientError, match="With py-spy"):
        outside.read(this)
    with pytest.raises(ClientError, match="cannot be read from outside"):
        outside.read(this._replace(program=str(tmp_path / "gone")))
