"""The end of the kernel: background tasks run their cleanup, and none of them ends the kernel."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from asyncnb._core.config import config
from asyncnb._core.loop import current
from asyncnb._kernel.current_cell import current_record

logger = logging.getLogger("asyncnb")


class ShutdownHook:
    """Shuts the embedded loop down when Jupyter asks the kernel to shut down or restart.

    The interpreter's exit hook does the same, but a kernel whose main thread is busy never gets
    there; this handler runs in the control thread.
    """

    def __init__(self, kernel: Any) -> None:
        self._handlers: dict[str, Callable[..., Awaitable[None]]] = kernel.control_handlers
        self._original = self._handlers["shutdown_request"]

    @staticmethod
    def suits(kernel: Any) -> bool:
        """Return whether this kernel handles such requests."""
        return "shutdown_request" in getattr(kernel, "control_handlers", {})

    def install(self) -> None:
        """Add the hook."""
        self._handlers["shutdown_request"] = self.shutdown_request

    def uninstall(self) -> None:
        """Remove the hook."""
        if self._handlers.get("shutdown_request") == self.shutdown_request:
            self._handlers["shutdown_request"] = self._original

    async def shutdown_request(self, *args: Any) -> None:
        """End the background tasks, within two seconds, then let the kernel shut down."""
        if not current.shutdown():
            logger.warning(
                "Background tasks did not end within %g s of the kernel's shutdown request.",
                config.shutdown_seconds,
            )
        await self._original(*args)


class QuitHook:
    """``quit()`` and ``exit()`` in a background task end that task, not the kernel.

    IPython's version ends the whole session, which is unexpected if it happens in another cell.
    """

    def __init__(self, ip: Any) -> None:
        self.ip = ip
        self._original = ip.ask_exit

    def install(self) -> None:
        """Add the hook."""
        self.ip.ask_exit = self.ask_exit

    def uninstall(self) -> None:
        """Remove the hook."""
        if vars(self.ip).get("ask_exit") == self.ask_exit:
            del self.ip.ask_exit

    def ask_exit(self) -> None:
        """Do as the shell does in a cell; raise SystemExit in a task."""
        if current_record.get() is not None:
            raise SystemExit("quit() in a task ends the task; in a cell it ends the kernel")
        self._original()
