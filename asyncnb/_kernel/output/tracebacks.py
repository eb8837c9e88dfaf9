"""Tracebacks as the user should see them: the cells' frames, not asyncnb's."""

from __future__ import annotations

import asyncio
import re
import sys
import traceback
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asyncnb._core.base.errors import format_exception_line, safe_str
from asyncnb._core.base.frames import ASYNCIO, PACKAGE, is_internal_frame
from asyncnb._core.introspection import places as _places
from asyncnb._kernel.awaiting.foreign_loops import advise

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: Frames of a traceback beyond which its middle is left out, as a thousand take a second to format;
#: and how many then stay at either end.
_MOST_FRAMES, _ENDS = 60, 10
_LOOPS = (PACKAGE, ASYNCIO, "uvloop", "winloop")


def user_frames(tb: types.TracebackType | None) -> types.TracebackType | None:
    """Return ``tb`` without asyncnb's own frames, and without the loop that ran the task."""
    frames = []
    if tb is not None and is_internal_frame(tb.tb_frame):
        # SystemExit and KeyboardInterrupt leave run_forever() and take its frames along.
        while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_LOOPS):
            tb = tb.tb_next
    while tb is not None:
        if not is_internal_frame(tb.tb_frame):
            frames.append(tb)
        tb = tb.tb_next
    return _joined(frames)


def _joined(entries: list[types.TracebackType]) -> types.TracebackType | None:
    kept = None
    for entry in reversed(entries):
        kept = types.TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return kept


def _without_middle(tb: types.TracebackType | None) -> tuple[types.TracebackType | None, int]:
    """Return ``tb``, without the middle if it is long, and how many frames were left out."""
    entries = []
    while tb is not None:
        entries.append(tb)
        tb = tb.tb_next
    if len(entries) <= _MOST_FRAMES:
        return _joined(entries), 0
    return _joined(entries[:_ENDS] + entries[-_ENDS:]), len(entries) - 2 * _ENDS


def format_error(
    ip: InteractiveShell, exc: BaseException, *, short: bool = False
) -> tuple[str, str, list[str]]:
    """Return type name, message and traceback lines of ``exc``, as IPython formats them.

    With ``short`` as plain Python does: in a fraction of the time.
    """
    kind = type(exc)
    advise(exc, _places.cell_of)
    tb, lost = _without_middle(user_frames(exc.__traceback__))
    try:
        lines = plain_lines(exc, tb) if short else _lines(ip, exc, tb)
        if lost:
            # One line for each frame and a last one; in some of IPython's modes one for all.
            place = -1 - _ENDS if len(lines) > 2 * _ENDS else -1
            lines.insert(place, f"({lost:,} frames are left out here)\n")
    except BaseException as broken:
        # Its __str__ or _render_traceback_, which is the user's code and may raise anything. What
        # the failure was must be told anyhow.
        lines = [*traceback.format_tb(tb), format_exception_line(exc)]
        lines.append(f"(It could not be shown as usual: {format_exception_line(broken)})")
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
            formatter.tb = before  # else it keeps every variable of the frames
    return list(lines)


def plain_lines(exc: BaseException, tb: types.TracebackType | None) -> list[str]:
    """Return the lines of ``exc`` as plain Python would show it, and its cause in one line."""
    lines = ["Traceback (most recent call last):"] if tb is not None else []
    for frame in traceback.extract_tb(tb):
        cell = _places.cell_of(frame.filename)
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
    """Return the lines for a group, without what stands under the cells of its tasks already."""
    _cut(exc)
    unseen = [e for e in exc.exceptions if not getattr(e, "_asyncnb_shown_in", ())]
    if len(unseen) == len(exc.exceptions):
        return _with_cells(traceback.format_exception(type(exc), exc, tb))
    told = len(exc.exceptions) - len(unseen)
    lines = [
        format_exception_line(exc),
        f"The traceback{'' if told == 1 else 's'} of {told} of them "
        f"stand{'s' if told == 1 else ''} under the cell that launched it."
        if unseen
        else "Each traceback stands under the cell that launched its task.",
    ]
    for each in unseen:
        lines += _with_cells(traceback.format_exception(each))
    return lines


_FILE = re.compile(r'^([ |]*)File "(.+)"(?=, line \d+)')


def _with_cells(formatted: list[str]) -> list[str]:
    """Return what Python has formatted as lines, with ``Cell In[n]`` for the files of cells."""

    def place(found: re.Match[str]) -> str:
        cell = _places.cell_of(found[2])
        return found[0] if cell is None else f"{found[1]}Cell {cell}"

    return [_FILE.sub(place, line) for line in "".join(formatted).splitlines()]


def _cut(exc: BaseExceptionGroup[BaseException]) -> None:
    """Leave the user's frames to the members of a group, for good."""
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
        stopped: Callable[[], bool],
        claim: Callable[[BaseException], bool],
        reported: Callable[[], None],
        gone: Callable[[BaseException], bool],
    ) -> None:
        self.ip = ip
        #: Whether an exception ends a cell that was let go: its task shows it.
        self._gone = gone
        #: To be told that a stopped cell is being reported.
        self._reported = reported
        self._claim = claim
        self._original = ip.showtraceback
        #: Whether the running code is a cell that the user has stopped.
        self._stopped = stopped

    def install(self) -> None:
        """Put the hook in."""
        self.ip.showtraceback = self.showtraceback

    def uninstall(self) -> None:
        """Take the hook out."""
        if vars(self.ip).get("showtraceback") == self.showtraceback:
            del self.ip.showtraceback

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        """As the shell's, without asyncnb's frames; a stopped cell shows KeyboardInterrupt."""
        exc = sys.exc_info()[1] if exc_tuple is None else exc_tuple[1]
        if isinstance(exc, BaseException) and self._gone(exc):
            return
        if isinstance(exc, BaseException):
            # Cut for good: IPython formats it a second time for its history, and our frames, which
            # nobody sees, took a tenth of a second of each press on stop.
            exc.__traceback__ = user_frames(exc.__traceback__)
            advise(exc, _places.cell_of)
            if self._stopped():
                self._reported()
            if isinstance(exc, asyncio.CancelledError) and self._stopped():
                stopped = KeyboardInterrupt().with_traceback(exc.__traceback__)
                stopped.__suppress_context__ = True
                exc = stopped
            if getattr(exc, "_asyncnb_in_cell", False):
                kwargs["running_compiled_code"] = False  # the body's error, no stack above it
            if not self._claim(exc):
                # A task of this very cell failed with it, and it stands here already; the reply
                # still wants it.
                self.ip._last_traceback = format_error(self.ip, exc)[2]
                return
            exc_tuple = (type(exc), exc, exc.__traceback__)
        self._original(exc_tuple, *args, **kwargs)
