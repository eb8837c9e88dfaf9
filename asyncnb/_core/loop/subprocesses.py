"""The process groups of subprocesses of the embedded loop, and how interrupts reach them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import signal
import sys
from typing import Any

from asyncnb._core.introspection.handle import current_record

#: The child processes of the foreground cell that this context belongs to; the cell has to pass an
#: interrupt on to them. None outside of a foreground cell.
cell_children: contextvars.ContextVar[list[asyncio.SubprocessTransport] | None] = (
    contextvars.ContextVar("asyncnb_cell_children", default=None)
)


def interrupt_children(children: list[asyncio.SubprocessTransport]) -> None:
    """Send SIGINT to the process groups of ``children`` still running. Thread of their loop."""
    for child in children:
        pid = child.get_pid()
        if child.get_returncode() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGINT)


def wants_own_process_group(kwargs: dict[str, Any], *, fast: bool) -> bool:
    """Request a process group in ``kwargs`` if the child needs its own; return whether it does.

    ``fast`` is True for a uvloop loop, which does not support ``process_group``.
    """
    launched = current_record.get() is not None
    if sys.platform == "win32":
        if launched:
            import subprocess

            flags = kwargs.get("creationflags", 0) | subprocess.CREATE_NEW_PROCESS_GROUP
            kwargs["creationflags"] = flags
        return False  # on Windows an interrupt of the kernel is not a signal
    if not launched and cell_children.get() is None:
        return False
    if kwargs.get("start_new_session") or kwargs.get("process_group") is not None:
        return False
    if fast:
        kwargs["start_new_session"] = True
    else:
        kwargs["process_group"] = 0
    return True
