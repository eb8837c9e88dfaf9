"""TaskGroup: tasks that run, fail and are cancelled together."""

from __future__ import annotations

import asyncio
from asyncio import (
    AbstractEventLoop,
    CancelledError,
    Future,
    Task,
    _get_running_loop,
    get_running_loop,
)
from collections.abc import Coroutine
from types import CoroutineType, TracebackType
from typing import Any, Self, TypeVar

from asyncnb._core.base.visits import visits
from asyncnb._core.introspection.leaves import note_task
from asyncnb._core.primitives import tasks as _tasks
from asyncnb._core.primitives.awaitables import close_unstarted
from asyncnb._core.primitives.backport.uncancel import absorb_stale_cancel, has_stale_cancel
from asyncnb._core.primitives.cross_loop import add_callback, add_edge, discard_edge
from asyncnb._core.primitives.tasks import Task as OwnTask
from asyncnb._core.primitives.tasks import construct_task
from asyncnb._core.primitives.timeouts import Timeout, current_task, deadlines, innermost

T = TypeVar("T")


class TaskGroup:
    """An asynchronous context manager that runs a group of tasks.

    Leaving the block waits for all of them. The first one that fails, or an exception in the body,
    cancels the others and the body; once all have ended, all failures are raised together as an
    ExceptionGroup (a BaseExceptionGroup if one of them is not an Exception). SystemExit and
    KeyboardInterrupt are raised unwrapped. A cancellation from outside cancels all children and
    raises CancelledError, unless there are failures.

    >>> async with asyncnb.TaskGroup() as group:
    ...     tasks = [group.create_task(asyncio.sleep(n, n)) for n in (2, 1)]
    >>> [task.result() for task in tasks]
    [2, 1]

    A group belongs to the loop and task that entered it; call its methods on that loop's thread.
    Behaves as CPython 3.15's ``asyncio.TaskGroup``.
    """

    def __init__(self) -> None:
        self._entered = False
        self._open = False  # for new children
        self._exiting = False
        self._aborting = False
        self._cancel_on_enter = False
        self._parent_cancel_requested = False
        self._on_standard_loop = False
        self._loop: AbstractEventLoop | None = None
        self._parent_task: Task[Any] | None = None
        self._tasks: set[Any] = set()
        self._errors: list[BaseException] = []
        self._base_error: BaseException | None = None
        self._on_completed_fut: Future[None] | None = None
        self._scope: Timeout | None = None

    def __repr__(self) -> str:
        info = [""]
        if self._tasks:
            info.append(f"tasks={len(self._tasks)}")
        if self._errors:
            info.append(f"errors={len(self._errors)}")
        if self._aborting:
            info.append("cancelling")
        elif self._entered:
            info.append("entered")
        return f"<{type(self).__name__}{' '.join(info)}>"

    async def __aenter__(self) -> Self:
        """Enter the group. Raises RuntimeError if entered before, or outside a task."""
        if self._entered:
            raise RuntimeError(
                f"TaskGroup {self!r} has already been entered: each `async with` needs a new "
                "TaskGroup()"
            )
        loop = self._loop = get_running_loop()
        parent = current_task(loop)
        if parent is None:
            raise RuntimeError(
                f"TaskGroup {self!r} cannot determine the parent task: put the `async with` in an "
                "`async def` and run that with create_task(), launch() or run()"
            )
        self._parent_task = parent
        timeouts = getattr(loop, "_asyncnb_timeouts", None)
        if timeouts:
            self._scope = timeouts.get(parent)
        self._on_standard_loop = isinstance(loop, asyncio.BaseEventLoop)
        self._entered = self._open = True
        if self._cancel_on_enter:
            self.cancel()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> bool:
        self._exiting = True
        loop, parent = self._loop, self._parent_task
        assert loop is not None and parent is not None
        cancelled: BaseException | None = None  # the CancelledError that has to be raised
        latest: BaseException | None = None  # the latest one that arrived during the wait
        try:
            if exc is not None:
                if isinstance(exc, CancelledError):
                    cancelled = exc
                elif is_base_error(exc) and self._base_error is None:
                    self._base_error = exc
                if not self._aborting:
                    self._abort()
            while self._tasks:
                self._on_completed_fut = Future(loop=loop)
                try:
                    await self._on_completed_fut
                except CancelledError as error:
                    latest = error
                    if not self._aborting:
                        cancelled = error
                        self._abort()
                self._on_completed_fut = None
            self._open = False
            if self._base_error is not None:
                self._report_hidden(loop)
                raise self._base_error
            if self._parent_cancel_requested:
                # After the wait, not before: a cancellation from outside that arrived during the
                # wait must still be counted (gh-117407).
                if parent.uncancel() == 0:
                    cancelled = None
                    if has_stale_cancel(parent):
                        try:
                            await absorb_stale_cancel(parent)
                        except CancelledError as error:
                            cancelled = error
                elif cancelled is None:
                    cancelled = latest  # not the group's own: it must be raised (gh-155433)
            if cancelled is not None and not self._errors:
                raise cancelled
            if exc is not None and not isinstance(exc, CancelledError):
                self._errors.append(exc)
            if self._errors:
                if parent.cancelling():
                    # The parent was also cancelled from outside, but the errors take precedence:
                    # leave the count unchanged and deliver the cancellation at its next await.
                    parent.uncancel()
                    parent.cancel()
                if isinstance(exc, GeneratorExit) and len(self._errors) == 1:
                    raise exc  # so that aclose() of an async generator works (gh-135736)
                raise BaseExceptionGroup("unhandled errors in a TaskGroup", self._errors) from None
            return True
        finally:
            # Exceptions refer to this frame through their traceback: avoid cycles (gh-128552).
            self._parent_task = parent = None
            self._base_error = None
            if self._errors:
                self._errors = []
            exc = cancelled = latest = None

    def create_task(self, coro: Coroutine[Any, Any, T], **kwargs: Any) -> Task[T]:
        """Start ``coro`` as a task of this group and return the task.

        The keywords are those of ``create_task``: ``name``, ``context``, ``eager_start``. Raises
        RuntimeError, and closes ``coro``, if the group has not been entered, has finished or is
        shutting down. New children may be created while the group waits for the others.
        """
        if not self._open:
            raise self._refuse(coro)
        loop: Any = self._loop
        # Read the attribute where there is one: the method would cost a call for each child.
        factory = loop._task_factory if self._on_standard_loop else loop.get_task_factory()
        # Add the callback even to a task that is already done (eager start): its end must be
        # handled after this call, otherwise it would cancel the creator in the middle of creating
        # (gh-128550, gh-128588).
        task: Task[T]
        try:
            if factory is None:
                if (
                    not kwargs
                    and type(coro) is CoroutineType
                    and not visits  # can_construct(), without a call for each child
                    and _tasks._wrap_coroutine is None
                    and not loop.get_debug()
                    and _get_running_loop() is loop
                ):
                    task = construct_task(coro, loop=loop)
                else:
                    task = OwnTask(coro, loop=loop, **kwargs)
                self._tasks.add(task)
                add_callback(task, self._on_task_done)
            else:
                # Without keywords the plain call is faster.
                task = factory(loop, coro, **kwargs) if kwargs else factory(loop, coro)
                self._tasks.add(task)
                task.add_done_callback(self._on_task_done)
        except BaseException:
            close_unstarted(coro)
            raise
        if add_edge is not None:
            add_edge(task, self._parent_task)
        if self._aborting and not task.done():
            task.cancel()  # an eager child that cancelled its own group (gh-155418)
        try:
            return task
        finally:
            del task  # avoid a cycle through the traceback of an eager failure (gh-128552)

    def _refuse(self, coro: object) -> RuntimeError:
        close = getattr(coro, "close", None)
        if close is not None:
            close()
        if not self._entered:
            why = "has not been entered: create_task() works inside `async with TaskGroup() as g:`"
        elif self._exiting and not self._tasks:
            why = "is finished: its block has ended; use a new TaskGroup()"
        else:
            why = "is shutting down: one of its tasks failed or it was cancelled"
        return RuntimeError(f"TaskGroup {self!r} {why}")

    def cancel(self) -> None:
        """Cancel the tasks and the body of the group; its block then ends without an error.

        Failures of children in the process are raised as usual. Called before entry, this takes
        effect on entry. Idempotent; does nothing after the end. CPython 3.15 (gh-108951).
        """
        if not self._entered:
            self._cancel_on_enter = True
            return
        if self._aborting or (self._exiting and not self._tasks):
            return
        self._abort()
        self._cancel_parent()

    def _cancel_parent(self) -> None:
        if self._parent_task is not None and not self._parent_cancel_requested:
            self._parent_cancel_requested = True
            self._parent_task.cancel()

    def _abort(self) -> None:
        self._aborting = True
        self._open = False
        for task in tuple(self._tasks):
            if not task.done():
                task.cancel()

    def _on_task_done(self, task: Future[Any]) -> None:
        tasks = self._tasks
        tasks.discard(task)
        if discard_edge is not None:
            discard_edge(task, self._parent_task)
        if not tasks:
            waiter = self._on_completed_fut
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        # Where there is the attribute, reading it replaces two calls.
        if getattr(task, "_exception", task) is not None and not task.cancelled():
            error = task.exception()
            if error is not None:
                self._on_failure(task, error)

    def _on_failure(self, task: Future[Any], error: BaseException) -> None:
        self._errors.append(error)
        note_task(error, task, self)
        if self._base_error is None and is_base_error(error):
            self._base_error = error
        parent = self._parent_task
        if parent is None or parent.done():
            loop = self._loop
            assert loop is not None
            loop.call_exception_handler(
                {
                    "message": f"Task {task!r} has errored out but its parent task {parent} is "
                    "already completed",
                    "exception": error,
                    "task": task,
                }
            )
        elif not self._aborting and not self._parent_cancel_requested:
            # Interrupt whatever the body is doing; __aexit__ withdraws this request.
            self._abort()
            self._cancel_parent()

    def _report_hidden(self, loop: AbstractEventLoop) -> None:
        for error in self._errors:
            if error is not self._base_error:
                loop.call_exception_handler(
                    {
                        "message": "A failure in a TaskGroup is not raised because "
                        f"{type(self._base_error).__name__} ends the group",
                        "exception": error,
                        "task_group": self,
                    }
                )


