"""The front end's debugger: its breakpoints in the cells that asyncnb compiles or moves.

A front end writes the cell's text to a file (`dumpCell`), which ipykernel names by a hash of that
text, and sets breakpoints by the line of the cell.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernel.driver import DEADLINE, Kernel


class Debugger:
    """What a front end says to the debugger on the control channel, and what comes back."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._client = kernel._manager.client()
        self._client.start_channels(shell=False, iopub=False, stdin=False, hb=False, control=True)
        self._sent = 0
        self._stops = 0

    def close(self) -> None:
        """End the session as a front end does."""
        self.ask("disconnect", restart=False, terminateDebuggee=False)
        self._client.stop_channels()

    def start(self) -> None:
        """Attach to the kernel."""
        paths = {"pathFormat": "path", "linesStartAt1": True, "columnsStartAt1": True}
        self.ask("initialize", clientID="test", adapterID="", **paths)
        self.ask("attach")

    def ask(self, command: str, **arguments: Any) -> Any:
        """Send a request; return the body of its answer."""
        self._sent += 1
        content = {"type": "request", "seq": self._sent, "command": command, "arguments": arguments}
        message = self._client.session.msg("debug_request", content)
        self._client.control_channel.send(message)
        while True:
            answer = self._client.get_control_msg(timeout=DEADLINE)
            if answer["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                assert answer["content"].get("success"), answer["content"]
                return answer["content"].get("body") or {}

    def break_at(self, code: str, line: int) -> None:
        """Set a breakpoint in a cell that will have this text."""
        path = self.ask("dumpCell", code=code)["sourcePath"]
        self.ask(
            "setBreakpoints",
            source={"path": path},
            breakpoints=[{"line": line}],
            lines=[line],
            sourceModified=False,
        )
        self.ask("configurationDone")

    def _stopped(self) -> list[dict[str, Any]]:
        return [
            content
            for cell in list(self._kernel._cells.values())
            for content in cell.of_type("debug_event")
            if content["event"] == "stopped"
        ]

    def wait_for_stop(self) -> int:
        """Wait until the code stops once more; return the thread that it stopped in."""
        self._stops += 1
        with self._kernel._news:
            stopped = self._kernel._news.wait_for(lambda: len(self._stopped()) == self._stops, 20)
        assert stopped, "the code did not stop"
        return int(max(self._stopped(), key=lambda event: event["seq"])["body"]["threadId"])

    def where(self, thread: int) -> tuple[int, dict[str, str]]:
        """Return the line that a stopped thread is at, and its variables there."""
        frame = self.ask("stackTrace", threadId=thread)["stackFrames"][0]
        scope = self.ask("scopes", frameId=frame["id"])["scopes"][0]["variablesReference"]
        variables = self.ask("variables", variablesReference=scope)["variables"]
        return frame["line"], {each["name"]: each["value"] for each in variables}


@pytest.fixture
def debugger(start_kernel):
    kernel = start_kernel()
    debugger = Debugger(kernel)
    debugger.start()
    yield debugger
    debugger.close()


FUNCTION = "seen = 41\n    await asyncio.sleep(0.01)\n    seen += 1\n    print('result', seen)"
CELLS = {
    "a plain cell": ("seen = 41\nseen += 0\nprint('result', seen + 1)", 3),
    "a cell with await": ("seen = 41\nawait asyncio.sleep(0.01)\nprint('result', seen + 1)", 3),
    "a coroutine of one": (f"async def f():\n    {FUNCTION}\nawait f()", 4),
    "%%atask": ("%%atask job\nseen = 41\nawait asyncio.sleep(0.01)\nprint('result', seen + 1)", 4),
    "%%atask, a coroutine": (f"%%atask job\nasync def f():\n    {FUNCTION}\nawait f()", 5),
    "%%atask in a thread": ("%%atask job\nseen = 41\nseen += 0\nprint('result', seen + 1)", 4),
    "%%atask, a last newline": ("%%atask\nseen = 41\nseen += 0\nprint('result', seen + 1)\n", 4),
    "%%atask, empty lines above": ("\n\n%%atask job\n\nseen = 41\nprint('result', seen + 1)", 6),
    "%%agroup": (
        "%%agroup pair\nseen = 41\nawait asyncio.sleep(0.01)\nprint('result', seen + 1)",
        4,
    ),
}


def test_a_breakpoint_is_hit_and_the_code_goes_on(debugger):
    kernel = debugger._kernel
    for name, (code, line) in CELLS.items():
        debugger.break_at(code, line)
        cell = kernel.submit(code)
        thread = debugger.wait_for_stop()
        at, variables = debugger.where(thread)
        assert (at, variables["seen"]) == (line, "41"), name
        debugger.ask("continue", threadId=thread)
        cell.wait_for("result 42")
        assert cell.wait().text == "result 42\n"  # no word of what has blocked the loop meanwhile
        kernel.ok("if 'job' in globals(): job.join(10); del job")


STEPS = {
    "a plain cell": ("seen = 41\nseen += 0\nseen += 1\nprint('result', seen)", [1, 2, 3, 4]),
    "a cell with await": (f"async def f():\n    {FUNCTION}\nawait f()", [2, 3, 4, 5]),
    "%%atask": ("%%atask job\n{}", [2, 3, 4, 5]),
    "%%agroup": ("%%agroup pair\n{}", [2, 3, 4, 5]),
}
BODY = "seen = 41\nawait asyncio.sleep(0.01)\nseen += 1\nprint('result', seen)"


@pytest.mark.parametrize("where", STEPS)
def test_steps_go_over_an_await_and_from_statement_to_statement(debugger, where):
    code, lines = STEPS[where]
    code = code.replace("{}", BODY)
    debugger.break_at(code, lines[0])
    cell = debugger._kernel.submit(code)
    for line in lines:
        thread = debugger.wait_for_stop()
        assert debugger.where(thread)[0] == line
        debugger.ask("continue" if line == lines[-1] else "next", threadId=thread)
    cell.wait_for("result 42")
    assert cell.wait().text == "result 42\n"
    assert debugger._kernel.ok("await asyncio.sleep(0, 5)").result == "5"


def test_unloading_leaves_the_debugger_as_it_was(start_kernel):
    kernel = start_kernel(extension=False)
    files = "get_ipython().kernel.debugger.kernel_modules"
    kernel.ok(f"before = list({files})")
    kernel.ok("%load_ext asyncnb")
    assert kernel.evaluate(f"len({files}) - len(before)") == 1
    kernel.ok("%unload_ext asyncnb")
    assert kernel.evaluate(f"{files} == before") is True
