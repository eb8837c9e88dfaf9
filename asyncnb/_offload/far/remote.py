"""What runs a job where it was sent; also on machines that do not have asyncnb.

This file imports the standard library alone (cloudpickle when the first job arrives), so that its
text can be sent to a worker and executed there. A job is a cell, a call, or a chunk of calls; it
comes as bytes and leaves as an outcome: a status and bytes. Nothing a job does may raise out of
``run_job`` but the end of the process.
"""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import contextlib
import ctypes
import functools
import inspect
import io
import linecache
import os
import pickle
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

#: Characters of output that are held back at most, and seconds.
BUFFER, DELAY = 8192, 0.02

#: Called with the kind of what is told and its data.
Tell = Callable[..., None]

_PLAIN = (type(None), bool, int, float, str, bytes)


class JobCancelled(asyncio.CancelledError):
    """Raised inside a function whose task was cancelled, at the next bytecode."""


class Refused(Exception):
    """The job cannot be run here: its data cannot be read, its result cannot be sent."""


class Running:
    """The job that runs now in one thread; ``cancel`` stops it from another one."""

    def __init__(self, job: object, by_signal: bool = False) -> None:
        self.job = job
        #: Whether SIGINT by itself is a cancel: where nothing but a signal gets here.
        self.by_signal = by_signal
        self.thread = threading.get_ident()
        self.in_main = threading.current_thread() is threading.main_thread()
        self.lock = threading.Lock()
        self.open = True
        self.asked = False
        self.sent = False
        self._before: Any = None
        #: Cancels a job that runs on a loop of its own, or None.
        self.cancel_task: Callable[[], object] | None = None

    def cancel(self) -> None:
        """Make CancelledError surface in the job. From any other thread."""
        with self.lock:
            if not self.open:
                return
            self.asked = True
            if self.cancel_task is not None:
                self.cancel_task()
            elif not self.in_main:
                self.sent = True
                raise_in_thread(self.thread, JobCancelled)
            elif hasattr(signal, "pthread_kill"):
                signal.pthread_kill(self.thread, signal.SIGINT)  # cuts a system call short
            else:
                signal.raise_signal(signal.SIGINT)  # Windows: wakes time.sleep() up as well

    def __enter__(self) -> Running:
        if self.in_main:
            self._before = _set_handler(signal.SIGINT, self._interrupted)
        return self

    def _interrupted(self, *_: object) -> None:
        if self.by_signal:
            self.asked = True
            if self.cancel_task is not None:
                self.cancel_task()
        if self.open and self.asked and self.cancel_task is None:
            raise JobCancelled("cancelled")

    def __exit__(self, *_: object) -> None:
        while True:
            try:
                with self.lock:
                    self.open = False
                    if self.sent:
                        raise_in_thread(self.thread, None)
                if self._before is not None:
                    _set_handler(signal.SIGINT, self._before)
                return
            except JobCancelled:
                pass  # it came when the job had ended


def raise_in_thread(ident: int, exc: type[BaseException] | None) -> None:
    """Make ``exc`` surface in thread ``ident`` at its next bytecode; None takes it back."""
    api = ctypes.pythonapi.PyThreadState_SetAsyncExc
    api(ctypes.c_ulong(ident), ctypes.py_object(exc) if exc is not None else None)


try:
    # What signal.signal calls, without making an enum member of each handler: twice for each job.
    from _signal import signal as _set_handler  # type: ignore[import-not-found]
except ImportError:
    _set_handler = signal.signal


#: Jobs that are remembered as cancelled before they came here.
MOST_CANCELLED = 100_000

#: The jobs that run in this process, by their ids; and those cancelled before they ran.
running: dict[object, Running] = {}
_cancelled: dict[object, None] = {}
_running_lock = threading.RLock()


def cancel(job: object) -> None:
    """Cancel the job, which runs in this process or is about to. From any other thread."""
    with _running_lock:
        found = running.get(job)
        if found is None:
            _cancelled[job] = None
            if len(_cancelled) > MOST_CANCELLED:  # most of them run elsewhere, or never will
                del _cancelled[next(iter(_cancelled))]
    if found is not None:
        found.cancel()


@contextlib.contextmanager
def running_as(job: object, by_signal: bool = False) -> Iterator[Running | None]:
    """Make ``job`` known as running in this thread; None if it has been cancelled before."""
    here: Running | None = Running(job, by_signal)
    with _running_lock:
        if job in _cancelled:
            del _cancelled[job]
            here = None
        else:
            assert here is not None
            running[job] = here
    try:
        yield here
    finally:
        running.pop(job, None)


