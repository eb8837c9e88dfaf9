"""The embedded loop of a Python without threads: the loop that runs there already.

Pyodide, the Python of JupyterLite, lives on the one thread of a browser's worker. Its loop is the
browser's own and never stops, so background tasks live on that one, beside the kernel's. The loop
keeps its identity, which tasks compare, and gets for the time being a class that has what an
embedded loop has besides asyncio's.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncnb._core.base.errors import EmbeddedLoopError
from asyncnb._core.base.observers import Observers
from asyncnb._core.introspection.info import current_record
from asyncnb._core.loop.statistics import LoopStatistics
from asyncnb._core.primitives.tasks import note_unseen

if TYPE_CHECKING:
    import contextvars

    _Host = asyncio.SelectorEventLoop
else:
    _Host = object


@dataclass
class _State:
    """What there is to remember of an adopted loop, as ``EmbeddedLoop._state``."""

    kind: type[asyncio.AbstractEventLoop]
    since: float
    forget: Callable[[object], None]
    ending: bool = False


class HostedLoop(_Host):
    """What ``EmbeddedLoop`` has besides asyncio's, on a loop that other code runs.

    See there; here is what differs. ``thread`` is the only one, there is no watchdog, and
    ``shutdown`` returns before the cancelled tasks have had their cleanup.
    """

    _state: _State
    exception_hooks: Observers

    #: What watches an embedded loop asks for these; the host does not crash, and has no watchdog.
    crash = None
    watchdog = None
    blocked = None
    dead = False

    @property
    def kind(self) -> str:
        """Name of the module whose loop this is: ``pyodide``."""
        return self._state.kind.__module__.partition(".")[0]

    @property
    def thread(self) -> threading.Thread:
        """The thread there is."""
        return threading.current_thread()

    @property
    def alive(self) -> bool:
        """Whether the loop takes work; always."""
        return True

    def is_own_thread(self) -> bool:
        """Return True: there is no other one."""
        return True

    def watch(self, threshold: float) -> None:
        """Do nothing: a watchdog is a thread."""

    def shutdown(self, timeout: float | None = None) -> bool:
        """Cancel the background tasks and all that they started, and let the loop go.

        Their cleanup comes when the caller awaits or returns, for nothing can wait for it here.
        Other tasks of the host are left alone. Returns True.
        """
        for task in asyncio.all_tasks(self):
            context: contextvars.Context = task.get_context()  # type: ignore[attr-defined]
            if context.get(current_record) is not None:
                task.cancel()
        self._state.ending = True
        self._state.forget(self)
        self.__class__ = self._state.kind  # type: ignore[assignment]
        return True

    def statistics(self) -> LoopStatistics:
        """Return a snapshot of the loop. ``uptime`` counts from when it was adopted."""
        return LoopStatistics(
            kind=self.kind,
            running=True,
            tasks=len(asyncio.all_tasks(self)),
            uptime=time.monotonic() - self._state.since,
            stops=0,
            lag=None,
            ready=None,
            slowest=None,
        )

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """As the host's, unless it is about a launched task's failure that was shown before."""
        if not note_unseen(context):
            super().call_exception_handler(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """As the host's, unless a hook has told the user of it."""
        if not self.exception_hooks.claimed(context):
            super().default_exception_handler(context)


def adopt(forget: Callable[[object], None]) -> Any:
    """Make the running loop the embedded one and return it.

    Raises EmbeddedLoopError if no loop runs: there is no thread to run one on.
    """
    host: Any = asyncio._get_running_loop()
    if host is None:
        raise EmbeddedLoopError(
            "This Python has no threads, so background tasks run on the loop that runs already, "
            "and none does: call this from a coroutine or from a cell of a notebook."
        )
    kind = type(host)
    host._state = _State(kind, time.monotonic(), forget)
    host.on_crash, host.on_blocked = Observers("crashes"), Observers("blocking steps")
    host.exception_hooks = Observers("unhandled errors of the embedded loop")
    host.__class__ = type(f"Hosted{kind.__name__}", (HostedLoop, kind), {})
    return host
