"""Worker processes that the kernel starts itself: ``--on process``.

Why not ``concurrent.futures.ProcessPoolExecutor`` or loky? In both, killing a worker breaks the
pool and fails everything in it, but a cancel that really stops the work must be able to kill a
worker. Neither gives access to a running function, for a cancel or its output. And ``spawn`` starts
a worker in the kernel's process group, where Jupyter's interrupt ends it while it is still
importing. A pool of one worker for each slot would solve only the first problem, at the cost of two
threads and a queue with semaphores per pool. So asyncnb starts interpreters with ``subprocess`` and
sends pickles over pipes, with one reading thread per worker. The round trip of a small call takes
0.17 ms, against 0.32 ms with ``ProcessPoolExecutor`` and 1.15 ms with loky on the same busy
machine.

There is no scheduler: a job goes to an idle worker, or waits in a queue.

A worker has its own process group, so the kernel's interrupt does not reach it. When the kernel is
gone, the worker's input ends; the worker then ends itself and everything it has started.
"""

from __future__ import annotations

import atexit
import collections
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from typing import Any

from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._offload import far
from asyncnb._offload.far.worker import Pipe
from asyncnb._offload.jobs import Job

#: Seconds that a cancelled job may take for its cleanup before its process is killed.
CANCEL_GRACE_SECONDS = 5.0
#: How many bytes a pipe takes on every system without blocking the writer.
_SMALL = 32_000

#: What a worker runs: it imports the folder of the far end as a package without asyncnb.
_BOOT = """
import sys, types
far = sys.modules["_asyncnb_far"] = types.ModuleType("_asyncnb_far")
far.__path__ = [sys.argv[1]]
from _asyncnb_far import worker
worker.main(*map(int, sys.argv[2:]))
"""


