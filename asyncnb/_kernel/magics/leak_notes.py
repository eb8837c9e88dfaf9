"""``%asyncnb option leaks on``: notes leaks below the cell at whose end they are first seen."""

from __future__ import annotations

import contextlib
import functools
import sys
import weakref
from typing import Any

from asyncnb._core.base.text import count
from asyncnb._core.leaks.finding import Finding
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._kernel.magics.leaks import Leaks
from asyncnb._kernel.undo import UndoStack

#: Frames of a coroutine's call that the interpreter notes: a cell may call through a library.
DEPTH = 4
#: Leaks that are noted below one cell.
MAX_NOTED = 5

#: What may still be put right: a generator by a later cell, a thread by itself.
_LATER = ("generator", "thread")


class LeakNotes:
    """Looks for leaks at the end of each cell; makes the interpreter note where coroutines begin.

    The interpreter notes it for each thread by itself: for the thread of the cells, and that of the
    loop. Made when first switched on; used on the thread of the cells.
    """

    def __init__(self, ip: Any) -> None:
        self._leaks = Leaks(ip)
        self._events = ip.events
        self._undo = UndoStack()
        self._on = False
        self._loop: Any = None
        #: What was noted: each is noted once.
        self._noted: weakref.WeakSet[Any] = weakref.WeakSet()
        self._noted_ids: set[int] = set()

    def switch(self, on: bool) -> None:
        """Start or stop; idempotent. What is left behind already is not noted."""
        if on is self._on:
            return
        self._on = on
        if not on:
            self._undo.unwind()
            self._loop = None
            return
        for found in self._leaks.find():
            self._is_new(found)
        before = sys.get_coroutine_origin_tracking_depth()
        self._undo.push(functools.partial(sys.set_coroutine_origin_tracking_depth, before))
        sys.set_coroutine_origin_tracking_depth(max(before, DEPTH))
        self._track_loop()
        for event, callback in (("pre_run_cell", self._starts), ("post_run_cell", self._ended)):
            self._undo.append(self._events.callbacks[event], callback)

    def _track_loop(self) -> None:
        """Make the thread of the embedded loop note it, too; a restart makes a new thread."""
        loop = running_embedded_loop()
        if loop is None or loop is self._loop or loop.is_own_thread():
            return
        self._loop = loop
        before: list[int] = []

        def start() -> None:
            before.append(sys.get_coroutine_origin_tracking_depth())
            sys.set_coroutine_origin_tracking_depth(max(before[0], DEPTH))

        def stop() -> None:
            sys.set_coroutine_origin_tracking_depth(before[0])

        def undo() -> None:
            with contextlib.suppress(RuntimeError):  # that loop has been closed
                loop.call_soon_threadsafe(stop)

        self._undo.push(undo)
        loop.call_soon_threadsafe(start)

    def _starts(self, info: Any) -> None:
        self._track_loop()

    def _ended(self, result: Any) -> None:
        loop = running_embedded_loop()
        if (loop is not None and loop.is_own_thread()) or not result.info.store_history:
            return
        new = [found for found in self._leaks.find() if found.kind not in _LATER]
        texts = [self._leaks.describe(found) for found in new if self._is_new(found)]
        if not texts:
            return
        shown = [f"  {text}" for text in dict.fromkeys(texts)]
        lines = [f"asyncnb: {count(len(texts), 'leak')}:", *shown[:MAX_NOTED]]
        if len(shown) > MAX_NOTED:
            lines.append(f"  {len(shown) - MAX_NOTED:,} more: `%tasks leaks` shows all")
        print(*lines, sep="\n", file=sys.stderr)

    def _is_new(self, found: Finding) -> bool:
        try:
            new = found.thing not in self._noted
            self._noted.add(found.thing)
        except TypeError:  # some transports have no weak references
            new = id(found.thing) not in self._noted_ids
            self._noted_ids.add(id(found.thing))
        return new
