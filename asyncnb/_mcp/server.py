"""The server: the tools with their names, arguments and descriptions, on stdin and stdout."""

from __future__ import annotations

import functools
import inspect
import os
import signal
import threading
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, TypeVar

import anyio.to_thread
from mcp.server import MCPServer
from mcp.types import CallToolResult, ContentBlock, ImageContent, TextContent, ToolAnnotations
from pydantic import BaseModel, Field

from asyncnb._client.errors import ClientError
from asyncnb._mcp.results import (
    CellFacts,
    Changed,
    KernelFacts,
    KernelList,
    Output,
    Stack,
    Stopped,
    TaskList,
    Variables,
    Waited,
)
from asyncnb._mcp.session import CellFailedError
from asyncnb._mcp.work import Image, Work, error_facts

INSTRUCTIONS: Final = (
    "Runs cells in the background of Jupyter kernels that have asyncnb loaded. start_cell returns "
    "at once with the cell's id, which is the handle for all other tools: wait for it with a time "
    "limit, read its output from a cursor on, look at its stack, pause or cancel it. Several cells "
    "run at the same time, and the kernel stays free. Code with a top-level await runs on an event "
    "loop, other code in a thread; all cells share the notebook's variables. If no kernel is "
    "running, start_kernel starts one."
)

T = TypeVar("T")

CellId = Annotated[
    str, Field(description="a cell's id as start_cell returned it, or a task's name or id")
]
KernelName = Annotated[
    str | None,
    Field(description="a kernel's id, its beginning, or its notebook's name; not needed if clear"),
]
Living = Literal["pending", "running", "waiting", "paused", "cancelling"]
Ended = Literal["done", "failed", "cancelled"]
READS: Final = ToolAnnotations(read_only_hint=True, open_world_hint=False)
#: Code may do anything.
RUNS: Final = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=True)
ENDS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
)
CHANGES: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)


class Tools:
    """The tools as the client calls them. The server's loop; the work is done in threads."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def list_kernels(self) -> Annotated[CallToolResult, KernelList]:
        """List the Jupyter kernels of this user on this machine, and what each is running."""
        return _result(await _in_thread(self._work.list_kernels))

    async def start_kernel(
        self,
        kernel_name: Annotated[
            str | None, Field(description="name of a kernel spec; the default is python3")
        ] = None,
        directory: Annotated[str | None, Field(description="its working directory")] = None,
        keep: Annotated[
            bool, Field(description="whether it outlives this server; by default it does not")
        ] = False,
    ) -> Annotated[CallToolResult, KernelFacts]:
        """Start a kernel with asyncnb loaded. Use it if the user has no notebook to work in."""
        return _result(await _in_thread(self._work.start_kernel, kernel_name, directory, keep))

    async def stop_kernel(
        self, kernel: Annotated[str, Field(description="id of a kernel that start_kernel started")]
    ) -> Annotated[CallToolResult, Stopped]:
        """Shut down a kernel that start_kernel started, with all its tasks and variables."""
        return _result(await _in_thread(self._work.stop_kernel, kernel))

    async def start_cell(
        self,
        code: Annotated[str, Field(description="the cell; top-level await and magics are allowed")],
        name: Annotated[str | None, Field(description="a name for its task")] = None,
        kernel: KernelName = None,
        timeout: Annotated[
            float | None, Field(description="seconds after which it is cancelled and fails")
        ] = None,
        on: Annotated[
            Literal["loop", "thread", "process"] | None,
            Field(description="by default the loop if it has an await, else a thread"),
        ] = None,
        replace: Annotated[
            bool,
            Field(description="cancel a living task with this name first, instead of refusing"),
        ] = False,
    ) -> Annotated[CallToolResult, CellFacts]:
        """Start a cell in the background and return at once. The id in `cell` is its handle."""
        return _result(
            await _in_thread(self._work.start_cell, code, name, kernel, timeout, on, replace)
        )

    async def list_tasks(
        self,
        kernel: KernelName = None,
        state: Annotated[
            Living | Ended | None,
            Field(description="only tasks in this state"),
        ] = None,
        limit: Annotated[int, Field(ge=1, le=1000, description="at most so many, the newest")] = 30,
    ) -> Annotated[CallToolResult, TaskList]:
        """List background tasks, those of the user's own cells included."""
        return _result(await _in_thread(self._work.list_tasks, kernel, state, limit))

    async def read_output(
        self,
        cell: CellId,
        kernel: KernelName = None,
        cursor: Annotated[
            int, Field(ge=0, description="only what came after this cursor of an earlier answer")
        ] = 0,
        head: Annotated[int, Field(ge=0, le=5000, description="lines from the beginning")] = 20,
        tail: Annotated[
            int,
            Field(
                ge=0,
                le=5000,
                description="lines from the end; if 0, `cursor` is where the head ends",
            ),
        ] = 20,
    ) -> Annotated[CallToolResult, Output]:
        """Read what a cell has printed and displayed, its images and its error, at any time."""
        output, images = await _in_thread(self._work.read_output, cell, kernel, cursor, head, tail)
        return _result(output, images)

    async def wait(
        self,
        cells: Annotated[list[str], Field(min_length=1, max_length=100, description="handles")],
        timeout: Annotated[
            float, Field(ge=0, le=600, description="seconds; then it returns what is so far")
        ] = 30,
        until: Annotated[Literal["all", "any"], Field(description="which have to end")] = "all",
        kernel: KernelName = None,
    ) -> Annotated[CallToolResult, Waited]:
        """Wait until cells have ended, with a time limit. The cells keep running after it."""
        stop = threading.Event()
        try:
            return _result(
                await _in_thread(self._work.wait, cells, kernel, timeout, until, stop.is_set)
            )
        finally:
            stop.set()  # the client has cancelled the request

    async def cancel(
        self, cell: CellId, kernel: KernelName = None
    ) -> Annotated[CallToolResult, Changed]:
        """Cancel a cell's tasks. Their cleanup runs; other tasks are not affected."""
        return _result(await _in_thread(self._work.cancel, cell, kernel))

    async def pause(
        self, cell: CellId, kernel: KernelName = None
    ) -> Annotated[CallToolResult, Changed]:
        """Pause a cell's tasks at their next await."""
        return _result(await _in_thread(self._work.pause, cell, kernel))

    async def resume(
        self, cell: CellId, kernel: KernelName = None
    ) -> Annotated[CallToolResult, Changed]:
        """Let a cell's paused tasks continue."""
        return _result(await _in_thread(self._work.resume, cell, kernel))

    async def stack(
        self, cell: CellId, kernel: KernelName = None
    ) -> Annotated[CallToolResult, Stack]:
        """Show at which lines a cell's tasks are, what they wait for, and what waits for them."""
        return _result(await _in_thread(self._work.stack, cell, kernel))

    async def variables(
        self,
        kernel: KernelName = None,
        pattern: Annotated[str, Field(description="a glob pattern for names")] = "*",
        limit: Annotated[int, Field(ge=1, le=1000)] = 50,
    ) -> Annotated[CallToolResult, Variables]:
        """List variables of the notebook: names, types and shapes. No code of theirs runs."""
        return _result(await _in_thread(self._work.variables, kernel, pattern, limit))


