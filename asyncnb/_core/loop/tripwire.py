"""Tripwire: reports that a sleeping loop has been given work, without asking it again and again.

A thread that watches a loop costs a wake-up per look, and on an idle kernel that would be several
times what the kernel itself takes. So the watchdog sets a tripwire and sleeps. Each step of a
task is scheduled by ``loop.call_soon``, which asyncio's C code looks up on the loop object, and
work from other threads by ``loop.call_soon_threadsafe``; the first of these calls removes the
wire and reports. A loop without a wire runs as fast as one that never had one.

A timer or a socket whose callback touches no future and no task calls neither of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from asyncnb._core.base.call_soon_hook import call_soon_lock
from asyncnb._core.base.forks import at_fork

#: The wires of loops of the standard library, for ``FastCallSoonLoop.call_soon_threadsafe``. From
#: the 30th attribute on, CPython 3.14 would store those of a loop more slowly.
wires: dict[Any, Tripwire] = {}
at_fork(wires.clear)


class Tripwire:
    """A wire across one loop; ``tripped()`` is called by the call that runs into it."""

    def __init__(self, loop: Any, tripped: Callable[[], object]) -> None:
        self._loop = loop
        self._tripped = tripped
        self._hooks: dict[str, Callable[..., Any]] = {"call_soon": self._call_soon}
        if not isinstance(loop, asyncio.BaseEventLoop):
            self._hooks["call_soon_threadsafe"] = self._call_soon_threadsafe

    def set(self) -> bool:
        """Set the wire; return whether it was set already. Any thread but the loop's own.

        It is not set while a task is paused, which also replaces ``call_soon``, or in debug mode,
        where a handle reports the stack that created it.
        """
        if self._loop.get_debug():
            return False
        with call_soon_lock:
            attributes = self._loop.__dict__
            hooks = self._hooks
            if attributes.get("call_soon") not in (None, hooks["call_soon"]):
                return False
            # Not only the first: see clear().
            was_set = wires.get(self._loop) is self
            was_set = was_set and all(attributes.get(name) is hooks[name] for name in hooks)
            attributes.update(hooks)
            wires[self._loop] = self
            return was_set

    def clear(self) -> None:
        """Remove the wire. Any thread."""
        with call_soon_lock:
            attributes = self._loop.__dict__
            for name, hook in self._hooks.items():
                # While a task is constructed, another function takes this place and puts the wire
                # back when it has finished; the next call clears it then.
                if attributes.get(name) is hook:
                    del attributes[name]
            wires.pop(self._loop, None)

    def trip(self) -> None:
        """Remove the wire and report. Any thread."""
        self.clear()
        self._tripped()

    # After the call: the loop should wake up before the watching thread does.

    def _call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        handle = type(self._loop).call_soon(self._loop, callback, *args, context=context)
        self.trip()
        return handle

    def _call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        loop = self._loop
        handle = type(loop).call_soon_threadsafe(loop, callback, *args, context=context)
        self.trip()
        return handle
