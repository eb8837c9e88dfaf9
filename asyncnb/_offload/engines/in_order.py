"""A thread that makes calls in order, for what may block and must not block the loop."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock

logger = logging.getLogger("asyncnb")

_lock = fork_safe_lock()
_calls: queue.SimpleQueue[Callable[[], None]] | None = None


def call_in_order(call: Callable[[], None]) -> None:
    """Schedule ``call`` on a dedicated thread, after all calls scheduled before it."""
    global _calls
    with _lock:
        if _calls is None:
            _calls = queue.SimpleQueue()
            threading.Thread(
                target=_make_calls, args=(_calls,), name="asyncnb submit", daemon=True
            ).start()
    _calls.put(call)


def _make_calls(waiting: queue.SimpleQueue[Callable[[], None]]) -> None:
    while True:
        try:
            waiting.get()()
        except Exception:
            logger.exception("Sending work to another process failed")


def _forget_after_fork() -> None:
    global _calls
    _calls = None  # its thread exists only in the parent


at_fork(_forget_after_fork)
