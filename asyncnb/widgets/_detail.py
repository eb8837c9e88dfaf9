"""What an opened row tells: await chain, who waits for it, output, traceback."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from asyncnb._core._graph import capture_call_graph
from asyncnb._core._registry import TaskRecord

#: Characters of the output's end that are shown, and frames of a chain.
TAIL: Final = 20_000
FRAMES: Final = 40


def waits_for(record: TaskRecord) -> str:
    """Return what the task waits for, in a few words; nothing while that is not known."""
    return ""


def detail_of(record: TaskRecord) -> dict[str, Any]:
    """Return what is shown of one task when its row is opened; any thread."""
    task = record.task
    found: dict[str, Any] = {
        "name": task.get_name(),
        "output": task.output[-TAIL:],
        "frames": [],
        "awaited_by": [],
        "traceback": "",
    }
    if record.output is not None:
        errors = [value for kind, value in record.output.items() if kind == "error"]
        if errors:
            found["traceback"] = "\n".join(errors[-1][2])[-TAIL:]
    if not task.done():
        graph = capture_call_graph(task)
        if graph is not None:
            found["frames"] = [_frame(entry.frame) for entry in graph.call_stack[FRAMES::-1]]
            found["awaited_by"] = [_name(each.future) for each in graph.awaited_by][:FRAMES]
    elif task._exception is not None and not found["traceback"]:
        found["traceback"] = f"{type(task._exception).__name__}: {task._exception}"
    return found


def _frame(frame: Any) -> list[Any]:
    code = frame.f_code
    return [code.co_qualname, code.co_filename, frame.f_lineno]


def _name(future: Any) -> str:
    return future.get_name() if isinstance(future, asyncio.Task) else repr(future)[:100]
