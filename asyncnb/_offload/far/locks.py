"""Locks that are free in a forked child; the far end may not have asyncnb's own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any


def at_fork(reset: Callable[[], object]) -> None:
    """Call ``reset`` in each forked child, after those registered before it."""
    if hasattr(os, "register_at_fork"):  # Windows has no fork
        os.register_at_fork(after_in_child=reset)


def fork_safe_lock() -> Any:
    """Return a reentrant lock for a module; a forked child finds it free."""
    lock: Any = threading.RLock()
    at_fork(lock._at_fork_reinit)
    return lock
