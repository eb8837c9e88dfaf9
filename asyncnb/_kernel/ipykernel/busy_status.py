"""Reports that a cell still runs, after a message that was handled beside it.

Front ends, and the server, take the ``idle`` that ends any message as the state of the kernel.
"""

from __future__ import annotations

import signal
from typing import Any, Final

#: Seconds until a request that may just have ended is looked at again; twice as long each time.
PAUSE: Final = 0.02


def report_running(kernel: Any) -> None:
    """Report ``busy`` again if the kernel is running a cell. Any thread."""
    running = running_request(kernel)
    if running is not None:
        kernel._publish_status("busy", "shell", parent=running)
        _check(kernel, running, PAUSE)


def _check(kernel: Any, running: dict[str, Any], pause: float) -> None:
    """Report ``idle`` if the request has ended: its own ``idle`` may have been before ``busy``."""
    if running_request(kernel) is not running:
        kernel._publish_status("idle", "shell", parent=running)
        report_running(kernel)  # what runs now, if anything does
    elif not _is_handling(kernel) and pause < 1:
        # It is about to begin, or ipykernel 7 has just reported its end: look again.
        loop = getattr(getattr(kernel, "control_stream", None), "io_loop", None)
        if loop is not None:
            loop.add_callback(loop.call_later, pause, _check, kernel, running, 2 * pause)


def _is_handling(kernel: Any) -> bool:
    """Return whether a request is between its two reports; ipykernel sets the handler of SIGINT."""
    idle = getattr(kernel, "saved_sigint_handler", None)
    return idle is not None and signal.getsignal(signal.SIGINT) != idle


def running_request(kernel: Any) -> dict[str, Any] | None:
    """Return the message that the kernel's main thread is handling; None while it is idle."""
    lock = getattr(kernel, "_main_asyncio_lock", None)
    if lock is not None:  # ipykernel 7
        if not lock.locked():
            return None
        context = getattr(kernel, "_shell_context", None)
        variable = getattr(kernel, "_shell_parent", None)
        parent = context.get(variable) if context is not None and variable is not None else None
    else:
        if not _is_handling(kernel):  # ipykernel 6 keeps no other state
            return None
        parent = kernel.get_parent("shell")
    return parent if parent and parent.get("header", {}).get("msg_id") else None
