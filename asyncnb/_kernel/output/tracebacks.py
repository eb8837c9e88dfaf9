"""Formats tracebacks as the user should see them: with the cells' frames, not asyncnb's."""

from __future__ import annotations

import asyncio
import re
import sys
import traceback
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asyncnb._core import frontend
from asyncnb._core.base.errors import format_exception_line, safe_str
from asyncnb._core.base.frames import ASYNCIO, PACKAGE, is_internal_frame

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: The number of frames above which the middle of a traceback is omitted, as a thousand frames take
#: a second to format; and how many are then kept at either end.
_MOST_FRAMES, _ENDS = 60, 10
_LOOPS = (PACKAGE, ASYNCIO, "uvloop", "winloop")


def user_frames(tb: types.TracebackType | None) -> types.TracebackType | None:
    """Return ``tb`` without asyncnb's own frames, and without the loop that ran the task."""
    frames = []
    if tb is not None and is_internal_frame(tb.tb_frame):
        # SystemExit and KeyboardInterrupt propagate out of run_forever() and include its frames.
        while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_LOOPS):
            tb = tb.tb_next
    while tb is not None:
        if not is_internal_frame(tb.tb_frame):
            frames.append(tb)
        tb = tb.tb_next
    return joined(frames)


def joined(entries: list[types.TracebackType]) -> types.TracebackType | None:
    """Return a traceback of these entries, outermost first; None if there are none."""
    kept = None
    for entry in reversed(entries):
        kept = types.TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return kept


def _without_middle(tb: types.TracebackType | None) -> tuple[types.TracebackType | None, int]:
    """Return ``tb``, without the middle if it is long, and how many frames were omitted."""
    entries = []
    while tb is not None:
        entries.append(tb)
        tb = tb.tb_next
    if len(entries) <= _MOST_FRAMES:
        return joined(entries), 0
    return joined(entries[:_ENDS] + entries[-_ENDS:]), len(entries) - 2 * _ENDS


def add_advice(exc: BaseException) -> None:
    """Add a note to an error that is hard to understand in a notebook."""
    from asyncnb._kernel.output.advice import advise  # imported for the first error

    advise(exc, frontend.current.cell_of)


def format_error(
    ip: InteractiveShell, exc: BaseException, *, short: bool = False
) -> tuple[str, str, list[str]]:
    """Return type name, message and traceback lines of ``exc``, as IPython formats them.

    With ``short``, as plain Python formats them, in a fraction of the time.
    """
    kind = type(exc)
    add_advice(exc)
    tb, omitted = _without_middle(user_frames(exc.__traceback__))
    try:
        lines = plain_lines(exc, tb) if short else _lines(ip, exc, tb)
        if omitted:
            # One line per frame and a last one; in some of IPython's modes a single string.
            place = -1 - _ENDS if len(lines) > 2 * _ENDS else -1
            lines.insert(place, f"({omitted:,} frames are omitted here)\n")
    except BaseException as broken:
        # Raised by its __str__ or _render_traceback_, which is the user's code and may raise
        # anything. The failure must be reported all the same.
        lines = [*traceback.format_tb(tb), format_exception_line(exc)]
        lines.append(f"(The usual traceback could not be made: {format_exception_line(broken)})")
    return kind.__name__, safe_str(exc), lines


def _lines(ip: InteractiveShell, exc: BaseException, tb: types.TracebackType | None) -> list[str]:
    kind = type(exc)
    if hasattr(exc, "_render_traceback_"):
        lines = exc._render_traceback_()
    elif isinstance(exc, SyntaxError):
        lines = ip.SyntaxTB.structured_traceback(kind, exc, traceback.extract_tb(tb))  # type: ignore[arg-type]
    elif isinstance(exc, BaseExceptionGroup):  # which ultratb cannot show
        lines = _group_lines(exc, tb)
    else:
        formatter: Any = ip.InteractiveTB
        before = getattr(formatter, "tb", None)
        try:
            lines = formatter.structured_traceback(kind, exc, tb, tb_offset=0)
        finally:
            formatter.tb = before  # else it keeps all variables of the frames alive
    return list(lines)


