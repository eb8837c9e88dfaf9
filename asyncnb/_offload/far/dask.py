"""The far end on a dask worker; see ``install``."""

from __future__ import annotations

import collections
import functools
import os
import sys
import threading
from typing import Any

#: The name of ``remote`` there; set by ``install.install``.
REMOTE = globals().get("REMOTE", "asyncnb._offload.far.remote")
NOTEBOOK = REMOTE.removesuffix("remote") + "notebook"

if REMOTE in sys.modules and NOTEBOOK in sys.modules:
    sys.modules[REMOTE].load_notebook = functools.partial(  # type: ignore[attr-defined]
        sys.modules.__getitem__, NOTEBOOK
    )

#: Bytes of an outcome that travel with what is told, not as a result of dask: at once, and without
#: being computed again when this worker is lost afterwards.
SMALL = 16_384

#: Keys of dask that run here, and the jobs behind them.
_keys: dict[Any, tuple[str, int]] = {}

_shared: collections.OrderedDict[Any, Any] = collections.OrderedDict()


def run(
    topic: str, job: int, kind: str, payload: bytes, shared: tuple[int, bytes] | None
) -> tuple[str, bytes] | None:
    """Run a job in this worker thread; return its outcome, or None if that has been told."""
    from distributed import get_worker

    remote: Any = sys.modules[REMOTE]
    worker = get_worker()

    def tell(*what: Any) -> None:
        worker.log_event(topic, (job, *what))

    key = worker.active_threads.get(threading.get_ident())
    _keys[key] = (topic, job)
    try:
        return _run(remote, topic, job, kind, payload, shared, tell, worker.address)
    finally:
        _keys.pop(key, None)


def _run(
    remote: Any,
    topic: str,
    job: int,
    kind: str,
    payload: bytes,
    shared: tuple[int, bytes] | None,
    tell: Any,
    address: str,
) -> tuple[str, bytes] | None:
    tell("started", address)
    function = None
    try:
        if shared is not None:
            name = (topic, shared[0])
            if name not in _shared:
                _shared[name] = remote._load(shared[1])
                while len(_shared) > 32:
                    _shared.popitem(last=False)
            function = _shared[name]
    except Exception as exc:
        outcome = remote.ended_with(exc, remote.Running(job))
    else:
        outcome = remote.run_job((topic, job), kind, payload, tell, shared=function)
    if len(outcome[1]) > SMALL:
        return outcome  # type: ignore[no-any-return]
    tell("ended", *outcome)
    return None


def cancel(topic: str, *jobs: int) -> None:
    """Cancel jobs that run in this worker, or are about to."""
    for job in jobs:
        sys.modules[REMOTE].cancel((topic, job))


def stop(key: Any) -> None:
    """Cancel what runs under a key that nobody wants any more."""
    found = _keys.get(key)
    if found is not None:
        sys.modules[REMOTE].cancel(found)


def end(dask_worker: Any) -> bool:
    """End this worker process, if nothing but the one task runs in it and a nanny looks after it.

    Restarting it through dask would wait for the task, and start two of them.
    """
    if dask_worker.nanny is None or len(dask_worker.state.executing) > 1:
        return False
    from distributed import Status

    dask_worker.status = Status.paused  # nothing more comes here
    dask_worker.loop.call_later(0.3, os._exit, 1)
    return True
