"""What a fork does to asyncnb: the one place that a forked child starts from.

A child has the memory of its parent, but of the parent's threads only the one that forked. A lock
that another thread held is held for good there, and whatever needs a thread (the embedded loop, its
groups, connections of workers) is dead. So each module says here what a child gets instead.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("asyncnb")

#: The locks of the package that exist.
locks: weakref.WeakSet[Any] = weakref.WeakSet()
_resets: list[Callable[[], object]] = []


def renew_lock(lock: Any) -> None:
    """Free ``lock`` in each forked child, as long as it exists. Before any ``at_fork``."""
    locks.add(lock)


def at_fork(reset: Callable[[], object]) -> None:
    """Have ``reset`` called in each forked child, after those registered before it.

    Modules register when they are imported, so what others build on comes first.
    """
    _resets.append(reset)


def _in_child() -> None:
    for lock in list(locks):
        lock._at_fork_reinit()
    for reset in _resets:
        try:
            reset()
        except Exception:  # os.fork() would drop it, and the resets behind it
            logger.exception("A reset after a fork failed: %r", reset)


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_in_child)
