"""Taking back a cancellation that a task has been asked for and has not yet felt.

Since CPython 3.13 ``Task.uncancel()`` that reaches zero does so by itself; asyncnb's own task
does everywhere. The C task of 3.11 and 3.12 cannot: its ``_must_cancel`` is read-only, and the
next ``await`` of the task would raise a CancelledError that nobody asks for any more.
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
        # The C task shows the flag, though it does not let anybody reset it.
        return bool(getattr(task, "_must_cancel", False)) and not task.cancelling()


@types.coroutine
def absorb_stale_cancel(task: asyncio.Task[Any]) -> Generator[None, None, None]:
    """Let the loop deliver the withdrawn cancellation to ``task``, the current one, and drop it.

    Takes one turn of the loop. Raises CancelledError if somebody cancels the task meanwhile.
    """
    try:
        yield
    except asyncio.CancelledError:
        if task.cancelling():
            raise