class Stream(io.TextIOBase):
    """A text stream that tells what is written to it, in pieces of a reasonable size."""

    def __init__(self, name: str, tell: Tell) -> None:
        self._stream = name
        self._tell_it = tell
        self._lock = threading.RLock()
        self._held: list[str] = []
        self._size = 0
        self._since = 0.0

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8: what is told is text."""
        return "utf-8"

    def writable(self) -> bool:
        """It is there to be written to."""
        return True

    def write(self, text: str) -> int:
        """Take ``text``; it is told at once, or within DELAY if something was told just now."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock:
            now = time.monotonic()
            self._held.append(text)
            self._size += len(text)
            if self._size > BUFFER or ("\n" in text and now - self._since > DELAY):
                self._since = now
                self.flush()
            else:
                _flusher.flush_soon(self)
        return len(text)

    def flush(self) -> None:
        """Tell what is held back."""
        with self._lock:
            text, self._held, self._size = "".join(self._held), [], 0
            if text:
                self._tell_it("said", self._stream, text)


class _Flusher:
    """One thread that flushes all the streams of this process a moment after they were written."""

    def __init__(self) -> None:
        self._waiting: set[Stream] = set()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def flush_soon(self, stream: Stream) -> None:
        """Have ``stream`` flushed within DELAY."""
        if stream in self._waiting:
            return
        self._waiting.add(stream)
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="asyncnb flush", daemon=True)
            self._thread.start()
        self._wake.set()

    def _main(self) -> None:
        while self._wake.wait():
            time.sleep(DELAY)
            self._wake.clear()
            while self._waiting:
                self._waiting.pop().flush()


_flusher = _Flusher()


class PerThread:
    """``sys.stdout`` for a process whose threads run jobs of their own, such as a dask worker."""

    def __init__(self, original: Any) -> None:
        self.original = original
        self.streams: dict[int, Stream] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.streams.get(threading.get_ident(), self.original), name)


_streams_lock = threading.RLock()


def _forget_after_fork() -> None:
    global _flusher
    for lock in (_running_lock, _streams_lock):
        lock._at_fork_reinit()  # type: ignore[attr-defined]
    running.clear()
    _cancelled.clear()
    _flusher = _Flusher()  # its thread is the parent's


# Not by `_core.base.forks`: a far end has none.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


@contextlib.contextmanager
def output_of_this_thread(tell: Tell) -> Iterator[None]:
    """Lead what this thread prints to ``tell``."""
    ident = threading.get_ident()
    mine = []
    for name in ("stdout", "stderr"):
        with _streams_lock:
            current = getattr(sys, name)
            if not isinstance(current, PerThread):
                current = PerThread(current)
                setattr(sys, name, current)
        stream = current.streams[ident] = Stream(name, tell)
        mine.append((current, stream))
    try:
        yield
    finally:
        for current, stream in mine:
            if stream._held:
                stream.flush()
            current.streams.pop(ident, None)


@contextlib.contextmanager
def output_of_this_process(tell: Tell) -> Iterator[None]:
    """The streams of this process tell of its job already; flush them when it ends."""
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


# Pickles.

#: Where ``types.CodeType`` takes the name of the file, on every Python since 3.11.
_FILENAME = 10


@functools.cache
def _pickler() -> Any:
    """Return cloudpickle's pickler, but with the file that each function is from.

    cloudpickle 3.1.3 writes "<dynamic-code>" there, so that equal functions give equal bytes. A
    traceback would then show no line of the cell. A subclass, as the user's own pickles are none of
    our business.
    """
    import cloudpickle

    table = cloudpickle.Pickler.dispatch_table
    reduce_theirs = table[types.CodeType]

    def reduce_code(code: types.CodeType) -> tuple[Any, ...]:
        make, args = reduce_theirs(code)
        return make, (*args[:_FILENAME], code.co_filename, *args[_FILENAME + 1 :])

    class Reducers(dict[type, Any]):
        """Ours, then theirs: looked up each time, as a user may register some at any time."""

        # Asked for the class of nearly each object. The ChainMap itself, which raises and catches
        # a KeyError for each of its maps, took 30 to 80 % more for 10,000 instances.
        def __missing__(self, kind: type) -> Any:
            for known in table.maps:
                if kind in known:
                    return known[kind]
            raise KeyError(kind)

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table: ClassVar = Reducers({types.CodeType: reduce_code})

    return Pickler


def dump(value: Any) -> bytes:
    """Pickle a value, functions and classes of a notebook included."""
    if type(value) in _PLAIN:
        return pickle.dumps(value, protocol=5)
    with io.BytesIO() as file:
        _pickler()(file, protocol=5).dump(value)
        return file.getvalue()


# Outcomes.


