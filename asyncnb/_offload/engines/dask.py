"""A dask cluster: ``--on client``, with a synchronous client or one made with asynchronous=True.

Dask decides where the work runs; its events bring back output as it is produced. ``Client.cancel``
forgets a key and leaves its function running, so a running function is cancelled directly:
CancelledError is raised in its thread. Python can do this only between bytecodes. If a function
still runs after the grace period (one long call into C), its worker is ended, provided that nothing
else runs there and a nanny starts another.

A task whose worker dies is not run again, as dask would do: the user has not allowed that.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import threading
import uuid
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.newest import Newest
from asyncnb._offload.engines.dask_plugins import (
    PREFIX,
    clear_failure_count,
    scheduler_plugin,
    worker_plugin,
)
from asyncnb._offload.far.install import local_module
from asyncnb._offload.jobs import Job

#: Seconds that a cancelled function may take for its cleanup.
CANCEL_GRACE_SECONDS = 5.0

#: Seconds that workers may take to confirm that they will not begin something.
CANCEL_REPLY_SECONDS = 2.0


class DaskEngine:
    """Runs jobs as tasks of a dask cluster.

    ``submit``, ``cancel`` and ``slots`` may be called from any thread; everything else runs on the
    client's loop.
    """

    kind = "dask"
    in_process = False
    #: Items of a stream per slot: an answer takes long, but dask's queue may be long.
    ahead = 512

    def __init__(self, client: Any) -> None:
        self._client = weakref.ref(client)
        self._loop: asyncio.AbstractEventLoop = client.loop.asyncio_loop
        self._topic = f"asyncnb-{uuid.uuid4().hex[:12]}"
        self._far = local_module("dask")
        self._waiting: collections.deque[tuple[Any, Job]] = collections.deque()
        self._lock = threading.Lock()
        self._submitting = False
        self._to_cancel: list[Job] = []
        self._cancelling = False
        self._ready: Any = None  # the connection to the scheduler that has the far end
        self._jobs: dict[int, Job] = {}
        self._dropped = Newest(1000)
        self._background: set[asyncio.Task[Any]] = set()
        self._reader = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="asyncnb dask")

    def slots(self) -> int:
        """Return how many threads the cluster's workers have, as far as the client knows."""
        facts: dict[str, Any] = getattr(self._client(), "_scheduler_identity", None) or {}
        workers = facts.get("workers", {}).values()
        return int(facts.get("total_threads") or sum(w["nthreads"] for w in workers) or 4)

    def submit(self, job: Job) -> None:
        """Schedule ``job`` on the client's loop; jobs that arrive meanwhile are sent together."""
        client = self._client()
        assert client is not None, "the caller holds a reference"
        if client.status != "running":
            job.end_with("lost", _unusable_reason(client))
            return
        with self._lock:
            self._waiting.append((client, job))
            if self._submitting:
                return
            self._submitting = True
        self._start(self._submit_all(), self._refuse_all)

    def cancel(self, job: Job) -> None:
        """Stop ``job``, whether it is queued, on its way or running. Cancels are made in order."""
        job.cancel_requested = True
        with self._lock:
            self._to_cancel.append(job)
            if self._cancelling:
                return
            self._cancelling = True
        self._start(self._cancel_all(), self._stopped_cancelling)

    def _stopped_cancelling(self, _: BaseException) -> None:
        with self._lock:
            self._cancelling = False
            self._to_cancel.clear()

    def _start(
        self, coro: Coroutine[Any, Any, Any], failed: Callable[[BaseException], object]
    ) -> None:
        def begin() -> None:
            task = self._loop.create_task(coro)
            self._background.add(task)
            task.add_done_callback(ended)

        def ended(task: asyncio.Task[Any]) -> None:
            self._background.discard(task)
            exc = asyncio.CancelledError() if task.cancelled() else task.exception()
            if exc is not None:
                failed(exc)

        try:
            self._loop.call_soon_threadsafe(begin)
        except RuntimeError as exc:  # the client's loop is closed
            coro.close()
            failed(exc)

    def _refuse_all(self, exc: BaseException) -> None:
        with self._lock:
            self._submitting = False
            waiting = list(self._waiting)
            self._waiting.clear()
        for _, job in waiting:
            self._end(job, "lost", f"The dask client accepts no work: {type(exc).__name__}: {exc}")

    async def _submit_all(self) -> None:
        client = self._client()
        if client is None:
            raise RuntimeError("the client is gone")
        connection = client.scheduler_comm
        if self._ready is not connection:  # the first one, or the scheduler was restarted
            client.subscribe_topic(self._topic, self._on_event)
            await client.register_plugin(scheduler_plugin())
            await client.register_plugin(worker_plugin())
            self._ready = connection
        while True:
            with self._lock:
                jobs = [job for _, job in self._waiting]
                self._waiting.clear()
                if not jobs:
                    self._submitting = False
                    return
            alive = []
            for job in jobs:
                if job.cancel_requested:
                    self._end(job, "cancelled")
                else:
                    alive.append(job)
            if alive:
                self._submit(client, alive)
            del jobs, alive

    def _submit(self, client: Any, jobs: list[Job]) -> None:
        # A new key each time: with a known key, dask would return the earlier result.
        keys = [f"{PREFIX}{job.name or 'call'}-{uuid.uuid4().hex}" for job in jobs]
        options: dict[str, Any] = {"pure": False, "retries": 0}
        for job in jobs:
            self._jobs[job.id] = job
        if len(jobs) == 1:
            (job,) = jobs
            arguments = (self._topic, job.id, job.kind, job.payload, job.shared)
            futures = [client.submit(self._far.run, *arguments, key=keys[0], **options)]
        else:
            columns = [
                [self._topic] * len(jobs),
                [job.id for job in jobs],
                [job.kind for job in jobs],
                [job.payload for job in jobs],
                [job.shared for job in jobs],
            ]
            futures = client.map(self._far.run, *columns, key=keys, **options)
        for job, future in zip(jobs, futures, strict=True):
            job.location = Placement(future)
            future.add_done_callback(
                # Runs in a thread of dask, possibly after the client's loop is closed.
                lambda _, job=job: self._start(self._done(job), lambda _: self._mark_lost(job))
            )

    def _on_event(self, event: tuple[float, Any]) -> None:
        number, kind, *data = event[1]
        job = self._jobs.get(number)
        if job is None:
            if kind == "started" and number in self._dropped:
                self._start(self._cancel_on_worker(number, data[0]), _ignore)
        elif kind == "started":
            if job.location.worker not in (None, data[0]):
                lost = f"The dask worker {job.location.worker} that ran this is gone."
                self._start(self._drop(job, "lost", lost), _ignore)
                return
            job.location.worker = data[0]
            job.start(data[0])
            if job.cancel_requested:
                self._start(self._cancel_on_worker(number, data[0]), _ignore)
        elif kind == "ended":
            self._jobs.pop(number)
            job.location.release()
            job.end(*data)
        else:
            job.report(kind, *data)

    async def _done(self, job: Job) -> None:
        """Fetch a large outcome, or report what went wrong; the future is done."""
        if job.id not in self._jobs or job.location.future is None:
            return  # reported before
        future = job.location.future
        try:
            if future.status == "finished":
                outcome = await future
                if outcome is not None:
                    self._jobs.pop(job.id, None)
                    job.location.release()
                    await self._loop.run_in_executor(self._reader, job.end, *outcome)
                return
            if future.status == "error":
                if job.location.ends_its_worker:
                    self._end(job, "cancelled")
                    return
                exc = await future.exception()
                reason = f"{type(exc).__name__}: {exc}"
                self._end(job, "lost", f"The dask cluster lost this work. {reason}")
            else:
                self._mark_lost(job)
        except Exception as exc:
            self._end(job, "lost", f"Its result was lost: {type(exc).__name__}: {exc}")

    def _mark_lost(self, job: Job) -> None:
        """End a job whose key the cluster has forgotten, or whose client's loop is closed."""
        if job.id not in self._jobs:
            return
        if job.cancel_requested:
            self._end(job, "cancelled")
            return
        client = self._client()
        why = "its key was cancelled by other code, or its scheduler was restarted."
        if client is None or client.status != "running":
            why = _unusable_reason(client)
        self._end(job, "lost", f"The dask cluster lost this work: {why}")

    def _end(self, job: Job, status: str, value: Any = None) -> None:
        self._jobs.pop(job.id, None)
        if job.location is not None:
            job.location.release()
        job.end_with(status, value)

    async def _drop(self, job: Job, status: str, value: Any = None) -> None:
        client, future = self._client(), job.location.future
        self._dropped.add(job.id)
        self._end(job, status, value)
        if client is not None and future is not None:
            await client.cancel([future], force=True)

    async def _cancel_all(self) -> None:
        while True:
            with self._lock:
                jobs, self._to_cancel = self._to_cancel, []
                if not jobs:
                    self._cancelling = False
                    return
            # A job that has not been submitted yet will not be; see _submit_all.
            jobs = [job for job in jobs if job.location is not None and job.id in self._jobs]
            # Queued jobs first: else one of them would begin as soon as a running one stops.
            await self._cancel_pending([job for job in jobs if job.location.worker is None])
            for job in jobs:
                if job.id in self._jobs and job.location.worker is not None:
                    self._start(self._stop(job, job.location.worker), _ignore)

    async def _cancel_pending(self, jobs: list[Job]) -> None:
        client = self._client()
        if not jobs or client is None:
            return
        # A worker may already have one and be about to begin it: cancel it there too.
        cancelling = client.run(
            self._far.cancel, self._topic, *(job.id for job in jobs), on_error="ignore"
        )
        try:
            await asyncio.wait_for(cancelling, CANCEL_REPLY_SECONDS)
        except TimeoutError:
            pass  # a worker does not answer; a job that it begins is cancelled when it reports that
        left = [job for job in jobs if job.id in self._jobs and job.location.worker is None]
        futures = [job.location.future for job in left if job.location.future is not None]
        for job in left:
            self._dropped.add(job.id)
            self._end(job, "cancelled")
        await client.cancel(futures, force=True)

    async def _stop(self, job: Job, worker: str) -> None:
        await self._cancel_on_worker(job.id, worker)
        await asyncio.to_thread(job.wait_for_outcome, CANCEL_GRACE_SECONDS)
        if job.id in self._jobs:
            await self._end_worker(job, worker)

    async def _cancel_on_worker(self, number: int, worker: str) -> None:
        client = self._client()
        if client is not None:
            await client.run(
                self._far.cancel, self._topic, number, workers=[worker], on_error="ignore"
            )

    async def _end_worker(self, job: Job, worker: str) -> None:
        """End the worker of a function that does not stop, unless other work needs it."""
        client = self._client()
        if client is None:
            return
        key = None if job.location.future is None else job.location.future.key
        answer = await client.run(self._far.end, workers=[worker], on_error="ignore")
        if answer.get(worker):
            # The key stays until the worker is gone; else dask would send other work there.
            job.location.ends_its_worker = True
            job.report(
                "output",
                "stderr",
                f"asyncnb: this function did not stop within {CANCEL_GRACE_SECONDS:g} s: Python "
                "can interrupt it only between two of its own steps. Its dask worker is ended and "
                "restarted; the rest of its cleanup is lost.\n",
            )
            await client.run_on_scheduler(clear_failure_count(), worker=worker, key=key)
            return
        job.report(
            "output",
            "stderr",
            f"asyncnb: this function did not stop, and its worker {worker} cannot be ended: it "
            "has no nanny that would restart it, or it is running other tasks too. The function "
            "keeps running until it returns.\n",
        )


class Placement:
    """Where dask has placed a job: its future, and its worker once it runs."""

    def __init__(self, future: Any) -> None:
        self.future = future
        self.worker: str | None = None
        #: Whether its worker is being ended because of this job.
        self.ends_its_worker = False

    def release(self) -> None:
        """Drop the future, so that the cluster can forget the key."""
        self.future = None


def _unusable_reason(client: Any) -> str:
    if client is None:
        return "The dask client is gone."
    if client.status == "connecting":
        return (
            f"The dask client has lost its scheduler, {client._start_arg or 'which it started'}, "
            "and is trying to reach it again. Use a new client: client = Client(...)."
        )
    return f"The dask client is {client.status}, not running. Use a new one: client = Client(...)."


def _ignore(_: BaseException) -> None:
    """Do nothing: the client is gone or closing, and its futures say so for each job."""


_lock = fork_safe_lock()
_engines: weakref.WeakKeyDictionary[Any, DaskEngine] = weakref.WeakKeyDictionary()
at_fork(_engines.clear)


def dask_engine(client: Any) -> DaskEngine:
    """Return the engine for this client."""
    with _lock:
        engine = _engines.get(client)
        if engine is None:
            engine = _engines[client] = DaskEngine(client)
        return engine
