"""Shows the Jupyter server that a kernel with running background tasks is not idle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from asyncnb._core.loop.current import running_or_starting_loop

if TYPE_CHECKING:
    from asyncnb._core.loop.embedded import EmbeddedLoop

#: Seconds between two messages; servers that cull check every five minutes by default.
INTERVAL = 60.0
MESSAGE = "asyncnb_alive"


class KeepAlive:
    """While switched on, sends one message a minute on IOPub as long as launched tasks run.

    A server that culls idle kernels (``MappingKernelManager.cull_idle_timeout``) goes by the time
    of the last message; a kernel whose tasks print nothing looks idle to it. No front end knows
    the message type, so nothing is shown (Jupyter protocol: unknown types are ignored). Off by
    default: a task that never ends would keep a rented machine running without being asked to.
    """

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._on = False
        self._timer: asyncio.TimerHandle | None = None

    def switch(self, on: bool) -> None:
        """Start or stop sending messages. Any thread; idempotent."""
        self._on = on and hasattr(self._kernel, "iopub_socket")  # a terminal has no server
        loop = running_or_starting_loop()
        if loop is not None:
            loop.call_soon_threadsafe(self._start)

    def resume_on(self, loop: EmbeddedLoop) -> None:
        """Continue on a new loop, before its thread starts."""
        self._timer = None
        if self._on:
            loop.call_soon(self._start)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._on:
            self._send()

    def _send(self) -> None:
        from asyncnb._core.launched.registry import registry  # off by default

        if registry.living():
            self._kernel.session.send(
                self._kernel.iopub_socket,
                MESSAGE,
                {"tasks": len(registry.living())},
                ident=self._kernel._topic(MESSAGE),
            )
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._send)
