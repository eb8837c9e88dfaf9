"""The far end for the workers of any executor: a line to the kernel beside the executor's own.

An executor brings a call there and its result back, and nothing in between. So each worker process
opens one connection to the kernel, for output while it is said and for a cancel. Where none can be
opened, as on another machine, what was said comes with the outcome.
"""

from __future__ import annotations

import collections
import os
import socket
import threading
from multiprocessing.connection import Client, Connection
from typing import Any

from asyncnb._offload import _remote


class Line:
    """The connection of this process to one kernel."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, name="asyncnb line", daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                _remote.cancel(self._connection.recv())
        except (EOFError, OSError):
            pass  # the kernel is gone; whether this process goes too is its executor's affair

    def tell(self, job: object, *what: Any) -> None:
        """Send something said in ``job``."""
        with self._lock:
            try:
                self._connection.send((job, *what))
            except OSError:
                pass


_lines: dict[Any, Line | None] = {}
_lines_lock = threading.Lock()
_shared: collections.OrderedDict[Any, Any] = collections.OrderedDict()


def _line(address: Any, key: bytes) -> Line | None:
    with _lines_lock:
        if (os.getpid(), address) not in _lines:
            try:
                line = Line(Client(address, authkey=key))
            except (OSError, EOFError):
                line = None
            _lines[os.getpid(), address] = line
        return _lines[os.getpid(), address]


def run(
    address: Any,
    key: bytes,
    job: object,
    kind: str,
    payload: bytes,
    shared: tuple[int, bytes] | None,
) -> tuple[str, bytes, list[Any] | None]:
    """Run a job in a worker of an executor; return its outcome and what could not be told.

    None: it has said something, and all of it has been told over the line.
    """
    line = _line(address, key)
    untold: list[Any] = []
    spoke = False

    def tell(*what: Any) -> None:
        nonlocal spoke
        spoke = spoke or what[0] != "started"
        if line is None:
            untold.append(what)
        else:
            line.tell(job, *what)

    tell("started", f"{socket.gethostname()}:{os.getpid()}")
    function = None
    if shared is not None:
        name = (address, shared[0])
        if name not in _shared:
            try:
                _shared[name] = _remote._load(shared[1])
            except Exception as exc:
                return *_remote.ended_with(exc, _remote.Running(job)), untold
            if len(_shared) > 32:
                _shared.popitem(last=False)
        function = _shared[name]
    status, data = _remote.run_job(job, kind, payload, tell, shared=function)
    if line is None or not spoke:
        return status, data, untold
    line.tell(job, "told")  # the outcome goes another way, and may be there before this
    return status, data, None
