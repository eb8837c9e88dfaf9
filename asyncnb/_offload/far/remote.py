"""Runs a job where it was sent; also on machines that do not have asyncnb.

This folder imports the standard library alone (cloudpickle when the first job arrives), so that its
text can be sent to a worker and executed there. A job is a cell, a call, or a chunk of calls; it
comes as bytes and leaves as an outcome: a status and bytes. Nothing a job does may raise out of
``run_job`` but the end of the process.
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

#: Functions of many jobs that are kept.
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

    ``done`` comes with the pickled value, ``failed`` with a pickled description of the error,
    ``cancelled`` with nothing, and ``refused`` with a pickled sentence: nothing was run.
    ``shared`` returns the function of a chunk, ``displays`` is that of ``run_cell``.
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
    """Call ``function`` with each item; return the pickled results, failures and seconds."""
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
                        runner = asyncio.Runner()  # one loop for all of them
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
    """Run ``coro`` on a loop of its own, or the runner's; a cancel cancels its task."""

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
    # An ipyparallel engine has a loop in this thread, which stands still meanwhile.
    with concurrent.futures.ThreadPoolExecutor(1) as aside:
        return aside.submit(_run_for, threading.get_ident(), main).result()


def _run_for(ident: int, main: Callable[[], Any]) -> Any:
    """Run a coroutine in this thread, with the output of another one."""
    streams = [s for s in (sys.stdout, sys.stderr) if isinstance(s, PerThreadStream)]
    for stream in streams:
        if ident in stream.streams:
            stream.streams[threading.get_ident()] = stream.streams[ident]
    try:
        return asyncio.run(main())
    finally:
        for stream in streams:
            stream.streams.pop(threading.get_ident(), None)


#: The functions of many jobs that have come here, the newest last, by who sent them and a number.
_functions: collections.OrderedDict[Any, Any] = collections.OrderedDict()


def shared_function(sender: Any, shared: tuple[int, bytes] | None) -> Any:
    """Return the function that many jobs have in common, read once; None if there is none."""
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
    """Run a cell sent as a dict: its code, its source, its names, and what comes back.

    The names' functions share one dict of globals, which ``anchor`` leads to: the cell runs in it,
    so that what these functions read and write are the variables of the cell. ``displays`` says
    that this process shows what a cell displays by itself.
    """
    namespace: dict[str, Any] = cell["anchor"].__globals__
    namespace.update(cell["names"])
    namespace["__name__"] = "__main__"
    namespace.setdefault("__builtins__", __builtins__)
    at_its_end: Callable[[], None] | None = None
    if cell["notebook"] and not displays:
        from .notebook import environment, show_figures

        namespace |= environment(report, namespace)
        at_its_end = show_figures
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
    if at_its_end is not None:
        at_its_end()
    missing = [out for out in cell["out"] if out not in namespace]
    if missing:
        raise NameError(f"--out {missing[0]}: the cell ended without giving it a value")
    return value, {out: namespace[out] for out in cell["out"]}


@contextlib.contextmanager
def observed_progress(report: Report) -> Iterator[None]:
    """Tell what ``asyncnb.track`` reports, if the job uses it."""
    progress = sys.modules.get("asyncnb._core.base.progress")
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

    # In the job's context and not for the whole process, in which other jobs may run, and the
    # kernel itself with its own bars (dask with threads).
    token = progress.job_observer.set(observe)
    try:
        yield
    finally:
        running = False  # a thread that the job has started may still report
        progress.job_observer.reset(token)