def plain_lines(exc: BaseException, tb: types.TracebackType | None) -> list[str]:
    """Return the lines of ``exc`` as plain Python shows it, with its cause in one line."""
    lines = ["Traceback (most recent call last):"] if tb is not None else []
    for frame in traceback.extract_tb(tb):
        cell = frontend.current.cell_of(frame.filename)
        where = f"File {frame.filename!r}" if cell is None else f"Cell {cell}"
        lines.append(f"  {where}, line {frame.lineno}, in {frame.name}\n    {frame.line}")
    lines.append(format_exception_line(exc))
    cause = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    if cause is not None:
        lines.append(f"(after {format_exception_line(cause)})")
    return lines


def _group_lines(
    exc: BaseExceptionGroup[BaseException], tb: types.TracebackType | None
) -> list[str]:
    """Return the lines for a group, without what the cells of its tasks already show."""
    _cut(exc)
    unseen = [e for e in exc.exceptions if not getattr(e, "_asyncnb_shown_in", ())]
    if len(unseen) == len(exc.exceptions):
        return _with_cells(traceback.format_exception(type(exc), exc, tb))
    shown = len(exc.exceptions) - len(unseen)
    lines = [
        format_exception_line(exc),
        f"The traceback{'' if shown == 1 else 's'} of {shown} of them "
        f"appear{'s' if shown == 1 else ''} under the cell that launched the task."
        if unseen
        else "Each traceback appears under the cell that launched its task.",
    ]
    for each in unseen:
        lines += _with_cells(traceback.format_exception(each))
    return lines


_FILE = re.compile(r'^([ |]*)File "(.+)"(?=, line \d+)')


def _with_cells(formatted: list[str]) -> list[str]:
    """Return what Python has formatted, as lines, with ``Cell In[n]`` for the files of cells."""

    def place(found: re.Match[str]) -> str:
        cell = frontend.current.cell_of(found[2])
        return found[0] if cell is None else f"{found[1]}Cell {cell}"

    return [_FILE.sub(place, line) for line in "".join(formatted).splitlines()]


def _cut(exc: BaseExceptionGroup[BaseException]) -> None:
    """Reduce the tracebacks of a group's members to the user's frames, permanently."""
    for each in exc.exceptions:
        each.__traceback__ = user_frames(each.__traceback__)
        if isinstance(each, BaseExceptionGroup):
            _cut(each)


class Tracebacks:
    """Hooks the shell's showtraceback, on the instance."""

    def __init__(
        self,
        ip: Any,
        *,
        was_interrupted: Callable[[], bool],
        first_time_shown: Callable[[BaseException], bool],
        on_traceback_shown: Callable[[], None],
        is_detached_failure: Callable[[BaseException], bool],
    ) -> None:
        self.ip = ip
        #: Whether an exception ends a detached cell: then its task shows it.
        self._is_detached_failure = is_detached_failure
        #: Called when the traceback of an interrupted cell is about to be shown.
        self._on_traceback_shown = on_traceback_shown
        self._first_time_shown = first_time_shown
        self._original = ip.showtraceback
        #: Whether the running code is a cell that the user has interrupted.
        self._was_interrupted = was_interrupted

    def install(self) -> None:
        """Add the hook."""
        self.ip.showtraceback = self.showtraceback

    def uninstall(self) -> None:
        """Remove the hook."""
        if vars(self.ip).get("showtraceback") == self.showtraceback:
            del self.ip.showtraceback

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        """Show without asyncnb's frames; for an interrupted cell, show KeyboardInterrupt."""
        exc = sys.exc_info()[1] if exc_tuple is None else exc_tuple[1]
        if isinstance(exc, BaseException) and self._is_detached_failure(exc):
            return
        if isinstance(exc, BaseException):
            # Cut permanently: IPython formats it a second time for its history, and our frames,
            # which are never shown, took a tenth of a second of each interrupt.
            exc.__traceback__ = user_frames(exc.__traceback__)
            add_advice(exc)
            if self._was_interrupted():
                self._on_traceback_shown()
            if isinstance(exc, asyncio.CancelledError) and self._was_interrupted():
                interrupt = KeyboardInterrupt().with_traceback(exc.__traceback__)
                interrupt.__suppress_context__ = True
                exc = interrupt
            if getattr(exc, "_asyncnb_in_cell", False):
                kwargs["running_compiled_code"] = False  # the body's error, no stack above it
            if not self._first_time_shown(exc):
                # A task of this same cell failed with it, so the cell shows it already; the reply
                # still needs it.
                self.ip._last_traceback = format_error(self.ip, exc)[2]
                return
            exc_tuple = (type(exc), exc, exc.__traceback__)
        self._original(exc_tuple, *args, **kwargs)
