"""Any ``concurrent.futures.Executor``: loky, mpi4py, your own ProcessPoolExecutor.

The executor brings the call there and the result back. Output and cancels go over a connection that
each worker opens to the kernel (see ``worker_hub``). A cancelled job that is still waiting is
cancelled by the executor; a running one has CancelledError raised in it. If it does not stop, it
stays ``cancelling``: its worker belongs to the executor, and a ProcessPoolExecutor fails all its
work when one worker is killed. A job that no worker has reported by then is abandoned.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
import weakref
from typing import Any

from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.visits import runs_here
from asyncnb._offload.engines.in_order import call_in_order
from asyncnb._offload.engines.worker_hub import worker_hub
from asyncnb._offload.far import line
from asyncnb._offload.jobs import Job

#: Bytes of an outcome that are unpickled before the loop's thread has woken up.
SMALL = 16_384
#: Seconds that a cancelled job may take to begin before it is abandoned.
CANCEL_GRACE_SECONDS = 5.0


class ExecutorEngine:
    """Runs jobs as calls of an executor."""

    kind = "executor"
    ahead = 64
    in_process = False

    def __init__(self, executor: concurrent.futures.Executor) -> None:
        self._executor = weakref.ref(executor)  # the engine must not keep it alive
        self._hub = worker_hub()
        self._answered = False

    def slots(self) -> int:
        """Return how many workers the executor says it has; 4 if it does not say."""
        workers = getattr(self._executor(), "_max_workers", None)
        return workers if isinstance(workers, int) and workers > 0 else 4

    def submit(self, job: Job) -> None:
        """Submit ``job`` to the executor.

        Some executors start their processes inside ``submit``, and the loop must not wait for that:
        on the loop's thread, another thread submits until the executor has answered once.
        """
        self._hub.jobs[job.id] = job
        executor = self._executor()
        assert executor is not None, "the caller holds a reference"
        if not self._answered and runs_here(job.loop):
            call_in_order(functools.partial(self._submit, executor, job))
        else:
            self._submit(executor, job)

    def _submit(self, executor: concurrent.futures.Executor, job: Job) -> None:
        hub = self._hub
        line.submitting.process = os.getpid()
        try:
            job.location = executor.submit(
                line.run, hub.address, hub.key, job.id, job.kind, job.payload, job.shared
            )
            if job.cancel_requested:
                job.location.cancel()
            job.location.add_done_callback(functools.partial(self._done, job))
        except Exception as exc:
            self._end(job, "lost", f"The executor accepts no work: {type(exc).__name__}: {exc}")
        finally:
            del line.submitting.process

    def cancel(self, job: Job) -> None:
        """Prevent ``job`` from starting, or cancel it where it runs."""
        job.cancel_requested = True
        if job.location is None or not job.location.cancel():
            call_in_order(functools.partial(self._hub.cancel, job))
            job.loop.call_soon_threadsafe(
                job.loop.call_later, CANCEL_GRACE_SECONDS, self._give_up, job
            )

    def _give_up(self, job: Job) -> None:
        """End a cancelled job that has not begun; the executor may never start it."""
        if self._hub.drop(job):
            job.report(
                "output",
                "stderr",
                f"asyncnb: no worker started {job.name} within {CANCEL_GRACE_SECONDS:g} seconds of "
                "its cancel, or none can be reached. It is abandoned.\n",
            )
            job.end_with("cancelled")

    def _done(self, job: Job, future: concurrent.futures.Future[Any]) -> None:
        if self._hub.ended_late(job):
            return
        try:
            outcome = future.result()
        except BaseException as exc:
            if future.cancelled():
                self._end(job, "cancelled")
            else:
                self._end(job, "lost", f"The executor lost this work: {type(exc).__name__}: {exc}")
            return
        self._answered = True
        if isinstance(outcome, tuple) and len(outcome) == 5:
            if len(outcome[1]) < SMALL:
                job.wake_loop()
            self._hub.outcome(job, *outcome)
        else:
            lost = f"The executor did not run this work: it returned {type(outcome).__name__}."
            self._end(job, "lost", lost)

    def _end(self, job: Job, status: str, value: Any = None) -> None:
        self._hub.forget(job)
        job.end_with(status, value)


_lock = fork_safe_lock()
_engines: weakref.WeakKeyDictionary[Any, ExecutorEngine] = weakref.WeakKeyDictionary()
at_fork(_engines.clear)  # of a hub that exists only in the parent


def executor_engine(executor: concurrent.futures.Executor) -> ExecutorEngine:
    """Return the engine for this executor."""
    with _lock:
        engine = _engines.get(executor)
        if engine is None:
            engine = _engines[executor] = ExecutorEngine(executor)
        return engine
