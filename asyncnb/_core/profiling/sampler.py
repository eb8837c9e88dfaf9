"""The sampler: a thread that looks at the loop's thread a hundred times a second.

Neither the loop nor its tasks do anything for it. It reads which task is in the middle of a step,
and its stack; the threads of tasks that run in one; and what suspended tasks wait for: of as many
tasks at each look as a fixed share of the processor allows, in turn. It exists while a profile is
taken.

The interpreter gives its lock to a thread that wants it after 5 ms, or as soon as the loop waits
for its sockets: so steps shorter than 5 ms would never be seen. While a profile is taken, the lock
is handed over after ``SWITCH_SECONDS`` instead. And the looks are at irregular intervals, so that
they do not keep step with a timer of the program.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import random
import sys
import threading
import time
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from asyncnb._core import frontend
from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.frames import PACKAGE, is_asyncio_frame, is_idle_frame, is_internal_frame
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.service_thread import ServiceThread
from asyncnb._core.introspection.call_graph import frames_of_coroutine
from asyncnb._core.introspection.stack import job_of, waiting_on, worker_of, working_task
from asyncnb._core.introspection.unmanaged import cell_of, is_host_task, launched_ancestor
from asyncnb._core.launched.registry import registry
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._core.loop.watchdog import thread_clock
from asyncnb._core.primitives.all_tasks import all_tasks
from asyncnb._core.profiling.counts import BLOCKING
from asyncnb._core.profiling.seen import Codes, Key, lasting
from asyncnb._core.profiling.session import AT_WORK, FarRow, Session, Who

logger = logging.getLogger("asyncnb")

#: Seconds between two looks, on average.
PERIOD = 0.01
#: Seconds after which the interpreter takes its lock from a running thread, while profiling.
SWITCH_SECONDS = 0.0002
#: A look that is later than this counts for the time in which the loop's thread used the CPU:
#: the process may have been suspended.
_LATE_SECONDS = 0.1
#: Seconds that the suspended tasks may take of each look.
_WAITS_COST = 0.00003
#: Seconds after which the tasks are listed again, and what this may take of the time.
_LISTING_SECONDS, _LISTING_SHARE = 0.1, 0.002


class _Wait(NamedTuple):
    """What a suspended task was last seen waiting for."""

    key: Key
    waiter: int
    wait: str


class _Watched:
    """A task whose waits are counted."""

    __slots__ = ("last", "record", "task", "wait")

    def __init__(self, task: asyncio.Task[Any], record: Any, now: float) -> None:
        self.task = task
        self.record = record
        self.last = now
        self.wait: _Wait | None = None


class _Thread:
    """The thread of a task that runs in one."""

    def __init__(self, record: Any, ident: int, clock: Callable[[], float | None]) -> None:
        self.record = record
        self.ident = ident
        self._clock = clock
        self._used = clock()

    def has_rested(self, seconds: float) -> bool:
        """Return whether it has used next to no CPU in the last ``seconds``; False if unknown."""
        used, self._used = self._used, self._clock()
        if used is None or self._used is None:
            return False
        return self._used - used < 0.1 * seconds


class Sampler:
    """Takes all profiles of this process, on one thread that exists while there are any."""

    def __init__(self) -> None:
        self._lock = fork_safe_lock()
        self._sessions: tuple[Session, ...] = ()
        self._thread: ServiceThread | None = None

    def add(self, session: Session) -> None:
        """Begin to count for ``session``. Raises RuntimeError at the system's limit of threads."""
        new = None
        with self._lock:
            self._sessions = (*self._sessions, session)
            if self._thread is None or not self._thread.is_running_or_starting():
                new = self._thread = ServiceThread(self._main, "asyncnb profiler")
        if new is not None:
            try:
                new.start()
            except RuntimeError:
                self._thread = None
                self.remove(session)
                raise

    def remove(self, session: Session) -> None:
        """End ``session``. Any thread, at any time."""
        with self._lock:
            self._sessions = tuple(each for each in self._sessions if each is not session)
        session.finish()

    def sessions(self) -> tuple[Session, ...]:
        """Return the profiles that are being taken."""
        return self._sessions

    def close(self) -> None:
        """End all profiles, and wait until the thread has ended."""
        for session in self._sessions:
            self.remove(session)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.wait(2.0)

    def reset_after_fork(self) -> None:
        """Forget the parent's profiles, which end here with what they have."""
        for session in self._sessions:
            session.finish()
        self._sessions, self._thread = (), None

    def _main(self) -> None:
        pause = threading.Lock()
        pause.acquire()
        looks = _Looks()
        before = sys.getswitchinterval()
        sys.setswitchinterval(min(before, SWITCH_SECONDS))
        ours = sys.getswitchinterval()
        try:
            while not self._is_over():
                pause.acquire(timeout=random.uniform(0.5 * PERIOD, 1.5 * PERIOD))
                sessions = self._sessions
                looks.look(sessions)
                now = time.monotonic()
                for session in sessions:
                    if session.is_due(now):
                        self.remove(session)
        except Exception:
            logger.exception("The profiler failed; the profiles end here.")
            with self._lock:
                failed, self._sessions, self._thread = self._sessions, (), None
            for session in failed:
                session.finish()
        finally:
            looks.end()
            if sys.getswitchinterval() == ours:  # else the user has set it meanwhile
                sys.setswitchinterval(before)

    def _is_over(self) -> bool:
        with self._lock:
            if not self._sessions:
                self._thread = None  # a profile that begins now starts another thread
            return not self._sessions


