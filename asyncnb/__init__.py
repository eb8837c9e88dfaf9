"""asyncnb: structured concurrency for notebooks.

``%load_ext asyncnb`` starts the embedded loop, an asyncio event loop on a thread of its own, and
adds ``%%atask``, ``%atask``, ``%tasks`` and ``%asyncnb``. In Python::

    import asyncnb

    task = asyncnb.launch(fetch(url), name="page")   # from any thread and any loop
    page = await task                                 # or task.join() in sync code
    asyncnb.cancel("page*")

Map of the package: ``_core`` is plain Python (the loop, tasks, their registry), ``_kernel`` the
IPython side (cells, output, magics), ``_extension`` the one module that joins them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncnb._core._errors import (
    EmbeddedLoopError,
    TaskNotFoundError,
    TasksFailedError,
    WrongThreadError,
)
from asyncnb._core._info import CellRef, TaskInfo
from asyncnb._core._launch import cancel, launch, run, task, tasks
from asyncnb._core._loop import EmbeddedLoop, LoopStatistics, embedded_loop
from asyncnb._core._tasks import Task

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = [
    "CellRef",
    "EmbeddedLoop",
    "EmbeddedLoopError",
    "LoopStatistics",
    "Task",
    "TaskInfo",
    "TaskNotFoundError",
    "TasksFailedError",
    "WrongThreadError",
    "cancel",
    "embedded_loop",
    "launch",
    "run",
    "task",
    "tasks",
]


def load_ipython_extension(ip: InteractiveShell) -> None:
    """``%load_ext asyncnb``: start the embedded loop and hook this shell."""
    from asyncnb._extension import load

    load(ip)


def unload_ipython_extension(ip: InteractiveShell) -> None:
    """``%unload_ext asyncnb``: end the background tasks and put everything back."""
    from asyncnb._extension import unload

    unload(ip)
