"""The embedded loop as the running loop of a thread that does not run it.

While a cell without ``await`` runs, its thread *visits* the embedded loop: there,
``asyncio.get_running_loop()`` returns that loop, and whatever the code schedules on it is held
back until the visit ends. So a task made in a cell starts when the cell's code has ended, in the
order in which it was made, as on the loop of a plain kernel; from then on it runs beside later
cells.

A visit alone makes nothing thread-safe. The loop is *guarded* meanwhile: its ``call_soon``,
``call_later`` and ``call_at`` look which thread calls (``loop.guarded``).
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

#: Turns of the loop between a cell and the next, and the most seconds that they may take: far
#: more than a free loop needs, and a blocked one shall not block cells too.
_TURNS = 5
_SETTLE_SECONDS = 0.25

#: The visits of the moment, by thread.
visits: dict[int, Visit] = {}

#: The loops that other threads may call now, and how many of them asked for it.
guarded: dict[Any, int] = {}
_lock = fork_safe_lock()


def runs_here(loop: object) -> bool:
    """Return whether the calling thread runs *loop*, and is not just visiting it."""
    return _get_running_loop() is loop and not (visits and get_ident() in visits)


def guard(loop: Any) -> None:
    """Let other threads call *loop*'s ``call_soon`` and the like until :func:`unguard`.

    For embedded loops; another kind of loop stays as it is.
    """
    with _lock:
        count = guarded[loop] = guarded.get(loop, 0) + 1
        if count == 1 and hasattr(loop, "guard"):
            loop.guard(True)


def unguard(loop: Any) -> None:
    """Undo one :func:`guard`."""
    with _lock:
        count = guarded.get(loop, 0) - 1
        if count > 0:
            guarded[loop] = count
        elif not count:  # else it was asked for in the process that this one was forked from
            del guarded[loop]
            if hasattr(loop, "guard"):
                loop.guard(False)


class Visit:
    """Synchronous code of this thread that has *loop* for its running loop.

    ``enter`` and ``leave`` surround the code, any number of times; ``release`` hands over what it
    scheduled. All of it on the visiting thread. Visits nest: a comm message that is handled in the
    middle of a cell has one of its own.
    """

    __slots__ = ("_before", "_held", "_hooks", "_library", "_outer", "entered", "loop")

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.entered = False
        self._held: list[DeferredHandle | DeferredTimer] = []
        self._before: AbstractEventLoop | None = None
        self._hooks: Any = None
        self._library: Any = None
        self._outer: Visit | None = None

    def enter(self) -> None:
        """Make the loop the running one of this thread."""
        guard(self.loop)
        ident = get_ident()
        self._before, self._outer = _get_running_loop(), visits.get(ident)
        visits[ident] = self
        self.entered = True
        # The loop that closes an asynchronous generator that is dropped half-way is the one whose
        # hooks this thread has when the generator is first asked for a value.
        self._hooks = sys.get_asyncgen_hooks()
        loop = self.loop
        sys.set_asyncgen_hooks(loop._asyncgen_firstiter_hook, loop._asyncgen_finalizer_hook)
        _set_running_loop(loop)
        self._library = _name_the_library("asyncio")

    def leave(self) -> None:
        """Give the thread its own running loop back."""
        _set_running_loop(self._before)
        sys.set_asyncgen_hooks(*self._hooks)
        _name_the_library(self._library)
        self.entered = False
        if self._outer is None:
            visits.pop(get_ident(), None)
        else:
            visits[get_ident()] = self._outer
        self._before = self._hooks = self._outer = None
        unguard(self.loop)

    def hold(self, handle: Any) -> Any:
        """Keep what was scheduled until :meth:`release`, and return its handle."""
        self._held.append(handle)
        return handle

    def release(self) -> bool:
        """Hand what was scheduled so far to the loop, in its order, and wake the loop.

        Returns whether anything was.

        It is woken also when there is nothing to hand over: a transport of uvloop schedules what
        follows from ``close()`` and ``write()`` in C, where no guard is, and would wait for
        something else to wake its loop.
        """
        held, self._held = self._held, []
        if self.loop.lost:
            return False
        if unregister is not None:
            for handle in held:
                task = _task_to_begin(handle)
                if task is not None:
                    unregister(task)  # from this thread's list of tasks; see _task_lists
        try:
            self.loop.call_soon_threadsafe(_release_all, held)
        except RuntimeError:
            if not self.loop.is_closed():  # else it has ended just now, and nothing starts
                raise
        return bool(held)

    def settle(self) -> None:
        """Give the loop a few turns with what was released before this thread continues.

        On a plain kernel the loop turns between two cells: what a cell has woken or cancelled has
        happened when the next one looks. A loop that is busy is not waited for.
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


