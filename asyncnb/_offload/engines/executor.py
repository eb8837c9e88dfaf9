"""Any ``concurrent.futures.Executor``: loky, mpi4py, a ProcessPoolExecutor of one's own.

The executor brings the call there and the result back. Output and cancel go over a connection that
each worker opens to the kernel (see ``line``). A cancelled job that waits is cancelled by the
executor; one that runs has CancelledError raised in it. One that does not give way stays
``cancelling``: its worker is the executor's, and a ProcessPoolExecutor fails all its work when one
worker is killed. One of which nothing is heard by then is given up.
"""

from __future__ import annotations

import concurrent.futures
import errno
import functools
import logging
import os
import queue
import secrets
import threading
import time
import weakref
from collections.abc import Callable
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener, answer_challenge, deliver_challenge
from typing import Any

from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.newest import Newest
from asyncnb._core.base.visits import runs_here
from asyncnb._offload.far import line
from asyncnb._offload.jobs import Job

#: Seconds that a cancelled job may take to begin before it is given up.
CANCEL_GRACE_SECONDS = 5.0

#: Seconds between two attempts to take a connection while no file descriptor is left.
NO_DESCRIPTOR_PAUSE = 0.2

logger = logging.getLogger("asyncnb")


class WorkerHub:
    """Takes the connections of workers, and leads what they tell to the jobs."""

    def __init__(self) -> None:
        self.key = secrets.token_bytes(32)
        self._listener = (
            Listener()
        )  # the key is asked for where a caller that is silent holds up nothing
        self.address = self._listener.address
        self.jobs: dict[int, Job] = {}
        self._running_on: dict[int, Connection] = {}
        self._connections: set[Connection] = set()
        self._reported: set[int] = set()
        self._outcomes: dict[int, tuple[str, bytes]] = {}
        #: Jobs that were given up, and that may begin nevertheless.
        self._dropped = Newest(1000)
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name="asyncnb connections", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except OSError as exc:
                # One that hung up, or no file descriptor is left: then the caller stays in line,
                # and asking again at once would take a whole processor.
                if exc.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    time.sleep(NO_DESCRIPTOR_PAUSE)
                continue
            threading.Thread(
                target=self._listen, args=(connection,), name="asyncnb connection", daemon=True
            ).start()

    def _has_key(self, connection: Connection) -> bool:
        try:
            deliver_challenge(connection, self.key)
            answer_challenge(connection, self.key)
        except (AuthenticationError, EOFError, OSError):
            return False
        return True

    def _listen(self, connection: Connection) -> None:
        if not self._has_key(connection):
            connection.close()
            return
        with self._lock:
            self._connections.add(connection)
        try:
            while True:
                message = connection.recv()
                try:
                    self._handle(connection, *message)
                except Exception:  # of what shows it here: the next message is not to blame
                    logger.exception("What a worker told could not be shown")
        except (EOFError, OSError):
            # The worker is gone, perhaps with an outcome that is here already.
            for number in [
                n
                for n, its_connection in list(self._running_on.items())
                if its_connection is connection
            ]:
                if (job := self.jobs.get(number)) is not None:
                    self._end(job, None)
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _handle(self, connection: Connection, number: int, kind: str, *data: Any) -> None:
        job = self.jobs.get(number)
        if job is None:
            if kind == "started" and number in self._dropped:
                connection.send(number)
        elif kind == "reported":
            self._end(job, None)
        elif kind == "started":
            with self._lock:
                self._running_on[number] = connection
                asked = job.cancel_requested
            if asked:
                self.cancel(job)
            job.start(*data)
        else:
            job.report(kind, *data)

    def _end(self, job: Job, outcome: tuple[str, bytes] | None) -> None:
        """End ``job`` when both are here: its outcome, and all that it has said (None)."""
        with self._lock:
            if outcome is None:
                self._reported.add(job.id)
            else:
                self._outcomes[job.id] = outcome
            if job.id not in self._reported or job.id not in self._outcomes:
                return
            outcome = self._outcomes[job.id]
        self.forget(job)
        job.end(*outcome)

    def outcome(
        self,
        job: Job,
        status: str,
        data: bytes,
        worker: str,
        seconds: float,
        unsent: list[Any] | None,
    ) -> None:
        """Take the outcome of ``job``, who ran it, and what was not told over a line."""
        if job.began is None:
            job.start(worker, seconds, ended=True)
        if unsent is not None:
            for message in unsent:
                job.report(*message)
            self.forget(job)
            job.end(status, data)
        else:
            self._end(job, (status, data))

    def cancel(self, job: Job) -> None:
        """Cancel ``job`` where it runs; if it has not begun, wherever it may.

        Executors hand work to a process before it has time for it, and then call it running.
        """
        with self._lock:
            job.cancel_requested = True
            its_connection = self._running_on.get(job.id)
            for connection in (
                list(self._connections) if its_connection is None else [its_connection]
            ):
                try:
                    connection.send(job.id)
                except OSError:
                    pass

    def drop(self, job: Job) -> bool:
        """Forget a job of which no worker has told anything; should it begin, it is cancelled."""
        with self._lock:
            if job.id not in self.jobs or job.id in self._running_on:
                return False
            self._dropped.add(job.id)
        self.forget(job)
        return True

    def ended_late(self, job: Job) -> bool:
        """Return whether a job that has ended now had been given up."""
        dropped = job.id in self._dropped
        self._dropped.discard(job.id)
        return dropped

    def forget(self, job: Job) -> None:
        """Forget a job that has ended."""
        with self._lock:
            self.jobs.pop(job.id, None)
            self._running_on.pop(job.id, None)
            self._outcomes.pop(job.id, None)
            self._reported.discard(job.id)


