"""The embedded loop of a Python without threads: the loop that is already running there.

Pyodide, the Python of JupyterLite, runs on the single thread of a browser's worker. Its loop is the
browser's own and never stops, so background tasks run on that loop, next to the kernel's tasks. The
loop keeps its identity, which tasks compare, and until shutdown gets a class that adds what an
embedded loop has in addition to asyncio's.
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
from asyncnb._core.introspection.handle import current_record
from asyncnb._core.loop.statistics import LoopStatistics
from asyncnb._core.primitives.tasks import note_unseen

if TYPE_CHECKING:
    import contextvars

    _Host = asyncio.SelectorEventLoop
else:
    _Host = object


@dataclass
class _State:
    """The state of an adopted loop, the counterpart of ``EmbeddedLoop._state``."""

    kind: type[asyncio.AbstractEventLoop]
    since: float
    forget: Callable[[object], None]
    ending: bool = False


class HostedLoop(_Host):
    """Adds to a loop that other code runs what ``EmbeddedLoop`` has in addition to asyncio's.

    See there; these are the differences: ``thread`` is the only thread, there is no watchdog, and
    ``shutdown`` returns before the cleanup of the cancelled tasks has run.
    """

    _state: _State
    exception_hooks: Observers

    #: Code that watches an embedded loop reads these; the host never crashes and has no watchdog.
    crash = None
    watchdog = None
    blocked = None
    dead = False

    @property
    def kind(self) -> str:
        """The name of the module that the loop comes from: ``pyodide``."""
        return self._state.kind.__module__.partition(".")[0]

    @property
    def thread(self) -> threading.Thread:
        """The only thread."""
        return threading.current_thread()

    @property
    def alive(self) -> bool:
        """Whether the loop accepts work: always True."""
        return True

    def is_own_thread(self) -> bool:
        """Return True: there is no other thread."""
        return True

    def watch(self, threshold: float) -> None:
        """Do nothing: a watchdog is a thread."""

    def shutdown(self, timeout: float | None = None) -> bool:
        """Cancel the background tasks and everything they started, and release the loop.

        Their cleanup runs once the caller awaits or returns, since nothing can wait for it here.
        Other tasks of the host are not affected. Returns True.
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
        """As the host's, except for a launched task's failure that was already shown."""
        if not note_unseen(context):
            super().call_exception_handler(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """As the host's, unless a hook has already reported the error."""
        if not self.exception_hooks.claimed(context):
            super().default_exception_handler(context)


def adopt(forget: Callable[[object], None]) -> Any:
    """Make the running loop the embedded one and return it.

    Raises EmbeddedLoopError if no loop runs: there is no thread to run one on.
    """
    host: Any = asyncio._get_running_loop()
    if host is None:
        raise EmbeddedLoopError(
            "This Python has no threads, so background tasks run on the loop that is already "
            "running, but none is: call this from a coroutine or from a notebook cell."
        )
    kind = type(host)
    host._state = _State(kind, time.monotonic(), forget)
    host.on_crash, host.on_blocked = Observers("crashes"), Observers("blocking steps")
    host.exception_hooks = Observers("unhandled errors of the embedded loop")
    host.__class__ = type(f"Hosted{kind.__name__}", (HostedLoop, kind), {})
    return host