class _Looks:
    """What the sampler's thread remembers from one look to the next."""

    def __init__(self) -> None:
        self.codes = Codes()
        self._last = time.monotonic()
        self._loop: Any = None
        self._cpu: Any = None
        self._used = 0.0
        self._next_listing = 0.0
        self._watched: list[_Watched] = []
        self._at = 0
        #: The kernel's own loop on the main thread, while launched tasks run there.
        self._kernel_loops: Sequence[asyncio.AbstractEventLoop] = ()
        #: The threads of the tasks that run in one.
        self._threads: list[_Thread] = []
        self._known_threads: dict[int, _Thread] = {}
        #: What switches the sampling of jobs in worker processes, by the id of the task.
        self._far: dict[int, Callable[[bool], object]] = {}

    def look(self, sessions: tuple[Session, ...]) -> None:
        """Look once at everything that is due, and count it for ``sessions``."""
        now = time.monotonic()
        seconds, used = self._passed(now)
        for session in sessions:
            session.looks += 1
            session.cpu += used
        if now >= self._next_listing:
            self._list(now, sessions)
        running = self._look_at_threads(sessions, seconds)
        self._look_at_waits(sessions, running)

    def _passed(self, now: float) -> tuple[float, float]:
        """Return the seconds since the last look, and the CPU seconds of the loop's thread."""
        seconds, self._last = now - self._last, now
        loop = running_embedded_loop()
        if loop is not self._loop:
            self._loop = loop
            self._cpu = None if loop is None else thread_clock(loop.thread)
            self._used = 0.0 if self._cpu is None else self._cpu()
            if self._cpu is time.process_time:
                self._cpu = None
            self._watched.clear()
        used = 0.0
        if self._cpu is not None:
            total = self._cpu()
            used, self._used = max(0.0, total - self._used), total
        if seconds > _LATE_SECONDS:
            seconds = max(_LATE_SECONDS, min(seconds, used))
        return seconds, used

    def _look_at_threads(
        self, sessions: tuple[Session, ...], seconds: float
    ) -> asyncio.Task[Any] | None:
        """Count what runs; return the task that is in the middle of a step."""
        running = None
        frames = sys._current_frames()
        frames.pop(threading.get_ident(), None)  # its own would be in a cycle with this dict
        if self._loop is not None:
            top = frames.get(self._loop.thread.ident or 0)
            if top is not None:
                running = self._look_at_loop(sessions, self._loop, top, seconds)
        for loop in self._kernel_loops:
            top = frames.get(threading.main_thread().ident or 0)
            if top is not None:
                self._look_at_loop(sessions, loop, top, seconds)
        for each in self._threads:
            if (top := frames.get(each.ident)) is not None and not each.record.task.done():
                self._look_at_thread(sessions, each, top, seconds)
        return running

    def _look_at_thread(
        self, sessions: tuple[Session, ...], each: _Thread, top: types.FrameType, seconds: float
    ) -> None:
        wanting = [session for session in sessions if session.wants(None, each.record)]
        if not wanting:
            return
        blocked = each.has_rested(seconds)
        key, _ = self.codes.key_of_running(top, None)
        who = _who(None, each.record)
        for session in wanting:
            if blocked:
                session.add_waiting(who, key, BLOCKING, self.codes, seconds)
            else:
                session.add_running(who, key, self.codes, seconds)

    def _look_at_loop(
        self, sessions: tuple[Session, ...], loop: Any, top: types.FrameType, seconds: float
    ) -> asyncio.Task[Any] | None:
        task = asyncio.current_task(loop)
        if task is None and (loop is not self._loop or is_idle_frame(top)):
            return None
        outermost = None if task is None else getattr(task.get_coro(), "cr_frame", None)
        key, found = self.codes.key_of_running(top, outermost)
        if outermost is not None and not found:
            return None  # the step has begun or ended between the two looks
        record = None if task is None else _record_of(task)
        if record is None and loop is not self._loop:
            return None  # the kernel's own work, such as a cell
        wanting = [session for session in sessions if session.wants(task, record)]
        if wanting:
            who = _of_callback(top) if task is None else _who(task, record)
            if who is not None:
                for session in wanting:
                    session.add_running(who, key, self.codes, seconds)
        return task

    def _list(self, now: float, sessions: tuple[Session, ...]) -> None:
        """Find the tasks again; less often if that takes more than its share of the time."""
        began = time.thread_time()
        records = registry.living()
        known = {id(each.task): each for each in self._watched}
        found: list[asyncio.Task[Any]] = [
            record.task for record in records if record.kind in ("loop", "kernel")
        ]
        if self._loop is not None:
            found += all_tasks(self._loop)
        watched: dict[int, _Watched] = {}
        for task in found:
            if id(task) not in watched:
                old = known.get(id(task))
                if old is not None and old.task is task:
                    watched[id(task)] = old
                elif not is_host_task(task):
                    watched[id(task)] = _Watched(task, _record_of(task), now)
        self._watched = list(watched.values())
        on_kernel = any(record.kind == "kernel" for record in records)
        self._kernel_loops = frontend.current.other_loops() if on_kernel else ()
        for session in sessions:
            session.tasks = max(session.tasks, len(watched))
        self._threads.clear()
        for record in records:
            if record.kind == "thread":
                worker = worker_of(record.task)
                if worker is not None and worker.thread.ident:
                    self._add_thread(record, worker.thread.ident, worker.cpu)
            elif record.kind not in ("loop", "kernel"):
                self._look_for_job(record, sessions)
        # Of the processor: on a machine with much else to do, a listing waits more than it works,
        # and tasks that begin meanwhile would not be seen for seconds.
        took = time.thread_time() - began
        self._next_listing = now + max(_LISTING_SECONDS, took / _LISTING_SHARE)

    def _add_thread(self, record: Any, ident: int, clock: Callable[[], float | None]) -> None:
        known = self._known_threads.get(ident)
        if known is None or known.record is not record:
            known = self._known_threads[ident] = _Thread(record, ident, clock)
        self._threads.append(known)

    @property
    def _in_threads(self) -> list[Any]:
        return [each.record for each in self._threads]

    def _look_for_job(self, record: Any, sessions: tuple[Session, ...]) -> None:
        """Find the thread that runs a job in this process, or have its worker sample it."""
        if not any(session.wants(None, record) for session in sessions):
            return
        engine, job = job_of(record.task)
        if (ident := getattr(engine, "thread_of", _unknown)(job)) is not None:
            self._add_thread(record, ident, _unknown)  # a clock is known to the thread alone
        elif record.started is not None and record.id not in self._far:
            begin = getattr(engine, "profile", None)
            if begin is not None:
                self._far[record.id] = functools.partial(begin, job)
                begin(job, True)

    def end(self) -> None:
        """Make the workers end what they do for it."""
        for end in self._far.values():
            end(False)

    def _look_at_waits(
        self, sessions: tuple[Session, ...], running: asyncio.Task[Any] | None
    ) -> None:
        """Look at as many suspended tasks as the cost of a look allows, in turn."""
        watched = self._watched
        began = now = time.monotonic()
        for _ in range(len(watched)):
            if now - began > _WAITS_COST:
                break
            now = time.monotonic()
            self._at = (self._at + 1) % len(watched)
            each = watched[self._at]
            seconds, each.last = now - each.last, now
            wanting = [s for s in sessions if s.wants(each.task, each.record)]
            if not wanting or each.task.done():
                continue
            for session in wanting:
                # It may have begun after the look before this one.
                session.watched += min(seconds, now - session.began)
            if each.task is running:
                continue
            wait = self._wait_of(each)
            if wait is None or (wait.wait == AT_WORK and each.record in self._in_threads):
                continue
            who = _who(each.task, each.record)
            for session in wanting:
                since = min(seconds, now - session.began)
                session.add_waiting(who, wait.key, wait.wait, self.codes, since)

    def _wait_of(self, each: _Watched) -> _Wait | None:
        """Return what a suspended task waits for; None if it runs, or runs in a thread."""
        task = each.task
        if each.record is not None and each.record.kind == "kernel":
            task = working_task(task, frames_of_coroutine(task.get_coro()))
        coro: Any = task.get_coro()
        if coro is None or getattr(coro, "cr_running", False):
            return None
        frames = frames_of_coroutine(coro)
        key = self.codes.key_of_suspended(frames)
        waiter = id(getattr(task, "_fut_waiter", None))
        known = each.wait
        if known is not None and known.key == key and known.waiter == waiter:
            return known
        described = waiting_on(task)  # takes ten times as long as the rest
        if described is None:
            return None
        if described == AT_WORK and each.record is not None and not each.record.placement.worker:
            return _Wait(key, waiter, "a free worker")  # until one begins, so not kept
        each.wait = _Wait(key, waiter, lasting(described))
        return each.wait