_worker_hub: WorkerHub | None = None
_lock = fork_safe_lock()


def worker_hub() -> WorkerHub:
    """Return the one of this process; the first call opens it."""
    global _worker_hub
    with _lock:
        if _worker_hub is None:
            _worker_hub = WorkerHub()
        return _worker_hub


class ExecutorEngine:
    """Jobs as calls of an executor."""

    kind = "executor"
    ahead = 64
    in_process = False

    def __init__(self, executor: concurrent.futures.Executor) -> None:
        self._executor = weakref.ref(executor)  # the engine must not keep it from ending
        self._hub = worker_hub()
        self._answered = False

    def slots(self) -> int:
        """Return how many workers the executor says it has."""
        workers = getattr(self._executor(), "_max_workers", None)
        return workers if isinstance(workers, int) and workers > 0 else 4

    def submit(self, job: Job) -> None:
        """Hand ``job`` to the executor, as its own ``submit`` would.

        Some start their processes in it, and a loop must not wait for that: there, another thread
        does it until the executor has answered once.
        """
        self._hub.jobs[job.id] = job
        executor = self._executor()
        assert executor is not None, "whoever submits holds it"
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
            job.location.add_done_callback(lambda future: self._done(job, future))
        except Exception as exc:
            self._end(job, "lost", f"The executor takes no work: {type(exc).__name__}: {exc}")
        finally:
            del line.submitting.process

    def cancel(self, job: Job) -> None:
        """Keep ``job`` from starting, or cancel it where it runs."""
        job.cancel_requested = True
        if job.location is None or not job.location.cancel():
            call_in_order(functools.partial(self._hub.cancel, job))
            job.loop.call_soon_threadsafe(
                job.loop.call_later, CANCEL_GRACE_SECONDS, self._give_up, job
            )

    def _give_up(self, job: Job) -> None:
        """End a cancelled job that has not begun: the executor may never come to it."""
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
        if future.cancelled():
            self._end(job, "cancelled")
            return
        exc = future.exception()
        if exc is not None:
            self._end(job, "lost", f"The executor lost this work: {type(exc).__name__}: {exc}")
            return
        self._answered = True
        outcome = future.result()
        if isinstance(outcome, tuple) and len(outcome) == 5:
            self._hub.outcome(job, *outcome)
        else:
            lost = f"The executor did not run this work: it returned {type(outcome).__name__}."
            self._end(job, "lost", lost)

    def _end(self, job: Job, status: str, value: Any = None) -> None:
        self._hub.forget(job)
        job.end_with(status, value)


_calls: queue.SimpleQueue[Callable[[], None]] | None = None


def call_in_order(call: Callable[[], None]) -> None:
    """Have ``call`` called in a thread that does nothing else, in the order of the calls here."""
    global _calls
    with _lock:
        if _calls is None:
            _calls = queue.SimpleQueue()
            threading.Thread(
                target=_call_all, args=(_calls,), name="asyncnb submit", daemon=True
            ).start()
    _calls.put(call)


def _call_all(waiting: queue.SimpleQueue[Callable[[], None]]) -> None:
    while True:
        try:
            waiting.get()()
        except Exception:
            logger.exception("Work on its way elsewhere met an error")


_lock_engines = fork_safe_lock()
_engines: weakref.WeakKeyDictionary[Any, ExecutorEngine] = weakref.WeakKeyDictionary()


def _forget_after_fork() -> None:
    # Their threads, and the connections, are the parent's.
    global _worker_hub, _calls
    _worker_hub = _calls = None
    _engines.clear()


at_fork(_forget_after_fork)


def executor_engine(executor: concurrent.futures.Executor) -> ExecutorEngine:
    """Return the engine for this executor."""
    with _lock_engines:
        engine = _engines.get(executor)
        if engine is None:
            engine = _engines[executor] = ExecutorEngine(executor)
        return engine
