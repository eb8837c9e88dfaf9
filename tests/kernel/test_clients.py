"""Programs that run cells and read on: each line of late output once, as in a front end.

The other kind of program, which stops reading where a cell ends, is in ``test_headless.py``.
"""

from __future__ import annotations

import itertools

import pytest
import zmq
from jupyter_client.blocking import BlockingKernelClient

from tests.kernel.driver import DEADLINE

nbformat = pytest.importorskip("nbformat")


class Reader:
    """A client of jupyter_client's that allows no stdin, and keeps outputs as a front end does."""

    def __init__(self, connection_file: str) -> None:
        self.client = BlockingKernelClient(
            connection_file=connection_file, context=zmq.Context.instance()
        )
        self.client.load_connection_file()
        self.client.start_channels(shell=True, iopub=True, stdin=False, hb=False, control=False)
        self.client.wait_for_ready(timeout=DEADLINE)
        self.outputs: dict[str, list] = {}  # by the message of the cell
        self.texts: list[str] = []  # of all messages but updates, as a program without displays

    def run(self, code: str, **options) -> str:
        assert not self.client.allow_stdin
        cell = self.client.execute(code, **options)
        reply = self.client.get_shell_msg(timeout=DEADLINE)
        assert reply["content"]["status"] == "ok", reply["content"]
        self.read_until(lambda m: m["parent_header"].get("msg_id") == cell and is_idle(m))
        return cell

    def read_until(self, arrived) -> None:
        while True:
            message = self.client.get_iopub_msg(timeout=DEADLINE)
            self._take(message)
            if arrived(message):
                return

    def _take(self, message) -> None:
        kind, content = message["msg_type"], message["content"]
        transient = content.get("transient") or {}
        if kind == "update_display_data":
            for output in itertools.chain.from_iterable(self.outputs.values()):
                if output.get("display_id") == transient["display_id"]:
                    output["data"] = content["data"]
        elif kind in ("stream", "display_data", "execute_result", "error"):
            output = dict(nbformat.v4.output_from_msg(message)) | transient
            self.outputs.setdefault(message["parent_header"]["msg_id"], []).append(output)
            self.texts.append(text_of(output))

    def shown(self, cell: str) -> str:
        return "".join(text_of(output) for output in self.outputs.get(cell, ()))


def is_idle(message) -> bool:
    return message["content"].get("execution_state") == "idle"


def text_of(output) -> str:
    if output["output_type"] == "error":
        return f"{output['ename']}: {output['evalue']}\n"
    return output.get("text") or output["data"].get("text/plain", "")


@pytest.fixture
def reader(kernel):
    reader = Reader(kernel._manager.connection_file)
    yield reader
    reader.client.stop_channels()


LATE = """
go = asyncio.Event()
async def talk():
    print("ear" "ly")
    print("cut" " off ", end="")
    await go.wait()
    print("la" "ter")
    print("on std" "err", file=sys.stderr)
    handle = display({"text/plain": "fir" "st"}, raw=True, display_id=True)
    handle.update({"text/plain": "sec" "ond"}, raw=True)
    1 / 0
task = asyncnb.launch(talk())
await asyncio.sleep(0.05)
"""
PARTS = ("early", "cut off ", "later", "on stderr", "second", "ZeroDivisionError: ")
WAIT = """
try:
    get_ipython().run_line_magic("tasks", "wait")
except Exception:  # it says that the task failed
    pass
"""
WAYS = {
    "no cell": ["asyncnb.embedded_loop().call_soon_threadsafe(go.set);"],
    "a cell that waits": ["go.set()" + WAIT],
    "many cells": ["go.set(); await asyncnb.wait([task]);", "None", WAIT, "None"],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_program_that_reads_on_sees_each_late_line_once_in_its_cell(reader, way):
    cell = reader.run(LATE)
    cells = [reader.run(code) for code in WAYS[way]]
    if not any("ZeroDivisionError" in text for text in reader.texts):
        reader.read_until(lambda message: message["msg_type"] == "error")
    reader.run("import sys; sys.stdout.flush()")
    [display] = [out for out in reader.outputs[cell] if "asyncnb-" in out.get("display_id", "")]
    if display["data"] != {"text/plain": ""}:  # what was printed at the cell's end is held back
        reader.read_until(lambda _: display["data"] == {"text/plain": ""})
    text = reader.shown(cell)
    assert [text.count(part) for part in PARTS] == [1] * len(PARTS), text
    assert not any(map(reader.shown, cells))
    every = "".join(reader.texts)
    assert [every.count(part) for part in PARTS[:4]] == [1] * 4


def test_what_a_program_that_stops_at_idle_keeps_is_the_late_output(kernel):
    """The messages of the cell that runs, and no other: nbclient's rule."""
    cell = kernel.ok(LATE, allow_stdin=False)
    after = kernel.ok("go.set(); await asyncnb.wait([task])", allow_stdin=False)
    assert cell.displays[0] == {"text/plain": ""}
    [update] = after.updates
    assert [update["text/plain"].count(part) for part in PARTS[1:]] == [1] * (len(PARTS) - 1)
    assert cell.wait_for(lambda c: c.updates[-1] == {"text/plain": ""})


LAUNCH = "asyncnb.launch"
COMPARED = {
    "silent": ({"silent": True}, ""),
    "store_history: false": ({"store_history": False}, ""),
    "both": ({"silent": True, "store_history": False}, ""),
    "%%capture": ({}, "%%capture said\n"),
}
SHOWN = {"text/plain": "shown"}
QUIET = """
async def talk():
    print("early")
    await go.wait()
    print("late")
    display({"text/plain": "shown"}, raw=True)
print("own")
task = start(talk())
"""


def wait_for_late(kernel, cell, after):
    def arrived() -> bool:  # in which of the two is for the kernel to say: ipykernel 6 errs
        displays = cell.displays + after.displays
        return "late" in cell.stdout + after.stdout and SHOWN in displays

    with kernel._news:
        assert kernel._news.wait_for(arrived, DEADLINE)


@pytest.mark.parametrize("way", COMPARED)
def test_a_request_that_is_no_cell_of_a_notebook_gets_what_a_plain_kernel_sends(
    start_kernel, kernel, way
):
    options, prefix = COMPARED[way]
    answers = []
    for each, start in (start_kernel(extension=False), "asyncio.create_task"), (kernel, LAUNCH):
        each.forget()
        each.ok(f"import asyncio; start = {start}; go = asyncio.Event(); said = None")
        cell = each.ok(prefix + QUIET, allow_stdin=False, **options)
        after = each.ok("go.set(); await task", allow_stdin=False, **options)
        each.drain()
        wait_for_late(each, cell, after)
        said = cell.messages + after.messages
        said = [m["content"] for m in said]
        if not options.get("silent"):  # there is the display for nbclient, not in the capture
            said = [content for content in said if "asyncnb-" not in str(content)]
        streams = "".join(content.get("text", "") for content in said)
        rest = [content for content in said if "text" not in content]
        captured = each.evaluate("said and (said.stdout, len(said.outputs))")
        answers.append((sorted(streams.split()), rest, captured))
    assert answers[0] == answers[1]
