"""A job: work on its way to a worker and back, as the kernel's side sees it."""

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
    """Sets futures of a loop from other threads: one wake-up for all that come at nearly once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._items: collections.deque[tuple[asyncio.Future[Any], Any]] = collections.deque()
        self._waking = False

    def put(self, future: asyncio.Future[Any], result: Any) -> None:
        """Set the result of ``future`` soon, unless it is done by then."""
        self._items.append((future, result))
        if not self._waking:
            self._waking = True
            try:
                self.loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                if not self.loop.is_closed():  # nobody is left to be told
                    raise

    def _deliver(self) -> None:
        self._waking = False  # first: what is put from here on needs another wake-up
        while self._items:
            future, result = self._items.popleft()
            if not future.done():
                future.set_result(result)


_mailboxes: list[_Mailbox] = []
at_fork(_mailboxes.clear)


def _mailbox(loop: asyncio.AbstractEventLoop) -> _Mailbox:
    for mailbox in _mailboxes:
        if mailbox.loop is loop:
            return mailbox
    # A list, as uvloop's loops take no weak references; there is one loop, or few.
    _mailboxes[:] = [m for m in _mailboxes if not m.loop.is_closed()]
    _mailboxes.append(_Mailbox(loop))
    return _mailboxes[-1]


class _Outcome(asyncio.Future[tuple[str, Any]]):
    """The status and the value of a job. A cancel of who awaits it is for the job: it goes on."""

    #: Asks the engine to stop the job, while somebody waits.
    request_cancel: Callable[[], object] | None = None

    def cancel(self, msg: Any = None) -> bool:
        """Have the job stopped; it is told here when it has."""
        if self.done():
            return False
        if self.request_cancel is None:
            return super().cancel(msg)
        self.request_cancel()
        return True


class Job:
    """One piece of work. An engine tells it how it goes, from any thread; ``wait`` waits for it.

    ``kind`` and ``payload`` are what ``remote.run_job`` takes; ``shared`` is a number and pickled
    data that many jobs have in common, so that a worker need get it only once. ``report(kind,
    *data)`` is called with ``started``, ``output`` (stream, text), ``display`` and ``progress``, on
    a thread of the engine.
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
        #: What an engine in this process calls instead of reading the payload.
        self.local = local
        self.cancel_requested = False
        #: The worker that runs it and when it began to (Unix time), once that is known.
        self.began: tuple[str, float] | None = None
        #: What the engine keeps here: the worker that runs it, a future.
        self.location: Any = None
        #: Set when the worker has told the outcome.
        self.ending = threading.Event()
        self._report = report
        #: The status and the value, on the loop's thread.
        self.ended = _Outcome(loop=loop)
        self._mailbox = _mailbox(loop)

    def start(self, worker: str, seconds: float = 0.0, *, ended: bool = False) -> None:
        """Take who runs it, since how many seconds; nobody need be told of one that ended."""
        self.began = worker, time.time() - seconds
        if not ended:
            self.report("started")

    def report(self, kind: str, *data: Any) -> None:
        """Take what the worker tells of this job."""
        if self._report is not None:
            self._report(kind, *data)

    def end(self, status: str, data: bytes = b"") -> None:
        """Take the outcome, as ``remote.run_job`` returns it. From any thread, once."""
        value: Any = None
        try:
            if status in ("done", "refused"):
                value = pickle.loads(data)
            elif status == "failed":
                value = rebuild_error(pickle.loads(data))
        except Exception as exc:
            status = "lost"
            value = f"What the worker sent back cannot be read here: {type(exc).__name__}: {exc}."
        self.end_with(status, value)

    def end_with(self, status: str, value: Any = None) -> None:
        """Take an outcome that is no pickle: ``lost`` with a sentence, ``cancelled``, an error."""
        self.ending.set()
        self._mailbox.put(self.ended, (status, value))

    async def wait(self, engine: Engine) -> Any:
        """Wait for the end; a cancel goes to the engine, and the wait goes on.

        So the task ends when its work has really ended. Raises what the work raised,
        WorkerLostError if its worker did not live to tell, OffloadError if it could not be run
        there or its result not be sent.
        """
        ended = self.ended

        def request_cancel() -> None:
            self.cancel_requested = True
            engine.cancel(self)

        ended.request_cancel = request_cancel
        try:
            await ended
        finally:
            ended.request_cancel = None  # no reference cycle
        return self.result()

    def result(self) -> Any:
        """Return the value of a job that has ended, or raise; see ``wait``."""
        status, value = self.ended.result()
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
    """Where jobs run. Both methods return at once and may be called from any thread."""

    #: What ``TaskInfo.kind`` says of its tasks.
    kind: str
    #: Whether it calls ``Job.local`` in this process.
    in_process: bool
    #: Items of a stream taken for each slot, unless the user says how many.
    ahead: int

    def submit(self, job: Job) -> None:
        """Start the job, or let it wait for a worker."""

    def cancel(self, job: Job) -> None:
        """Stop the job; its ``end`` comes when it has."""

    def slots(self) -> int:
        """Return how many jobs run at a time, as far as is known."""
