"""Tasks that were not launched: created by ``asyncio.create_task`` in a cell, or by a library.

They are not recorded anywhere. They are found on request in their loops, and their origin in their
contexts: a task runs in a copy of the context in which it was created.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
from typing import TYPE_CHECKING, Any

from asyncnb._core import frontend
from asyncnb._core.introspection.handle import TaskHandle, current_record
from asyncnb._core.introspection.leaves import format_failure

if TYPE_CHECKING:
    from asyncnb._core.introspection.info import CellRef, TaskInfo

#: The cell whose code is running; the extension sets it at the start of each cell.
current_cell: contextvars.ContextVar[CellRef | None] = contextvars.ContextVar(
    "asyncnb_cell", default=None
)

#: The packages whose own tasks run the notebook: in a list of tasks they would look like the user's
#: tasks, and cancelling them by name would end the session.
HOSTS = ("ipykernel", "prompt_toolkit")


def context_of(task: asyncio.Task[Any]) -> contextvars.Context | None:
    """Return the context that ``task`` runs in. Any thread."""
    get_context = getattr(task, "get_context", None)
    if get_context is not None:
        context: contextvars.Context = get_context()
        return context
    # On 3.11 it is private, but visible to the garbage collector, before the contexts of callbacks.
    for held in gc.get_referents(task):
        if isinstance(held, contextvars.Context):
            return held
    return None


def launched_ancestor(task: asyncio.Task[Any]) -> TaskHandle | None:
    """Return the record of the launched task that created ``task``, directly or indirectly."""
    context = context_of(task)
    return None if context is None else context.get(current_record)


def cell_of(task: asyncio.Task[Any]) -> CellRef | None:
    """Return the cell that created ``task``, or else the cell that contains its code."""
    context = context_of(task)
    if context is not None:
        record = context.get(current_record)
        if record is not None:
            return record.cell
        cell = context.get(current_cell)
        if cell is not None:
            return cell
    from asyncnb._core.introspection import places  # for tasks of other code
    from asyncnb._core.introspection.info import CellRef

    coro: Any = task.get_coro()
    code = getattr(coro, "cr_code", getattr(coro, "gi_code", None))
    label = places.cell_of(code.co_filename) if code is not None else None
    number = (label or "").removeprefix("In[").removesuffix("]")
    return CellRef(int(number)) if number.isdecimal() else None


def is_host_task(task: asyncio.Task[Any]) -> bool:
    """Return whether ``task`` is the kernel's or terminal's own, not the user's."""
    frame: Any = getattr(task.get_coro(), "cr_frame", None)
    module = "" if frame is None else str(frame.f_globals.get("__name__"))
    return module.partition(".")[0] in HOSTS


def loop_kind(loop: asyncio.AbstractEventLoop) -> str:
    """Return "kernel" for the kernel's own loop, "loop" for the embedded loop and any other."""
    # Where the kernel's loop hosts the embedded loop, the two are the same.
    hosted = getattr(loop, "is_own_thread", None) is not None
    return "kernel" if not hosted and loop in frontend.current.other_loops() else "loop"


def state_of(task: asyncio.Task[Any]) -> str:
    """Return the state of a task that was not launched. Any thread."""
    if task.done():
        if task.cancelled():
            return "cancelled"
        return "done" if getattr(task, "_exception", None) is None else "failed"
    if task.cancelling():
        return "cancelling"
    if getattr(task.get_coro(), "cr_running", False):
        return "running"
    return "waiting" if getattr(task, "_pause", None) is None else "paused"


def unmanaged_task_info(task: asyncio.Task[Any]) -> TaskInfo:
    """Return the facts about a task that was not launched. Any thread.

    ``parent`` is the id of the launched task that it belongs to, ``cell`` the cell that created it,
    ``kind`` is "kernel" if the kernel's own loop runs it. The times are unknown.
    """
    from asyncnb._core.introspection.info import TaskInfo
    from asyncnb._core.introspection.stack import waiting_on  # seldom needed

    error: BaseException | None = getattr(task, "_exception", None)
    record = launched_ancestor(task)
    return TaskInfo(
        id=-id(task),
        name=task.get_name(),
        state=state_of(task),
        kind=loop_kind(task.get_loop()),
        group=None,
        parent=None if record is None else record.id,
        cell=cell_of(task),
        created=0.0,
        started=None,
        ended=None,
        timeout=None,
        progress=None,
        error=None if error is None else format_failure(error),
        waiting_on=waiting_on(task),
    )
