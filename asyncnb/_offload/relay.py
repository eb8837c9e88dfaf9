"""Repeats a worker's output in the context of its task, so that it appears in the task's cell."""

from __future__ import annotations

import contextvars
import sys
from typing import Any

from asyncnb._core import frontend
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.progress import Progress
from asyncnb._core.base.progress_observers import next_progress_id, report


class OutputRelay:
    """Emits output and progress in ``context``; from any thread, one at a time."""

    def __init__(self, context: contextvars.Context) -> None:
        self._context = context
        self._lock = fork_safe_lock()
        self._bars: dict[int, int] = {}

    def emit(self, kind: str, *data: Any) -> None:
        """Emit ``output`` (stream, text) or ``display`` (data, metadata, keywords)."""
        with self._lock:
            if kind == "output":
                self._context.run(self._write, *data)
            elif kind == "display":
                self._context.run(self._show, *data)

    def _write(self, stream: str, text: str) -> None:
        (sys.stderr if stream == "stderr" else sys.stdout).write(text)

    def _show(self, data: dict[str, Any], metadata: dict[str, Any], keywords: Any) -> None:
        frontend.current.publish(data, metadata, **keywords)

    def progress(self, number: int, *rest: Any) -> None:
        """Report progress as if the task itself reported it."""
        if number not in self._bars:
            self._bars[number] = next_progress_id()
        label, done, total, ended, failed = rest
        reported = Progress(self._bars[number], label, done, total, None, ended, failed)
        with self._lock:
            self._context.run(report, reported)
