"""Runs a job where it was sent, including machines without asyncnb.

This folder imports only the standard library (and cloudpickle when the first job arrives), so that
its text can be sent to a worker and executed there. A job is a cell, a call or a chunk of calls. It
arrives as bytes and leaves as an outcome: a status and bytes. Whatever a job does, ``run_job`` does
not raise; only the end of the process gets through.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import inspect
import linecache
import pickle
import sys
import threading
import time
from collections.abc import Callable
from types import CoroutineType
from typing import Any

from .job_task import JobTask
from .outcomes import PLAIN, describe_error, dump, ended_with, load, load_call, unsendable
from .output import Report, ThreadOutput, outputs
from .running import RunningJob, begin, running

#: How many functions shared by many jobs are kept.
MAX_FUNCTIONS = 32


def run_job(
    job: object,
    kind: str,
    payload: bytes,
    report: Report,
    *,
    shared: Callable[[], Any] | None = None,
    capture: Callable[[Report], Any] = ThreadOutput,
    by_signal: bool = False,
    displays: bool = False,
) -> tuple[str, bytes]:
    """Run one job in this thread; return its status and data.

    The data of ``done`` is the pickled value, of ``failed`` a pickled description of the error, of
    ``cancelled`` nothing, and of ``refused`` a pickled sentence that says why. ``shared`` returns
    the function of a chunk; for ``displays`` see ``run_cell``.
    """
    current = begin(job, by_signal)
    if current is None:
        return "cancelled", b""
    try:
        with current, capture(report):
            return _run(current, kind, payload, report, shared, displays)
    except BaseException as exc:
        return ended_with(exc, current)
    finally:
        running.pop(job, None)


def _run(
    current: RunningJob,
    kind: str,
    payload: bytes,
    report: Report,
    shared: Callable[[], Any] | None,
    displays: bool,
) -> tuple[str, bytes]:
    if kind == "chunk":
        assert shared is not None
        return "done", _call_each(current, shared(), load(payload))
    with ProgressReporter(report):
        if kind == "call":
            function, args, kwargs = load_call(payload)
            value = function(*args, **kwargs)
            if inspect.iscoroutine(value):
                value = run_coroutine(current, value)
        else:
            value = run_cell(current, load(payload), report, displays)
    try:
        return "done", dump(value)
    except Exception as exc:
        raise unsendable("The result" if kind == "call" else "What comes back", exc) from None


def _call_each(current: RunningJob, function: Any, items: list[Any]) -> bytes:
    """Call ``function`` on each item; return the pickled results, failures and seconds taken."""
    values: list[Any] = []
    failures: dict[int, Any] = {}
    began = time.monotonic()
    runner = None
    try:
        for item in items:
            try:
                value = function(item)
                if type(value) is CoroutineType:
                    if runner is None and asyncio._get_running_loop() is None:
                        runner = asyncio.Runner()  # one loop for all items
                    value = run_coroutine(current, value, runner)
            except Exception as exc:
                failures[len(values)] = describe_error(exc)
                value = None
            values.append(value)
    finally:
        if runner is not None:
            runner.close()
    seconds = time.monotonic() - began
    try:
        return _dump_values(values, failures, seconds)
    except Exception:
        for index, value in enumerate(values):
            try:
                dump(value)
            except Exception as exc:
                failures[index] = describe_error(unsendable("The result", exc))
                values[index] = None
        return _dump_values(values, failures, seconds)


def _dump_values(values: list[Any], failures: dict[int, Any], seconds: float) -> bytes:
    plain = PLAIN.issuperset(map(type, values))
    return (pickle.dumps if plain else dump)((values, failures, seconds))


def run_coroutine(current: RunningJob, coro: Any, runner: asyncio.Runner | None = None) -> Any:
    """Run ``coro`` on a new loop, or the runner's; cancelling the job cancels its task."""

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        task = JobTask(coro, loop=loop)
        with current.lock:
            current.cancel_task = lambda: loop.call_soon_threadsafe(task.cancel)
            if current.cancel_requested:
                task.cancel()
        try:
            return await task
        finally:
            with current.lock:
                current.cancel_task = None

    if runner is not None:
        return runner.run(main())
    if asyncio._get_running_loop() is None:
        return asyncio.run(main())
    # The thread of an ipyparallel engine has a loop already, which is blocked meanwhile.
    with concurrent.futures.ThreadPoolExecutor(1) as aside:
        return aside.submit(_run_for, threading.get_ident(), main).result()


