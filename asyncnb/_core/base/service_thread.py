"""Threads that a part of asyncnb starts when it first needs one, and ends when it is closed.

Start such a thread without holding a lock: ``start()`` waits until the thread runs, and before that
a finaliser that needs the lock may be called on the new thread. So between its construction and its
first step, other code may check whether the thread exists, or close the object it belongs to.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import BuiltinFunctionType


class ServiceThread(threading.Thread):
    """A daemon thread that counts as running from its construction to its end."""

    def __init__(self, target: Callable[[], None], name: str) -> None:
        super().__init__(target=target, name=name, daemon=True)
        self._pid = os.getpid()
        self._ended = threading.Event()

    def start(self) -> None:
        """Start the thread. Raises RuntimeError at the system's limit of threads."""
        try:
            super().start()
        except RuntimeError:
            self._ended.set()
            raise

    def run(self) -> None:
        # Remove what threading.settrace() and setprofile() set: a tracer of the user that raises
        # would end this thread. A debugger (pydevd) that replaces the function keeps its tracers
        # to itself, and prints a warning into the cell when other code calls it.
        if isinstance(sys.settrace, BuiltinFunctionType):
            sys.settrace(None)
        if isinstance(sys.setprofile, BuiltinFunctionType):
            sys.setprofile(None)
        try:
            super().run()
        finally:
            self._ended.set()

    def is_running_or_starting(self) -> bool:
        """Return whether the thread runs or is about to; False in a forked child of its process."""
        return not self._ended.is_set() and self._pid == os.getpid()

    def wait(self, timeout: float) -> None:
        """Wait until the thread has ended, for at most ``timeout`` seconds. Any other thread."""
        if self.is_running_or_starting() and self._ended.wait(timeout) and self.is_alive():
            self.join(timeout)