def _unknown(*_: Any) -> None:
    return None


def _record_of(task: asyncio.Task[Any]) -> Any:
    record = getattr(task, "_record", None)
    return launched_ancestor(task) if record is None else record


#: Names that asyncio gives to tasks without one.
_UNNAMED = ("Task-",)


def _who(task: asyncio.Task[Any] | None, record: Any) -> Who:
    """Return the name of the launched task with that of the task it created, and its cell."""
    if record is not None:
        name, cell = record.name, str(record.cell or "")
        if task is None or task is record.task or _is_ours(task):
            return name, cell
        return f"{name}/{_name_of(task)}", cell
    assert task is not None
    cell = str(cell_of(task) or "")
    return _name_of(task), cell


def _is_ours(task: asyncio.Task[Any]) -> bool:
    """Return whether the coroutine is asyncnb's: the task does the work of a launched one."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename.startswith(PACKAGE)


def _name_of(task: asyncio.Task[Any]) -> str:
    name = task.get_name()
    if name.startswith(_UNNAMED):
        code = getattr(task.get_coro(), "cr_code", None)
        return name if code is None else f"{code.co_qualname}()"
    return name


def _of_callback(top: types.FrameType) -> Who | None:
    """Return the name of what the loop runs outside of tasks: a callback, or its own work.

    None for a step of a task that has begun or ended between two looks.
    """
    outermost = None
    frame: types.FrameType | None = top
    while frame is not None and not is_idle_frame(frame):
        if frame.f_code.co_flags & inspect.CO_COROUTINE:
            return None
        if not (is_asyncio_frame(frame) or is_internal_frame(frame)):
            outermost = frame
        frame = frame.f_back
    if outermost is None:
        return "(the event loop itself)", ""
    return f"callback {outermost.f_code.co_qualname}()", ""


#: The sampler of this process.
sampler = Sampler()
at_fork(sampler.reset_after_fork)


def add_far(record: Any, rows: Iterable[FarRow]) -> None:
    """Add what a worker process has counted for the task of ``record``. Any thread."""
    rows = list(rows)
    for session in sampler.sessions():
        if session.wants(None, record):
            session.add_far(_who(None, record), rows)
