"""Formats tracebacks as the user should see them: with the cells' frames, not asyncnb's."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from asyncnb._core import frontend
from asyncnb._core.base.errors import format_exception_line, safe_str
from asyncnb._core.base.frames import ASYNCIO, PACKAGE, is_internal_frame, joined
from asyncnb._core.base.text import replace_surrogates
from asyncnb._kernel.ipykernel.debugger import open_if_asked

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


def visible_frames(
    tb: types.TracebackType | None,
) -> tuple[types.TracebackType | None, int]:
    """Return the user's frames of ``tb``, without the middle of many, and how many that omits."""
    tb = user_frames(tb)
    entries = []
    while tb is not None:
        entries.append(tb)
        tb = tb.tb_next
    if len(entries) <= _MOST_FRAMES:
        return joined(entries), 0
    return joined(entries[:_ENDS] + entries[-_ENDS:]), len(entries) - 2 * _ENDS


def add_advice(exc: BaseException) -> None:
    """Add a note to an error that is hard to understand in a notebook."""
    try:
        from asyncnb._kernel.output.advice import advise  # imported for the first error
    except OSError:  # no file descriptor is left: the error itself is shown anyway
        return
    advise(exc, frontend.current.cell_of)


def has_group(exc: BaseException | None) -> bool:
    """Return whether ``exc`` is a group, or an exception before it is."""
    seen: set[int] = set()
    waiting = [exc]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        if isinstance(each, BaseExceptionGroup):
            return True
        seen.add(id(each))
        waiting += [each.__cause__, each.__context__]
    return False


def format_error(
    ip: InteractiveShell,
    exc: BaseException,
    *,
    short: bool = False,
    tb: types.TracebackType | None = None,
) -> tuple[str, str, list[str]]:
    """Return type name, message and traceback lines of ``exc``, as IPython formats them.

    With ``short``, as plain Python formats them, in a fraction of the time. ``tb``: another
    traceback than the one it has now.
    """
    add_advice(exc)
    if has_group(exc):
        lines = group_lines(ip, exc, short=short)
        return type(exc).__name__, safe_str(exc), lines
    tb, omitted = visible_frames(tb or exc.__traceback__)
    try:
        lines = plain_lines(exc, tb) if short else _lines(ip, exc, tb)
        if omitted:
            # One line per frame and a last one; in some of IPython's modes a single string.
            place = -1 - _ENDS if len(lines) > 2 * _ENDS else -1
            lines.insert(place, f"({omitted:,} frames are omitted here)\n")
    except BaseException as broken:
        lines = _in_any_case(exc, tb, broken)
    return type(exc).__name__, safe_str(exc), lines


def _in_any_case(
    exc: BaseException, tb: types.TracebackType | None, broken: BaseException
) -> list[str]:
    # Raised by its __str__ or _render_traceback_, which is the user's code and may raise anything.
    # The failure must be reported anyway.
    lines = [*traceback.format_tb(tb), format_exception_line(exc)]
    return [*lines, f"(The usual traceback could not be made: {format_exception_line(broken)})"]


def _lines(ip: InteractiveShell, exc: BaseException, tb: types.TracebackType | None) -> list[str]:
    kind = type(exc)
    if hasattr(exc, "_render_traceback_"):
        lines = exc._render_traceback_()
    elif isinstance(exc, SyntaxError):
        lines = ip.SyntaxTB.structured_traceback(kind, exc, traceback.extract_tb(tb))  # type: ignore[arg-type]
    else:
        with _formatter_tb(ip, None):
            lines = ip.InteractiveTB.structured_traceback(kind, exc, tb, tb_offset=0)
    return list(lines)


@contextlib.contextmanager
def _formatter_tb(ip: Any, after: types.TracebackType | None) -> Iterator[None]:
    """Give the formatter, which keeps the traceback it has formatted, that of before, or ``after``.

    ``%debug`` uses it; that of a task would keep all variables of the frames alive.
    """
    before = getattr(ip.InteractiveTB, "tb", None)
    try:
        yield
    finally:
        ip.InteractiveTB.tb = before if after is None else after


def group_lines(
    ip: InteractiveShell,
    exc: BaseException,
    *,
    short: bool = False,
    tb_offset: int | None = 0,
    debugged: types.TracebackType | None = None,
) -> list[str]:
    """Return the lines for a group, or for an exception with a group among its causes.

    ``debugged`` is the traceback that ``%debug`` is to open, ``tb_offset`` as for the formatter.
    """
    from asyncnb._kernel.output.groups import GroupTraceback  # imported for the first group

    try:
        if hasattr(exc, "_render_traceback_"):  # of ``--wait``, or a class of the user's
            return list(exc._render_traceback_())
        tree = GroupTraceback(
            ip,
            visible_frames,
            add_advice,
            short=plain_lines if short else None,
            tb_offset=tb_offset,
        )
        with _formatter_tb(ip, debugged):
            lines = tree.lines(exc)
    except BaseException as broken:
        return _in_any_case(exc, user_frames(exc.__traceback__), broken)
    if not getattr(ip.InteractiveTB, "tb_join_char", "\n"):
        return ["\n".join(lines)]  # the pieces of this mode are joined without line ends
    return lines


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
        if not self._shows_group(exc_tuple, *args, **kwargs):
            self._original(exc_tuple, *args, **kwargs)

    def _shows_group(
        self,
        exc_tuple: Any = None,
        filename: str | None = None,
        tb_offset: int | None = None,
        exception_only: bool = False,
        **_: Any,
    ) -> bool:
        """Show a group, which IPython would print as plain Python does; return whether it did."""
        if exception_only or not self._is_plain_ipython():
            return False
        try:
            kind, exc, tb = self.ip._get_exc_info(exc_tuple)  # of the latest error for %tb
        except ValueError:
            return False  # there is none
        if isinstance(exc, (SyntaxError, UsageError)) or not has_group(exc):
            return False
        lines = group_lines(self.ip, exc, tb_offset=tb_offset, debugged=tb)
        self.ip._showtraceback(kind, exc, list(map(replace_surrogates, lines)))
        open_if_asked(self.ip)
        return True

    def _is_plain_ipython(self) -> bool:
        """Return whether no other library shows the errors of this shell."""
        return getattr(self._original, "__func__", None) is InteractiveShell.showtraceback