def _name_the_library(name: str | None) -> str | None:
    """Have sniffio, where anyio and httpcore use it, find asyncio here; return what it found.

    It asks for the current task, and before Python 3.14 that is the loop's, not the thread's: a
    visiting thread has none.
    """
    if sys.version_info >= (3, 14) or "sniffio" not in sys.modules:
        return None
    local = getattr(sys.modules["sniffio"], "thread_local", None)  # None: half imported
    if local is None:
        return None
    before: str | None = local.name
    local.name = name
    return before


def own_loop() -> AbstractEventLoop | None:
    """Return the loop that this thread runs, whatever loop it visits, or None."""
    visit = visits.get(get_ident())
    if visit is None:
        return _get_running_loop()
    while visit._outer is not None:
        visit = visit._outer
    return visit._before


def release_held() -> None:
    """Hand over what the calling thread's cell has scheduled: the thread is going to wait for it.

    Otherwise a cell that makes a task and then waits for it without ``await`` (``join()``,
    ``asyncnb.run()``) would wait for what starts at its own end.
    """
    visit = visits.get(get_ident())
    while visit is not None:
        visit.release()
        visit = visit._outer


def _release_all(held: list[Any]) -> None:
    for handle in held:
        if register is not None:
            task = _task_to_begin(handle)
            if task is not None:
                register(task)
        handle.release()


def _task_to_begin(handle: Any) -> Any:
    """Return the task whose first step the handle is, or None."""
    callback = handle._callback
    if type(callback).__name__ != "TaskStepMethWrapper":
        return None
    task = getattr(callback, "__self__", None)
    return task if isinstance(task, asyncio.Task) else None


def _forget_after_fork() -> None:
    # The child has the parent's code on its stack, but not the loop that this code visited.
    guarded.clear()
    visit = visits.get(get_ident())
    visits.clear()
    while visit is not None:
        visit._before = None  # nor the one below it
        visit = visit._outer
    _set_running_loop(None)  # as asyncio does


at_fork(_forget_after_fork)


class DeferredHandle(Handle):
    """A callback that a visiting thread has scheduled."""

    __slots__ = ("_real",)  # the handle of the loop, from the release on; no __init__: it costs

    if TYPE_CHECKING:
        _real: Handle
        _loop: Any
        _callback: Any
        _args: Any
        _context: contextvars.Context

    def cancel(self) -> None:
        """Keep the callback from being called. Any thread."""
        super().cancel()
        _cancel(getattr(self, "_real", None), self._loop)

    def release(self) -> None:
        """Schedule it. Thread of the loop."""
        callback, args = self._callback, self._args
        if not self._cancelled:
            self._real = self._loop.call_soon(callback, *args, context=self._context)
            if self._cancelled:  # by another thread, between these two lines
                self._real.cancel()


class DeferredTimer(TimerHandle):
    """A timer that a visiting thread has set."""

    __slots__ = ("_real",)

    if TYPE_CHECKING:
        _real: Handle
        _loop: Any
        _callback: Any
        _args: Any
        _context: contextvars.Context
        _when: float

    def cancel(self) -> None:
        """Keep the callback from being called. Any thread."""
        Handle.cancel(self)  # TimerHandle's tells a loop of the standard library
        _cancel(getattr(self, "_real", None), self._loop)

    def release(self) -> None:
        """Set it. Thread of the loop."""
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
        loop.call_soon_threadsafe(handle.cancel)  # uvloop's timers belong to its thread
