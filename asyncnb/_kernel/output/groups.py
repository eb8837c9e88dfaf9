"""Shows an exception group as a tree of tracebacks, each in IPython's own style and mode.

IPython itself prints a group as plain Python does. Here each exception of the tree is formatted by
the shell's formatter, as a single one would be, so that modes, colours and themes are the user's;
this file draws the tree, names the tasks, leaves out what a sibling shows already, and folds.
"""

from __future__ import annotations

import copy
import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

from asyncnb._core import frontend
from asyncnb._core.base.errors import safe_str
from asyncnb._core.base.frames import is_asyncio_frame, joined
from asyncnb._core.base.text import count, escape_control_chars
from asyncnb._core.introspection.leaves import format_failure, leaves, note_kept_tasks, task_of
from asyncnb._core.introspection.stand_ins import stand_in

#: Leaves that are shown; a group with more is folded.
MOST_LEAVES = 10
#: Levels of groups that are shown, and exceptions of a chain of causes.
MOST_LEVELS, MOST_CAUSES = 10, 10
#: Tracebacks in one tree, with those of causes: of the rest, only the messages are shown.
MOST_TRACEBACKS = 40
#: Frames that are shown at either end of a long traceback.
ENDS = 10
#: Types of folded exceptions that are named.
_MOST_TYPES = 6

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_HEADER = "Traceback (most recent call last)"
_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"

#: Returns the frames of a traceback that a user should see, and how many were left out.
Frames = Callable[[TracebackType | None], tuple[TracebackType | None, int]]
#: Returns the lines of one exception in short form.
Short = Callable[[BaseException, TracebackType | None], list[str]]


def chained(exc: BaseException) -> BaseException | None:
    """Return the exception that is shown before ``exc``: its cause or its context."""
    if exc.__cause__ is not None:
        return exc.__cause__
    return None if exc.__suppress_context__ else exc.__context__