def describe_error(exc: BaseException, seen: frozenset[int] = frozenset()) -> dict[str, Any]:
    """Return all that is needed to show ``exc`` elsewhere; tracebacks cannot be pickled."""
    seen |= {id(exc)}

    def other(linked: BaseException | None) -> dict[str, Any] | None:
        return None if linked is None or id(linked) in seen else describe_error(linked, seen)

    try:
        pickled = dump(exc)
        pickle.loads(pickled)
    except Exception:
        pickled = None
    try:
        message = str(exc)
    except Exception as broken:
        message = f"<its __str__ raised {type(broken).__name__}>"
    members: tuple[BaseException, ...] = ()
    if isinstance(exc, BaseExceptionGroup):
        members, message = exc.exceptions, exc.message
    return {
        "pickled": pickled,
        "type": type(exc).__name__,
        "message": message,
        "frames": list(_frames(exc.__traceback__)),
        "cause": other(exc.__cause__),
        "context": None if exc.__suppress_context__ else other(exc.__context__),
        "suppress": exc.__suppress_context__,
        "members": [describe_error(member, seen) for member in members],
    }


#: What stands above a job's own frames: this file, and what runs a coroutine, perhaps in a thread.
_MACHINERY = (
    describe_error.__code__.co_filename,
    os.path.dirname(asyncio.__file__) + os.sep,
    os.path.dirname(concurrent.futures.__file__) + os.sep,
)


def _frames(tb: types.TracebackType | None) -> Iterator[tuple[Any, ...]]:
    """Yield (file, function, position, source line) of the job's own frames.

    A function is its name, its qualified name and the line where it begins.
    """
    outside = True
    while tb is not None:
        code = tb.tb_frame.f_code
        outside = outside and code.co_filename.startswith(_MACHINERY)
        if not outside:
            positions = list(code.co_positions())
            index = tb.tb_lasti // 2
            place = (
                positions[index] if index < len(positions) else (tb.tb_lineno,) * 2 + (None,) * 2
            )
            if place[0] is None:
                place = (tb.tb_lineno, tb.tb_lineno, None, None)
            line = linecache.getline(code.co_filename, tb.tb_lineno)
            function = code.co_name, code.co_qualname, code.co_firstlineno
            yield code.co_filename, function, place, line
        tb = tb.tb_next


# Jobs.


def run_job(
    job: object,
    kind: str,
    payload: bytes,
    tell: Tell,
    *,
    shared: Any = None,
    capture: Callable[[Tell], Any] = output_of_this_thread,
    by_signal: bool = False,
) -> tuple[str, bytes]:
    """Run one job in this thread; return its status and data.

    ``done`` comes with the pickled value, ``failed`` with a pickled description of the error,
    ``cancelled`` with nothing, and ``refused`` with a pickled sentence: nothing was run.
    """
    with running_as(job, by_signal) as here:
        if here is None:
            return "cancelled", b""
        try:
            with here, capture(tell):
                return _run(here, kind, payload, shared, tell)
        except BaseException as exc:
            return ended_with(exc, here)


def ended_with(exc: BaseException, here: Running) -> tuple[str, bytes]:
    """Return the outcome of a job that raised."""
    if isinstance(exc, Refused):
        return "refused", pickle.dumps(str(exc))
    if isinstance(exc, JobCancelled) or (isinstance(exc, asyncio.CancelledError) and here.asked):
        return "cancelled", b""
    return "failed", pickle.dumps(describe_error(exc))


def _run(here: Running, kind: str, payload: bytes, shared: Any, tell: Tell) -> tuple[str, bytes]:
    if kind == "chunk":
        return "done", _call_each(here, shared, _load(payload))
    with observed_progress(tell):
        if kind == "call":
            function, args, kwargs = _load(payload)
            value = function(*args, **kwargs)
            if inspect.iscoroutine(value):
                value = run_coroutine(here, value)
        else:
            value = run_cell(here, _load(payload), tell)
    try:
        return "done", dump(value)
    except Exception as exc:
        raise _unsendable("The result" if kind == "call" else "What comes back", exc) from None


def _unsendable(what: str, exc: Exception) -> Refused:
    return Refused(
        f"{what} cannot be sent: {type(exc).__name__}: {exc}. The work itself was done. Return "
        "plain data, or save it to a file and return its name."
    )


def _load(payload: bytes) -> Any:
    try:
        return pickle.loads(payload)
    except ModuleNotFoundError as exc:
        raise Refused(
            f"The worker ({sys.executable}) has no module {exc.name!r}, which this work needs. "
            "Install it there, or import what is needed inside of the cell or function."
        ) from None
    except (AttributeError, ImportError) as exc:
        raise Refused(
            f"The worker ({sys.executable}) could not read what was sent: "
            f"{type(exc).__name__}: {exc}. Does it have the same version of that module?"
        ) from None


