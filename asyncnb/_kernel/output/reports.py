"""Shows the results and failures of tasks one after the other, on a separate thread.

A traceback takes tens of milliseconds to format, so the loop does not do it. When tasks fail
faster than that, the thread makes shorter tracebacks, and when that is not enough it counts:
every failure is reported, and even a great number of them neither delays the kernel nor fills its
memory.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from asyncnb._core.base.errors import THREADS
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.service_thread import ServiceThread

#: Reports that may wait before tracebacks get a short form, which is hundreds of times as fast.
SHORT_AFTER = 20
#: Failures that may wait before further ones are only counted.
MAX_WAITING = 1000

#: Called with whether to use the short form.
Show = Callable[[bool], None]


class Reports:
    """The queue of reports, and the thread that writes them."""

    def __init__(self, ip: Any) -> None:
        self._ip = ip
        self._waiting: queue.SimpleQueue[Show | None] = queue.SimpleQueue()
        self._lock = fork_safe_lock()
        self._writer: ServiceThread | None = None
        self._stopped = False
        self._counted: Counter[str] = Counter()
        self._reporters: dict[str, Callable[[int], None]] = {}

    def put(self, show: Show) -> None:
        """Schedule ``show`` on the thread; call it at once where there is no thread.

        Any thread.
        """
        if not self._begin(show):
            self._show(show)

    def start(self) -> None:
        """Start the thread if it is not running. Any thread.

        Starting a thread blocks the caller until it runs, which takes a while on a busy machine:
        so it is started before the first report, and the loop does not have to wait.
        """
        self._begin(None)

    def _begin(self, show: Show | None) -> bool:
        """Make sure that a thread will call ``show``; return False if there cannot be one."""
        with self._lock:
            if not THREADS or self._stopped:
                return False
            new = None
            if self._writer is None or not self._writer.is_running_or_starting():
                # Stored before it starts, so that stop() finds it whatever happens in between.
                self._writer = new = ServiceThread(self._write, "asyncnb reports")
            if show is not None:
                self._waiting.put(show)  # with the lock: not behind the end marker of stop()
        if new is not None:
            try:
                new.start()
            except RuntimeError:  # the system's limit of threads is reached
                self._writer = None
                self._show_waiting()
        return True

    def _show_waiting(self) -> None:
        with contextlib.suppress(queue.Empty):
            while (show := self._waiting.get_nowait()) is not None:
                self._show(show)

    def count_instead(self, cell: str, report: Callable[[int], None]) -> bool:
        """Return whether a failure of ``cell`` exceeds the limit, and is only counted.

        ``report`` is called with the number of such failures once the waiting ones have been
        shown. Any thread.
        """
        if self._waiting.qsize() < MAX_WAITING:
            return False
        with self._lock:
            self._counted[cell] += 1
            first = cell not in self._reporters
            self._reporters[cell] = report
        if first:
            self.put(lambda _: self._report_count(cell))
        return True

    def drain(self, timeout: float) -> None:
        """Wait until all reports that wait now have been shown, for at most ``timeout`` seconds."""
        if self._writer is not None and self._writer.is_running_or_starting():
            done = threading.Event()
            self._waiting.put(lambda _: done.set())
            done.wait(timeout)

    def stop(self, timeout: float) -> None:
        """Show waiting reports, for at most ``timeout`` seconds; later ones are shown at once."""
        with self._lock:
            self._stopped = True
            writer, self._writer = self._writer, None
            self._waiting.put(None)
        if writer is not None:
            writer.wait(timeout)

    def _write(self) -> None:
        while (show := self._waiting.get()) is not None:
            self._show(show)
            # It refers to the result or the exception, and the next one may come much later.
            del show

    def _show(self, show: Show) -> None:
        try:
            show(self._waiting.qsize() >= SHORT_AFTER)
        except BaseException:  # say, a SystemExit in the user's repr: it ends that report only
            self._ip.log.exception("asyncnb could not show how a task ended")

    def _report_count(self, cell: str) -> None:
        with self._lock:
            number, report = self._counted.pop(cell), self._reporters.pop(cell)
        report(number)
