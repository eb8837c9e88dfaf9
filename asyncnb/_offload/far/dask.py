"""The far end on a dask worker; see ``install``."""

from __future__ import annotations

import functools
import os
import threading
from typing import Any

from . import remote, running

#: Bytes of an outcome that travel with what is told, not as a result of dask: at once, and without
#: being computed again when this worker is lost afterwards.
SMALL = 16_384

#: Keys of dask that run here, and the jobs behind them.
_keys: dict[Any, tuple[str, int]] = {}


def run(
    topic: str, job: int, kind: str, payload: bytes, shared: tuple[int, bytes] | None
) -> tuple[str, bytes] | None:
    """Run a job in this worker thread; return its outcome, or None if that has been told."""
    from distributed import get_worker

    worker = get_worker()

    def report(*what: Any) -> None:
        worker.log_event(topic, (job, *what))

    key = worker.active_threads.get(threading.get_ident())
    _keys[key] = (topic, job)
    try:
        report("started", worker.address)
        function = functools.partial(remote.shared_function, topic, shared)
        outcome = remote.run_job((topic, job), kind, payload, report, shared=function)
        if len(outcome[1]) > SMALL:
            return outcome
        report("ended", *outcome)
        return None
    finally:
        _keys.pop(key, None)


def cancel(topic: str, *jobs: int) -> None:
    """Cancel jobs that run in this worker, or are about to."""
    for job in jobs:
        running.cancel((topic, job))


def stop(key: Any) -> None:
    """Cancel what runs under a key that nobody wants any more."""
    found = _keys.get(key)
    if found is not None:
        running.cancel(found)


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