def _call_each(here: Running, function: Any, items: list[Any]) -> bytes:
    """Call ``function`` with each item; return the pickled results, failures and seconds."""
    values: list[Any] = []
    failures: dict[int, Any] = {}
    began = time.monotonic()
    runner = None
    try:
        for item in items:
            try:
                value = function(item)
                if type(value) is types.CoroutineType:
                    if runner is None and asyncio._get_running_loop() is None:
                        runner = asyncio.Runner()  # one loop for all of them
                    value = run_coroutine(here, value, runner)
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
                failures[index] = describe_error(_unsendable("The result", exc))
                values[index] = None
        return _dump_values(values, failures, seconds)


def _dump_values(values: list[Any], failures: dict[int, Any], seconds: float) -> bytes:
    plain = all(type(value) in _PLAIN for value in values)
    return (pickle.dumps if plain else dump)((values, failures, seconds))


def run_coroutine(here: Running, coro: Any, runner: asyncio.Runner | None = None) -> Any:
    """Run ``coro`` on a loop of its own, or the runner's; a cancel cancels its task."""

    async def main() -> Any:
        task = asyncio.ensure_future(coro)
        loop = asyncio.get_running_loop()
        with here.lock:
            here.cancel_task = lambda: loop.call_soon_threadsafe(task.cancel)
            if here.asked:
                task.cancel()
        try:
            return await task
        finally:
            with here.lock:
                here.cancel_task = None

    if runner is not None:
        return runner.run(main())
    if asyncio._get_running_loop() is None:
        return asyncio.run(main())
    # An ipyparallel engine has a loop in this thread, which stands still meanwhile.
    with concurrent.futures.ThreadPoolExecutor(1) as aside:
        return aside.submit(_run_for, threading.get_ident(), main).result()


def _run_for(ident: int, main: Callable[[], Any]) -> Any:
    """Run a coroutine in this thread, with the output of another one."""
    streams = [s for s in (sys.stdout, sys.stderr) if isinstance(s, PerThread)]
    for stream in streams:
        if ident in stream.streams:
            stream.streams[threading.get_ident()] = stream.streams[ident]
    try:
        return asyncio.run(main())
    finally:
        for stream in streams:
            stream.streams.pop(threading.get_ident(), None)


#: Set by a worker of the kernel's own: returns the module ``notebook``.
load_notebook: Callable[[], types.ModuleType] | None = None


def run_cell(here: Running, cell: dict[str, Any], tell: Tell) -> Any:
    """Run a cell sent as a dict: its code, its source, its names, and what comes back.

    The names' functions share one dict of globals, which ``anchor`` leads to: the cell runs in it,
    so that what these functions read and write are the variables of the cell.
    """
    namespace: dict[str, Any] = cell["anchor"].__globals__
    namespace.update(cell["names"])
    namespace["__name__"] = "__main__"
    namespace.setdefault("__builtins__", __builtins__)
    notebook = None
    if cell["notebook"]:
        if load_notebook is not None:
            notebook = load_notebook()
            namespace |= notebook.surroundings(tell, namespace)
        elif not hasattr(builtins, "display"):  # an ipyparallel engine has one of its own
            namespace["display"] = print
    name, source = cell["file"], cell["source"]
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    value = None
    for code, is_last in ((cell["body"], False), (cell["last"], True)):
        if code is None:
            continue
        part = eval(code, namespace)
        if code.co_flags & inspect.CO_COROUTINE:
            part = run_coroutine(here, part)
        if is_last:
            value = part
    if notebook is not None:
        notebook.show_figures()
    missing = [out for out in cell["out"] if out not in namespace]
    if missing:
        raise NameError(f"--out {missing[0]}: the cell ended without giving it a value")
    return value, {out: namespace[out] for out in cell["out"]}


@contextlib.contextmanager
def observed_progress(tell: Tell) -> Iterator[None]:
    """Tell what ``asyncnb.track`` reports, if the job uses it."""
    progress = sys.modules.get("asyncnb._core.base.progress")
    if progress is None:
        yield
        return
    last = 0.0
    running = True

    def observe(report: Any) -> None:
        nonlocal last
        now = time.monotonic()
        if not running or (now - last < 0.1 and not report.ended):
            return
        last = now
        tell("progress", *report[:4], report.ended, report.failed)

    # In the job's context and not for the whole process, in which other jobs may run, and the
    # kernel itself with its own bars (dask with threads).
    token = progress.job_observer.set(observe)
    try:
        yield
    finally:
        running = False  # a thread that the job has started may still report
        progress.job_observer.reset(token)
