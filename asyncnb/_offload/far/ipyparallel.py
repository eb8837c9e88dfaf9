"""The far end on an ipyparallel engine; see ``install``."""

from __future__ import annotations

import collections
import contextvars
import sys
from typing import Any

#: The name of ``remote`` there; set by ``install.install``.
REMOTE = globals().get("REMOTE", "asyncnb._offload.far.remote")

_shared: collections.OrderedDict[Any, Any] = collections.OrderedDict()


def run(
    topic: str, job: int, kind: str, payload: bytes, shared: tuple[int, bytes] | None
) -> tuple[str, bytes]:
    """Run a job in the main thread of this engine, where a signal cancels it."""
    remote: Any = sys.modules[REMOTE]
    originals = {}
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # The engine finds the client that asked through the context, also from another thread.
        originals[name] = getattr(stream, "original", stream), contextvars.copy_context()

    def write(stream: Any, text: str) -> None:
        stream.write(text)
        stream.flush()

    def tell(kind: str, *data: Any) -> None:
        if kind == "said":
            stream, context = originals[data[0]]
            context.run(write, stream, data[1])
        elif kind == "progress":
            from ipyparallel.engine.datapub import publish_data

            publish_data({"asyncnb_progress": data})

    function = None
    try:
        if shared is not None:
            name = (topic, shared[0])  # type: ignore[assignment]
            if name not in _shared:
                _shared[name] = remote._load(shared[1])
                while len(_shared) > 32:
                    _shared.popitem(last=False)
            function = _shared[name]
    except Exception as exc:
        outcome: tuple[str, bytes] = remote.ended_with(exc, remote.Running(job))
        return outcome
    outcome = remote.run_job((topic, job), kind, payload, tell, shared=function, by_signal=True)
    return outcome
