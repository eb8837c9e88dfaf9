"""A user's ThreadPoolExecutor: the work runs in the kernel's process, and nothing is sent."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
import threading
import time
from collections.abc import Callable
from typing import Any

from asyncnb._offload.far.remote import run_coroutine
from asyncnb._offload.far.running import begin, cancel, running
from asyncnb._offload.jobs import Job


class ThreadPoolEngine:
    """Runs jobs in the threads of an executor, where they see the kernel's own variables."""

    kind = "executor"
    ahead = 64
    in_process = True

    def __init__(self, executor: concurrent.futures.Executor) -> None:
        self._executor = executor

    def slots(self) -> int:
        """Return how many threads the executor may have."""
        workers = getattr(self._executor, "_max_workers", None)
        return workers if isinstance(workers, int) and workers > 0 else 4

    def submit(self, job: Job) -> None:
        """Submit ``job`` to the executor directly: starting a thread takes very little time."""
        context = contextvars.copy_context()
        try:
            job.location = self._executor.submit(context.run, self._run, job)
        except Exception as exc:
            job.end_with("lost", f"The executor accepts no work: {type(exc).__name__}: {exc}")
            return
        job.location.add_done_callback(functools.partial(self._done, job))

    def _done(self, job: Job, future: concurrent.futures.Future[None]) -> None:
        """End a job that no thread has run, as in a pool whose initializer failed."""
        if future.cancelled():
            job.end_with("cancelled")
        elif (exc := future.exception()) is not None:
            job.end_with("lost", f"The executor lost this work: {type(exc).__name__}: {exc}")

    def cancel(self, job: Job) -> None:
        """Prevent ``job`` from starting, or raise CancelledError in its thread."""
        if not job.location.cancel():
            cancel(job)

    def thread_of(self, job: Job) -> int | None:
        """Return the id of the thread that runs ``job``, None if it does not run."""
        current = running.get(job)
        return None if current is None else current.thread

    def _run(self, job: Job) -> None:
        job.start(threading.current_thread().name)
        assert job.local is not None
        outcome: tuple[str, Any] = ("cancelled", None)
        if (current := begin(job)) is not None:
            try:
                with current:
                    value = job.local()
                    if inspect.iscoroutine(value):
                        value = run_coroutine(current, value)
                outcome = ("done", value)
            except BaseException as exc:
                if not (isinstance(exc, asyncio.CancelledError) and current.cancel_requested):
                    outcome = ("failed", exc)
            finally:
                running.pop(job, None)
        job.end_with(*outcome)


def call_each(function: Callable[..., Any], items: list[Any]) -> Any:
    """Call ``function`` on each item, as ``far/remote`` does for a chunk."""
    values: list[Any] = []
    failures: dict[int, BaseException] = {}
    began = time.monotonic()
    with asyncio.Runner() as runner:
        for item in items:
            try:
                value = function(item)
                values.append(runner.run(value) if inspect.iscoroutine(value) else value)
            except Exception as exc:
                failures[len(values)] = exc
                values.append(None)
    return values, failures, time.monotonic() - began


def call_plainly(function: Callable[..., Any], items: list[Any]) -> Any:
    """Call ``function`` on each item in a copy of the context; leave coroutines as they are."""
    values: list[Any] = []
    failures: dict[int, BaseException] = {}
    context = contextvars.copy_context()
    began = time.monotonic()
    for item in items:
        try:
            values.append(context.copy().run(function, item))
        except Exception as exc:
            failures[len(values)] = exc
            values.append(None)
    return values, failures, time.monotonic() - began
