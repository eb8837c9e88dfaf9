"""Connects the workers of executors to the kernel, for output and for cancels.

An executor brings a call there and its result back, and nothing in between. See ``far/line`` for
the other end of a connection.
"""

from __future__ import annotations

import errno
import logging
import secrets
import threading
import time
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener, answer_challenge, deliver_challenge
from typing import Any

from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.newest import Newest
from asyncnb._offload.jobs import Job

#: Seconds between two attempts to accept a connection while no file descriptor is free.
NO_DESCRIPTOR_PAUSE = 0.2

logger = logging.getLogger("asyncnb")


class WorkerHub:
    """Accepts connections from workers and routes their reports to the jobs."""

    def __init__(self) -> None:
        self.key = secrets.token_bytes(32)
        # Without the key: the connection's own thread asks for it, where a caller that stays silent
        # blocks nothing else.
        self._listener = Listener()
        self.address = self._listener.address
        self.jobs: dict[int, Job] = {}
        self._running_on: dict[int, Connection] = {}
        self._connections: set[Connection] = set()
        self._reported: set[int] = set()
        self._outcomes: dict[int, tuple[str, bytes]] = {}
        #: Jobs that were abandoned, and may begin all the same.
        self._dropped = Newest(1000)
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name="asyncnb connections", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except OSError as exc:
                # A caller that hung up, or no file descriptor is free: then the caller stays in the
                # queue, and trying again at once would take a whole CPU.
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
                except Exception:  # in what shows it here: later messages must still arrive
                    logger.exception("A worker's report could not be shown")
        except (EOFError, OSError):
            # The worker is gone; the outcome of its job may have arrived before.
            for number, used in list(self._running_on.items()):
                if used is connection and (job := self.jobs.get(number)) is not None:
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
                cancel_requested = job.cancel_requested
            if cancel_requested:
                self.cancel(job)
            job.start(*data)
        else:
            job.report(kind, *data)

    def _end(self, job: Job, outcome: tuple[str, bytes] | None) -> None:
        """End ``job`` once both have arrived: its outcome, and all of its reports (None)."""
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
        """Handle the outcome of ``job``, its worker, and the reports that were not sent before."""
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
        """Cancel ``job`` where it runs; if it has not begun, in every worker that may begin it.

        Executors hand work to a process that is still busy, and call it running from then on.
        """
        with self._lock:
            job.cancel_requested = True
            used = self._running_on.get(job.id)
            for connection in list(self._connections) if used is None else [used]:
                try:
                    connection.send(job.id)
                except OSError:
                    pass

    def drop(self, job: Job) -> bool:
        """Forget a job that no worker has reported; if it begins later, it is cancelled."""
        with self._lock:
            if job.id not in self.jobs or job.id in self._running_on:
                return False
            self._dropped.add(job.id)
        self.forget(job)
        return True

    def ended_late(self, job: Job) -> bool:
        """Return whether a job that has just ended had been abandoned."""
        if job.id not in self._dropped:
            return False
        self._dropped.discard(job.id)
        return True

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
    """Return the hub of this process; the first call opens it."""
    global _worker_hub
    with _lock:
        if _worker_hub is None:
            _worker_hub = WorkerHub()
        return _worker_hub


def _forget_after_fork() -> None:
    global _worker_hub
    _worker_hub = None  # its threads and connections exist only in the parent


at_fork(_forget_after_fork)
