"""Observers: functions that are called with what happens, until they are removed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from asyncnb._core.base.locks import fork_safe_lock

logger = logging.getLogger("asyncnb")

_lock = fork_safe_lock()


class Observers:
    """A list of functions with one policy: one that raises is logged once and removed.

    What is observed must not fail because of who looks at it, and nothing is logged a thousand
    times. ``each`` is the tuple of the functions, empty where there are none, which is the quickest
    thing to ask. Any thread, and any finaliser.
    """

    __slots__ = ("_what", "each")

    def __init__(self, what: str) -> None:
        self._what = what
        self.each: tuple[Callable[..., Any], ...] = ()

    def add(self, observer: Callable[..., Any]) -> Callable[[], None]:
        """Call ``observer`` from now on; return the function that removes it.

        The same one may be added twice; each removal takes one of them. A second removal does
        nothing.
        """
        with _lock:
            self.each += (observer,)
        left = [observer]

        def remove() -> None:
            if left:
                self.discard(left.pop())

        return remove

    def discard(self, observer: Callable[..., Any]) -> None:
        """Remove ``observer``, once; nothing happens when it is not there."""
        with _lock:
            each = list(self.each)
            if observer in each:
                each.remove(observer)
                self.each = tuple(each)

    def __len__(self) -> int:
        return len(self.each)

    def clear(self) -> None:
        """Remove all."""
        self.each = ()

    def notify(self, *args: Any) -> None:
        """Call each with ``args``, in the order in which they were added."""
        for observer in self.each:
            try:
                observer(*args)
            except Exception:
                self._unplug(observer)

    def claimed(self, *args: Any) -> bool:
        """Call each with ``args`` until one returns True, which this returns then."""
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
