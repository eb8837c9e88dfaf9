"""EmbeddedLoop: the asyncio loop of a notebook, and the thread it runs on."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from asyncnb._core.base.errors import EmbeddedLoopError, would_deadlock
from asyncnb._core.base.observers import Observers
from asyncnb._core.config import config
from asyncnb._core.introspection.handle import current_record
from asyncnb._core.loop.base_class import base_class, with_fast_call_soon
from asyncnb._core.loop.blocked import Blocked
from asyncnb._core.loop.guarded import GuardedCalls, guarded_class
from asyncnb._core.loop.prerequisites import prepare_start
from asyncnb._core.loop.subprocesses import cell_children, wants_own_process_group
from asyncnb._core.loop.watchdog import Watchdog
from asyncnb._core.primitives.all_tasks import all_tasks
from asyncnb._core.primitives.awaitables import iscoroutine, iscoroutinefunction
from asyncnb._core.primitives.suspended import run_first_step
from asyncnb._core.primitives.tasks import Task, note_unseen
from asyncnb._core.primitives.timeouts import InnermostTimeouts

T = TypeVar("T")
logger = logging.getLogger("asyncnb")


if TYPE_CHECKING:
    from asyncnb._core.loop.statistics import LoopStatistics

    _Base = asyncio.SelectorEventLoop
else:
    _Base = with_fast_call_soon(base_class())

__asyncnb_frames__ = "loop"


class _State(InnermostTimeouts):
    """The state that an EmbeddedLoop has in addition to a standard loop, in a separate object.

    It takes one attribute of the loop, the one of the timeouts (``loop._asyncnb_timeouts``): the
    standard loop has 27 attributes since 3.14, ``call_soon`` is set on it at times, and with the
    30th CPython stores the attributes of an instance in a dict instead of in the instance itself.
    ``__slots__`` on the loop would cause that right at the start (3.13). Without those short cuts
    each step of a task takes 3 to 11 % longer on 3.14 and 3.15, and each ``call_soon`` 10 to 18 %
    (measured).
    """

    __slots__ = (
        "cleaned_up",
        "closer",
        "crash",
        "ending",
        "exception_hooks",
        "guarded_class",
        "inbox",
        "lost_tasks",
        "main_loop",
        "on_blocked",
        "on_crash",
        "pid",
        "posted",
        "processes",
        "search",
        "started_at",
        "state_lock",
        "stops",
        "thread",
        "watchdog",
    )

    closer: asyncio.Task[None]

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
        super().__init__(loop)
        self.thread = thread
        self.pid = os.getpid()
        self.state_lock = threading.RLock()  # a signal handler may take it while it is held
        self.ending = False
        self.cleaned_up = False
        self.started_at = 0.0
        self.stops = 0
        #: Tasks waiting for their first step, with that step and its context.
        self.inbox: deque[tuple[Task[Any], Callable[[], object], contextvars.Context]] = deque()
        self.posted = False
        #: The class of the loop while it is guarded; used for loops written in C.
        self.guarded_class: Any = None
        #: The loop of the main thread, if there is one: signals are handled there.
        self.main_loop: asyncio.AbstractEventLoop | None = None
        self.crash: BaseException | None = None
        self.lost_tasks = 0
        self.on_crash = Observers("crashes of the embedded loop")
        self.exception_hooks = Observers("unhandled errors of the embedded loop")
        self.on_blocked = Observers("steps that block the embedded loop")
        self.watchdog: Watchdog | None = None
        self.search: Callable[[bool], float] | None = None
        self.processes: list[asyncio.SubprocessTransport] = []


_dead_loop_hooks: list[Callable[[Any, BaseException | None], int]] = []


def on_dead_loop(end: Callable[[Any, BaseException | None], int]) -> None:
    """Register ``end(loop, exc)``, called when a loop's thread has ended, to end what was on it.

    It cannot be removed. ``exc`` is the exception of the thread, None after a shutdown; ``end``
    returns how many tasks were lost.
    """
    _dead_loop_hooks.append(end)


class EmbeddedLoop(GuardedCalls, _Base):  # type: ignore[misc]
    """An asyncio event loop that runs on its own daemon thread.

    It is a complete ``asyncio.AbstractEventLoop``: libraries run on it unmodified. ``start()``
    starts its thread; ``shutdown()`` cancels its tasks, lets their ``finally`` blocks run and ends
    the thread. Methods that asyncio allows only on the loop's own thread keep that rule;
    ``call_soon_threadsafe``, ``start``, ``shutdown`` and ``statistics`` may be called from any
    thread.
    """

    _numbers = itertools.count(1)
    _asyncnb_timeouts: _State
    #: Checked by nest_asyncio and nest_asyncio2, which would otherwise make this loop re-entrant by
    #: driving it from the calling thread. run_until_complete() waits for it; they need no more.
    _nest_patched = True

    def __init__(self) -> None:
        super().__init__()
        number = next(self._numbers)
        self._asyncnb_timeouts = _State(
            self,
            threading.Thread(
                target=self._main,
                name=f"asyncnb loop {number}" if number > 1 else "asyncnb loop",
                daemon=True,
            ),
        )

    def guard(self, on: bool) -> None:
        """Allow other threads to call ``call_soon`` and the timers, or not; see ``guard()``."""
        if issubclass(_Base, asyncio.BaseEventLoop):
            return  # FastCallSoonLoop checks the thread itself
        if on and self._state.guarded_class is None:
            self._state.guarded_class = guarded_class(self, _Base)
        _set_class(self, self._state.guarded_class if on else EmbeddedLoop)

    @property
    def _state(self) -> _State:
        return self._asyncnb_timeouts

    @property
    def crash(self) -> BaseException | None:
        """The exception that ended the thread unexpectedly, or None."""
        return self._state.crash

    @property
    def lost_tasks(self) -> int:
        """The number of launched tasks that had not ended when the loop's thread ended."""
        return self._state.lost_tasks

    @property
    def on_crash(self) -> Observers:
        """Observers called on the loop's thread, with the loop and the exception, when it crashes.

        By then the tasks and groups that were on the loop have ended.
        """
        return self._state.on_crash

    @property
    def exception_hooks(self) -> Observers:
        """Hooks called before an unhandled error is logged; one returns True if it reported it."""
        return self._state.exception_hooks

    @property
    def on_blocked(self) -> Observers:
        """Observers called on the watchdog's thread as ``observer(loop, blocked)``.

        They are called when a step blocks the loop, and with None when that has ended.
        """
        return self._state.on_blocked

    @property
    def search(self) -> Callable[[bool], float] | None:
        """What the watchdog calls to search for deadlocks: ``Watcher``; None for nothing."""
        return self._state.search

    @property
    def kind(self) -> str:
        """The name of the implementation: ``uvloop``, ``winloop`` or ``asyncio``."""
        return _Base.__module__.partition(".")[0]

    @property
    def thread(self) -> threading.Thread:
        """The thread that the loop runs on; its name starts with ``asyncnb``."""
        return self._state.thread

    @property
    def alive(self) -> bool:
        """Whether the loop accepts work: started, not ended, and not a copy left by a fork."""
        state = self._state
        return state.thread.is_alive() and not state.ending and os.getpid() == state.pid

    @property
    def dead(self) -> bool:
        """Whether its thread has ended or did not survive a fork: no task will run again."""
        if os.getpid() != self._state.pid:
            return True
        return self._state.ending and not self._state.thread.is_alive()

    def start(self) -> None:
        """Start the thread; return when the loop runs. A second call raises RuntimeError."""
        prepare_start()
        running = threading.Event()
        self.call_soon(running.set)
        self._state.thread.start()
        try:
            while not running.wait(0.05):
                if not self._state.thread.is_alive():
                    message = "The embedded loop's thread exited during startup."
                    raise EmbeddedLoopError(message) from self.crash
            self.watch(config.watchdog_threshold)
        except BaseException:
            self.shutdown()  # nothing refers to this loop, so nothing else would end its thread
            raise

    def watch(self, threshold: float) -> None:
        """Detect steps longer than ``threshold`` seconds; 0 switches that off. Any thread."""
        with self._state.state_lock:
            new = Watchdog(self, threshold) if threshold and self.alive else None
            before, self._state.watchdog = self._state.watchdog, new
            if new is not None and before is not None:
                new.steps = before.steps
        # Without the lock: a finaliser on the new thread may take it before start() returns.
        if new is not None:
            new.start()
        if before is not None:
            before.stop()

    @property
    def watchdog(self) -> Watchdog | None:
        """The watchdog of the loop, or None."""
        return self._state.watchdog

    @property
    def blocked(self) -> Blocked | None:
        """The step that blocks the loop now, or None. Any thread."""
        return None if self._state.watchdog is None else self._state.watchdog.blocked

    def _main(self) -> None:
        asyncio.set_event_loop(self)
        self._state.started_at = time.monotonic()
        try:
            self._run_until_ended()
        except BaseException as exc:
            if os.getpid() != self._state.pid:
                os._exit(0)  # forked on this thread: the parent's loop has ended, so end, too
            self._crashed(exc)
        finally:
            self._state.ending = True
            asyncio.set_event_loop(None)
            if not self.is_running() and not self.is_closed():
                self.close()
            self._end_everything()  # what was added since the last iteration

    def _run_until_ended(self) -> None:
        while not self._state.cleaned_up:
            try:
                self.run_forever()
            except (SystemExit, KeyboardInterrupt) as exc:
                # asyncio raises these from run_forever(), too, after the task has failed with them;
                # the other tasks must not suffer from that.
                logger.debug("a task raised %r; the embedded loop keeps running", exc)
            if os.getpid() != self._state.pid:
                os._exit(0)
            if not self._state.cleaned_up:
                self._state.stops += 1  # user code called stop(): a notebook needs its loop

    def _crashed(self, exc: BaseException) -> None:
        self._state.crash = exc
        self._state.ending = True
        logger.error(
            "The embedded loop crashed: %s: %s. Its tasks are lost. The next launch starts a new "
            "loop; `%%asyncnb restart` starts one now.",
            type(exc).__name__,
            exc,
        )
        self._end_everything()
        self.on_crash.notify(self, exc)

    def _end_everything(self) -> None:
        for end in _dead_loop_hooks:
            self._state.lost_tasks += end(self, self._state.crash)

    def start_task(
        self, task: Task[Any], step: Callable[[], object], context: contextvars.Context
    ) -> None:
        """Schedule the first step of a task that another thread constructed. From any thread.

        Like ``call_soon_threadsafe`` and in order with it, but many tasks wake the loop only once.
        Raises RuntimeError if the loop is closed.
        """
        state = self._state
        state.inbox.append((task, step, context))
        if not state.posted:
            state.posted = True
            try:
                self.call_soon_threadsafe(self._start_tasks)
            except BaseException:
                state.posted = False
                state.inbox.clear()
                raise

    def _start_tasks(self) -> None:
        state = self._state
        state.posted = False  # first: tasks added from here on must wake the loop again
        inbox = state.inbox
        try:
            for _ in range(len(inbox)):  # not more: other callbacks need to run, too
                task, step, context = inbox.popleft()
                context.run(run_first_step, task, step, context)
        finally:
            if inbox and not state.posted:  # SystemExit of a task, or more tasks were added
                state.posted = True
                self.call_soon(self._start_tasks)

    @property
    def unstarted_tasks(self) -> list[Task[Any]]:
        """The tasks that have not taken their first step; ``asyncio.all_tasks`` misses them.

        Any thread.
        """
        return [task for task, *_ in self._state.inbox.copy()]

    def is_own_thread(self) -> bool:
        """Return whether the caller runs on this loop's thread."""
        return threading.get_ident() == self._state.thread.ident

    def is_being_started_here(self) -> bool:
        """Return whether the caller runs on a thread that ``start()`` is waiting for."""
        watchdog = self._state.watchdog
        return self.is_own_thread() or (watchdog is not None and watchdog.is_own_thread())

    def shutdown(self, timeout: float | None = None) -> bool:
        """Cancel all tasks, let their cleanup run for at most ``timeout`` seconds, end the loop.

        ``timeout=None`` means the option ``shutdown``. Return whether everything ended in time.
        Idempotent; waits for a shutdown that another thread has begun. Blocks the calling thread,
        so it raises WrongThreadError on the loop's own.
        """
        if not self._state.thread.is_alive() or os.getpid() != self._state.pid:
            return True
        if timeout is None:
            timeout = config.shutdown_seconds
        if self.is_own_thread():
            raise would_deadlock("EmbeddedLoop.shutdown()", "asyncio.to_thread(loop.shutdown)")
        with self._state.state_lock:
            if not self._state.ending:
                self._state.ending = True
                # Here, all_tasks() also sees tasks that were constructed in other threads (by
                # `loop.create_task`, which is not meant for that); on the loop's thread it does
                # not, since 3.14.
                known = all_tasks(self)
                self.call_soon_threadsafe(self._begin_shutdown, self.time() + timeout, known)
        # A little longer than the loop allows itself, since the loop decides when time is up.
        self._state.thread.join(timeout + 0.2)
        self.watch(0)
        return not self._state.thread.is_alive()

    def _begin_shutdown(self, deadline: float, known: set[asyncio.Task[Any]]) -> None:
        closer = asyncio.Task(self._cancel_everything(deadline, known), loop=self, name="asyncnb")
        closer.add_done_callback(self._end_thread)
        self._state.closer = closer  # the loop has only a weak reference

    def _end_thread(self, _: object) -> None:
        self._state.cleaned_up = True
        self.stop()

    async def _cancel_everything(self, deadline: float, known: set[asyncio.Task[Any]]) -> None:
        me = asyncio.current_task()
        while left := [t for t in all_tasks(self) | known if t is not me and not t.done()]:
            for task in left:
                if not task.cancelling():
                    task.cancel()
            await asyncio.wait(left, timeout=max(0.0, deadline - self.time()))
            if self.time() >= deadline:
                break
        for process in self._state.processes:
            process.close()  # kills it if it still runs: it is not in the kernel's process group
        for task in all_tasks(self) | known:
            # Tasks that did not end in time are dropped with the process; "destroyed but pending"
            # for each of them would bury the user's last output.
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        if self.time() < deadline:
            await self.shutdown_asyncgens()

    def run_in_executor(  # type: ignore[override]
        self, executor: concurrent.futures.Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """As ``asyncio``'s, but the function runs in a copy of the caller's context.

        So its output appears under the caller's cell, as with ``asyncio.to_thread``. Executors
        other than thread pools (their work crosses a process boundary) get the function as it is.
        Raises TypeError for an ``async def`` function and for a coroutine, since nothing would
        await it; the standard loop refuses these only in debug mode.
        """
        if iscoroutinefunction(func) or iscoroutine(func):
            if iscoroutine(func):
                func.close()
            raise TypeError(
                f"run_in_executor() takes a plain function, but {func!r} is async, so the thread "
                "would only create a coroutine: await it here, or use create_task()"
            )
        if executor is None or isinstance(executor, concurrent.futures.ThreadPoolExecutor):
            func = functools.partial(contextvars.copy_context().run, func)
        return super().run_in_executor(executor, func, *args)

    async def subprocess_exec(self, *args: Any, **kwargs: Any) -> Any:
        """As ``asyncio``'s; the child of a launched task or of a cell gets its own process group.

        Jupyter's interrupt signals the kernel's whole process group, and neither background work
        nor a server or browser started by an earlier cell must receive it.
        """
        ours = wants_own_process_group(kwargs, fast=not issubclass(_Base, asyncio.BaseEventLoop))
        return self._track_child(await super().subprocess_exec(*args, **kwargs), ours)

    async def subprocess_shell(self, *args: Any, **kwargs: Any) -> Any:
        """As ``asyncio``'s, with the process group of ``subprocess_exec``."""
        ours = wants_own_process_group(kwargs, fast=not issubclass(_Base, asyncio.BaseEventLoop))
        return self._track_child(await super().subprocess_shell(*args, **kwargs), ours)

    def _track_child(self, pair: tuple[asyncio.SubprocessTransport, Any], own_group: bool) -> Any:
        # Not WeakSets: uvloop's transports take no weak references.
        known = [self._state.processes] if own_group or current_record.get() is not None else []
        children = cell_children.get()
        if own_group and children is not None:
            known.append(children)
        for transports in known:
            transports[:] = [p for p in transports if p.get_returncode() is None]
            transports.append(pair[0])
        return pair

    def statistics(self) -> LoopStatistics:
        """Return a snapshot of the loop, from any thread."""
        from asyncnb._core.loop.statistics import LoopStatistics  # seldom needed

        ready = getattr(self, "_ready", None)  # uvloop does not expose its queue
        dog = self._state.watchdog
        return LoopStatistics(
            kind=self.kind,
            running=self.alive,
            tasks=len(all_tasks(self)),
            uptime=time.monotonic() - self._state.started_at if self._state.started_at else 0.0,
            stops=self._state.stops,
            lag=None if dog is None else dog.lag,
            ready=None if ready is None else len(ready),
            slowest=None if dog is None else dog.steps.slowest,
            highest_lag=None if dog is None else dog.highest_lag,
            longest_steps=() if dog is None else dog.steps.longest,
        )

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """As ``asyncio``'s, except for a launched task's failure that was already shown."""
        if not note_unseen(context):
            super().call_exception_handler(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """As ``asyncio``'s, which logs the error, unless a hook has already reported it."""
        if not self.exception_hooks.claimed(context):
            super().default_exception_handler(context)

    def _stop_after_fork(self) -> None:
        """Make sure, in a forked child, that the parent's loop never takes another step."""
        if self.is_own_thread() and self.is_running():
            getattr(self, "_ready", []).clear()  # uvloop does not expose its queue
            self.stop()


def _set_class(loop: EmbeddedLoop, kind: type[EmbeddedLoop]) -> None:
    # Not in a method: CPython 3.14 would count `self.__class__ =` as one more attribute of the
    # instance, and with the 30th it gives up its short cuts to them.
    loop.__class__ = kind
