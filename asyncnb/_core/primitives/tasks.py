"""Task: a coroutine that runs on an event loop on its own; how a task is constructed.

``Task`` subclasses the C task on every Python, since a pure-Python one costs 1.5 to 3 times as
much; what the C task of 3.11 and 3.12 lacks is in ``backport.task``.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import sys
import types
from asyncio import AbstractEventLoop, _get_running_loop, current_task
from collections.abc import Callable, Coroutine, Generator
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from asyncnb._core.base.frames import PACKAGE
from asyncnb._core.base.task_lists import register
from asyncnb._core.base.visits import runs_here, visits
from asyncnb._core.introspection.handle import TaskHandle
from asyncnb._core.introspection.info import TaskInfo
from asyncnb._core.introspection.leaves import BY_CANCEL, GROUP_CHILD_DONE, note_children
from asyncnb._core.primitives import futures as _futures
from asyncnb._core.primitives.all_tasks import note_suspended
from asyncnb._core.primitives.awaitables import close_unstarted
from asyncnb._core.primitives.futures import (
    INTERRUPT,
    Future,
    FutureProxy,
    accepts_calls,
    iscoroutine,
    runs_elsewhere,
)
from asyncnb._core.primitives.pause import Pause
from asyncnb._core.primitives.pause import pause as _pause_task
from asyncnb._core.primitives.pause import resume as _resume_task
from asyncnb._core.primitives.suspended import construct, construct_suspended, run_first_step
from asyncnb._core.primitives.timeouts import Timeout

if sys.version_info >= (3, 13):
    _Base = asyncio.Task
else:
    from asyncnb._core.primitives.backport.task import BackportedTask as _Base

__all__ = ["INTERRUPT", "Task", "current_task", "interrupt"]

_T = TypeVar("_T")

_await = _Base.__await__
_cancel = _Base.cancel
# Read at import: nest_asyncio replaces these names by other classes later.
_StandardTask = asyncio.Task
_cancel_future = asyncio.Future.cancel
_get_coro = _Base.get_coro
_uncancel = _Base.uncancel

#: Wraps the coroutine of each task that is about to be made; None unless something is recorded.
_wrap_coroutine: Callable[..., Any] | None = None


def add_task_hook(wrap: Callable[..., Any]) -> Callable[[], None]:
    """Make each task from now on run what ``wrap(coro, loop=None)`` returns for its coroutine.

    Return the function that removes the hook. There is one at a time: the next replaces it.
    """
    global _wrap_coroutine
    _wrap_coroutine = wrap

    def remove() -> None:
        global _wrap_coroutine
        if _wrap_coroutine is wrap:
            _wrap_coroutine = None

    return remove


def wrapped(coro: Any, loop: AbstractEventLoop | None = None) -> Any:
    """Return what a task made of ``coro`` now would run: itself, unless a hook wraps it."""
    return coro if _wrap_coroutine is None else _wrap_coroutine(coro, loop)


def explain_no_coroutine(obj: object) -> str:
    """Return the error message for ``obj``, passed in place of a coroutine."""
    what = f"a coroutine was expected, got {obj!r}"
    if obj is None:
        return f"{what}: that call has already run and returned None; did you mean `async def`?"
    if _futures.isfuture(obj):
        return f"{what}: it is already running; await it, or pass it to ensure_future()"
    if _futures.iscoroutinefunction(obj):
        return f"{what}: call it, {getattr(obj, '__name__', 'f')}()"
    if inspect.isawaitable(obj):
        return f"{what}: ensure_future() takes any awaitable"
    if callable(obj):
        return f"{what}: to run a plain function in the background, use to_thread(f)"
    return what


def no_context(obj: object) -> TypeError:
    """Return the error for ``obj``, passed in place of a context."""
    # Since 3.14.9 the C task refuses it, too; before that, the task never took a step (gh-157301).
    return TypeError(f"a contextvars.Context was expected, got {type(obj).__name__}")


_MISSING: Any = object()


class _TaskType(type(asyncio.Task)):  # type: ignore[misc]
    """Implements the call ``Task(...)``, so that ``__init__`` can stay the C one.

    A Python ``__init__`` costs a fifth of making and finishing a task; :func:`create_task`, which
    knows its loop, bypasses this and calls :data:`construct_task`.
    """

    def __call__(
        cls,
        coro: Coroutine[Any, Any, Any] = _MISSING,
        *,
        loop: AbstractEventLoop | None = None,
        name: object = None,
        context: contextvars.Context | None = None,
        eager_start: bool | None = False,
        **kwargs: Any,
    ) -> Any:
        if not iscoroutine(coro):
            if coro is _MISSING:
                return construct(cls)  # a subclass may need none; else the C one complains
            raise TypeError(explain_no_coroutine(coro))
        try:
            return cls._make(coro, loop, name, context, eager_start, kwargs)
        except BaseException:
            close_unstarted(coro)
            raise

    def _make(
        cls,
        coro: Any,
        loop: AbstractEventLoop | None,
        name: object,
        context: contextvars.Context | None,
        eager_start: bool | None,
        kwargs: dict[str, Any],
    ) -> Any:
        if context is not None and type(context) is not contextvars.Context:
            raise no_context(context)
        if _wrap_coroutine is not None:
            coro = _wrap_coroutine(coro)
        running = _get_running_loop()
        if loop is None:
            loop = running if running is not None else asyncio.get_event_loop()
        if name is not None:
            name = str(name)  # may run any code, so not while the loop's call_soon is replaced
        kwargs |= {"loop": loop, "name": name, "context": context}
        if loop is running:
            if eager_start and runs_here(loop):  # else lazily: create_task_from_other_thread()
                return _hide_frames(_make_eagerly(cls, coro, **kwargs))
            return _hide_frames(construct(cls, coro, **kwargs))
        if not accepts_calls(loop):
            return _hide_frames(construct(cls, coro, **kwargs))
        if eager_start:
            raise RuntimeError(
                "eager_start=True needs a loop that runs in this thread, but this loop runs in "
                "another one; omit eager_start to start the task there"
            )
        if context is None:
            context = contextvars.copy_context()
        task, step = construct_suspended(cls, coro, loop, name, context)
        if register is not None:
            note_suspended(task)
        try:
            loop.call_soon_threadsafe(run_first_step, task, step, context, context=context)
        except RuntimeError:
            task._log_destroy_pending = False  # the loop was closed meanwhile: it never starts
            raise
        return _hide_frames(task)


#: ``construct(..., eager_start=True)``.
construct_eagerly: Callable[..., Any] = construct
if sys.version_info < (3, 12):
    from asyncnb._core.primitives.backport.eager import start_eagerly as construct_eagerly


def can_construct(coro: object, loop: AbstractEventLoop) -> bool:
    """Return whether ``construct_task(coro, loop=loop)`` does all that ``Task(...)`` would."""
    return (
        type(coro) is types.CoroutineType
        and _get_running_loop() is loop  # runs_here(), without a call for each task
        and (not visits or get_ident() not in visits)
        and _wrap_coroutine is None
        and not loop.get_debug()
    )


def _hide_frames(task: Any) -> Any:
    """Remove this package's frames, so that "created at" in debug mode names the caller."""
    stack = task._source_traceback
    while stack and stack[-1].filename.startswith(PACKAGE):
        del stack[-1]
    return task