class WorkerProcess:
    """One worker process; its thread starts it and reads its reports until it ends."""

    def __init__(self, engine: ProcessEngine, number: int) -> None:
        self.engine = engine
        self.name = f"process {number}"
        self.job: Job | None = None
        self.environment: Any = None
        self.known: set[int] = set()  # the shared functions that it has received
        self.process: subprocess.Popen[bytes] | None = None
        self.pipe: Pipe | None = None
        self.killed_for: Job | None = None
        self._lifeline: int | None = None
        self._errors: collections.deque[str] = collections.deque(maxlen=40)
        self._errors_lock = threading.Lock()
        self._reader = threading.Thread(target=self._main, name=f"asyncnb {self.name}", daemon=True)
        self._reader.start()

    def _start(self) -> None:
        options: dict[str, Any] = {}
        arguments = []
        if sys.platform == "win32":
            options["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP
        else:
            options["process_group"] = 0
        theirs = None
        if sys.platform == "linux":
            theirs, self._lifeline = os.pipe()
            options["pass_fds"] = [theirs]
            arguments = [str(theirs)]
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        try:
            self.process = subprocess.Popen(
                [sys.executable, *flags, "-c", _BOOT, far.__path__[0], *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **options,
            )
        finally:
            if theirs is not None:
                os.close(theirs)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.pipe = Pipe(os.dup(self.process.stdout.fileno()), os.dup(self.process.stdin.fileno()))

    def _main(self) -> None:
        try:
            self._start()
        except Exception as exc:
            self.engine._on_worker_exit(self, f"A worker process could not be started: {exc}")
            return
        assert self.process is not None and self.pipe is not None
        errors = threading.Thread(
            target=self._read_errors, name=f"asyncnb {self.name} stderr", daemon=True
        )
        errors.start()
        try:
            while (message := self.pipe.read()) is not None:
                try:
                    self._handle(*message)
                except Exception:  # in what shows it here: later messages must still arrive
                    logger.exception("A worker's report could not be shown")
        finally:
            code = self.process.wait()
            errors.join(1.0)
            self._close()
            self.engine._on_worker_exit(self, self._exit_message(code))

    def _handle(self, kind: str, job: Any, *data: Any) -> None:
        if kind == "ready":
            self.engine._on_worker_idle(self, None)
        elif kind == "ended":
            self._drain_errors()
            self.engine._on_worker_idle(self, data)
        elif self.job is not None:
            self._drain_errors()  # roughly in the order in which it was written
            self.job.report(kind, *data)

    def _read_errors(self) -> None:
        """Read the standard error of the process: of C code, of programs that it starts."""
        assert self.process is not None and self.process.stderr is not None
        number = self.process.stderr.fileno()
        if sys.platform == "win32":
            while self._read_some_errors(number):
                pass
            return
        more = True
        while more:
            select.select([number], [], [])
            more = self._drain_errors()  # which checks again: the other thread may have read it

    def _read_some_errors(self, number: int) -> bool:
        data = os.read(number, 65536)
        text = data.decode(errors="replace")
        self._errors.extend(text.splitlines())
        if self.job is not None and text:
            self.job.report("output", "stdout", text)
        return bool(data)

    def _drain_errors(self) -> bool:
        """Read what has been written so far, which was before the job ended.

        Two threads do this, so neither may wait for more while it holds the lock. Returns False at
        the end of the stream.
        """
        if sys.platform == "win32" or self.process is None or self.process.stderr is None:
            return True
        with self._errors_lock:
            if self.process.stderr.closed:
                return False
            number = self.process.stderr.fileno()
            while select.select([number], [], [], 0)[0]:
                if not self._read_some_errors(number):
                    return False
        return True

    def _exit_message(self, code: int) -> str:
        how = f"ended with exit code {code}"
        if code < 0:
            try:
                how = f"was killed by {signal.Signals(-code).name}"
            except ValueError:
                how = f"was killed by signal {-code}"
        last_output = "\n".join(self._errors)
        hint = ""
        if code == -9:
            hint = " SIGKILL is sent by a user, or by the system when memory runs out."
        return f"The worker process that ran this {how}.{hint}" + (
            f" Its last output:\n{last_output}" if last_output else ""
        )

    def send(self, *message: Any) -> None:
        """Send a message; if the worker is gone, its end is reported elsewhere."""
        assert self.pipe is not None
        try:
            self.pipe.write(*message)
        except OSError:
            pass

    def kill(self) -> None:
        """End the process, and on POSIX everything it has started."""
        if self.process is None or self.process.poll() is not None:
            return
        try:
            if sys.platform == "win32":
                self.process.kill()
            else:
                os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def _close(self) -> None:
        assert self.process is not None and self.pipe is not None
        with self._errors_lock:
            for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
                assert stream is not None
                try:
                    stream.close()
                except OSError:
                    pass
        self.pipe.close()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def join(self, timeout: float) -> None:
        """Wait until the process and its reading thread have ended."""
        self._reader.join(timeout)


class ProcessEngine:
    """A queue of jobs and up to ``max_workers`` worker processes, started when they are needed."""

    kind = "process"
    ahead = 64
    in_process = False

    def __init__(self, max_workers: int | None = None) -> None:
        self.max_workers = max_workers or _processors()
        self._lock = threading.RLock()
        self._waiting: collections.deque[Job] = collections.deque()
        self._workers: list[WorkerProcess] = []
        self._free: list[WorkerProcess] = []
        self._numbers = 0
        self._closed = False

    def slots(self) -> int:
        """Return how many worker processes there may be."""
        return self.max_workers

    def submit(self, job: Job) -> None:
        """Give ``job`` to an idle worker, or queue it. From any thread; returns at once."""
        with self._lock:
            if job.cancel_requested:  # before it was submitted
                job.end_with("cancelled")
                return
            self._waiting.append(job)
            starting = sum(w.job is None and w not in self._free for w in self._workers)
            if (
                len(self._waiting) > starting + len(self._free)
                and len(self._workers) < self.max_workers
            ):
                self._numbers += 1
                self._workers.append(WorkerProcess(self, self._numbers))
            self._assign_jobs()

    def cancel(self, job: Job) -> None:
        """Remove ``job`` from the queue, or interrupt it and kill its worker after the grace."""
        with self._lock:
            if job in self._waiting:
                self._waiting.remove(job)
                job.end_with("cancelled")
                return
            worker = job.location
            if worker is None or worker.job is not job:
                return
        threading.Thread(target=self._stop, args=(worker, job), daemon=True).start()

    def profile(self, job: Job, on: bool) -> None:
        """Make the worker that runs ``job`` start or stop reporting where its time goes."""
        worker = job.location
        if worker is not None and worker.job is job:
            worker.send("profile", job.id, on)

    def _stop(self, worker: WorkerProcess, job: Job) -> None:
        worker.send("cancel", job.id)
        job.wait_for_outcome(CANCEL_GRACE_SECONDS)
        with self._lock:
            if worker.job is job:
                worker.killed_for = job
                worker.kill()

    def _assign_jobs(self) -> None:
        while self._waiting and self._free:
            worker, job = self._free.pop(), self._waiting.popleft()
            worker.job, job.location = job, worker
            job.start(worker.name)
            if len(job.payload) + len(job.shared[1] if job.shared else b"") < _SMALL:
                self._send(worker, job)
            else:  # the caller must not wait until all of it has gone through the pipe
                threading.Thread(target=self._send, args=(worker, job), daemon=True).start()

    def _send(self, worker: WorkerProcess, job: Job) -> None:
        token = None
        if job.shared is not None:
            token, data = job.shared
            if token not in worker.known:
                worker.known.add(token)
                worker.send("share", token, data)
        if job.kind != "chunk":
            environment = (list(sys.path), _directory(), _variables())
            if environment != worker.environment:
                worker.environment = environment
                worker.send("environment", *environment[:2], dict(os.environ))
        worker.send("job", job.id, job.kind, job.payload, token)

    def forget(self, token: int) -> None:
        """Make the workers drop a shared function."""
        with self._lock:
            for worker in self._workers:
                if token in worker.known:
                    worker.known.discard(token)
                    worker.send("forget", token)

    def _on_worker_idle(self, worker: WorkerProcess, outcome: tuple[str, bytes] | None) -> None:
        with self._lock:
            job, worker.job = worker.job, None
            self._free.append(worker)
            self._assign_jobs()
        if job is not None and outcome is not None:
            job.end(*outcome)

    def _on_worker_exit(self, worker: WorkerProcess, exit_message: str) -> None:
        with self._lock:
            job, worker.job = worker.job, None
            self._workers.remove(worker)
            if worker in self._free:
                self._free.remove(worker)
            never_began = worker.environment is None and job is None
            waiting = list(self._waiting) if never_began and not self._workers else []
            for each in waiting:
                self._waiting.remove(each)
            missing = min(len(self._waiting), self.max_workers) - len(self._workers)
            if not self._closed and not never_began:
                for _ in range(max(0, missing)):
                    self._numbers += 1
                    self._workers.append(WorkerProcess(self, self._numbers))
        if job is not None:
            killed = worker.killed_for is job
            job.end_with("cancelled" if killed else "lost", None if killed else exit_message)
        for each in waiting:
            each.end_with("lost", exit_message)

    def close(self, timeout: float = 2.0) -> None:
        """Kill the workers; what they are running is lost. From any thread but theirs."""
        with self._lock:
            self._closed = True
            workers = list(self._workers)
            for worker in workers:
                worker.kill()
        for worker in workers:
            worker.join(timeout)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def _variables() -> dict[Any, Any]:
    """Return the raw environment, for comparison; decoding it takes longer than all the rest."""
    return dict(getattr(os.environ, "_data", os.environ))


logger = logging.getLogger("asyncnb")

_lock = fork_safe_lock()
_engine: ProcessEngine | None = None


def process_engine() -> ProcessEngine:
    """Return the engine of this process; a forked child gets its own."""
    global _engine
    with _lock:
        if _engine is None or _engine._closed:
            _engine = ProcessEngine()
            atexit.register(close)
        return _engine


def close() -> None:
    """End the workers, if there are any."""
    global _engine
    with _lock:
        engine, _engine = _engine, None
    if engine is not None:
        atexit.unregister(close)
        engine.close()


def _after_fork_in_child() -> None:
    global _engine
    if _engine is not None:
        atexit.unregister(close)
    _engine = None  # its workers are children of the parent, and its threads exist only there


at_fork(_after_fork_in_child)
