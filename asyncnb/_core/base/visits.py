"""The embedded loop as the running loop of a thread that does not run it.

While a cell without ``await`` runs, its thread *visits* the embedded loop: there,
``asyncio.get_running_loop()`` returns that loop, and everything the code schedules on it is
deferred until the visit ends. So a task created in a cell starts when the cell's code has ended, in
creation order, as on the loop of a plain kernel; from then on it runs concurrently with later
cells.

A visit alone makes nothing thread-safe. For the duration of the visit the loop is *guarded*: its
``call_soon``, ``call_later`` and ``call_at`` check which thread calls them (``loop.guarded``).
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from asyncio import AbstractEventLoop, Handle, TimerHandle, _get_running_loop, _set_running_loop
from threading import get_ident
from typing import TYPE_CHECKING, Any

from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.task_lists import register, unregister

#: Iterations of the loop between one cell and the next, and the maximum number of seconds they may
#: take: far more than an idle loop needs, while a blocked loop must not block cells, too.
_TURNS = 5
_SETTLE_SECONDS = 0.25

#: The current visit of each thread, by thread identifier.
visits: dict[int, Visit] = {}

#: The loops that other threads may call now, and how many calls to :func:`guard` are in effect.
guarded: dict[Any, int] = {}
_lock = fork_safe_lock()


def runs_here(loop: object) -> bool:
    """Return whether the calling thread runs *loop* itself and is not only visiting it."""
    return _get_running_loop() is loop and not (visits and get_ident() in visits)


def guard(loop: Any) -> None:
    """Allow other threads to call *loop*'s ``call_soon`` and similar methods until :func:`unguard`.

    Applies to embedded loops; other kinds of loops are left unchanged.
    """
    with _lock:
        count = guarded[loop] = guarded.get(loop, 0) + 1
        if count == 1 and hasattr(loop, "guard"):
            loop.guard(True)


def unguard(loop: Any) -> None:
    """Undo one call to :func:`guard`."""
    with _lock:
        count = guarded.get(loop, 0) - 1
        if count > 0:
            guarded[loop] = count
        elif not count:  # otherwise guard() was called in the parent process, before the fork
            del guarded[loop]
            if hasattr(loop, "guard"):
                loop.guard(False)


class Visit:
    """A stretch of synchronous code on this thread that sees *loop* as its running loop.

    ``enter`` and ``leave`` surround the code, any number of times; ``release`` hands over what it
    scheduled. Call all of them on the visiting thread. Visits nest: a comm message that is handled
    in the middle of a cell has a separate visit.
    """

    __slots__ = ("_before", "_deferred", "_hooks", "_outer", "_sniffio_library", "entered", "loop")

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.entered = False
        self._deferred: list[DeferredHandle | DeferredTimer] = []
        self._before: AbstractEventLoop | None = None
        self._hooks: Any = None
        self._sniffio_library: Any = None
        self._outer: Visit | None = None

    def enter(self) -> None:
        """Make the loop this thread's running loop."""
        guard(self.loop)
        ident = get_ident()
        self._before, self._outer = _get_running_loop(), visits.get(ident)
        visits[ident] = self
        self.entered = True
        # An asynchronous generator that is dropped before its end is closed by the loop whose hooks
        # are installed in this thread when the generator is first asked for a value.
        self._hooks = sys.get_asyncgen_hooks()
        loop = self.loop
        sys.set_asyncgen_hooks(loop._asyncgen_firstiter_hook, loop._asyncgen_finalizer_hook)
        _set_running_loop(loop)
        self._sniffio_library = _set_sniffio_library("asyncio")

    def leave(self) -> None:
        """Restore the thread's own running loop."""
        _set_running_loop(self._before)
        sys.set_asyncgen_hooks(*self._hooks)
        _set_sniffio_library(self._sniffio_library)
        self.entered = False
        if self._outer is None:
            visits.pop(get_ident(), None)
        else:
            visits[get_ident()] = self._outer
        self._before = self._hooks = self._outer = None
        unguard(self.loop)

    def defer(self, handle: Any) -> Any:
        """Defer a scheduled callback until :meth:`release`; return its handle."""
        self._deferred.append(handle)
        return handle

    def release(self) -> bool:
        """Pass everything scheduled so far to the loop, in order, and wake the loop.

        Return whether anything had been scheduled.

        The loop is woken even when there is nothing to pass on: a uvloop transport schedules what
        follows from ``close()`` and ``write()`` in C, beyond the reach of the guard, and would have
        to wait until something else wakes its loop.
        """
        deferred, self._deferred = self._deferred, []
        if self.loop.dead:
            return False
        if unregister is not None:
            for handle in deferred:
                task = _task_of_first_step(handle)
                if task is not None:
                    unregister(task)  # from this thread's list of tasks; see task_lists
        try:
            self.loop.call_soon_threadsafe(_release_all, deferred)
        except RuntimeError:
            if not self.loop.is_closed():  # closed: the loop has just ended, and nothing will start
                raise
        return bool(deferred)

    def settle(self) -> None:
        """Let the loop run a few iterations on what was released before this thread continues.

        On a plain kernel the loop runs between two cells, so the effects of whatever a cell woke or
        cancelled are visible to the next cell. Do not wait for a loop that is busy.
        """
        if self.loop.blocked is not None:
            return
        turned = threading.Event()

        def turn(left: int) -> None:
            if left:
                self.loop.call_soon(turn, left - 1)
            else:
                turned.set()

        try:
            self.loop.call_soon_threadsafe(turn, _TURNS)
        except RuntimeError:
            if not self.loop.is_closed():
                raise
            return
        turned.wait(_SETTLE_SECONDS)


