"""A lock that survives a fork."""

from __future__ import annotations

import threading
from typing import Any

from asyncnb._core._forks import renew_lock


def fork_safe_lock() -> Any:
    """Make a reentrant lock that is free in a forked child, whatever held it in the parent."""
    lock: Any = threading.RLock()
    renew_lock(lock)
    return lock
