"""The far end on an ipyparallel engine; ``install`` brings it there."""

from __future__ import annotations

import contextvars
import functools
import sys
from typing import Any

from . import remote


def run(
    topic: str, job: int, kind: str, payload: bytes, shared: tuple[int, bytes] | None
) -> tuple[str, bytes]:
    """Run a job in the main thread of this engine, where a signal can cancel it."""
    originals = {}
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # The engine finds the requesting client through the context, even from another thread.
        originals[name] = getattr(stream, "original", stream), contextvars.copy_context()

    def write(stream: Any, text: str) -> None:
        stream.write(text)
        stream.flush()

    def report(kind: str, *data: Any) -> None:
        if kind == "output":
            stream, context = originals[data[0]]
            context.run(write, stream, data[1])
        elif kind == "progress":
            from ipyparallel.engine.datapub import publish_data

            publish_data({"asyncnb_progress": data})

    function = functools.partial(remote.shared_function, topic, shared)
    return remote.run_job(
        (topic, job), kind, payload, report, shared=function, by_signal=True, displays=True
    )
