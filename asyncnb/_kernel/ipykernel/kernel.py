"""The kernel of a shell, and what the other folders need of it."""

from __future__ import annotations

import asyncio
from typing import Any


def kernel_of(ip: Any) -> Any:
    """Return the kernel that runs the shell ``ip``; None in a terminal, which has none."""
    return getattr(ip, "kernel", None)


def kernel_loop(ip: Any) -> asyncio.AbstractEventLoop | None:
    """Return the kernel's own loop; None where there is no kernel, or it shows none."""
    io_loop = getattr(kernel_of(ip), "io_loop", None)
    loop: asyncio.AbstractEventLoop | None = getattr(io_loop, "asyncio_loop", None)
    return loop
