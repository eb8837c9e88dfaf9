"""A job: work sent to a worker, as seen from the kernel."""

from __future__ import annotations

import asyncio
import collections
import itertools
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from asyncnb._core.base.errors import OffloadError, WorkerLostError
from asyncnb._core.base.forks import at_fork
from asyncnb._offload.tracebacks import rebuild_error

_ids = itertools.count(1)


class _Mailbox:
    """Ends jobs on the thread of their loop, with one wake-up for many at the same time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._items: collections.deque[tuple[Job, str, Any]] = collections.deque()
        self._waking = False

    def put(self, job: Job, status: str, value: Any) -> None:
        """Schedule ``job.finish`` on the loop's thread."""
        self._items.append((job, status, value))
        self.wake()

    def wake(self) -> None:
        """Wake the loop's thread for what is, or is about to be, put here."""
        if not self._waking:
            self._waking = True
            try:
                self.loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                if not self.loop.is_closed():  # else no code is left that waits
                    raise

    def _deliver(self) -> None:
        self._waking = False  # first: an item put after this needs another wake-up
        while self._items:
            job, status, value = self._items.popleft()
            job.finish(status, value)


_mailboxes: list[_Mailbox] = []
at_fork(_mailboxes.clear)


def _mailbox(loop: asyncio.AbstractEventLoop) -> _Mailbox:
    for mailbox in _mailboxes:
        if mailbox.loop is loop:
            return mailbox
    # A list, because uvloop's loops do not support weak references; there are very few loops.
    _mailboxes[:] = [m for m in _mailboxes if not m.loop.is_closed()]
    _mailboxes.append(_Mailbox(loop))
    return _mailboxes[-1]


class _End(asyncio.Future[None]):
    """The end of a job that a task waits for. A cancel is passed on to the job."""

    def __init__(self, job: Job, engine: Engine) -> None:
        super().__init__(loop=job.loop)
        self._job, self._engine = job, engine

    def cancel(self, msg: Any = None) -> bool:
        """Stop the job; this future is done once the job has ended."""
        if self.done():
            return False
        self._job.cancel_requested = True
        self._engine.cancel(self._job)
        return True

    def set(self) -> None:
        self.set_result(None)


class Job:
    """One piece of work. Its engine reports on it from any thread; ``wait`` waits for its end.

    ``kind`` and ``payload`` are arguments of ``far/remote.run_job``. ``shared`` is a number and a
    pickled function that many jobs have in common, so a worker needs to receive it only once.
    ``report(kind, *data)`` is called with ``started``, ``output`` (stream, text), ``display`` and
    ``progress``, on a thread of the engine.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        kind: str,
        payload: bytes,
        *,
        shared: tuple[int, bytes] | None = None,
        report: Callable[..., object] | None = None,
        name: str = "",
        local: Callable[[], Any] | None = None,
    ) -> None:
        self.id = next(_ids)
        self.loop = loop
        self.kind = kind
        self.payload = payload
        self.shared = shared
        self.name = name
        #: What an engine in this process calls, instead of unpickling the payload.
        self.local = local
        self.cancel_requested = False
        #: The worker that runs it and when it started (Unix time), once they are known.
        self.began: tuple[str, float] | None = None
        #: Set by the engine: the worker that runs it, or a future.
        self.location: Any = None
        #: Free when the outcome has arrived; an Event would take ten times as long to make.
        self._ending = threading.Lock()
        self._ending.acquire()
        self._report = report
        #: The status and the value, once the loop's thread has them; and what it calls then.
        self.outcome: tuple[str, Any] | None = None
        self.on_end: Callable[[], object] | None = None
        self._mailbox = _mailbox(loop)

    def start(self, worker: str, seconds: float = 0.0, *, ended: bool = False) -> None:
        """Note which worker runs it, and since when; a job that has ended is not reported."""
        self.began = worker, time.time() - seconds
        if not ended:
            self.report("started")

    def report(self, kind: str, *data: Any) -> None:
        """Handle a report of the worker about this job."""
        if self._report is not None:
            self._report(kind, *data)

    def end(self, status: str, data: bytes = b"") -> None:
        """Handle the outcome, as ``far/remote.run_job`` returns it. From any thread, once."""
        value: Any = None
        try:
            if status in ("done", "refused"):
                value = pickle.loads(data)
            elif status == "failed":
                value = rebuild_error(pickle.loads(data))
        except Exception as exc:
            status = "lost"
            value = f"The worker's answer cannot be unpickled here: {type(exc).__name__}: {exc}."
        self.end_with(status, value)

    def wake_loop(self) -> None:
        """Wake the loop's thread, which takes longer than it takes to unpickle a small outcome."""
        self._mailbox.wake()

    def end_with(self, status: str, value: Any = None) -> None:
        """Handle an unpickled outcome: ``lost`` with a message, ``cancelled`` or an error."""
        try:
            self._ending.release()
        except RuntimeError:
            pass  # it had ended before
        self._mailbox.put(self, status, value)

    def finish(self, status: str, value: Any) -> None:
        """Note the outcome, unless there is one already. On the loop's thread."""
        if self.outcome is None:
            self.outcome = status, value
            if self.on_end is not None:
                self.on_end()

    def wait_for_outcome(self, timeout: float) -> None:
        """Block until the outcome has arrived, or for ``timeout`` seconds."""
        if self._ending.acquire(timeout=timeout):
            self._ending.release()

    async def wait(self, engine: Engine) -> Any:
        """Wait for the end. A cancel is passed on to the engine, and the wait continues.

        So the task ends when its work has really ended. Raises the exception of the work,
        WorkerLostError if its worker ended before it, and OffloadError if the work could not run
        there or its result could not be sent back.
        """
        if self.outcome is None:
            end = _End(self, engine)
            self.on_end = end.set
            try:
                await end
            finally:
                self.on_end = None  # no reference cycle
        return self.result()

    def result(self) -> Any:
        """Return the value of a job that has ended, or raise as ``wait`` does."""
        assert self.outcome is not None
        status, value = self.outcome
        if status == "done":
            return value
        if status == "cancelled":
            raise asyncio.CancelledError
        if status == "failed":
            try:
                raise value
            finally:
                del value  # no reference cycle through this frame
        raise (WorkerLostError if status == "lost" else OffloadError)(value)


class Engine(Protocol):
    """Runs jobs. Its methods return at once and may be called from any thread."""

    #: The value of ``TaskInfo.kind`` for its tasks.
    kind: str
    #: Whether it calls ``Job.local`` in this process.
    in_process: bool
    #: How many items of a stream are taken per slot, unless the user sets a limit.
    ahead: int

    def submit(self, job: Job) -> None:
        """Start the job, or queue it for a worker."""

    def cancel(self, job: Job) -> None:
        """Stop the job; ``job.end`` is called once it has ended."""

    def slots(self) -> int:
        """Return how many jobs run at the same time, as far as is known."""
