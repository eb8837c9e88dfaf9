"""A real client of the `mcp` package, with `asyncnb mcp` as its server, in a thread."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult

from tests.kernel.driver import DEADLINE, ROOT, Kernel


class Agent:
    """What an agent does: it calls tools. The server finds the kernels of one runtime folder."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "asyncnb", "mcp"],
            env={
                "JUPYTER_RUNTIME_DIR": str(folder),
                "PYTHONPATH": os.pathsep.join(path),
                **env,
            },
        )
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="agent")
        self._thread.start()
        assert self._ready.wait(2 * DEADLINE), "the server did not start"
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as exc:
            self._failure = exc
        self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with Client(self._server) as self.client:
            self._ready.set()
            await self._stop.wait()

    def close(self) -> None:
        """End the server as clients do: by closing its stdin."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the client did not end"
        if self._failure is not None:
            raise self._failure

    def run(self, coroutine: Any) -> Any:
        """Await something of the client."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(2 * DEADLINE)

    def add(self, kernel: Kernel) -> str:
        """Make the server find a kernel; return its id."""
        path = self.folder / f"kernel-under-test-{kernel.pid}.json"
        if not path.exists():
            path.symlink_to(kernel.scratch / "connection.json")
        return path.stem.removeprefix("kernel-")

    def call(self, tool: str, **arguments: Any) -> CallToolResult:
        """Call a tool. The client checks its result against the tool's schema."""
        found: CallToolResult = self.run(self.client.call_tool(tool, arguments))
        return found

    def ok(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that has to succeed; return the structured content."""
        result = self.call(tool, **arguments)
        assert not result.is_error, result.content
        assert result.structured_content is not None
        return result.structured_content

    def refused(self, tool: str, **arguments: Any) -> str:
        """Call a tool that has to fail; return the text."""
        result = self.call(tool, **arguments)
        assert result.is_error, result.structured_content
        return "\n".join(part.text for part in result.content)

    def ended(self, *cells: str, **arguments: Any) -> list[dict[str, Any]]:
        """Wait for the end of cells; return how they are."""
        waited = self.ok("wait", cells=list(cells), timeout=DEADLINE, **arguments)
        assert waited["ended"], waited
        return list(waited["cells"])
