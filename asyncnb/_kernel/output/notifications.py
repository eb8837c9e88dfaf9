"""Notifications: brings notices to the browser, on a separate thread, or to the terminal."""

from __future__ import annotations

import logging
import queue
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from asyncnb._core.base.errors import THREADS
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.service_thread import ServiceThread
from asyncnb._core.launched.digest import Digest
from asyncnb._core.launched.notices import Notice, notice_of_end
from asyncnb._core.launched.record import TaskRecord
from asyncnb._kernel.ipykernel.kernel import kernel_of
from asyncnb._kernel.ipykernel.parents import is_headless
from asyncnb._kernel.output.router import OutputRouter

logger = logging.getLogger("asyncnb")


class Pages(Protocol):
    """The pages of this kernel. Its methods are called on the notifications' thread."""

    def put(self, notice: Notice) -> None:
        """Make one page show ``notice``."""

    def ask(self) -> None:
        """Offer the user a button that asks the browser for permission."""


class Notifications:
    """Shows notices to the user of this notebook. Its thread is started by the first one.

    ``pages`` returns what reaches the pages; its first call, on that thread, imports widgets. It
    takes the function by which other threads have something called on that thread.
    """

    def __init__(
        self,
        ip: Any,
        output: OutputRouter,
        pages: Callable[[Callable[[Callable[[], object]], None]], Pages],
    ) -> None:
        self._output = output
        self._pages = pages
        self._terminal = kernel_of(ip) is None or not THREADS
        self._digest = Digest()
        self._inbox: queue.SimpleQueue[Notice | Callable[[], object] | None] = queue.SimpleQueue()
        self._lock = fork_safe_lock()
        self._thread: ServiceThread | None = None
        self._closed = False

    def show(self, notice: Notice) -> None:
        """Show a notice of the running code. Any thread; returns at once."""
        self._show(notice, self._output.parent())

    def task_ended(self, record: TaskRecord) -> None:
        """Show a notice of the end of a task if that is worth one. In the loop's thread."""
        notice = notice_of_end(record)
        if notice is not None:
            self._show(notice, record.origin.message or {})

    def ask(self) -> None:
        """Make the page offer to allow notifications. Any thread; returns at once."""
        if not self._terminal and not is_headless(self._output.parent()):
            self._put(lambda: self._pages(self._put).ask())

    def _show(self, notice: Notice, parent: dict[str, Any]) -> None:
        if is_headless(parent):
            return
        if not self._terminal:
            self._put(notice)
        elif not notice.only_unseen:  # a failure that was not asked about has its traceback there
            bell = "\a" if _is_terminal(sys.stderr) else ""
            print(f"{bell}{notice.line()}", file=sys.stderr, flush=True)

    def _put(self, item: Notice | Callable[[], object]) -> None:
        with self._lock:
            if self._closed:
                return
            self._inbox.put(item)
            if self._thread is not None and self._thread.is_running_or_starting():
                return
            self._thread = thread = ServiceThread(self._run, "asyncnb notifications")
        try:
            thread.start()
        except RuntimeError:  # the system's limit of threads is reached; the next one tries again
            logger.warning("asyncnb: no thread could be started to show a notification")

    def close(self) -> None:
        """End the thread; what waits is dropped. A second call does nothing."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._inbox.put(None)
            thread.wait(2.0)

    def _run(self) -> None:
        while not self._closed:
            try:
                self._turn()
            except Exception:
                # A page that is gone, or widgets that cannot be imported: the next may be shown.
                logger.exception("asyncnb could not show a notification")

    def _turn(self) -> None:
        try:
            item = self._inbox.get(timeout=self._digest.wait(time.monotonic()))
        except queue.Empty:
            item = None
        if isinstance(item, Notice):
            self._digest.put(item, time.monotonic())
        elif item is not None:
            item()
        if not self._closed and (notice := self._digest.take(time.monotonic())) is not None:
            self._pages(self._put).put(notice)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # replaced by something else, or closed
        return False