ANNOTATIONS: Final = {
    "list_kernels": READS,
    "start_kernel": CHANGES.model_copy(update={"idempotent_hint": False}),
    "stop_kernel": ENDS,
    "start_cell": RUNS,
    "list_tasks": READS,
    "read_output": READS,
    "wait": READS,
    "cancel": ENDS,
    "pause": CHANGES,
    "resume": CHANGES,
    "stack": READS,
    "variables": READS,
}


def make_server(work: Work, version: str) -> MCPServer[Any]:
    """Return a server with all tools."""
    server: MCPServer[Any] = MCPServer(
        "asyncnb", instructions=INSTRUCTIONS, version=version, log_level="WARNING"
    )
    tools = Tools(work)
    for name, hints in ANNOTATIONS.items():
        server.add_tool(_with_errors(getattr(tools, name)), annotations=hints)
    return server


def serve(version: str) -> None:
    """Serve one client until it closes stdin; then end what was started for it."""
    work = Work()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, functools.partial(_end, work))
    try:
        make_server(work, version).run("stdio")
    finally:
        work.kernels.close()


def _end(work: Work, number: int, _: object) -> None:
    """End what was started, then the process, which may be waiting for its stdin."""

    def end() -> None:
        try:
            work.kernels.close()
        finally:
            os._exit(128 + number)

    threading.Thread(target=end, name="asyncnb mcp end").start()


async def _in_thread(function: Callable[..., T], *arguments: Any) -> T:
    return await anyio.to_thread.run_sync(
        functools.partial(function, *arguments), abandon_on_cancel=True
    )


def _with_errors(tool: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``tool`` with errors as results that an agent can use."""

    @functools.wraps(tool)
    async def call(*args: Any, **kwargs: Any) -> CallToolResult:
        try:
            result: CallToolResult = await tool(*args, **kwargs)
            return result
        except CellFailedError as exc:
            facts = error_facts(exc).model_dump(exclude_none=True)
        except ClientError as exc:
            facts = {"type": type(exc).__name__, "message": str(exc)}
        if "--again replace" in facts["message"]:  # as a cell would say it
            facts["message"] = (
                "A task with this name is still running. Cancel it, choose another name, or call "
                "start_cell with replace=true, which cancels it and starts this cell."
            )
        text = f"{facts['type']}: {facts['message']}"
        if facts.get("lines"):
            text += f"\n{facts['lines']}"
        return CallToolResult(
            content=[TextContent(type="text", text=text)],
            structured_content={"error": facts},
            is_error=True,
        )

    signature = inspect.signature(tool, eval_str=True)
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def _result(facts: BaseModel, images: list[Image] | None = None) -> CallToolResult:
    content: list[ContentBlock] = [
        TextContent(type="text", text=facts.model_dump_json(exclude_none=True))
    ]
    for kind, data in images or ():
        content.append(ImageContent(type="image", data=data, mime_type=kind))
    return CallToolResult(
        content=content, structured_content=facts.model_dump(mode="json", exclude_none=True)
    )
