"""The far end on a dask worker; ``install`` brings it there."""

from __future__ import annotations

import functools
import os
import threading
from typing import Any

from . import remote, running

#: Up to how many bytes an outcome travels as a report, not as a result of dask: it arrives at once,
#: and is not computed again when this worker is lost later.
SMALL = 16_384

#: The keys of dask that run here, and their jobs.
_keys: dict[Any, tuple[str, int]] = {}


def run(
    topic: str, job: int, kind: str, payload: bytes, shared: tuple[int, bytes] | None
) -> tuple[str, bytes] | None:
    """Run a job in this worker thread; return its outcome, or None if it was reported."""
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
    """Cancel jobs that run in this worker or are about to."""
    for job in jobs:
        running.cancel((topic, job))


def stop(key: Any) -> None:
    """Cancel what runs under a key whose result is no longer wanted."""
    found = _keys.get(key)
    if found is not None:
        running.cancel(found)


def end(dask_worker: Any) -> bool:
    """End this worker process if it runs only the one task and has a nanny; return whether it will.

    A restart through dask would wait for the task, and start two workers.
    """
    if dask_worker.nanny is None or len(dask_worker.state.executing) > 1:
        return False
    from distributed import Status

    dask_worker.status = Status.paused  # dask sends it nothing more
    dask_worker.loop.call_later(0.3, os._exit, 1)
    return True
