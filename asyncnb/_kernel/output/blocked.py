"""What blocks the loop, told once to the cell whose code it is."""

from __future__ import annotations

import asyncio
import contextvars
import sys

from IPython.core.interactiveshell import InteractiveShell

from asyncnb._core.base.newest import Newest
from asyncnb._core.base.text import count
from asyncnb._core.loop.embedded import EmbeddedLoop
from asyncnb._core.loop.watchdog import Blocked


class BlockedLoopReporter:
    """Writes a line into the cell of a task that blocks the loop; once for each task."""

    def __init__(self) -> None:
        self._told = Newest(1000)

    def observe(self, loop: EmbeddedLoop, blocked: Blocked | None) -> None:
        """Take the news of the watchdog; on its thread."""
        if blocked is None or shows_a_traceback(loop) or _is_around_a_cell(blocked):
            return
        key = blocked.task_id or (blocked.name, blocked.where)
        if key in self._told:
            return
        self._told.add(key)
        dog = loop.watchdog
        context = None if dog is None else dog.context
        # A copy: the context itself is entered by the task that blocks.
        (context.copy() if context is not None else contextvars.Context()).run(
            self._say, text(blocked, others=len(asyncio.all_tasks(loop)) - 1)
        )

    def _say(self, report: str) -> None:
        print(report, file=sys.stderr, flush=True)


def shows_a_traceback(loop: EmbeddedLoop) -> bool:
    """Return whether IPython makes a traceback on the loop's thread now.

    That takes long, once all source files are to be read; but nobody's code blocks the loop.
    """
    frame = sys._current_frames().get(loop.thread.ident or 0)
    while frame is not None:
        if frame.f_code is InteractiveShell.showtraceback.__code__:
            return True
        frame = frame.f_back
    return False


def _is_around_a_cell(blocked: Blocked) -> bool:
    """Return whether it is what IPython does before and after a cell's code.

    It stores a traceback in its history, for one. Nothing in the cell is there to be changed.
    """
    return blocked.name == "cell" and blocked.task_id is None and "In[" not in blocked.where


def text(blocked: Blocked, others: int) -> str:
    """Return the report: who, since when, whom it keeps waiting, where, and what to do."""
    launched = blocked.task_id is not None
    who = f"task {blocked.name!r}" if launched else step_label(blocked)
    if blocked.cell is not None and str(blocked.cell) and blocked.name != "cell":
        who += f" ({blocked.cell})"
    waiting = f", and keeps {count(others, 'other task')} waiting" if others > 0 else ""
    lines = [f"asyncnb: {who} has blocked the loop for {blocked.seconds:.1f} s{waiting}."]
    lines += [f"  {frame}" for frame in blocked.frames]
    stop = f"`%tasks cancel {blocked.name}` stops it." if launched else ""
    lines.append(
        "Blocking code belongs in a thread: await asyncio.to_thread(f), or %%atask without await. "
        + stop
    )
    return "\n".join(lines).rstrip()


def step_label(blocked: Blocked) -> str:
    """Return what to call a step that is no launched task's."""
    if blocked.name == "cell":
        return f"this cell ({blocked.cell})" if blocked.cell else "this cell"
    return blocked.name if blocked.name.startswith("callback") else f"task {blocked.name!r}"


def status(blocked: Blocked | None) -> list[str]:
    """Return the lines of ``%asyncnb`` about it."""
    if blocked is None:
        return []
    who = f"task {blocked.name!r}" if blocked.task_id is not None else step_label(blocked)
    lines = [f"blocked        for {blocked.seconds:.1f} s by {who}, {blocked.where}"]
    return lines + [f"                 {frame}" for frame in blocked.frames]
