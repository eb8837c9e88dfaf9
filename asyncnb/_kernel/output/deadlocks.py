"""Reports deadlocks: once each, in the cells of their tasks, and on request."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import Any

from asyncnb._core import frontend
from asyncnb._core.deadlocks.search import Knot
from asyncnb._core.deadlocks.sentences import explain, summary
from asyncnb._core.deadlocks.watcher import Watcher
from asyncnb._core.introspection.unmanaged import cell_of, context_of
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._core.primitives.all_tasks import all_tasks


class DeadlockReporter:
    """Writes each new knot into the cells of its tasks."""

    def __init__(self) -> None:
        self.watcher = Watcher(_tasks, self._report)

    def now(self) -> str:
        """Return what a search at this moment finds, as text. Any thread."""
        return summary(*self.watcher.search())

    def _report(self, knot: Knot) -> None:
        text = explain(knot)
        contexts: dict[Any, contextvars.Context] = {}
        for node in knot.nodes:
            if isinstance(node.agent, asyncio.Task):
                context = context_of(node.agent)
                if context is not None:
                    contexts.setdefault(cell_of(node.agent), context)
        for context in contexts.values():
            # A copy: the context itself is entered by its task.
            context.copy().run(_print, text)


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _tasks() -> set[asyncio.Task[Any]]:
    loops = {running_embedded_loop(), *frontend.current.other_loops()} - {None}
    return {task for loop in loops for task in all_tasks(loop)}