def is_base_error(exc: BaseException) -> bool:
    return isinstance(exc, (SystemExit, KeyboardInterrupt))


def group_of(task: Future[Any]) -> TaskGroup | None:
    """Return the open group that ``task`` is a child of, or None. Any thread."""
    # Known from the group's callback; maintaining a registry would cost every group and child.
    for callback, _ in getattr(task, "_callbacks", None) or ():
        group = getattr(callback, "__self__", None)
        if isinstance(group, TaskGroup):
            return group
    return None


def current_deadline() -> float | None:
    """Return the earliest deadline (loop time) that applies to the current task, or None.

    All timeouts that the task is inside count, and for a child of a TaskGroup also those around its
    group (they cancel the task that owns the group, which then cancels the child), across any
    number of levels; for a child that starts eagerly, from its first suspension on. A task created
    with ``create_task`` or ``launch`` inside a timeout is not bound by that timeout. Returns None
    outside of a task. Never raises.
    """
    loop = asyncio._get_running_loop()
    task = current_task(loop) if loop is not None else None
    if task is None:
        return None
    found = deadlines(innermost(task))
    while (group := group_of(task)) is not None and (parent := group._parent_task) is not None:
        found += deadlines(group._scope)
        found += deadlines(getattr(parent, "_timeout", None))  # set after the group was entered
        task = parent
    return min(found, default=None)


__all__ = ["TaskGroup", "current_deadline", "group_of"]