def _run_for(ident: int, main: Callable[[], Any]) -> Any:
    """Run a coroutine in this thread with the output streams of thread ``ident``."""
    if ident in outputs:
        outputs[threading.get_ident()] = outputs[ident]
    try:
        return asyncio.run(main())
    finally:
        outputs.pop(threading.get_ident(), None)


#: Functions shared by many jobs, by sender and number; the newest last.
_functions: collections.OrderedDict[Any, Any] = collections.OrderedDict()


def shared_function(sender: Any, shared: tuple[int, bytes] | None) -> Any:
    """Return the function that many jobs share, unpickled once; None if there is none."""
    if shared is None:
        return None
    name = sender, shared[0]
    function = _functions.get(name)
    if function is None:
        function = _functions[name] = load(shared[1])
        while len(_functions) > MAX_FUNCTIONS:
            _functions.popitem(last=False)
    return function


def run_cell(
    current: RunningJob, cell: dict[str, Any], report: Report, displays: bool = False
) -> Any:
    """Run a cell that was sent as a dict: its code, its source, its names, and what to return.

    All functions among the names share one dict of globals, found through ``anchor``. The cell runs
    in this dict, so these functions read and write the cell's own variables. ``displays`` says that
    the process itself shows what a cell displays.
    """
    namespace: dict[str, Any] = cell["anchor"].__globals__
    namespace.update(cell["names"])
    namespace["__name__"] = "__main__"
    namespace.setdefault("__builtins__", __builtins__)
    finish: Callable[[], None] | None = None
    if cell["notebook"] and not displays:
        from .notebook import environment, show_figures

        namespace |= environment(report, namespace)
        finish = show_figures
    name, source = cell["file"], cell["source"]
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    if cell.get("profile"):
        from .profiling import sampled

        with sampled(current, report):
            value = _run_parts(current, cell, namespace)
    else:
        value = _run_parts(current, cell, namespace)
    if finish is not None:
        finish()
    missing = [out for out in cell["out"] if out not in namespace]
    if missing:
        raise NameError(f"--out {missing[0]}: the cell ended without assigning it a value")
    return value, {out: namespace[out] for out in cell["out"]}


def _run_parts(current: RunningJob, cell: dict[str, Any], namespace: dict[str, Any]) -> Any:
    """Run the statements of a cell and its last expression; return the value of that."""
    value = None
    for code, is_last in ((cell["body"], False), (cell["last"], True)):
        if code is None:
            continue
        part = eval(code, namespace)
        if code.co_flags & inspect.CO_COROUTINE:
            part = run_coroutine(current, part)
        if is_last:
            value = part
    return value


class ProgressReporter:
    """Reports the progress of ``asyncnb.track`` while it is entered, if the job uses it."""

    __slots__ = ("_last", "_open", "_progress", "_report", "_token")

    def __init__(self, report: Report) -> None:
        self._report = report
        self._last = 0.0
        self._open = True
        self._progress: Any = sys.modules.get("asyncnb._core.base.progress_observers")

    def __call__(self, update: Any) -> None:
        now = time.monotonic()
        if self._open and (update.ended or now - self._last >= 0.1):
            self._last = now
            self._report("progress", *update[:4], update.ended, update.failed)

    def __enter__(self) -> None:
        # Set in the job's context, not for the whole process: other jobs may run in it, and even
        # the kernel with its own progress bars (dask with threads).
        if self._progress is not None:
            self._token = self._progress.job_observer.set(self)

    def __exit__(self, *_: object) -> None:
        self._open = False  # a thread started by the job may still report
        if self._progress is not None:
            self._progress.job_observer.reset(self._token)
