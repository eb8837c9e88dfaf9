"""Reports what blocks the loop, once, in the cell whose code it is."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import TYPE_CHECKING

from IPython.core.interactiveshell import InteractiveShell

from asyncnb._core.base.newest import Newest
from asyncnb._core.base.text import count, duration
from asyncnb._core.loop.slow_steps import MIN_LAG

if TYPE_CHECKING:
    from asyncnb._core.loop.blocked import Blocked
    from asyncnb._core.loop.embedded import EmbeddedLoop
    from asyncnb._core.loop.slow_steps import HighestLag, SlowStep


class BlockedLoopReporter:
    """Writes a report into the cell of a task that blocks the loop; once for each task."""

    def __init__(self) -> None:
        self._reported = Newest(1000)

    def observe(self, loop: EmbeddedLoop, blocked: Blocked | None) -> None:
        """Handle a report of the watchdog; on its thread."""
        if blocked is None or shows_a_traceback(loop) or _is_around_a_cell(blocked):
            return
        key = blocked.task_id or (blocked.name, blocked.where)
        if key in self._reported:
            return
        self._reported.add(key)
        dog = loop.watchdog
        context = None if dog is None else dog.context
        # A copy: the context itself is entered by the task that blocks.
        (context.copy() if context is not None else contextvars.Context()).run(
            self._print, text(blocked, others=len(asyncio.all_tasks(loop)) - 1)
        )

    def _print(self, report: str) -> None:
        print(report, file=sys.stderr, flush=True)


def shows_a_traceback(loop: EmbeddedLoop) -> bool:
    """Return whether IPython is formatting a traceback on the loop's thread.

    That takes long the first time, when all source files have to be read; but it is not the user's
    code that blocks the loop.
    """
    frame = sys._current_frames().get(loop.thread.ident or 0)
    while frame is not None:
        if frame.f_code is InteractiveShell.showtraceback.__code__:
            return True
        frame = frame.f_back
    return False


def _is_around_a_cell(blocked: Blocked) -> bool:
    """Return whether the loop is blocked by what IPython does before and after a cell's code.

    For example, it stores a traceback in its history. There is nothing to change in the cell.
    """
    return blocked.name == "cell" and blocked.task_id is None and "In[" not in blocked.where


def text(blocked: Blocked, others: int) -> str:
    """Return the report: what blocks, for how long, what has to wait, where, and what to do."""
    launched = blocked.task_id is not None
    what = f"task {blocked.name!r}" if launched else step_label(blocked)
    cell = "" if blocked.cell is None or blocked.name == "cell" else str(blocked.cell)
    if cell and not (blocked.call and blocked.where.startswith(f"{cell},")):
        what += f" ({cell})"
    if blocked.call:
        what = f"`{blocked.call}` ({blocked.where}) of {what}"
    inside = f", in `{blocked.inside}`" if blocked.inside else ""
    wait = "waits" if others == 1 else "wait"
    waiting = f"; {count(others, 'other task')} {wait}" if others > 0 else ""
    what = f"{what} has blocked the loop for {blocked.seconds:.1f} s{inside}"
    lines = [f"asyncnb: {what}{waiting}."]
    lines += [f"  {frame}" for frame in blocked.frames]
    stop = f"`%tasks cancel {blocked.name}` stops it." if launched else ""
    lines.append(
        "Blocking code belongs in a thread: await asyncio.to_thread(f), or %%atask without await. "
        + stop
    )
    return "\n".join(lines).rstrip()


def step_label(blocked: Blocked) -> str:
    """Return a name for a step that does not belong to a launched task."""
    if blocked.name == "cell":
        named = blocked.cell and not blocked.call  # the call's place has the cell's number
        return f"this cell ({blocked.cell})" if named else "this cell"
    return blocked.name if blocked.name.startswith("callback") else f"task {blocked.name!r}"


def lag_label(lag: HighestLag | None) -> str:
    """Return ``2.3 s: task 'crawl', In[4], line 7``, or ``""`` for a lag that is not worth it."""
    if lag is None or lag.seconds < MIN_LAG:
        return ""
    by = "many short steps" if lag.step is None else step_text(lag.step)
    return f"{duration(lag.seconds, fine=True)}: {by}"


def step_text(step: SlowStep) -> str:
    """Return ``task 'crawl', In[4], line 7: time.sleep(3)``, as far as it is known."""
    name, where = step.name, f", {step.where}" if step.where else ""
    what = name if name == "cell" or name.startswith("callback ") else f"task {name!r}"
    return what + where + (f": {step.call}" if step.call else "")


def status(blocked: Blocked | None) -> list[str]:
    """Return the lines that ``%asyncnb`` prints about it."""
    if blocked is None:
        return []
    what = f"task {blocked.name!r}" if blocked.task_id is not None else step_label(blocked)
    call = f": {blocked.call}" if blocked.call else ""
    lines = [f"blocked        for {blocked.seconds:.1f} s by {what}, {blocked.where}{call}"]
    return lines + [f"                 {frame}" for frame in blocked.frames]