def _set_sniffio_library(name: str | None) -> str | None:
    """Make sniffio, where anyio and httpcore use it, detect asyncio here; return the previous name.

    sniffio checks for a current task, and before Python 3.14 the current task belongs to the loop,
    not to the thread: a visiting thread has none.
    """
    if sys.version_info >= (3, 14) or "sniffio" not in sys.modules:
        return None
    local = getattr(sys.modules["sniffio"], "thread_local", None)  # None: partially imported
    if local is None:
        return None
    before: str | None = local.name
    local.name = name
    return before


def own_loop() -> AbstractEventLoop | None:
    """Return the loop that this thread runs, regardless of the loop it visits, or None."""
    visit = visits.get(get_ident())
    if visit is None:
        return _get_running_loop()
    while visit._outer is not None:
        visit = visit._outer
    return visit._before


def release_deferred(woken: object = None) -> None:
    """Release what the calling thread's cell has scheduled, because the thread will wait for it.

    *woken* is a loop that the caller has just woken, so that it need not be woken for nothing.
    Otherwise a cell that creates a task and then waits for it without ``await`` (``join()``,
    ``asyncnb.run()``) would wait for a task that starts only when the cell ends.
    """
    visit = visits.get(get_ident())
    while visit is not None:
        if visit._deferred or visit.loop is not woken:
            visit.release()
        visit = visit._outer


def _release_all(deferred: list[Any]) -> None:
    for handle in deferred:
        if register is not None:
            task = _task_of_first_step(handle)
            if task is not None:
                register(task)
        handle.release()


def _task_of_first_step(handle: Any) -> Any:
    """Return the task whose first step *handle* will run, or None."""
    callback = handle._callback
    if type(callback).__name__ != "TaskStepMethWrapper":
        return None
    task = getattr(callback, "__self__", None)
    return task if isinstance(task, asyncio.Task) else None


def _reset_after_fork() -> None:
    # The child process has the parent's code on its stack, but not the loop that this code visited.
    guarded.clear()
    visit = visits.get(get_ident())
    visits.clear()
    while visit is not None:
        visit._before = None  # the loop below the visited one is not running either
        visit = visit._outer
    _set_running_loop(None)  # as asyncio does after a fork


at_fork(_reset_after_fork)


class DeferredHandle(Handle):
    """A callback scheduled by a visiting thread."""

    __slots__ = ("_real",)  # the loop's handle once released; no __init__, to save its cost

    if TYPE_CHECKING:
        _real: Handle
        _loop: Any
        _callback: Any
        _args: Any
        _context: contextvars.Context

    def cancel(self) -> None:
        """Prevent the callback from being called. Any thread."""
        super().cancel()
        _cancel(getattr(self, "_real", None), self._loop)

    def release(self) -> None:
        """Schedule the callback on the loop. The loop's thread only."""
        callback, args = self._callback, self._args
        if not self._cancelled:
            self._real = self._loop.call_soon(callback, *args, context=self._context)
            if self._cancelled:  # by another thread, between the check and the call
                self._real.cancel()


class DeferredTimer(TimerHandle):
    """A timer set by a visiting thread."""

    __slots__ = ("_real",)

    if TYPE_CHECKING:
        _real: Handle
        _loop: Any
        _callback: Any
        _args: Any
        _context: contextvars.Context
        _when: float

    def cancel(self) -> None:
        """Prevent the callback from being called. Any thread."""
        Handle.cancel(self)  # TimerHandle.cancel() would notify a loop of the standard library
        _cancel(getattr(self, "_real", None), self._loop)

    def release(self) -> None:
        """Set the timer on the loop. The loop's thread only."""
        callback, args = self._callback, self._args
        if not self._cancelled:
            self._real = self._loop.call_at(self._when, callback, *args, context=self._context)
            if self._cancelled:
                self._real.cancel()


def _cancel(handle: Handle | None, loop: Any) -> None:
    if handle is None:
        return
    if runs_here(loop) or loop.is_closed():
        handle.cancel()
    else:
        loop.call_soon_threadsafe(handle.cancel)  # uvloop's timers belong to the loop's thread
