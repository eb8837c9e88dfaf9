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
import contextlib
import inspect
import linecache
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import CoroutineType
from typing import Any

from .outcomes import PLAIN, describe_error, dump, ended_with, load, unsendable
from .output import PerThreadStream, Report, output_of_this_thread
from .running import RunningJob, running_as

#: How many functions shared by many jobs are kept.
MAX_FUNCTIONS = 32


def run_job(
    job: object,
    kind: str,
    payload: bytes,
    report: Report,
    *,
    shared: Callable[[], Any] | None = None,
    capture: Callable[[Report], Any] = output_of_this_thread,
    by_signal: bool = False,
    displays: bool = False,
) -> tuple[str, bytes]:
    """Run one job in this thread; return its status and data.

    The data of ``done`` is the pickled value, of ``failed`` a pickled description of the error, of
    ``cancelled`` nothing, and of ``refused`` a pickled sentence that says why. ``shared`` returns
    the function of a chunk; for ``displays`` see ``run_cell``.
    """
    with running_as(job, by_signal) as current:
        if current is None:
            return "cancelled", b""
        try:
            with current, capture(report):
                return _run(current, kind, payload, report, shared, displays)
        except BaseException as exc:
            return ended_with(exc, current)


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
    with observed_progress(report):
        if kind == "call":
            function, args, kwargs = load(payload)
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
    plain = all(type(value) in PLAIN for value in values)
    return (pickle.dumps if plain else dump)((values, failures, seconds))


def run_coroutine(current: RunningJob, coro: Any, runner: asyncio.Runner | None = None) -> Any:
    """Run ``coro`` on a new loop, or the runner's; cancelling the job cancels its task."""

    async def main() -> Any:
        task = asyncio.ensure_future(coro)
        loop = asyncio.get_running_loop()
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
    streams = [s for s in (sys.stdout, sys.stderr) if isinstance(s, PerThreadStream)]
    for stream in streams:
        if ident in stream.streams:
            stream.streams[threading.get_ident()] = stream.streams[ident]
    try:
        return asyncio.run(main())
    finally:
        for stream in streams:
            stream.streams.pop(threading.get_ident(), None)


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
    value = None
    for code, is_last in ((cell["body"], False), (cell["last"], True)):
        if code is None:
            continue
        part = eval(code, namespace)
        if code.co_flags & inspect.CO_COROUTINE:
            part = run_coroutine(current, part)
        if is_last:
            value = part
    if finish is not None:
        finish()
    missing = [out for out in cell["out"] if out not in namespace]
    if missing:
        raise NameError(f"--out {missing[0]}: the cell ended without assigning it a value")
    return value, {out: namespace[out] for out in cell["out"]}


@contextlib.contextmanager
def observed_progress(report: Report) -> Iterator[None]:
    """Report the progress of ``asyncnb.track``, if the job uses it."""
    progress = sys.modules.get("asyncnb._core.base.progress_observers")
    if progress is None:
        yield
        return
    last = 0.0
    running = True

    def observe(update: Any) -> None:
        nonlocal last
        now = time.monotonic()
        if not running or (now - last < 0.1 and not update.ended):
            return
        last = now
        report("progress", *update[:4], update.ended, update.failed)

    # Set in the job's context, not for the whole process: other jobs may run in it, and even the
    # kernel with its own progress bars (dask with threads).
    token = progress.job_observer.set(observe)
    try:
        yield
    finally:
        running = False  # a thread started by the job may still report
        progress.job_observer.reset(token)
