"""A timer of the standard loop at half its price, for timeouts, which hardly ever fire.

``loop.call_at`` and ``cancel`` of the standard loop take ten calls of Python functions for each
timer. Here are the same two in two, by writing the handle's slots and pushing it onto the loop's
own heap. Loops of other kinds, those that have a ``call_at`` of their own (virtual time), loops
in debug mode, and Pythons that it has not been tried on get their ``call_at`` called.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from typing import Any

#: Whether this and ``loop.fast_call_soon`` have been tried on this Python: 3.16 may change the
#: parts of the standard loop that they write to, and then tests/core/test_lean.py fails until the
#: bound is raised or what they write is mended.
KNOWN = sys.version_info < (3, 16)

_known_call_at: list[Any] = [asyncio.BaseEventLoop.call_at]


def trust_call_at(call_at: Callable[..., object]) -> None:
    """Use ``LeanTimer`` on loops with this ``call_at``, which does what the standard one does."""
    _known_call_at.append(call_at)


class LeanTimer(TimerHandle):
    """A ``TimerHandle``, to be pushed onto ``loop._scheduled`` by who makes it."""

    __slots__ = ()

    def __init__(
        self, when: float, callback: Callable[[], object], loop: Any, context: contextvars.Context
    ) -> None:
        self._when = when
        self._callback = callback
        self._args = ()
        self._loop = loop
        self._context = context
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._scheduled = True

    def cancel(self) -> None:
        if self._cancelled:
            return
        self._cancelled = True
        if self._scheduled:
            self._loop._timer_cancelled_count += 1  # by which the loop decides to clear its heap
        self._callback = self._args = None  # type: ignore[assignment]


def takes_lean_timers(loop: AbstractEventLoop) -> bool:
    """Return whether ``LeanTimer`` works on ``loop``, unless that is in debug mode."""
    return getattr(type(loop), "call_at", None) in _known_call_at and KNOWN
