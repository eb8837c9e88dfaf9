"""The reply for an interrupted cell that cannot end yet, because something else blocks the loop."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

from IPython.core.interactiveshell import ExecutionResult

from asyncnb._core.introspection.call_graph import frames_of_coroutine
from asyncnb._core.introspection.places import strip_outer_frames
from asyncnb._kernel.output.tracebacks import plain_lines, user_frames

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from asyncnb._core.loop.embedded import EmbeddedLoop


class _Interrupted(KeyboardInterrupt):
    """Shown without colours: another thread uses the CPU, and the user is waiting."""

    def _render_traceback_(self) -> list[str]:
        return plain_lines(self, self.__traceback__)


_Interrupted.__name__ = _Interrupted.__qualname__ = "KeyboardInterrupt"
_Interrupted.__module__ = "builtins"


def interrupted_result(loop: EmbeddedLoop, coro: Coroutine[Any, Any, Any]) -> ExecutionResult:
    """Return the result for the kernel: KeyboardInterrupt, at the line where the cell waits.

    ``coro`` is the cell's, suspended on ``loop``, which something else blocks.
    """
    blocked = loop.blocked
    by = "another task" if blocked is None else f"task {blocked.name!r} ({blocked.where})"
    if blocked is not None and blocked.name.startswith("callback"):
        by = f"{blocked.name} ({blocked.where})"
    error = _Interrupted(
        f"interrupted while {by} blocks the loop; its cleanup will run once the loop is free"
    )
    result = ExecutionResult(None)
    result.error_in_exec = error.with_traceback(user_frames(_traceback(coro)))
    return result


def _traceback(coro: Any) -> types.TracebackType | None:
    """Return a traceback of the frames of a suspended cell, starting with its own code."""
    tb = None
    for frame in reversed(strip_outer_frames(frames_of_coroutine(coro))):
        tb = types.TracebackType(tb, frame, frame.f_lasti, frame.f_lineno or 0)
    return tb
