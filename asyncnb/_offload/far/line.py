"""The far end for workers of any executor: a connection to the kernel beside the executor's own.

An executor delivers a call and returns its result, and nothing in between. So each worker process
opens one connection to the kernel, for output as it is produced and for a cancel. Where none can be
opened, as on another machine, the output comes with the outcome.
"""

from __future__ import annotations

import functools
import os
import pickle
import socket
import threading
import time
from multiprocessing.connection import Client, Connection
from typing import Any

from . import remote, running
from .locks import fork_safe_lock

#: Seconds until the kernel hears that a job has started; a shorter job says so in its outcome.
START_REPORT_SECONDS = 0.02


_HOST = socket.gethostname()


def worker_name() -> str:
    """Return the name of this process that users see; it may be a fork of another."""
    return f"{_HOST}:{os.getpid()}"


class WorkerConnection:
    """The connection from this process to one kernel."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        #: Jobs not reported yet, and when they started: soon reported, if they still run then.
        self.new: dict[object, float] = {}
        self._any_new = threading.Event()
        #: Whether the thread that reports them sleeps until there are some.
        self.unaware = True
        for work in (self._listen, self._announce_all):
            threading.Thread(target=work, name="asyncnb connection", daemon=True).start()

    def wake(self) -> None:
        """Wake the thread that reports the jobs in ``new``."""
        self.unaware = False
        self._any_new.set()

    def announce(self, job: object) -> None:
        """Report that ``job`` runs, unless that is known or the job has ended."""
        since = self.new.pop(job, None)
        if since is not None:
            self.report(job, "started", worker_name(), time.monotonic() - since)

    def _announce_all(self) -> None:
        while self._any_new.wait():
            time.sleep(START_REPORT_SECONDS)
            self._any_new.clear()
            self.unaware = True  # first: a job that begins after this wakes it again
            for job, since in list(self.new.items()):
                if time.monotonic() - since >= START_REPORT_SECONDS:
                    self.announce(job)
            if self.new:
                self.wake()

    def _listen(self) -> None:
        try:
            while True:
                running.cancel(self._connection.recv())
        except (EOFError, OSError):
            pass  # the kernel is gone; its executor decides whether this process ends too

    def report(self, job: object, *what: Any) -> None:
        """Send a report of ``job``."""
        with self._lock:
            try:
                self._connection.send((job, *what))
            except OSError:
                pass


_IN_SUBMIT = (
    "This executor runs its work inside submit(), which would block the loop. Use a "
    "ThreadPoolExecutor, a ProcessPoolExecutor or on='process'."
)

_connections: dict[Any, WorkerConnection | None] = {}
_connections_lock = fork_safe_lock()


def _connection_to(address: Any, key: bytes) -> WorkerConnection | None:
    name = os.getpid(), address
    if name in _connections:
        return _connections[name]
    with _connections_lock:
        if name not in _connections:
            try:
                connection = WorkerConnection(Client(address, authkey=key))
            except (OSError, EOFError):
                connection = None
            _connections[name] = connection
        return _connections[name]


#: In a thread that is submitting to an executor: the id of this process, as submit() may fork.
submitting = threading.local()


def run(
    address: Any,
    key: bytes,
    job: object,
    kind: str,
    payload: bytes,
    shared: tuple[int, bytes] | None,
) -> tuple[str, bytes, str, float, list[Any] | None]:
    """Run a job in a worker of an executor.

    Returns the outcome, the worker's name, the seconds taken, and the reports that could not be
    sent: None if there were some and all went over the connection. An executor that calls this
    inside ``submit`` gets a refusal: the job would block the submitting thread.
    """
    if getattr(submitting, "process", None) == os.getpid():
        return "refused", pickle.dumps(_IN_SUBMIT), worker_name(), 0.0, []
    connection = _connection_to(address, key)
    unsent: list[Any] = []
    reported = False

    def report(*what: Any) -> None:
        nonlocal reported
        if connection is None:
            unsent.append(what)
        else:
            reported = True
            connection.announce(job)
            connection.report(job, *what)

    began = time.monotonic()
    if connection is not None:
        connection.new[job] = began
        if connection.unaware:
            connection.wake()
    try:
        function = functools.partial(remote.shared_function, address, shared)
        status, data = remote.run_job(job, kind, payload, report, shared=function)
    finally:
        if connection is not None:
            connection.new.pop(job, None)
    seconds = time.monotonic() - began
    if connection is None or not reported:
        return status, data, worker_name(), seconds, unsent
    connection.report(job, "reported")  # the outcome takes another way, and may arrive before this
    return status, data, worker_name(), seconds, None
