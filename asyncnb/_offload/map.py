"""The calls of ``asyncnb.map`` that are made elsewhere, in the jobs of an engine."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import itertools
from collections.abc import Callable
from typing import Any

from asyncnb._core.mapping.loop_calls import LoopCalls
from asyncnb._core.mapping.plan import check_function
from asyncnb._core.primitives.limiter import check_limit
from asyncnb._offload.engines.choose import engine_for
from asyncnb._offload.engines.thread_pool import call_each
from asyncnb._offload.jobs import Engine, Job
from asyncnb._offload.packing import pack_chunk, pack_shared
from asyncnb._offload.relay import OutputRelay
from asyncnb._offload.tracebacks import rebuild_error

_tokens = itertools.count(1)


def check_engine(
    function: Any, on: Any, limit: Any, chunksize: Any
) -> tuple[Callable[..., Any], int]:
    """Return what makes the driver, and the limit.

    Raises TypeError or ValueError that says what to do, OffloadError if the function cannot be
    sent.
    """
    check_function(function)
    engine = engine_for(on)
    if chunksize is not None:
        chunksize = check_limit("map", chunksize)
    if limit is not None:
        limit = check_limit("map", limit)
        if chunksize is not None and chunksize > limit:
            raise ValueError(f"map(): a chunk of {chunksize} is more than limit={limit} allows")
    else:
        limit = max(engine.ahead, 4 * (chunksize or 0)) * engine.slots()
    shared = None if engine.in_process else (next(_tokens), pack_shared(function))
    return functools.partial(EngineCalls, engine, shared, chunksize), limit


class EngineCalls(LoopCalls):
    def __init__(
        self,
        engine: Engine,
        shared: tuple[int, bytes] | None,
        chunksize: int | None,
        function: Callable[[Any], Any],
        *args: Any,
    ) -> None:
        super().__init__(self._send, *args)
        self._engine = engine
        self._shared = shared
        self._fn = function

    async def drive(self) -> None:
        """See Driver."""
        self._relay = OutputRelay(contextvars.copy_context())
        try:
            await super().drive()
        finally:
            forget = getattr(self._engine, "forget", None)
            if forget is not None and self._shared is not None:
                forget(self._shared[0])

    async def _send(self, item: Any) -> Any:
        local, payload = None, b""
        if self._engine.in_process:
            local = functools.partial(call_each, self._fn, [item])
        else:
            payload = pack_chunk([item])
        job = Job(
            asyncio.get_running_loop(),
            "chunk",
            payload,
            shared=self._shared,
            report=self._on_report,
            name="map",
            local=local,
        )
        self._engine.submit(job)
        values, failures, _ = await job.wait(self._engine)
        for described in failures.values():
            raise described if isinstance(described, BaseException) else rebuild_error(described)
        return values[0]

    def _on_report(self, kind: str, *data: Any) -> None:
        if kind in ("output", "display"):
            self._relay.emit(kind, *data)
