"""Withdraw a cancellation that was requested from a task but not yet delivered.

Since CPython 3.13 a call of ``Task.uncancel()`` that reaches zero does this by itself; asyncnb's
own task does so on every Python. The C task of 3.11 and 3.12 cannot: its ``_must_cancel`` is
read-only, and the task's next ``await`` would raise a CancelledError that is no longer requested.
"""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Generator
from typing import Any

if sys.version_info >= (3, 13):

    def has_stale_cancel(task: asyncio.Task[Any]) -> bool:
        """Return whether ``task`` still holds a cancellation that was withdrawn."""
        return False

else:

    def has_stale_cancel(task: asyncio.Task[Any]) -> bool:
        """Return whether ``task`` still holds a cancellation that was withdrawn."""
        # The C task exposes the flag, although it cannot be reset.
        return bool(getattr(task, "_must_cancel", False)) and not task.cancelling()


@types.coroutine
def absorb_stale_cancel(task: asyncio.Task[Any]) -> Generator[None, None, None]:
    """Let the loop deliver the withdrawn cancellation to ``task``, the current one, and drop it.

    Takes one iteration of the loop. Raises CancelledError if the task is cancelled meanwhile.
    """
    try:
        yield
    except asyncio.CancelledError:
        if task.cancelling():
            raise
