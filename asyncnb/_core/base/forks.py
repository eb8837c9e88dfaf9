"""Reset asyncnb's state in a forked child process.

A child process has its parent's memory, but only one of its threads: the one that forked. There, a
lock that another thread held stays locked permanently, and everything that needs a thread (the
embedded loop, its groups, connections to workers) is dead. So each module registers here what a
child gets instead.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("asyncnb")

#: All existing locks of the package.
locks: weakref.WeakSet[Any] = weakref.WeakSet()
_resets: list[Callable[[], object]] = []
_finishers: list[Callable[[], object]] = []


def renew_lock(lock: Any) -> None:
    """Release ``lock`` in each forked child, as long as it exists, before the resets run."""
    locks.add(lock)


def at_fork(reset: Callable[[], object]) -> None:
    """Call ``reset`` in each forked child, after the functions that were registered before it.

    Modules register on import, so the modules that others depend on are reset first.
    """
    _resets.append(reset)


def before_fork(finish: Callable[[], object]) -> None:
    """Call ``finish`` in a process that is about to fork, in the thread that forks."""
    _finishers.append(finish)


def _in_parent() -> None:
    for finish in _finishers:
        finish()


def _in_child() -> None:
    for lock in list(locks):
        lock._at_fork_reinit()
    for reset in _resets:
        try:
            reset()
        except Exception:  # os.fork() would drop the exception and skip the remaining resets
            logger.exception("A reset after a fork failed: %r", reset)


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(before=_in_parent, after_in_child=_in_child)
