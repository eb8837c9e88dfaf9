"""The jobs that run in this process, and how to cancel them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from .locks import at_fork, fork_safe_lock


class JobCancelled(asyncio.CancelledError):
    """Raised inside a function whose task was cancelled, at the next bytecode."""

    def __reduce__(self) -> Any:
        return asyncio.CancelledError, self.args  # the kernel has no module of this name


class RunningJob:
    """The job that runs now in one thread; ``cancel`` stops it from another one."""

    def __init__(self, job: object, by_signal: bool = False) -> None:
        self.job = job
        #: Whether SIGINT by itself is a cancel: where nothing but a signal gets here.
        self.by_signal = by_signal
        self.thread = threading.get_ident()
        self.in_main = threading.current_thread() is threading.main_thread()
        self.lock = threading.Lock()
        self.open = True
        self.cancel_requested = False
        self.sent = False
        self._previous_handler: Any = None
        #: Cancels a job that runs on a loop of its own, or None.
        self.cancel_task: Callable[[], object] | None = None

    def cancel(self) -> None:
        """Make CancelledError surface in the job. From any other thread."""
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
                signal.pthread_kill(self.thread, signal.SIGINT)  # cuts a system call short
            else:
                signal.raise_signal(signal.SIGINT)  # Windows: wakes time.sleep() up as well

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
                pass  # it came when the job had ended


def raise_in_thread(ident: int, exc: type[BaseException] | None) -> None:
    """Make ``exc`` surface in thread ``ident`` at its next bytecode; None takes it back."""
    api = ctypes.pythonapi.PyThreadState_SetAsyncExc
    api(ctypes.c_ulong(ident), ctypes.py_object(exc) if exc is not None else None)


try:
    # What signal.signal calls, without making an enum member of each handler: twice for each job.
    from _signal import signal as _set_handler  # type: ignore[import-not-found]
except ImportError:
    _set_handler = signal.signal


#: Jobs that are remembered as cancelled before they came here.
MAX_CANCELLED = 100_000

#: The jobs that run in this process, by their ids; and those cancelled before they ran.
running: dict[object, RunningJob] = {}
_cancelled: dict[object, None] = {}
_running_lock = fork_safe_lock()


def cancel(job: object) -> None:
    """Cancel the job, which runs in this process or is about to. From any other thread."""
    with _running_lock:
        found = running.get(job)
        if found is None:
            _cancelled[job] = None
            if len(_cancelled) > MAX_CANCELLED:  # most of them run elsewhere, or never will
                del _cancelled[next(iter(_cancelled))]
    if found is not None:
        found.cancel()


@contextlib.contextmanager
def running_as(job: object, by_signal: bool = False) -> Iterator[RunningJob | None]:
    """Make ``job`` known as running in this thread; None if it has been cancelled before."""
    current: RunningJob | None = RunningJob(job, by_signal)
    with _running_lock:
        if job in _cancelled:
            del _cancelled[job]
            current = None
        else:
            assert current is not None
            running[job] = current
    try:
        yield current
    finally:
        running.pop(job, None)


def _forget_after_fork() -> None:
    running.clear()
    _cancelled.clear()


at_fork(_forget_after_fork)
