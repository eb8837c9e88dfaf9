"""The jobs running in this process, and how to cancel them."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import threading
from collections.abc import Callable
from typing import Any

from .locks import at_fork, fork_safe_lock


class JobCancelled(asyncio.CancelledError):
    """Raised at the next bytecode of a function whose task was cancelled."""

    def __reduce__(self) -> Any:
        return asyncio.CancelledError, self.args  # the kernel has no module with this name


class RunningJob:
    """The job that a thread is running; ``cancel`` stops it from another thread."""

    open = True
    cancel_requested = False
    sent = False
    _previous_handler: Any = None
    #: Cancels a job that runs on its own event loop, or None.
    cancel_task: Callable[[], object] | None = None

    def __init__(self, job: object, by_signal: bool = False) -> None:
        self.job = job
        #: Whether SIGINT alone means cancel: where only a signal can reach this process.
        self.by_signal = by_signal
        self.thread = threading.get_ident()
        self.in_main = self.thread == threading.main_thread().ident
        self.lock = threading.Lock()

    def cancel(self) -> None:
        """Raise CancelledError in the job. From any other thread."""
        with self.lock:
            if not self.open:
                return
            self.cancel_requested = True
            if self.cancel_task is not None:
                self.cancel_task()
            elif not self.in_main:
                self.sent = True
                raise_in_thread(self.thread, JobCancelled)
            elif hasattr(signal, "pthread_kill"):
                signal.pthread_kill(self.thread, signal.SIGINT)  # interrupts a system call
            else:
                signal.raise_signal(signal.SIGINT)  # Windows: interrupts time.sleep() too

    def __enter__(self) -> RunningJob:
        if self.in_main:
            self._previous_handler = _set_handler(signal.SIGINT, self._interrupted)
        return self

    def _interrupted(self, *_: object) -> None:
        if self.by_signal:
            self.cancel_requested = True
            if self.cancel_task is not None:
                self.cancel_task()
        if self.open and self.cancel_requested and self.cancel_task is None:
            raise JobCancelled("cancelled")

    def __exit__(self, *_: object) -> None:
        while True:
            try:
                with self.lock:
                    self.open = False
                    if self.sent:
                        raise_in_thread(self.thread, None)
                if self._previous_handler is not None:
                    _set_handler(signal.SIGINT, self._previous_handler)
                return
            except JobCancelled:
                pass  # it arrived after the job had ended


def raise_in_thread(ident: int, exc: type[BaseException] | None) -> None:
    """Raise ``exc`` in thread ``ident`` at its next bytecode; None withdraws it."""
    api = ctypes.pythonapi.PyThreadState_SetAsyncExc
    api(ctypes.c_ulong(ident), ctypes.py_object(exc) if exc is not None else None)


try:
    # What signal.signal calls, but without making an enum member of each handler, twice per job.
    from _signal import signal as _set_handler  # type: ignore[import-not-found]
except ImportError:
    _set_handler = signal.signal


#: How many jobs that were cancelled before they arrived are remembered.
MAX_CANCELLED = 100_000

#: The jobs running in this process, by id, and those that were cancelled before they ran.
running: dict[object, RunningJob] = {}
_cancelled: dict[object, None] = {}
_running_lock = fork_safe_lock()


def cancel(job: object) -> None:
    """Cancel a job that runs in this process or is about to. From any other thread."""
    with _running_lock:
        found = running.get(job)
        if found is None:
            _cancelled[job] = None
            if len(_cancelled) > MAX_CANCELLED:  # most run in another process, or never will
                del _cancelled[next(iter(_cancelled))]
    if found is not None:
        found.cancel()


def begin(job: object, by_signal: bool = False) -> RunningJob | None:
    """Register ``job`` as running in this thread, or return None if it was already cancelled.

    It is in ``running`` until the caller removes it.
    """
    current = RunningJob(job, by_signal)
    with _running_lock:
        if job in _cancelled:
            del _cancelled[job]
            return None
        running[job] = current
    return current


def _forget_after_fork() -> None:
    running.clear()
    _cancelled.clear()


at_fork(_forget_after_fork)