def _make_eagerly(cls: type[Any], coro: Any, *, loop: AbstractEventLoop, **kwargs: Any) -> Any:
    if kwargs.get("context") is None:
        return construct_eagerly(cls, coro, loop=loop, eager_start=True, **kwargs)
    previous = asyncio.current_task(loop)
    try:
        return construct_eagerly(cls, coro, loop=loop, eager_start=True, **kwargs)
    except BaseException:
        current: Any = asyncio.current_task(loop)
        if current is not previous and current is not None:
            # The context could not be entered, so no step was run, and the C task left itself as
            # the current task (gh-157301).
            asyncio.tasks._leave_task(loop, current)
            if previous is not None:
                asyncio.tasks._enter_task(loop, previous)
            asyncio.tasks._unregister_eager_task(current)  # type: ignore[attr-defined]
            current._log_destroy_pending = False
        raise


class Task(_Base[_T], Future[_T], metaclass=_TaskType):
    """A coroutine that runs on an event loop: an ``asyncio.Task`` that is thread-safe.

    ``Task(coro, *, loop=None, name=None, context=None, eager_start=False)`` schedules *coro* on
    *loop*, by default the running one; usually you call :func:`create_task`. *loop* may run in
    another thread. *context* is used as it is; None means a copy of the current one. With
    *eager_start* the first step runs at once, inside the call, if the loop runs in this thread.

    * ``await task`` works in any loop of any thread; cancelling the awaiting task cancels the task.
    * ``cancel``, ``uncancel``, ``set_name``, ``add_done_callback`` and ``remove_done_callback``
      may be called in any thread; callbacks run on the task's own loop.
    * ``join()`` waits for the task without ``await``.
    * ``get_stack()`` and ``print_stack()`` show the whole await chain.

    Raises ``TypeError`` if *coro* is not a coroutine; ``RuntimeError`` if there is no loop, if the
    loop is closed, and for an eager start on a loop that runs in another thread (gh-155338).
    Semantics: CPython 3.15 on every Python: eager start, ``get_context``, ``get_coro()`` None
    after an eager end (3.12); ``uncancel()`` to zero withdraws an undelivered cancellation (3.13).
    """

    __slots__ = ()

    _launched = False  # a launched task outlives an interrupt of the code that awaits it
    _record: TaskHandle | None = None  # what the registry knows about a launched task; a slot there
    _pause: Pause | None = None  # while it is suspended, or about to be
    _delegate: Task[Any] | None = None  # of a detached cell: the task whose steps do its work
    _timeout: Any = None  # its Timeout, if it has one

    def __await__(self) -> Generator[Any, None, _T]:
        running = _get_running_loop()
        if running is self._loop and not self._launched:
            return _await(self)
        # A task that awaits itself is an error, which a proxy would hide.
        if running is None or self.done() or asyncio.current_task(running) is self:
            return _await(self)
        proxy: FutureProxy[_T] = FutureProxy(self, running)
        return proxy.__await__()

    if TYPE_CHECKING:

        def __iter__(self) -> Generator[Any, None, _T]: ...
    else:
        __iter__ = __await__

    def cancel(self, msg: Any | None = None) -> bool:
        """Request the task's cancellation; return False if it is already done. Any thread.

        ``CancelledError(msg)`` is raised in the coroutine at its next step; the coroutine may catch
        it and clean up or keep running. From a thread other than the loop's, the request is passed
        to the loop: ``cancelling()`` counts it as soon as the loop has handled it.
        Raises ``RuntimeError`` if the loop is closed. Source: CPython 3.15.
        """
        if msg is INTERRUPT:
            return False if self._launched else interrupt(self)
        loop = self._loop
        if (_get_running_loop() is loop and not visits) or not runs_elsewhere(loop):
            if BY_CANCEL and (caller := sys._getframe(1)).f_code is GROUP_CHILD_DONE:
                note_children(caller)
            plain = self._pause is None and self._record is None
            return _cancel(self, msg) if plain else _cancel_on_loop(self, msg)
        if self.done():
            return False
        dog = getattr(loop, "watchdog", None)
        if dog is None:
            loop.call_soon_threadsafe(_cancel_on_loop, self, msg)
        else:
            dog.cancel(self, functools.partial(_cancel_on_loop, self, msg))
        return True

    def _before_cancel(self) -> None:
        """Prepare for a request to cancel. On the loop's thread."""

    def uncancel(self) -> int:
        """Withdraw one request to cancel and return how many are left. Any thread.

        At zero, a cancellation that has not been delivered yet is withdrawn (3.13, gh-117407; here
        on every Python). From another thread the call is passed to the loop, and the number is how
        many will be left of those that the loop has handled.
        """
        loop = self._loop
        if not runs_elsewhere(loop):
            return _uncancel_on_loop(self)
        loop.call_soon_threadsafe(_uncancel_on_loop, self)
        return max(0, self.cancelling() - 1)

    def set_name(self, value: object) -> None:
        """Set the name to ``str(value)``. Any thread."""
        super().set_name(value)
        if self._record is not None:
            self._record.last_name = self.get_name()  # for when this object has been freed
            self._record.changed()

    def join(self, timeout: float | None = None) -> _T:
        """Block the calling thread until the task is done; return its result or raise its error.

        For code without ``await``, in any thread except the loop's own: there it raises
        ``RuntimeError`` at once, since waiting would keep the task from running; write
        ``await task``. Raises ``TimeoutError`` after *timeout* seconds, ``CancelledError`` if the
        task was cancelled, ``RuntimeError`` if its loop closed or crashed before it was done.
        Neither the timeout nor Ctrl-C ends the task: they end the wait.
        """
        return _futures.join_future(self, timeout)

    def pause(self, *, pause_timeouts: bool = False) -> bool:
        """Pause the task: it takes no further step until ``resume()``. False if it is ending.

        A step that runs now, or on uvloop is already queued, finishes first. What the task waits
        for continues meanwhile: tasks it awaits, threads, sockets. So do its time limits, unless
        *pause_timeouts*: then those made with asyncnb's ``timeout`` are paused, too. ``cancel()``
        ends the pause, so that the task can clean up.

        Any thread. Called from a thread other than the loop's, it returns when the task is paused,
        or after 0.25 s if the loop is blocked; then the task is paused once the loop is free.
        Raises ``RuntimeError`` for a task that runs in a worker thread or a process, which cannot
        be paused.
        """
        record = self._record
        if record is not None and (refusal := record.pause_refusal()):
            raise RuntimeError(refusal)
        paused = _pause_task(self, pause_timeouts=pause_timeouts)
        if record is not None:
            record.changed()
        return paused

    def resume(self) -> bool:
        """Continue a paused task; return False if it is not paused. Any thread, as ``pause()``."""
        resumed = _resume_task(self)
        if self._record is not None:
            self._record.changed()
        return resumed

    @property
    def timeout(self) -> Timeout | None:
        """The time limit of the whole task, which any thread may reschedule.

        A launched task always has one while it lives, without a deadline if none was requested; of
        other tasks, those made by ``create_task(..., timeout=...)``. None otherwise. Any thread.
        """
        found: Timeout | None = self._timeout
        if found is None and self._record is not None:
            found = self._record.time_limit()
        return found

    def info(self) -> TaskInfo:
        """Return a frozen snapshot of the task's facts. Any thread."""
        if self._record is not None:
            return self._record.info()
        from asyncnb._core.introspection.unmanaged import unmanaged_task_info  # seldom needed

        return unmanaged_task_info(self)

    @property
    def output(self) -> str:
        """The end of what a launched task printed, stdout and stderr interleaved. Any thread."""
        return "" if self._record is None else self._record.printed()

    if sys.version_info < (3, 15):

        def get_context(self) -> contextvars.Context:
            """Return the context that the task runs in. Any thread."""
            loop: Any = self._loop
            # None before __init__, where the C task of older releases crashes (gh-154871).
            if loop is None:
                return None  # type: ignore[return-value]
            return super().get_context()

    def get_coro(self) -> Any:
        """Return the coroutine that the task runs; None after an eager end (3.12). Any thread."""
        coro = _get_coro(self)
        return getattr(coro, "traced", coro)  # for a recorded task, the user's coroutine

    def get_stack(self, *, limit: int | None = None) -> list[types.FrameType]:
        """Return the frames of the whole await chain, the outermost coroutine's first.

        For a task that ended with an exception: the frames of its traceback; after another end: an
        empty list. *limit* keeps the newest frames of a suspended task, the oldest of a running
        task and of a traceback. Any thread, as a snapshot. The standard method stops at the
        outermost frame (CPython 3.15).
        """
        from asyncnb._core.introspection.call_graph import task_frames  # seldom needed

        return task_frames(self, limit)