class GroupTraceback:
    """Formats one exception that is a group, or that has one among its causes."""

    def __init__(
        self,
        ip: Any,
        frames: Frames,
        on_error: Callable[[BaseException], object],
        *,
        short: Short | None = None,
        tb_offset: int | None = 0,
    ) -> None:
        self.ip = ip
        self._frames = frames
        #: Called with each exception before it is shown.
        self._on_error = on_error
        self._short = short
        self._formatter = ip.InteractiveTB
        #: The number of frames that IPython leaves out at the top of the outermost traceback.
        self._hidden = self._formatter.tb_offset if tb_offset is None else tb_offset
        self._mode = getattr(self._formatter, "mode", "Context")
        self._tracebacks = 0
        #: The exceptions that the tree contains, and those of them that have been shown.
        self._members: set[int] = set()
        self._shown: set[int] = set()
        self._bold, self._plain = "", ""
        #: What IPython draws above a traceback.
        self._rule = ""

    def lines(self, exc: BaseException) -> list[str]:
        """Return the lines for ``exc``; with its causes, and the trees of all groups."""
        self._members = set(_members(exc))
        lines = self._chain(exc, 0, MOST_LEAVES)
        return [self._rule, *lines] if self._rule else lines

    def _chain(
        self,
        exc: BaseException,
        level: int,
        budget: int,
        siblings: _Siblings | None = None,
    ) -> list[str]:
        """Return the lines of ``exc`` below those of its causes."""
        chain, lines = [exc], []
        # The short form names the cause in its own last line.
        while self._short is None and (before := chained(chain[-1])) is not None:
            if id(before) in self._shown or before in chain or self._is_in_tree(before):
                break
            if len(chain) == MOST_CAUSES:
                lines = ["(Earlier exceptions are omitted here)", ""]
                break
            chain.append(before)
        self._shown.update(map(id, chain))
        for n in range(len(chain) - 1, -1, -1):
            lines += self._one(chain[n], level, budget, siblings, n)
            if n:
                lines += ["", _CAUSE if chain[n - 1].__cause__ is chain[n] else _CONTEXT, ""]
        return lines

    def _is_in_tree(self, exc: BaseException) -> bool:
        """Return whether the tree shows all of ``exc``, a cause, in any case."""
        if isinstance(exc, BaseExceptionGroup):
            return all(id(leaf) in self._members for leaf, _ in leaves(exc))
        return id(exc) in self._members

    def _one(
        self,
        exc: BaseException,
        level: int,
        budget: int,
        siblings: _Siblings | None,
        place: int,
    ) -> list[str]:
        """Return the lines of the exception at ``place`` of a chain, which begins with 0."""
        is_group = isinstance(exc, BaseExceptionGroup)
        self._on_error(exc)
        tb, omitted = self._frames(exc.__traceback__)
        if is_group:
            tb = _without_asyncio(tb)
        if self._mode == "Minimal":
            tb, omitted = None, 0
        common, first = 0, ""
        if siblings is not None:
            keys = _keys(tb, by_frame=self._mode == "Verbose")
            common, first = siblings.shared([place, *keys])
        for _ in range(common):
            assert tb is not None
            tb = tb.tb_next
        is_top = level == 0 and place == 0
        for _ in range(self._hidden if is_top else 0):
            tb = tb and tb.tb_next  # those of the shell that runs the cell
        lines = self._block(exc, tb, omitted, header=is_group or level == 0)
        if common and tb is None:
            lines[0] += f"  [frames as in {first}]"
        elif common:
            lines.insert(0, f"[{count(common, 'frame')} as in {first}]")
        if isinstance(exc, BaseExceptionGroup):
            if not self._bold and any(_ANSI.search(line) for line in lines):
                self._bold, self._plain = "\x1b[1m", "\x1b[0m"
            lines += self._children(exc, level + 1, budget)
        return lines

    def _block(
        self,
        exc: BaseException,
        tb: TracebackType | None,
        omitted: int,
        *,
        header: bool,
    ) -> list[str]:
        """Return the lines of ``exc`` alone: its frames, its message, its notes."""
        self._tracebacks += 1
        if self._tracebacks > MOST_TRACEBACKS:
            tb = None
        if self._short is not None:
            return _split("\n".join(self._short(exc, tb)))
        formatter, kind = self._formatter, type(exc)
        if not isinstance(exc, BaseExceptionGroup) and hasattr(exc, "_render_traceback_"):
            return _split("\n".join(exc._render_traceback_()))
        if isinstance(exc, SyntaxError):
            alone: BaseException = copy.copy(exc)  # without its cause
            shown = self.ip.SyntaxTB.structured_traceback(kind, alone, traceback.extract_tb(tb))
            if not header and _HEADER in _ANSI.sub("", shown[0]):
                del shown[0]
            return _split("".join(shown))
        alone = _alone(exc)
        kind = type(alone)
        if tb is None:
            return _split("".join(formatter.get_exception_only(kind, alone)))
        tb = _at_their_lines(tb)
        shown = list(formatter.structured_traceback(kind, alone, tb, tb_offset=0))
        if len(set(_ANSI.sub("", shown[0]).strip())) == 1:  # a rule, as wide as the page
            self._rule = self._rule or shown[0]
            del shown[0]
        if not header and _HEADER in _ANSI.sub("", shown[0]):
            del shown[0]
        if omitted:
            notes = len(getattr(alone, "__notes__", ()))
            after = -1 - notes - ENDS if len(shown) > ENDS + notes + 1 else -1
            shown.insert(after, f"({omitted:,} frames are omitted here)\n")
        return _split(formatter.stb2text(shown))

    def _children(
        self, group: BaseExceptionGroup[BaseException], level: int, budget: int
    ) -> list[str]:
        """Return the tree of the exceptions in ``group``."""
        members = group.exceptions
        if level > MOST_LEVELS:
            return [f"└─ {_folded(members, 'nested deeper')}"]
        note_kept_tasks(group)
        shares = _shares(members, budget)
        number, folded = len(members), members[len(shares) :]
        lines: list[str] = []
        siblings = _Siblings(number)
        for n, (each, share) in enumerate(zip(members, shares, strict=False), 1):
            siblings.n, last = n, n == len(shares) and not folded
            title = f"{self._bold}{n:,}/{number:,}{self._plain}"
            name = task_of(each)
            if name is not None:
                title += f" {self._bold}{escape_control_chars(name, 80)}{self._plain}"
            body = self._member(each, level, share, siblings)
            if len(body) == 1:
                title += f": {body.pop()}"
            lines.append(f"{'└─' if last else '├─'} {title}")
            lines += [f"{' ' if last else '│'}  {line}".rstrip() for line in body]
        if folded:
            lines.append(f"└─ {_folded(folded, 'more')}")
        return lines

    def _member(
        self, exc: BaseException, level: int, budget: int, siblings: _Siblings
    ) -> list[str]:
        """Return the lines of an exception in a group; ``siblings`` have been shown."""
        if id(exc) in self._shown:
            return [f"{format_failure(exc)} (shown above)"]
        if getattr(exc, "_asyncnb_shown_in", ()):
            self._shown.add(id(exc))
            line = format_failure(exc)
            return [f"{line} (its traceback appears under the cell that launched the task)"]
        return self._chain(exc, level, budget, siblings)


