"""OpenGroup: a task group that stays open across the cells of a notebook."""

from __future__ import annotations

import asyncio
import concurrent.futures
from asyncio import AbstractEventLoop, CancelledError, Task, TimerHandle, current_task
from collections.abc import Callable, Coroutine, Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.visits import runs_here
from asyncnb._core.introspection.leaves import note_task
from asyncnb._core.launched.group_facts import GroupFacts
from asyncnb._core.primitives.awaitables import close_unstarted
from asyncnb._core.primitives.backport.uncancel import absorb_stale_cancel, has_stale_cancel
from asyncnb._core.primitives.create_task import new_task
from asyncnb._core.primitives.cross_loop import AnyFuture
from asyncnb._core.primitives.futures import (
    INTERRUPT,
    Future,
    iscoroutine,
    join_future,
    post_callback,
    runs_elsewhere,
)
from asyncnb._core.primitives.groups import TaskGroup, is_base_error
from asyncnb._core.primitives.joining import fail_on_dead_loop, is_dead
from asyncnb._core.primitives.tasks import Task as OwnTask
from asyncnb._core.primitives.waiting import wait

if TYPE_CHECKING:
    from asyncnb._core.introspection.counts import Counts

T = TypeVar("T")
Starter = Callable[..., Any]
Reporter = Callable[[Any, BaseException], object]

#: The groups that have not ended, by name, and the lock of all that changes in them.
named: dict[str, OpenGroup] = {}
lock = fork_safe_lock()
at_fork(named.clear)  # the parent's, on a loop that never runs in the child