#: ``construct(Task, ...)``, bound once: a fiftieth of making and finishing a task less.
construct_task: Callable[..., Any] = type.__call__.__get__(Task)
#: ``construct_task(..., eager_start=True)``.
construct_task_eagerly: Callable[..., Any] = (
    construct_task if construct_eagerly is construct else types.MethodType(construct_eagerly, Task)
)


def _cancel_on_loop(task: Task[Any], msg: Any) -> bool:
    task._before_cancel()
    cancelled = _cancel(task, msg)
    if task._pause is not None:
        task._pause.release()
    if task._record is not None:
        task._record.changed()
    return cancelled


def _uncancel_on_loop(task: Task[Any]) -> int:
    count = _uncancel(task)
    record = task._record
    if record is not None and count == 0 and record.cancel_asked:
        record.cancel_asked = False  # it keeps running, and its state shows that
        record.changed()
    return count


def interrupt(task: asyncio.Task[Any]) -> bool:
    """Cancel *task* as the stop button does, but not the launched tasks that it awaits.

    The same as ``task.cancel(msg=INTERRUPT)``, except that a launched *task* itself is cancelled.
    For the thread of the task's loop, or any thread while that loop runs.
    """
    loop = task.get_loop()
    if runs_elsewhere(loop):
        if task.done():
            return False
        loop.call_soon_threadsafe(interrupt, task)
        return True
    if isinstance(task, Task):
        task._before_cancel()
    cancelled = _cancel(task, INTERRUPT)
    if getattr(task, "_pause", None) is not None:
        task._pause.release()  # type: ignore[attr-defined]
    # asyncio.gather() passes a cancellation on to its children and waits for them; launched tasks
    # refuse it, so gather() would wait until they end. Cancel the gathering future itself.
    leaf: Any = task
    while isinstance(leaf, _StandardTask):
        leaf = getattr(leaf, "_fut_waiter", None)
    children = getattr(leaf, "_children", ())
    if any(getattr(child, "_launched", False) and not child.done() for child in children):
        _cancel_future(leaf, INTERRUPT)  # not its own cancel(), which waits
    return cancelled


def note_unseen(context: dict[str, Any]) -> bool:
    """Return whether ``context``, for a loop's exception handler, reports a failure already shown.

    That is the failure of a launched task that has been freed and whose exception no code has
    retrieved. Finalisers call this, in any thread.
    """
    record: TaskHandle | None = getattr(context.get("future"), "_record", None)
    if record is None or not str(context.get("message")).endswith("never retrieved"):
        return False
    return record.never_retrieved()


def create_here(
    cls: type[Task[_T]],
    coro: Coroutine[Any, Any, _T],
    loop: AbstractEventLoop,
    name: str | None,
    context: contextvars.Context,
) -> Task[_T]:
    """Return a new task of class *cls* of a loop that runs in this thread."""
    if type(coro) is types.CoroutineType and _wrap_coroutine is None and not loop.get_debug():
        task: Task[_T] = construct(cls, coro, loop=loop, name=name, context=context)
        return task  # the same, without the checks
    return cls(coro, loop=loop, name=name, context=context)
