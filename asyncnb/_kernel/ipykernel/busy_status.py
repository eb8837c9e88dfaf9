"""Reports that a cell still runs, after a message that was handled beside it.

Front ends, and the server, take the ``idle`` that ends any message as the state of the kernel.
"""

from __future__ import annotations

import signal
from typing import Any


def report_running(kernel: Any) -> None:
    """Report ``busy`` again if the kernel is running a cell. Any thread."""
    running = running_request(kernel)
    if running is not None:
        kernel._publish_status("busy", "shell", parent=running)
        if running_request(kernel) is not running:  # it has just ended, and reported so
            kernel._publish_status("idle", "shell", parent=running)


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
        # ipykernel 6 keeps no such state, but sets the handler of SIGINT around each request.
        idle = getattr(kernel, "saved_sigint_handler", None)
        if idle is None or signal.getsignal(signal.SIGINT) == idle:
            return None
        parent = kernel.get_parent("shell")
    return parent if parent and parent.get("header", {}).get("msg_id") else None