class OpenGroup(TaskGroup):
    """A named group of tasks that stays open until it is awaited, joined, exited or cancelled.

    ``await group`` (in any loop), ``group.join()`` (in any thread except the loop's), the end of
    ``with group:`` and of ``async with group:`` close it and wait for all of its tasks. With
    ``on_error="cancel"`` the first failure cancels the other tasks, and these calls raise the
    failures as an ExceptionGroup, each time they are made. With ``on_error="continue"`` a failure
    is reported at once and forgotten; the other tasks keep running.

    Every method may be called from any thread. Usually ``open_group()`` creates it.
    """

    def __init__(
        self,
        name: str,
        *,
        loop: AbstractEventLoop,
        on_error: str = "cancel",
        start: Starter | None = None,
        report: Reporter | None = None,
    ) -> None:
        if on_error not in ("cancel", "continue"):
            raise ValueError(
                f"on_error must be 'cancel' (one failure cancels the other tasks) or 'continue' "
                f"(the other tasks keep running), not {on_error!r}"
            )
        super().__init__()
        self.name = name
        self.on_error = on_error
        self._loop: AbstractEventLoop = loop
        self._entered = self._open = True
        self._start = start
        self._report = report
        #: Returns what the registry knows of its tasks.
        self._count: Callable[[GroupFacts], Counts] | None = None
        self._when: float | None = None
        self._timer: TimerHandle | None = None
        self.facts: GroupFacts = GroupFacts(self)
        self._settled = False
        self._outcome: Future[None] = Future(loop=loop)

    def __repr__(self) -> str:
        state = "cancelling" if self._aborting else "closing" if self._exiting else "open"
        if self._outcome.done():
            state = "ended"
        ended = "" if self._count is None else self._count(self.facts).ended()
        return f"<TaskGroup {self.name!r} {state} tasks={len(self._tasks)}{ended}>"

    def __len__(self) -> int:
        """The number of its tasks that have not ended."""
        return len(self._tasks)

    def __bool__(self) -> bool:
        return True

    @property
    def closed(self) -> bool:
        """Whether the group is closed to new tasks."""
        return not self._open

    @property
    def timed_out(self) -> bool:
        """Whether the group's deadline passed and its tasks were cancelled for that reason."""
        return self.facts.timed_out

    def members(self) -> list[Any]:
        """Return the group's tasks and futures that have not ended. Any thread."""
        with lock:
            # Without arrivals. A copy, since a finaliser may add to the set meanwhile.
            return [task for task in self._tasks.copy() if hasattr(task, "cancel")]

    def failures(self) -> str:
        """Return which tasks failed first, where and with what; "" if none ended the group."""
        return "; ".join(self.facts.failed)

    @property
    def entered(self) -> bool:
        """Whether code is running inside its ``async with`` now."""
        return self._parent_task is not None

    @property
    def loop(self) -> AbstractEventLoop:
        """The loop that its tasks start on."""
        return self._loop

    def mark_lost(self, error: BaseException) -> None:
        """End with ``error`` because the group's loop is dead; cancel its tasks of other loops.

        Call this once that loop's thread no longer runs any of the group's code. Any thread.
        """
        with lock:
            self._open = False
            self._aborting = True
            members, lost = self.members(), not self._outcome.done()
            self._tasks.clear()
            self._leave_named()
        if lost:
            fail_on_dead_loop(self._outcome, error)
        for task in members:
            home = task.get_loop() if asyncio.isfuture(task) else None
            if home is None or not is_dead(home):
                task.cancel() if home is None else home.call_soon_threadsafe(task.cancel)
        self._cancel_parent()

    def create_task(self, coro: Coroutine[Any, Any, T], **kwargs: Any) -> Task[T]:
        """Start ``coro`` as a task of this group, on the group's loop, and return the task.

        Keywords are those of ``create_task``: ``name``, ``context``, in which the task then runs,
        ``timeout`` in seconds, and ``eager_start``; even with that the task starts in the loop's
        next iteration if the loop runs in another thread. Raises RuntimeError if the group has
        ended or is being cancelled, and TypeError or ValueError for anything but a coroutine and
        for other keywords and values; ``coro`` is closed then. Any thread.
        """
        arrival = object()
        with lock:
            # From here on the group does not end without this task: refusing a task that has
            # already started to run would be worse than either.
            if not self._open:
                raise self._refuse(coro)
            self._tasks.add(arrival)
        try:
            task: Task[T]
            if self._start is not None:
                task = self._start(coro, **kwargs)
            elif runs_elsewhere(self._loop):
                task = OwnTask(coro, loop=self._loop, **kwargs)
            else:
                task = new_task(self._loop, coro, **kwargs)
            self._adopt([task])
        except BaseException:
            close_unstarted(coro)
            raise
        finally:
            with lock:
                self._tasks.discard(arrival)
            self._post(self._settle)
        return task

    def add(self, *tasks: AnyFuture) -> None:
        """Adopt tasks or futures that already exist, of any loop or thread, also done ones.

        From now on they are cancelled and waited for with the other tasks, and their failures are
        handled like theirs. Raises TypeError for anything but a future, with none of them adopted,
        and RuntimeError if the group has ended or is being cancelled. Any thread.
        """
        for task in tasks:
            if asyncio.isfuture(task) or isinstance(task, concurrent.futures.Future):
                continue
            hint = "; use group.create_task(coro) for a coroutine" if iscoroutine(task) else ""
            for refused in tasks:
                close_unstarted(refused)
            raise TypeError(f"add() takes tasks and futures, not {task!r}{hint}")
        with lock:
            if not self._open:
                raise self._refuse(None)
            new: list[Any] = [task for task in tasks if task not in self._tasks]
            self._tasks.update(new)
        self._adopt(new)

    def _adopt(self, new: Iterable[Any]) -> None:
        with lock:
            self._tasks.update(new)
            aborting = self._aborting
        for task in new:
            if aborting:
                task.cancel()
            if asyncio.isfuture(task) and runs_elsewhere(task.get_loop()):
                post_callback(task, self._on_task_done_anywhere, None)
            else:
                task.add_done_callback(self._on_task_done_anywhere)

    def _on_task_done_anywhere(self, task: Any) -> None:
        self._post(self._on_task_done, task)

    def _post(self, call: Callable[..., object], *args: object) -> None:
        """Run ``call`` on the group's loop: at once if that runs in this thread, else scheduled."""
        if not runs_elsewhere(self._loop):
            call(*args)
        else:
            self._loop.call_soon_threadsafe(call, *args)

    def _refuse(self, coro: object) -> RuntimeError:
        close = getattr(coro, "close", None)
        if close is not None:
            close()
        if self._outcome.done() and is_dead(self._loop):
            why = "ended with the embedded loop that it was on"
        elif self._aborting:
            why = "is shutting down" if self._tasks else "was cancelled or has failed"
        else:
            why = "has finished: it was awaited or joined"
        return RuntimeError(f"{self!r} {why}; call open_group({self.name!r}) for a new one")

    def _on_task_done(self, task: Any) -> None:
        with lock:
            self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._on_failure(task, error)
        self._settle()

    def _on_failure(self, task: Any, error: BaseException) -> None:
        base = is_base_error(error)
        if self.on_error == "continue" and not base:
            self._report_failure(task, error)
            return
        self._errors.append(error)
        note_task(error, task, self)
        self.facts.note_failure(task, error)
        if base and self._base_error is None:
            self._base_error = error
        if not self._aborting:
            self._abort()
            self._cancel_parent()

    def _report_failure(self, task: Any, error: BaseException) -> None:
        if self._report is not None:
            self._report(task, error)
        elif not getattr(task, "_launched", False):  # launched ones show theirs in their own cells
            self._loop.call_exception_handler(
                {
                    "message": f"{task!r} of group {self.name!r} failed; the others keep running",
                    "exception": error,
                    "task": task,
                }
            )

    def _abort(self, msg: str | None = None) -> None:
        with lock:
            self._aborting = True
            self._open = False
            tasks = self.members()
        for task in tasks:
            # A concurrent.futures.Future takes no cancel message.
            args = (msg,) if msg is not None and asyncio.isfuture(task) else ()
            if asyncio.isfuture(task) and runs_elsewhere(task.get_loop()):
                task.get_loop().call_soon_threadsafe(task.cancel, *args)
            else:
                task.cancel(*args)
        self._settle()

    def _settle(self) -> None:
        """End the group if there is nothing left to wait for."""
        with lock:
            if self._outcome.done() or self._settled:
                return
            if self._tasks or not (self._exiting or self._aborting):
                return
            self._settled = True
            self._open = False
            self._leave_named()
        if self._timer is not None:
            self._timer.cancel()
        errors, self._errors = self._errors, []
        if self._base_error is not None:
            self._outcome.set_exception(self._base_error)
        elif errors:
            self._outcome.set_exception(
                BaseExceptionGroup(
                    f"unhandled errors in task group {self.name!r}: "
                    f"{self.facts.summary(len(errors))}",
                    errors,
                )
            )
        elif self.facts.timed_out:
            self._outcome.set_exception(TimeoutError(f"group {self.name!r} timed out"))
        else:
            self._outcome.set_result(None)

    def _leave_named(self) -> None:
        # Without a call, so that nothing can run between check and deletion. The lock alone does
        # not ensure that: a finaliser or a signal handler of this thread may open a group, too.
        if self.name in named and named[self.name] is self:
            del named[self.name]

    def when(self) -> float | None:
        """Return the deadline in the group's loop time, or None."""
        return self._when

    def reschedule(self, when: float | None) -> None:
        """Move the deadline to time ``when`` of the group's loop; None removes it. Any thread.

        When it passes, all tasks are cancelled and code that waits for the group gets TimeoutError.
        """
        self._when = when
        self._post(self._arm)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._when is not None and not self._outcome.done():
            self._timer = self._loop.call_at(self._when, self._on_timeout)

    def _on_timeout(self) -> None:
        if not self._aborting:
            self.facts.timed_out = True
            self._abort()
            self._cancel_parent()

    def cancel(self, msg: str | None = None) -> None:
        """Cancel all tasks; the group then ends without an error. Idempotent. Any thread.

        ``msg`` is the message of their CancelledError.
        """
        with lock:
            self._open = False
        self._post(self._cancel_on_loop, msg)

    def _cancel_on_loop(self, msg: str | None) -> None:
        if not self._aborting and not self._outcome.done():
            self.facts.cancelled = bool(self._tasks)
            self._abort(msg)
            self._cancel_parent()

    def _close(self) -> None:
        self._exiting = True
        self._post(self._settle)

    def join(self, timeout: float | None = None) -> None:
        """Close the group and block the calling thread until all of its tasks have ended.

        Raises the ExceptionGroup of their failures, and TimeoutError when ``timeout`` seconds (or
        the group's own deadline) have passed; after the former the tasks keep running and you can
        call join() again. Ctrl-C ends the wait, not the tasks. On the loop's own thread it raises
        RuntimeError at once: write ``await group`` there.
        """
        if runs_here(self._loop) and not self._outcome.done():
            raise RuntimeError(
                f"join() on the loop's own thread would deadlock, since {self!r} needs this "
                "thread to finish; use `await group` instead"
            )
        self._close()
        join_future(self._outcome, timeout)

    def __await__(self) -> Generator[Any, None, None]:
        """Close the group and wait for all of its tasks, in any loop; see join().

        Cancelling the awaiting task cancels the group and waits for its cleanup. The stop button of
        a notebook ends only the wait.
        """
        self._close()
        return self._wait_for_end().__await__()

    async def _wait_for_end(self) -> None:
        outcome = self._outcome
        cancelled: CancelledError | None = None
        while not outcome.done():
            try:
                await wait([outcome])
            except CancelledError as exc:
                if exc.args and exc.args[0] is INTERRUPT:
                    raise
                cancelled = exc
                self.cancel()
        failed = not outcome.cancelled() and outcome.exception() is not None
        if cancelled is not None and (not failed or self.facts.timed_out):
            raise cancelled
        outcome.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if exc is not None:
            self.cancel()
        try:
            self.join()
        except KeyboardInterrupt:
            # After a `with` block nothing of it may still run; a second Ctrl-C ends this wait, too.
            self.cancel()
            self.join()
            raise
        except BaseExceptionGroup as failures:
            if exc is None or is_base_error(exc):
                raise
            raise self._with_body(exc, failures) from None
        if exc is not None and not is_base_error(exc):
            raise self._with_body(exc, None) from None

    def _with_body(
        self, exc: BaseException, failures: BaseExceptionGroup[BaseException] | None
    ) -> BaseExceptionGroup[BaseException]:
        """Return the failures of the tasks and of the body as one group, as TaskGroup does."""
        if failures is not None:
            return failures.derive([*failures.exceptions, exc])
        return BaseExceptionGroup(f"unhandled errors in task group {self.name!r}", [exc])

    async def __aenter__(self) -> Self:
        """Enter the block; until it ends, a failure also cancels its body. Any loop, in a task."""
        if self._parent_task is not None:
            raise RuntimeError(f"{self!r} has already been entered: use one `async with` at a time")
        if not self._open:
            raise self._refuse(None)
        self._parent_task = current_task()
        self._parent_cancel_requested = False
        return self

    def _cancel_parent(self) -> None:
        parent = self._parent_task
        if parent is not None:
            home = parent.get_loop()
            if runs_elsewhere(home):
                home.call_soon_threadsafe(self._cancel_parent_on_loop, parent)
            else:
                self._cancel_parent_on_loop(parent)

    def _cancel_parent_on_loop(self, parent: Task[Any]) -> None:
        # On the parent's thread, where the block cannot end between the check and the cancel.
        if self._parent_task is parent and not self._parent_cancel_requested:
            self._parent_cancel_requested = True
            parent.cancel()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> bool:
        parent, self._parent_task = self._parent_task, None
        ours = self._parent_cancel_requested
        if exc is not None:
            self.cancel()
        self._close()
        cancelled = exc if isinstance(exc, CancelledError) else None
        failures: BaseException | None = None
        try:
            await self._wait_for_end()
        except CancelledError as error:
            cancelled = error
        except BaseException as error:
            failures = error
        if ours and parent is not None:
            if parent.uncancel() == 0:
                cancelled = None
            if has_stale_cancel(parent):
                await absorb_stale_cancel(parent)
        bodily = exc is not None and not isinstance(exc, CancelledError) and not is_base_error(exc)
        if bodily and (failures is None or isinstance(failures, BaseExceptionGroup)):
            assert exc is not None
            raise self._with_body(exc, failures) from None
        if isinstance(failures, BaseExceptionGroup):
            raise failures from None  # that the group cancelled its body is no part of the failure
        if failures is not None:
            raise failures
        if cancelled is not None:
            raise cancelled
        return isinstance(exc, CancelledError)
