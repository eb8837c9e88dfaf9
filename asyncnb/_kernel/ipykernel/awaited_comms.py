"""Handles the messages of a comm at once while code waits for them, whatever the cells do.

ipykernel handles a widget's message on the main thread: after the running cell, and with ipykernel
6 also after a cell that awaits. A task that waits for a click would wait for that cell, and such a
cell for itself. So the messages of these comms, and no others, are handled here: on the embedded
loop while a cell awaits there, as its code must not run at the same time, else in a thread that
visits the loop, as with a front end that sends them to a subshell.
"""

from __future__ import annotations

import contextvars
import logging
import queue
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.service_thread import ServiceThread
from asyncnb._core.base.visits import Visit
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._kernel.ipykernel.comm_channel import CommChannel
from asyncnb._kernel.ipykernel.kernel import kernel_of

if TYPE_CHECKING:
    from asyncnb._core.loop.embedded import EmbeddedLoop

logger = logging.getLogger("asyncnb")


class AwaitedComms:
    """The comms that code waits for, and how their messages are handled."""

    def __init__(
        self,
        ip: Any,  # Any: what is used here is ipykernel's, untyped
        channel: CommChannel,
        *,
        awaiting: Callable[[], bool],
        enter: Callable[[dict[str, Any]], None],
    ) -> None:
        self._kernel: Any = kernel_of(ip)
        self._channel = channel
        self._awaiting = awaiting
        self._enter = enter
        self._lock = fork_safe_lock()
        self._counts: dict[str, int] = {}
        self._thread: ServiceThread | None = None
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._receives = False

    def add(self, comm_id: str) -> Callable[[], None]:
        """Handle the messages of this comm at once; return what ends that, once. Any thread."""
        if not hasattr(self._kernel, "comm_manager") or not hasattr(self._kernel, "session"):
            return _nothing  # a terminal; JupyterLite, where one thread does everything
        with self._lock:
            count = self._counts[comm_id] = self._counts.get(comm_id, 0) + 1
            if count == 1:
                self._channel.take_whole(comm_id, self._receive, ready=self._is_free)
        left = [comm_id]

        def remove() -> None:
            with self._lock:
                if not left:
                    return
                comm_id = left.pop()
                self._counts[comm_id] -= 1
                if not self._counts[comm_id]:
                    del self._counts[comm_id]
                    self._channel.leave(comm_id)

        return remove

    def close(self) -> None:
        """Take no more messages, and end the thread."""
        with self._lock:
            for comm_id in self._counts:
                self._channel.leave(comm_id)
            thread, self._thread = self._thread, None
        if thread is not None:
            self._work.put(None)
            thread.wait(2.0)

    def _is_free(self, *, of_own_thread: bool) -> bool:
        """Return whether a message that has arrived is handled here rather than by the kernel."""
        if running_embedded_loop() is None:
            return False
        # Without a thread that receives (ipykernel 6) they arrive when the main thread is free: the
        # kernel's own way is as quick then, except while a cell awaits.
        return of_own_thread or self._awaiting()

    def _receive(self, message: dict[str, Any], finished: Callable[[], None]) -> None:
        """Handle ``message``, then call ``finished``. In the thread that receives."""
        context = contextvars.copy_context()
        context.run(self._enter, message)

        def handle() -> None:
            try:
                # It logs what the user's callbacks raise.
                self._kernel.comm_manager.comm_msg(None, None, message)
            finally:
                finished()

        loop = running_embedded_loop()
        if loop is not None and self._awaiting():
            loop.call_soon_threadsafe(handle, context=context)
            return
        self._work.put(lambda: context.run(_visiting, loop, handle))
        with self._lock:
            if self._thread is not None and self._thread.is_running_or_starting():
                return
            thread = self._thread = ServiceThread(self._run, "asyncnb comms")
        thread.start()

    def _run(self) -> None:
        while (call := self._work.get()) is not None:
            try:
                call()
            except Exception:
                logger.exception("asyncnb could not handle a comm message")


def _visiting(loop: EmbeddedLoop | None, handle: Callable[[], None]) -> None:
    if loop is None or loop.dead:
        handle()
        return
    visit = Visit(loop)
    visit.enter()
    try:
        handle()
    finally:
        visit.leave()
        visit.release()


def _nothing() -> None:
    pass
