"""Observers: functions that are called on each event until they are removed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from asyncnb._core.base.locks import fork_safe_lock

logger = logging.getLogger("asyncnb")

_lock = fork_safe_lock()


class Observers:
    """A list of functions with one policy: a function that raises is logged once and removed.

    The observed code must not fail because an observer does, and no failure is logged a thousand
    times. ``each`` is the tuple of the functions; testing whether it is empty is the fastest check
    for observers. Any thread, and any finaliser.
    """

    __slots__ = ("_what", "each")

    def __init__(self, what: str) -> None:
        self._what = what
        self.each: tuple[Callable[..., Any], ...] = ()

    def add(self, observer: Callable[..., Any]) -> Callable[[], None]:
        """Call ``observer`` from now on; return a function that removes it.

        The same observer may be added twice; each removal removes one of the two. Calling the
        returned function a second time does nothing.
        """
        with _lock:
            self.each += (observer,)
        left = [observer]

        def remove() -> None:
            if left:
                self.discard(left.pop())

        return remove

    def discard(self, observer: Callable[..., Any]) -> None:
        """Remove one occurrence of ``observer``; do nothing if there is none."""
        with _lock:
            each = list(self.each)
            if observer in each:
                each.remove(observer)
                self.each = tuple(each)

    def __len__(self) -> int:
        return len(self.each)

    def clear(self) -> None:
        """Remove all observers."""
        self.each = ()

    def notify(self, *args: Any) -> None:
        """Call each observer with ``args``, in the order in which they were added."""
        for observer in self.each:
            try:
                observer(*args)
            except Exception:
                self._unplug(observer)

    def claimed(self, *args: Any) -> bool:
        """Call the observers with ``args`` until one returns True; return whether one did."""
        for observer in self.each:
            try:
                if observer(*args):
                    return True
            except Exception:
                self._unplug(observer)
        return False

    def _unplug(self, observer: Callable[..., Any]) -> None:
        logger.exception("An observer of %s failed and was removed: %r", self._what, observer)
        self.discard(observer)
