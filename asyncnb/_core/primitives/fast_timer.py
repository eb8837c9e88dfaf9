"""The standard loop's timer at half its cost, for timeouts, which hardly ever fire.

``loop.call_at`` and ``cancel`` of the standard loop take ten calls of Python functions for each
timer. This version takes two, by writing the handle's slots and pushing it onto the loop's own
heap. For other kinds of loops, those that override ``call_at`` (virtual time), loops in debug mode,
and Pythons on which this has not been tested, the loop's own ``call_at`` is called.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from typing import Any

#: Whether this module and ``loop.fast_call_soon`` are tested on this Python: 3.16 may change the
#: parts of the standard loop that they write to, and then tests/core/loop/test_lean.py fails until
#: the bound is raised or the two modules are fixed.
KNOWN = sys.version_info < (3, 16)

_known_call_at: list[Any] = [asyncio.BaseEventLoop.call_at]


def trust_call_at(call_at: Callable[..., object]) -> None:
    """Use ``FastTimer`` on loops whose ``call_at`` is this one, equivalent to the standard one."""
    _known_call_at.append(call_at)


class FastTimer(TimerHandle):
    """A ``TimerHandle`` that its creator must push onto ``loop._scheduled``."""

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
            self._loop._timer_cancelled_count += 1  # tells the loop when to clear its heap
        self._callback = self._args = None  # type: ignore[assignment]


def takes_fast_timers(loop: AbstractEventLoop) -> bool:
    """Return whether ``FastTimer`` works on ``loop`` while it is not in debug mode."""
    return getattr(type(loop), "call_at", None) in _known_call_at and KNOWN
