"""Runs cells elsewhere: what the kernel side needs of an engine."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from asyncnb._core.launched.record import TaskRecord
from asyncnb._offload.calls import run_job
from asyncnb._offload.engines.choose import engine_for
from asyncnb._offload.packing import pack_cell


class CellRunner:
    """Packs and runs cells on the engine for ``on``. Raises as ``engine_for`` does."""

    def __init__(self, on: Any) -> None:
        self.engine = engine_for(on)
        self.kind = self.engine.kind
        self.in_process = self.engine.in_process

    def pack_cell(self, **parts: Any) -> bytes:
        """Return the cell as bytes. Raises OffloadError if a name cannot be sent."""
        return pack_cell(**parts)

    def run_job(self, record: TaskRecord, kind: str, payload: bytes) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that runs the job; see ``calls.run_job``."""
        return run_job(record, self.engine, kind, payload)

    def run_here(self, record: TaskRecord, call: Callable[[], Any]) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that runs ``call``, or a coroutine it returns, in this process."""
        return run_job(record, self.engine, "call", b"", call)
