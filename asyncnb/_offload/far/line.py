"""The far end for the workers of any executor: a line to the kernel beside the executor's own.

An executor brings a call there and its result back, and nothing in between. So each worker process
opens one connection to the kernel, for output while it is said and for a cancel. Where none can be
opened, as on another machine, what was said comes with the outcome.
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

#: Seconds after which the kernel is told that a job runs; of a shorter one its outcome says so.
MOMENT = 0.02


_HOST = socket.gethostname()


def who() -> str:
    """Return this process, which may have been forked, as a user sees it."""
    return f"{_HOST}:{os.getpid()}"


class Line:
    """The connection of this process to one kernel."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._new: dict[object, float] = {}  # the jobs it has not been told of, since when they run
        self._some = threading.Event()
        for work in (self._listen, self._announce_all):
            threading.Thread(target=work, name="asyncnb line", daemon=True).start()

    def begin(self, job: object) -> None:
        """Have the kernel told that ``job`` runs here, if it still does in a moment."""
        self._new[job] = time.monotonic()
        if not self._some.is_set():
            self._some.set()

    def end(self, job: object) -> None:
        """Tell no more that ``job`` runs."""
        self._new.pop(job, None)

    def announce(self, job: object) -> None:
        """Tell that ``job`` runs, unless that is known or it has ended."""
        since = self._new.pop(job, None)
        if since is not None:
            self.tell(job, "started", who(), time.monotonic() - since)

    def _announce_all(self) -> None:
        while self._some.wait():
            time.sleep(MOMENT)
            self._some.clear()  # first: who begins from here on sets it again
            for job, since in list(self._new.items()):
                if time.monotonic() - since >= MOMENT:
                    self.announce(job)
            if self._new:
                self._some.set()

    def _listen(self) -> None:
        try:
            while True:
                running.cancel(self._connection.recv())
        except (EOFError, OSError):
            pass  # the kernel is gone; whether this process goes too is its executor's affair

    def tell(self, job: object, *what: Any) -> None:
        """Send something said in ``job``."""
        with self._lock:
            try:
                self._connection.send((job, *what))
            except OSError:
                pass


_IN_SUBMIT = (
    "This executor runs its work inside of submit(), which would block the loop. Use a "
    "ThreadPoolExecutor, a ProcessPoolExecutor or on='process'."
)

_lines: dict[Any, Line | None] = {}
_lines_lock = fork_safe_lock()


def _line(address: Any, key: bytes) -> Line | None:
    with _lines_lock:
        if (os.getpid(), address) not in _lines:
            try:
                line = Line(Client(address, authkey=key))
            except (OSError, EOFError):
                line = None
            _lines[os.getpid(), address] = line
        return _lines[os.getpid(), address]


#: In a thread that hands a job to an executor: the id of this process, which may be forked by that.
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

    Returns its outcome, who ran it for how many seconds, and what could not be told; None for the
    latter if it has said something, and all of it has been told over the line. In an executor that
    calls it inside of ``submit`` it runs nothing: that would block the submitting thread.
    """
    if getattr(submitting, "process", None) == os.getpid():
        return "refused", pickle.dumps(_IN_SUBMIT), who(), 0.0, []
    line = _line(address, key)
    untold: list[Any] = []
    spoke = False

    def tell(*what: Any) -> None:
        nonlocal spoke
        if line is None:
            untold.append(what)
        else:
            spoke = True
            line.announce(job)
            line.tell(job, *what)

    began = time.monotonic()
    if line is not None:
        line.begin(job)
    try:
        function = functools.partial(remote.shared_function, address, shared)
        status, data = remote.run_job(job, kind, payload, tell, shared=function)
    finally:
        if line is not None:
            line.end(job)
    seconds = time.monotonic() - began
    if line is None or not spoke:
        return status, data, who(), seconds, untold
    line.tell(job, "told")  # the outcome goes another way, and may be there before this
    return status, data, who(), seconds, None
