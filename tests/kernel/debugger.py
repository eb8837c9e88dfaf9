"""Debug a real kernel as JupyterLab does: the debug adapter protocol on the control channel."""

from __future__ import annotations

from typing import Any

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

    def wait_for_stop(self, code: str = "the code") -> int:
        """Wait until the code stops once more; return the thread that it stopped in."""
        self._stops += 1
        with self._kernel._news:
            stopped = self._kernel._news.wait_for(lambda: len(self._stopped()) == self._stops, 20)
        assert stopped, f"no stop in {code}"
        return int(max(self._stopped(), key=lambda event: event["seq"])["body"]["threadId"])

    def line(self, thread: int) -> int:
        """Return the line that a stopped thread is at."""
        return int(self.ask("stackTrace", threadId=thread)["stackFrames"][0]["line"])

    def where(self, thread: int) -> tuple[int, dict[str, str]]:
        """Return the line that a stopped thread is at, and its variables there."""
        frame = self.ask("stackTrace", threadId=thread)["stackFrames"][0]
        scope = self.ask("scopes", frameId=frame["id"])["scopes"][0]["variablesReference"]
        variables = self.ask("variables", variablesReference=scope)["variables"]
        return frame["line"], {each["name"]: each["value"] for each in variables}

    def evaluate(self, expression: str, thread: int) -> str:
        """Return what an expression is where a thread has stopped."""
        frame = self.ask("stackTrace", threadId=thread)["stackFrames"][0]["id"]
        answer = self.ask("evaluate", expression=expression, frameId=frame, context="repl")
        return str(answer["result"])
