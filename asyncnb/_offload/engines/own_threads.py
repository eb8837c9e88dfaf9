"""The threads of one map of a plain function."""

from __future__ import annotations

import concurrent.futures
import queue
import threading
from collections.abc import Callable
from typing import Any

from asyncnb._offload.engines.thread_pool import ThreadPoolEngine
from asyncnb._offload.jobs import Job

#: Seconds that a function which was cancelled or has timed out has to end: inside a C call it
#: does not notice, and the run no longer waits for it.
STOP_SECONDS = 1.0


class DaemonThreads(concurrent.futures.Executor):
    """Runs each call in a thread at once: in an idle one, or a new one.

    They are daemon threads: a call that hangs keeps no interpreter from its end.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._count = 0

    def submit(  # type: ignore[override]
        self, fn: Callable[..., Any], /, *args: Any
    ) -> concurrent.futures.Future[Any]:
        """Call ``fn(*args)`` in a thread. Any thread. Raises RuntimeError if none can start."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        if not self._idle.acquire(blocking=False):
            with self._lock:
                self._count += 1
                name = f"asyncnb map {self._count}"
            threading.Thread(target=self._main, name=name, daemon=True).start()
        self._queue.put((future, fn, args))
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        """End the threads, each when its call has ended. Does not wait."""
        for _ in range(self._count):
            self._queue.put(None)

    def _main(self) -> None:
        while (call := self._queue.get()) is not None:
            future, fn, args = call
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args))
                except BaseException as exc:
                    future.set_exception(exc)
            del call, future, fn, args
            self._idle.release()


class OwnThreads(ThreadPoolEngine):
    """Runs jobs in threads that end with the run."""

    def __init__(self) -> None:
        super().__init__(DaemonThreads())

    def cancel(self, job: Job) -> None:
        """Raise CancelledError in the thread, and give the call up if that takes too long."""
        super().cancel(job)
        job.loop.call_soon_threadsafe(_give_up_later, job)

    def close(self) -> None:
        """End the threads, each when its call has ended."""
        self._executor.shutdown(wait=False)


def _give_up_later(job: Job) -> None:
    job.loop.call_later(STOP_SECONDS, job.end_with, "cancelled")
