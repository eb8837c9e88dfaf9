"""What the ends of tasks have to say, told one after the other on a thread of its own.

A traceback takes tens of milliseconds to format, so the loop does not do it. Where tasks fail
faster than that, the thread makes shorter ones, and where that does not help either it counts:
every failure is told, and no crowd of them holds up the kernel or fills its memory.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from asyncnb._core.base.errors import THREADS
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.service_thread import ServiceThread

#: Reports that may wait before tracebacks are made the short way, hundreds of times as fast.
SHORT_AFTER = 20
#: Failures that may wait before more of them are only counted.
MAX_WAITING = 1000

#: Called with whether to be short.
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
        """Have ``show`` called on the thread, when it is its turn; at once where there is none.

        Any thread.
        """
        if not self._begin(show):
            self._show(show)

    def start(self) -> None:
        """Start the thread if it does not run. Any thread.

        Whoever starts a thread waits until it runs, which takes a while on a busy machine: before
        the first report, so that the loop is not the one who waits.
        """
        self._begin(None)

    def _begin(self, show: Show | None) -> bool:
        """Have a thread that calls ``show``; return False if there cannot be one."""
        with self._lock:
            if not THREADS or self._stopped:
                return False
            new = None
            if self._writer is None or not self._writer.is_running_or_starting():
                # Noted before it starts, so that stop() finds it whatever happens in between.
                self._writer = new = ServiceThread(self._write, "asyncnb reports")
            if show is not None:
                self._waiting.put(show)  # with the lock: not behind the end that stop() puts in
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
        """Return whether a failure of ``cell`` is one too many, and is counted instead.

        ``report`` is called with their number when the others have been told. Any thread.
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
        """Wait until what waits now has been told, for at most ``timeout`` seconds."""
        if self._writer is not None and self._writer.is_running_or_starting():
            done = threading.Event()
            self._waiting.put(lambda _: done.set())
            done.wait(timeout)

    def stop(self, timeout: float) -> None:
        """Let what waits be told, for at most ``timeout`` seconds; what comes later is at once."""
        with self._lock:
            self._stopped = True
            writer, self._writer = self._writer, None
            self._waiting.put(None)
        if writer is not None:
            writer.wait(timeout)

    def _write(self) -> None:
        # What threading.settrace() gave it: a tracer that raises would end this thread, and with it
        # what a task has to say.
        sys.settrace(None)
        sys.setprofile(None)
        while (show := self._waiting.get()) is not None:
            self._show(show)
            del show  # it refers to the result or the exception, and the next one may be long off

    def _show(self, show: Show) -> None:
        try:
            show(self._waiting.qsize() >= SHORT_AFTER)
        except BaseException:  # a SystemExit of the user's repr, say: it is for that report alone
            self._ip.log.exception("asyncnb could not show how a task ended")

    def _report_count(self, cell: str) -> None:
        with self._lock:
            number, report = self._counted.pop(cell), self._reporters.pop(cell)
        report(number)
