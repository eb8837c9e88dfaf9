"""Locks that survive a fork, and that survive code interrupting the code that holds one.

A finaliser or a signal handler may call asyncnb while its own thread is in the middle of another
call, at any bytecode. So the locks are reentrant, and each change made under a lock is consistent
at every point where the interpreter may run other code: after a call and at the end of a loop.
"""

from __future__ import annotations

import threading
from typing import Any, cast

from asyncnb._core.base.forks import locks, renew_lock


def fork_safe_lock() -> Any:
    """Return a reentrant lock that is free in a forked child, even if it was held in the parent."""
    lock: Any = threading.RLock()
    renew_lock(lock)
    return lock


def holds_a_lock() -> bool:
    """Return whether the calling code has interrupted code of its thread that holds a lock.

    If so, the caller must not wait for another thread: that thread may need the lock.
    """
    for ref in cast(Any, locks).data.copy():  # list(locks) takes three times as long
        lock = ref()
        if lock is not None and lock._is_owned():
            return True
    return False
