"""`asyncnb mcp`: a real client of the `mcp` package, over stdio, with real kernels."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.driver import DEADLINE, ROOT, Kernel, environment

pytest.importorskip("mcp.server.mcpserver", reason="mcp 2 or a dependency has no wheel here")
from tests.mcp.agent import Agent

FOREVER = "import asyncio\nprint('begins')\nawait asyncio.Event().wait()"
BLOCKS = "released = []\nprint('blocks')\nwhile not released:\n    time.sleep(0.01)"
PICTURE = """
import base64
from IPython.display import display
data = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
display({"image/png": data, "text/plain": "<a picture>"}, raw=True)
print("shown")
"""
HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}
READS = {"list_kernels", "list_tasks", "read_output", "wait", "stack", "variables"}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    agent = Agent(tmp_path_factory.mktemp("agent") / "runtime")
    yield agent
    agent.close()


@pytest.fixture
def here(agent: Agent, kernel: Kernel) -> str:
    """The id of the shared kernel."""
    return agent.add(kernel)


def test_three_cells_run_while_another_one_blocks(agent: Agent, kernel: Kernel, here: str) -> None:
    if not kernel.has_subshells:
        pytest.skip("this kernel runs one cell after the other: see the next test")
    blocking = kernel.submit(BLOCKS).wait_for("blocks")
    first = agent.ok("start_cell", code=FOREVER, name="first", kernel=here)
    second = agent.ok("start_cell", code="x = 6 * 7\nprint('computed')\nx", kernel=here)
    third = agent.ok("start_cell", code=PICTURE, name="third", kernel=here)
    assert "beside" in first["note"]
    states = agent.ended(second["cell"], third["cell"])
    assert [each["state"] for each in states] == ["done", "done"]
    assert states[0]["tail"] == "computed\n42\n"
    assert agent.ok("wait", cells=[first["cell"]], timeout=0) == {
        "ended": False,
        "cells": [{"cell": first["cell"], "state": "waiting", "lines": 1, "tail": "begins\n"}],
    }
    tasks = {each["cell"]: each for each in agent.ok("list_tasks", kernel=here)["tasks"]}
    assert {first["cell"], second["cell"], third["cell"]} <= tasks.keys()
    assert tasks[first["cell"]]["name"] == "first"
    [frame, *_] = agent.ok("stack", cell=first["cell"])["tasks"][0]["frames"]
    assert frame["source"] == "await asyncio.Event().wait()"
    assert agent.ok("cancel", cell=first["cell"])["state"] == "cancelled"
    assert "nothing to do" in agent.ok("cancel", cell=first["cell"])["text"]
    assert blocking.reply is None, "the blocking cell was disturbed"
    agent.ended(agent.ok("start_cell", code="released.append(1)", kernel=here)["cell"])
    assert blocking.wait().status == "ok"
    assert kernel.evaluate("x") == 42
    assert blocking.text == "blocks\n", "output of another cell"


def test_a_kernel_without_subshells_says_what_a_cell_is_queued_behind(
    agent: Agent, kernel: Kernel, here: str, tmp_path: Path
) -> None:
    if kernel.has_subshells:
        pytest.skip("this kernel has subshells")
    blocking = kernel.submit(BLOCKS, cell_id="the-slow-one").wait_for("blocks")
    started = agent.ok("start_cell", code="6 * 7", kernel=here)
    assert started["state"] == "queued"
    assert "the-slow-one" in started["note"]
    assert "queued" in agent.refused("cancel", cell=started["cell"])
    assert not agent.ok("wait", cells=[started["cell"]], timeout=0.1)["ended"]
    kernel.interrupt()  # ipykernel then drops what is queued
    blocking.wait()
    [state] = agent.ended(started["cell"])
    assert (state["state"], state["error"]["type"]) == ("failed", "Aborted")
    free = tmp_path / "free"
    waits = f"print('waits')\nwhile not __import__('os').path.exists({str(free)!r}): pass"
    kernel.submit(waits).wait_for("waits")
    started = agent.ok("start_cell", code="6 * 7", kernel=here)
    assert started["state"] == "queued"
    free.touch()
    assert agent.ended(started["cell"])[0]["tail"] == "42\n"


def test_a_cell_that_fails_tells_the_line(agent: Agent, here: str) -> None:
    code = "import asyncio\nawait asyncio.sleep(0)\n\ndef f():\n    return 1 / 0\n\nf()"
    cell = agent.ok("start_cell", code=code, kernel=here)["cell"]
    [state] = agent.ended(cell)
    assert state["state"] == "failed"
    error = agent.ok("read_output", cell=cell)["error"]
    assert (error["type"], error["message"]) == ("ZeroDivisionError", "division by zero")
    assert error["line"] == 5
    assert error["lines"].splitlines()[3] == "--> 5     return 1 / 0"
    assert "in_cell" not in error
    other = agent.ok("start_cell", code="print('calls')\nf()", kernel=here)["cell"]
    [state] = agent.ended(other)
    assert state["error"]["in_cell"] > 0
    assert "return 1 / 0" in state["error"]["lines"]
    assert "ZeroDivisionError" in agent.ok("stack", cell=other)["tasks"][0]["traceback"]


def test_a_cell_that_cannot_start_is_refused_and_nothing_runs(agent: Agent, here: str) -> None:
    result = agent.call("start_cell", code="a = 1\nb = 1 +* 2", kernel=here)
    assert result.is_error
    assert result.structured_content["error"]["type"] == "SyntaxError"
    assert "--> 2 b = 1 +* 2" in result.content[0].text
    agent.ok("start_cell", code=FOREVER, name="taken", kernel=here)
    assert "replace=true" in agent.refused("start_cell", code="1", name="taken", kernel=here)
    agent.ok("start_cell", code=FOREVER, name="taken", kernel=here, replace=True)
    refused = [
        agent.refused("start_cell", code=" \n", kernel=here),
        agent.refused("start_cell", code="1", timeout=-1, kernel=here),
        agent.refused("start_cell", code="1", name="--on", kernel=here),
        agent.refused("start_cell", code="1", on="moon", kernel=here),
        agent.refused("start_cell", kernel=here),
    ]
    assert all(refused)
    assert agent.ok("list_tasks", kernel=here, state="waiting")["total"] == 1


def test_names_that_do_not_exist_are_refused_with_those_that_do(
    agent: Agent, kernel: Kernel, here: str
) -> None:
    cell = agent.ok("start_cell", code="print('one')", name="exists", kernel=here)["cell"]
    agent.ended(cell)
    for tool in ("read_output", "cancel", "pause", "resume", "stack"):
        assert "exists" in agent.refused(tool, cell="nope", kernel=here)
    assert "exists" in agent.refused("wait", cells=[cell, "nope"], kernel=here)
    assert "No kernel named 'nope'" in agent.refused("variables", kernel="nope")
    assert here in agent.refused("list_tasks", kernel="nope")
    assert "4 characters" in agent.refused("read_output", cell=cell, cursor=1000)
    assert "start_kernel" in agent.refused("stop_kernel", kernel=here)
    assert kernel.alive


def test_pictures_arrive_as_images(agent: Agent, here: str) -> None:
    cell = agent.ok("start_cell", code=PICTURE, kernel=here)["cell"]
    agent.ended(cell)
    result = agent.call("read_output", cell=cell)
    text, image = result.content
    assert json.loads(text.text) == result.structured_content
    assert result.structured_content["images"] == 1
    assert result.structured_content["text"].splitlines()[-1] == "shown"
    assert image.mime_type == "image/png"
    assert base64.b64decode(image.data).startswith(b"\x89PNG")
    again = agent.call("read_output", cell=cell, cursor=result.structured_content["cursor"])
    assert len(again.content) == 1 and again.structured_content["text"] == ""


def test_a_hundred_thousand_lines_are_a_head_a_tail_and_a_count(agent: Agent, here: str) -> None:
    cell = agent.ok("start_cell", code="for i in range(100_000): print('line', i)", kernel=here)
    cell = cell["cell"]
    agent.ended(cell)
    output = agent.ok("read_output", cell=cell, head=2, tail=2)
    assert output["lines"] == 100_000
    assert output["omitted"] == 99_996
    assert output["text"].splitlines()[::4] == ["line 0", "line 99999"]
    assert len(output["text"]) < 200
    page = agent.ok("read_output", cell=cell, head=3, tail=0)
    assert page["text"] == "line 0\nline 1\nline 2\n"
    page = agent.ok("read_output", cell=cell, head=2, tail=0, cursor=page["cursor"])
    assert page["text"] == "line 3\nline 4\n"
    assert agent.ok("read_output", cell=cell, cursor=output["cursor"])["text"] == ""


def test_tasks_of_the_user_are_handles_too(agent: Agent, kernel: Kernel, here: str) -> None:
    mine = kernel.ok(f"%%atask mine\n{FOREVER}", cell_id="of-the-user").wait_for("begins")
    [task] = agent.ok("list_tasks", kernel=here, state="waiting")["tasks"]
    assert (task["name"], task["cell"]) == ("mine", "of-the-user")
    for handle in ("mine", str(task["task"]), "of-the-user"):
        assert agent.ok("read_output", cell=handle, kernel=here)["text"] == "begins\n"
    assert agent.ok("pause", cell="mine", kernel=here)["state"] == "paused"
    assert agent.ok("resume", cell="mine", kernel=here)["state"] == "waiting"
    assert agent.ok("cancel", cell="of-the-user", kernel=here)["state"] == "cancelled"
    assert mine.errors == []


def test_variables_are_named_without_running_their_code(
    agent: Agent, kernel: Kernel, here: str
) -> None:
    kernel.ok(
        """
        ran = []
        class Meta(type):
            def __hash__(cls): ran.append("hash"); return 1
            def __eq__(cls, other): ran.append("eq"); return False
            def __getattribute__(cls, name): ran.append(name); return super().__getattribute__(name)
        class Evil(metaclass=Meta):
            def __getattribute__(self, name): ran.append(name); return 1
            def __len__(self): ran.append("len"); return 1
            def __repr__(self): ran.append("repr"); return "?"
        class Big(list):
            def __len__(self): ran.append("len"); return 1
        ran.clear()
        v_evil, v_big, v_list, v_int, v_text = Evil(), Big(), [1, 2], 7, "a" * 1000
        import numpy
        v_array = numpy.zeros((2, 3))
        ran.clear()
        """
    )
    found = agent.ok("variables", kernel=here, pattern="v_*")
    by_name = {each.pop("name"): each for each in found["variables"]}
    assert found["total"] == 6 and list(by_name) == sorted(by_name)
    assert by_name["v_array"] == {"type": "numpy.ndarray", "shape": [2, 3], "dtype": "float64"}
    assert by_name["v_list"] == {"type": "list", "length": 2}
    assert by_name["v_int"] == {"type": "int", "value": "7"}
    assert by_name["v_text"]["length"] == 1000 and len(by_name["v_text"]["value"]) < 100
    assert by_name["v_evil"] == {"type": "__main__.Evil"}
    assert by_name["v_big"] == {"type": "__main__.Big"}
    assert kernel.evaluate("ran") == []


def test_a_kernel_that_dies_or_restarts_loses_its_cells(agent: Agent, fresh_kernel: Kernel) -> None:
    here = agent.add(fresh_kernel)
    before = agent.ok("start_cell", code=FOREVER, kernel=here)["cell"]
    agent.ok("start_cell", code="print('other')", kernel=here)
    fresh_kernel.restart()
    [state] = agent.ended(before)
    assert (state["state"], state["error"]["type"]) == ("lost", "KernelDied")
    assert "restarted" in agent.refused("cancel", cell=before)
    after = agent.ok("start_cell", code=FOREVER, kernel=here)["cell"]
    assert after != before
    fresh_kernel.shutdown(now=True)
    [state] = agent.ended(after)
    assert state["state"] == "lost"
    assert "died" in agent.refused("start_cell", code="1", kernel=here)


def test_a_kernel_without_asyncnb_is_left_alone(agent: Agent, start_kernel) -> None:
    kernel = start_kernel(extension=False)
    here = agent.add(kernel)
    listed = {each["kernel"]: each for each in agent.ok("list_kernels")["kernels"]}
    assert listed[here]["state"] == "without asyncnb"
    assert "%load_ext asyncnb" in agent.refused("start_cell", code="1", kernel=here)
    assert kernel.evaluate("'asyncnb' in get_ipython().extension_manager.loaded") is False


def test_kernels_that_the_server_starts_end_with_it(tmp_path: Path) -> None:
    agent = Agent(tmp_path / "runtime", IPYTHONDIR=str(tmp_path / "ipython"))
    try:
        assert "no folder" in agent.refused("start_kernel", directory="/no/such/folder").lower()
        assert "python3" in agent.refused("start_kernel", kernel_name="no-such-kernel")
        started = agent.ok("start_kernel", directory=str(tmp_path))
        Kernel.started.append(started["pid"])  # the session looks for survivors
        assert started["started_here"] and started["state"] == "alive"
        cell = agent.ok("start_cell", code="import os; print(os.getcwd())")["cell"]
        assert agent.ended(cell)[0]["tail"] == f"{tmp_path}\n"
        other = agent.ok("start_kernel")
        Kernel.started.append(other["pid"])
        assert agent.ok("stop_kernel", kernel=other["kernel"])["text"] == "shut down"
        assert [k["kernel"] for k in agent.ok("list_kernels")["kernels"]] == [started["kernel"]]
    finally:
        agent.close()
    assert list((tmp_path / "runtime").glob("kernel-*")) == []


def test_the_tools_say_what_they_do(agent: Agent) -> None:
    tools = agent.run(agent.client.list_tools()).tools
    assert {each.name for each in tools if each.annotations.read_only_hint} == READS
    destructive = {each.name for each in tools if each.annotations.destructive_hint}
    assert destructive == {"start_cell", "cancel", "stop_kernel"}
    page = (ROOT / "notebooks/reference/agents.md").read_text(encoding="utf-8")
    table = page.partition("| tool |")[2].partition("\n\n")[0]
    named = re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines()[2:]))
    assert sorted(named) == sorted(each.name for each in tools)
    for tool in tools:
        assert tool.description and tool.output_schema["type"] == "object"
    # An agent pays for each character in every conversation.
    assert sum(len(json.dumps(tool.input_schema) + tool.description) for tool in tools) < 9000


def started_server(tmp_path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "asyncnb", "mcp"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(tmp_path),
        text=True,
    )


def say(server: subprocess.Popen[str], **message: object) -> None:
    server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    server.stdin.flush()


@pytest.mark.skipif(sys.platform == "win32", reason="ends a process without its doing anything")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_and_its_kernels(tmp_path: Path, number: int) -> None:
    with started_server(tmp_path) as server:
        say(server, id=1, method="initialize", params=HELLO)
        server.stdout.readline()
        say(server, method="notifications/initialized")
        start = {"name": "start_kernel", "arguments": {}}
        say(server, id=2, method="tools/call", params=start)
        started = json.loads(server.stdout.readline())["result"]["structuredContent"]
        Kernel.started.append(started["pid"])
        server.send_signal(number)
        assert server.wait(DEADLINE) == 128 + number
    assert list((tmp_path / "runtime").glob("kernel-*")) == []


def test_stdout_has_nothing_but_the_protocol(tmp_path: Path) -> None:
    with started_server(tmp_path) as server:
        say(server, id=1, method="initialize", params=HELLO)
        answer = json.loads(server.stdout.readline())
        assert answer["result"]["serverInfo"]["name"] == "asyncnb"
        say(server, method="notifications/initialized")
        server.stdin.write("no message\n")
        rest, _ = server.communicate(timeout=DEADLINE)
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in rest.splitlines())
    assert server.returncode == 0


def test_without_the_package_one_sentence_says_what_to_install() -> None:
    code = "import sys; sys.modules['mcp'] = None\nfrom asyncnb._cli.main import main\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}sys.exit(main(['mcp']))"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 2 and done.stdout == ""
    assert "asyncnb[mcp]" in done.stderr and len(done.stderr.splitlines()) == 1