class _Siblings:
    """The frames that the exceptions of one group have shown so far."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._seen: dict[tuple[Any, ...], int] = {}
        #: The exception that comes now.
        self.n = 0

    def shared(self, keys: list[Any]) -> tuple[int, str]:
        """Return how many frames a sibling has shown, and which; note those of ``keys``.

        The first one of ``keys`` is the place of the exception in its chain of causes.
        """
        found = (k for k in range(len(keys), 1, -1) if tuple(keys[:k]) in self._seen)
        common = next(found, 1)
        first = self._seen.get(tuple(keys[:common]), 0)
        for k in range(common + 1, len(keys) + 1):
            self._seen[tuple(keys[:k])] = self.n
        return common - 1, f"{first:,}/{self._number:,}"


def _members(exc: BaseException) -> Iterator[int]:
    waiting = [exc]
    while waiting:
        each = waiting.pop()
        yield id(each)
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def _split(text: str) -> list[str]:
    return text.strip("\n").split("\n")


def _keys(tb: TracebackType | None, *, by_frame: bool) -> Iterator[tuple[Any, ...]]:
    """Yield what identifies each frame of ``tb`` for a reader.

    With ``by_frame``, when the values of variables are shown, two calls of a function are two.
    """
    while tb is not None:
        code = tb.tb_frame.f_code
        place = (code.co_filename, code.co_qualname, tb.tb_lineno)
        yield (*place, id(tb.tb_frame)) if by_frame else place
        tb = tb.tb_next


def _without_asyncio(tb: TracebackType | None) -> TracebackType | None:
    """Return ``tb`` without the frames of asyncio at its end, where a TaskGroup raises."""
    entries = []
    while tb is not None:
        entries.append(tb)
        tb = tb.tb_next
    while len(entries) > 1 and is_asyncio_frame(entries[-1].tb_frame):
        entries.pop()
    return joined(entries)


def _at_their_lines(tb: TracebackType | None) -> TracebackType | None:
    """Return ``tb`` with frames that are where the exception left them.

    IPython shows the frame of a cell at its latest line, which is another one, or None, once the
    exception has been caught in it; so it is with most exceptions that code collects in a group.
    """
    entries = []
    while tb is not None:
        code = tb.tb_frame.f_code
        moved = tb.tb_frame.f_lineno != tb.tb_lineno
        if moved and frontend.current.cell_of(code.co_filename) is not None:
            function = (code.co_name, code.co_qualname, code.co_firstlineno)
            entries.append(stand_in(code.co_filename, function, (tb.tb_lineno, None, None, None)))
        else:
            entries.append(tb)
        tb = tb.tb_next
    return joined(entries)


def _alone(exc: BaseException) -> BaseException:
    """Return an exception that a formatter shows like ``exc``, without its cause and context."""
    text = safe_str(exc)
    kind = type(type(exc).__name__, (Exception,), {"__str__": lambda _: text})
    alone: BaseException = kind()
    notes = getattr(exc, "__notes__", ())
    if not isinstance(notes, Sequence) or isinstance(notes, (str, bytes)):
        notes = [notes]
    for note in notes:
        alone.add_note(note if isinstance(note, str) else repr(note))
    return alone


def _shares(members: Sequence[BaseException], budget: int) -> list[int]:
    """Return how many leaves are shown of each of the first members; the others are folded."""
    shown = members[: max(budget, 1)]
    sizes = [sum(1 for _ in leaves(each)) for each in shown]
    shares = [1] * len(shown)
    left = budget - len(shares)
    while left > 0 and any(share < size for share, size in zip(shares, sizes, strict=True)):
        for n, size in enumerate(sizes):
            if left > 0 and shares[n] < size:
                shares[n] += 1
                left -= 1
    return shares


def _folded(members: Sequence[BaseException], what: str) -> str:
    """Return ``and 290 more: 288 TimeoutError, 2 ValueError``."""
    kinds = Counter(type(leaf).__name__ for each in members for leaf, _ in leaves(each))
    named = [f"{number:,} {kind}" for kind, number in kinds.most_common(_MOST_TYPES)]
    rest = sum(number for _, number in kinds.most_common()[_MOST_TYPES:])
    if rest:
        named.append(f"{rest:,} of other types")
    return f"and {kinds.total():,} {what}: {', '.join(named)}"
