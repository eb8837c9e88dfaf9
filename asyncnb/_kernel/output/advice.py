"""Adds notes to errors that are hard to understand in a notebook: what happened, what to write.

This file explains errors of objects that belong to another loop; ``thread_bound.py`` explains
those of objects that belong to another thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from asyncnb._core.base.errors import safe_str
from asyncnb._kernel.ipykernel.streams import NO_INPUT
from asyncnb._kernel.output.thread_bound import explanation

_OTHER_LOOP = (
    "{what} belongs to a different loop from the one that cells run on: it was created before "
    "`%load_ext asyncnb`, or by a loop in a thread. Create it again in a cell. A task or future "
    "can be awaited directly, `await task`, and asyncnb.wait, asyncnb.wait_for, "
    "asyncnb.as_completed and asyncnb.gather accept those of any loop."
)
_RUNS_ALREADY = (
    "In a notebook a loop is already running: write `await ...` in the cell, or `asyncnb.run(...)` "
    "in a function without await."
)
#: What asyncio and the kernel raise, and what to write instead.
_ADVICE: list[tuple[type[BaseException], str, str]] = [
    (RuntimeError, "asyncio.run() cannot be called from a running event loop", _RUNS_ALREADY),
    (RuntimeError, "Runner.run() cannot be called from a running event loop", _RUNS_ALREADY),
    (RuntimeError, "attached to a different loop", _OTHER_LOOP),
    (RuntimeError, "is bound to a different event loop", _OTHER_LOOP),
    (ValueError, "The future belongs to a different loop", _OTHER_LOOP),
    # Raised by every further `await` of it: the first one has marked the future.
    (RuntimeError, "await wasn't used with future", _OTHER_LOOP),
    # Raised by aiohttp for a session that was created on another loop.
    (RuntimeError, "Timeout context manager should be used inside a task", _OTHER_LOOP),
    (RuntimeError, "is not the running loop", _OTHER_LOOP),
    # Of input(), once the cell that started the task has ended: Python's own is back by then.
    (EOFError, "EOF when reading a line", NO_INPUT),
]
_ADVISED = frozenset(kind for kind, _, _ in _ADVICE)

_REPR = re.compile(r"got Future (<.*>) attached to|^(<.*>) is bound to", re.DOTALL)
_PLACE = re.compile(r"[^\s'\"]+\.py(?=:\d+)|(?<=at )[^\s'\"]+(?=:\d+)")


def advise(exc: BaseException, cell_of: Callable[[str], str | None]) -> None:
    """Add a note to *exc* that says what to write, if the wrong loop or thread was the cause,
    or input() in a task.

    *cell_of* returns the cell that a file name denotes.
    """
    advice = _advice(exc, cell_of) or explanation(exc)
    if advice is not None:
        note = f"asyncnb: {advice}"
        if note not in getattr(exc, "__notes__", ()):
            exc.add_note(note)


def _advice(exc: BaseException, cell_of: Callable[[str], str | None]) -> str | None:
    if type(exc) not in _ADVISED:
        return None
    text = safe_str(exc)
    for kind, sign, advice in _ADVICE:
        if type(exc) is kind and sign in text:
            return advice.format(what=_what(text, cell_of))
    return None


def _what(text: str, cell_of: Callable[[str], str | None]) -> str:
    found = _REPR.search(text)
    if found is None:
        return "It"
    what = found[1] or found[2]
    cells = [cell for cell in map(cell_of, _PLACE.findall(what)) if cell]
    short = what if len(what) <= 80 else what[:77] + "..."
    return f"{short} (its code is in {cells[0]})" if cells else short
