"""Samples a job where it runs, from a thread beside it, and reports the counts.

The kernel adds them to the profiles that are being taken there. A row is: whether the code ran or
waited, its stack of (file, function, line), what was awaited, seconds, and how often it was seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import selectors
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

from .locks import at_fork
from .running import RunningJob, running

#: Seconds between two looks, and between two reports.
PERIOD, REPORT_SECONDS = 0.01, 0.25
#: As in the kernel's sampler: else no step shorter than 5 ms is seen.
SWITCH_SECONDS = 0.0002
#: Frames of a stack, the innermost ones, and suspended tasks that are looked at each time.
MAX_FRAMES, MAX_TASKS = 100, 20

_HERE = os.path.dirname(__file__) + os.sep
_ASYNCIO = os.path.dirname(asyncio.__file__) + os.sep

Stack = tuple[tuple[str, str, int], ...]


class JobSampler:
    """Samples the thread of one job until ``stop``, or until the job has ended."""

    def __init__(self, job: object, ident: int, report: Callable[..., object]) -> None:
        self._job = job
        self._ident = ident
        self._report = report
        self._rows: dict[tuple[bool, Stack, str], list[float]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._main, name="asyncnb profiler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, after a last report."""
        self._stopped.set()
        self._thread.join()

    def _main(self) -> None:
        before = sys.getswitchinterval()
        sys.setswitchinterval(min(before, SWITCH_SECONDS))
        try:
            last = reported = time.monotonic()
            over = False
            while not over:
                over = self._stopped.wait(random.uniform(0.5 * PERIOD, 1.5 * PERIOD))
                now = time.monotonic()
                if self._job in running and not self._stopped.is_set():
                    self._look(now - last)
                else:
                    over = True
                last = now
                if self._rows and (over or now - reported >= REPORT_SECONDS):
                    reported, rows = now, self._rows
                    self._rows = {}
                    self._report("profile", [(*key, *counted) for key, counted in rows.items()])
        finally:
            sys.setswitchinterval(before)
            samplers.pop(self._job, None)

    def _look(self, seconds: float) -> None:
        frame = sys._current_frames().get(self._ident)
        if frame is None:
            return
        if frame.f_code.co_filename != selectors.__file__:
            self._count(True, _stack(frame), "", seconds)
            return
        while frame is not None and frame.f_code.co_name != "run_forever":
            frame = frame.f_back
        loop = None if frame is None else frame.f_locals.get("self")
        del frame
        if isinstance(loop, asyncio.AbstractEventLoop):
            for task in list(asyncio.all_tasks(loop))[:MAX_TASKS]:
                self._count_wait(task, seconds)

    def _count_wait(self, task: asyncio.Task[Any], seconds: float) -> None:
        coro: Any = task.get_coro()
        parts = []
        awaited = ""
        while coro is not None and (frame := getattr(coro, "cr_frame", None)) is not None:
            code = frame.f_code
            if code.co_filename.startswith(_ASYNCIO):
                awaited = awaited or code.co_qualname
            elif not code.co_filename.startswith(_HERE):
                awaited = ""
                parts.append((code.co_filename, code.co_qualname, frame.f_lineno or 0))
            coro = coro.cr_await
        if parts:  # else it only runs the job's own task
            self._count(False, tuple(parts), awaited or "a future", seconds)

    def _count(self, ran: bool, stack: Stack, awaited: str, seconds: float) -> None:
        counted = self._rows.setdefault((ran, stack, awaited), [0.0, 0])
        counted[0] += seconds
        counted[1] += 1


def _stack(frame: types.FrameType | None) -> Stack:
    """Return the places of the job's own code, outermost first."""
    found: list[tuple[str, str, int]] = []
    while frame is not None and len(found) < MAX_FRAMES:
        code = frame.f_code
        if code.co_filename.startswith(_HERE):
            break  # what is above runs the job
        found.append((code.co_filename, code.co_qualname, frame.f_lineno or 0))
        frame = frame.f_back
    return tuple(found[::-1])


#: The samplers at work in this process, by job.
samplers: dict[object, JobSampler] = {}
at_fork(samplers.clear)


@contextlib.contextmanager
def sampled(current: RunningJob, report: Callable[..., object]) -> Iterator[None]:
    """Sample the job of this thread in the block."""
    switch(current.job, True, report)
    try:
        yield
    finally:
        switch(current.job, False, report)


def switch(job: object, on: bool, report: Callable[..., object]) -> None:
    """Begin or end to sample ``job``, if it runs here. From any thread."""
    current, sampler = running.get(job), samplers.get(job)
    if on and current is not None and sampler is None:
        samplers[job] = JobSampler(job, current.thread, report)
    elif not on and sampler is not None:
        sampler.stop()
