"""A worker process: reads jobs from its standard input and reports on its standard output.

It imports this folder as a package with another name, so it does not import asyncnb (see
``engines/process``). The main thread runs the jobs, because signals interrupt only that thread;
another one reads what the kernel sends. When the kernel is gone, even by SIGKILL, the input ends,
and this process ends with everything it has started.
"""

from __future__ import annotations

import functools
import os
import pickle
import queue
import signal
import struct
import sys
import threading
from typing import Any

from . import output, remote, running
from .outcomes import load

HEADER = struct.Struct("<Q")


class Pipe:
    """Messages over two file descriptors: pickled tuples, each preceded by its length."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads = open(reads, "rb", buffering=1 << 16)  # noqa: SIM115
        self._writes = writes
        self._lock = threading.Lock()

    def read(self) -> tuple[Any, ...] | None:
        """Return the next message, None at the end."""
        header = self._reads.read(HEADER.size)
        if len(header) < HEADER.size:
            return None
        data = self._reads.read(HEADER.unpack(header)[0])
        message: tuple[Any, ...] = pickle.loads(data)
        return message

    def write(self, *message: Any) -> None:
        """Send a message, from any thread."""
        data = pickle.dumps(message, protocol=5)
        view = memoryview(HEADER.pack(len(data)) + data)
        with self._lock:
            while view:
                view = view[os.write(self._writes, view) :]

    def close(self) -> None:
        """Close both ends; a later write raises OSError, even if the descriptor is in use again."""
        with self._lock:
            writes, self._writes = self._writes, -1
            os.close(writes)
        self._reads.close()


class Worker:
    """The main loop of this process, its reader thread and its current job."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.job: int | None = None
        self.jobs: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.shared: dict[int, Any] = {}

    def listen(self) -> None:
        """Read what the kernel sends until it is gone. Runs on its own thread."""
        try:
            while (message := self.pipe.read()) is not None:
                if message[0] == "cancel":
                    running.cancel(message[1])
                elif message[0] == "profile":
                    self.profile(*message[1:])
                else:
                    self.jobs.put(message)
        finally:
            end_all()

    def profile(self, job: int, on: bool) -> None:
        """Begin or end to sample a running job."""
        from .profiling import switch

        switch(job, on, lambda *what: self.pipe.write(what[0], job, *what[1:]))

    def report(self, *what: Any) -> None:
        """Report something about the running job to the kernel."""
        self.pipe.write(what[0], self.job, *what[1:])

    def work(self) -> None:
        """Run one job after another; never returns."""
        self.pipe.write("ready", os.getpid())
        while True:
            message = self.jobs.get()
            if message[0] == "job":
                self.run(*message[1:])
            elif message[0] == "share":
                self.shared[message[1]] = message[2]
            elif message[0] == "forget":
                self.shared.pop(message[1], None)
            else:
                adopt(*message[1:])

    def run(self, job: int, kind: str, payload: bytes, token: int | None) -> None:
        """Run one job and send its outcome."""
        self.job = job
        outcome = remote.run_job(
            job,
            kind,
            payload,
            self.report,
            shared=functools.partial(self._shared, token),
            capture=output.output_of_this_process,
        )
        self.job = None
        self.pipe.write("ended", job, *outcome)

    def _shared(self, token: int | None) -> Any:
        assert token is not None
        known = self.shared[token]
        if isinstance(known, bytes):
            known = self.shared[token] = load(known)
        return known


def adopt(path: list[str], directory: str, environment: dict[str, str]) -> None:
    """Take over the module path, the working directory and the environment of the kernel."""
    sys.path[:] = path
    try:
        os.chdir(directory)
    except OSError as exc:
        print(f"asyncnb: this worker stays in {os.getcwd()}: {exc}", file=sys.stderr)
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)


def end_all() -> None:
    """End this process and its children, whatever they are doing."""
    if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def end_with_the_kernel(lifeline: int) -> None:
    """Let Linux kill the process group when ``lifeline`` is closed, even inside C code.

    The listening thread does the same on every system, but needs the interpreter lock for it.
    """
    import fcntl

    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpid())
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)


def main(lifeline: int | None = None) -> None:
    """Run the worker; never returns."""
    if lifeline is not None:
        end_with_the_kernel(lifeline)
    # Jobs, and what they start, must neither read this input nor write to this output.
    reads, writes = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    # An interrupt is meant for the kernel's cells; a running job sets its own handler.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = Worker(Pipe(reads, writes))
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = output.Stream("stdout", worker.report)
    sys.stderr = output.Stream("stderr", worker.report)
    threading.Thread(target=worker.listen, name="asyncnb listen", daemon=True).start()
    try:
        worker.work()
    finally:
        end_all()
