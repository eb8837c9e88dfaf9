"""OpenGroup: a task group that stays open across the cells of a notebook."""

from __future__ import annotations

import asyncio
import concurrent.futures
from asyncio import AbstractEventLoop, CancelledError, Task, TimerHandle, current_task
from collections.abc import Callable, Coroutine, Generator, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.visits import runs_here
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

T = TypeVar("T")
Starter = Callable[..., Any]
Reporter = Callable[[Any, BaseException], object]

#: The groups that have not ended, by name, and the lock of all that changes in them.
named: dict[str, OpenGroup] = {}
lock = fork_safe_lock()
at_fork(named.clear)  # the parent's, on a loop that never runs in the child


class OpenGroup(TaskGroup):
    """A named group of tasks that is open until somebody awaits, joins, leaves or cancels it.

    ``await group`` (in any loop), ``group.join()`` (in any thread but the loop's), the end of
    ``with group:`` and of ``async with group:`` close it and wait for all of its tasks. With
    ``on_error="cancel"`` the first failure cancels the others, and the failures come out there
    as an ExceptionGroup, as often as somebody asks. With ``on_error="continue"`` a failure is
    reported at once and forgotten; the others go on.

    Every method may be called from any thread. Usually ``open_group()`` makes one.
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
                f"on_error={on_error!r}: it is 'cancel' (one failure cancels the others) or "
                "'continue' (the others go on)"
            )
        super().__init__()
        self.name = name
        self.on_error = on_error
        self._loop: AbstractEventLoop = loop
        self._entered = self._open = True
        self._start = start
        self._report = report
        self._when: float | None = None
        self._timer: TimerHandle | None = None
        self.facts: GroupFacts = GroupFacts(self)
        self._settled = False
        self._outcome: Future[None] = Future(loop=loop)

    def __repr__(self) -> str:
        state = "cancelling" if self._aborting else "closing" if self._exiting else "open"
        if self._outcome.done():
            state = "ended"
        return f"<TaskGroup {self.name!r} {state} tasks={len(self._tasks)}>"

    def __len__(self) -> int:
        """How many of its tasks have not ended."""
        return len(self._tasks)

    def __bool__(self) -> bool:
        return True

    @property
    def closed(self) -> bool:
        """Whether it takes no new tasks."""
        return not self._open

    @property
    def timed_out(self) -> bool:
        """Whether its deadline passed and its tasks were cancelled for it."""
        return self.facts.timed_out

    def members(self) -> list[Any]:
        """Return the tasks and futures of it that have not ended. Any thread."""
        with lock:
            # No arrivals. A copy: a finaliser may add to the set meanwhile.
            return [task for task in self._tasks.copy() if hasattr(task, "cancel")]

    def failures(self) -> str:
        """Return who failed first, where and with what; nothing if no failure ended the group."""
        return "; ".join(self.facts.failed)

    @property
    def entered(self) -> bool:
        """Whether code runs inside of its ``async with`` now."""
        return self._parent_task is not None

    @property
    def loop(self) -> AbstractEventLoop:
        """The loop on which its tasks start."""
        return self._loop

    def mark_lost(self, error: BaseException) -> None:
        """End with ``error``, as its loop runs no more; tasks of other loops are cancelled.

        Once that loop's thread runs none of it any more; any thread.
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

        Keywords as for ``create_task``: ``name``, ``context``, in which it then runs, ``timeout``
        in seconds; also with ``eager_start`` it begins at the loop's next turn, if that runs in
        another thread. Raises RuntimeError when the group has ended or is being cancelled, and
        TypeError or ValueError for what is no coroutine and for other keywords and values;
        ``coro`` is closed then. Any thread.
        """
        arrival = object()
        with lock:
            # From here on the group does not end without this task: refusing one that has begun to
            # run already would be worse than either.
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
        """Adopt tasks or futures that run already, of any loop or thread, done ones too.

        From now on they are cancelled, waited for and their failures handled with the others.
        Raises TypeError for what is no future, with none of them adopted, and RuntimeError when
        the group has ended or is being cancelled. Any thread.
        """
        for task in tasks:
            if asyncio.isfuture(task) or isinstance(task, concurrent.futures.Future):
                continue
            hint = "; group.create_task(coro) starts a coroutine" if iscoroutine(task) else ""
            for refused in tasks:
                close_unstarted(refused)
            raise TypeError(f"add() takes tasks that run already, not {task!r}{hint}")
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
        """Have ``call`` run on the group's loop: at once if that is here."""
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
            why = "is finished: somebody awaited or joined it"
        return RuntimeError(f"{self!r} {why}; open_group({self.name!r}) opens a new one")

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
        self.facts.note_failure(task, error)
        if base and self._base_error is None:
            self._base_error = error
        if not self._aborting:
            self._abort()
            self._cancel_parent()

    def _report_failure(self, task: Any, error: BaseException) -> None:
        if self._report is not None:
            self._report(task, error)
        elif not getattr(task, "_launched", False):  # those are shown in their own cells
            self._loop.call_exception_handler(
                {
                    "message": f"{task!r} of group {self.name!r} failed; the others go on",
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
            # Futures of concurrent.futures take no message.
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
            self._outcome.set_exception(TimeoutError(f"the time of {self.name!r} is up"))
        else:
            self._outcome.set_result(None)

    def _leave_named(self) -> None:
        # Without a call: nothing can come between the look and the act, which the lock alone does
        # not see to, as a finaliser or a signal handler of this thread may open a group, too.
        if self.name in named and named[self.name] is self:
            del named[self.name]

    def when(self) -> float | None:
        """Return the deadline in the group's loop time, or None."""
        return self._when

    def reschedule(self, when: float | None) -> None:
        """Move the deadline to that time of the group's loop; None takes it away. Any thread.

        When it passes, all tasks are cancelled and whoever waits for the group gets TimeoutError.
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

        ``msg`` is what their CancelledError says.
        """
        with lock:
            self._open = False
        self._post(self._cancel_on_loop, msg)

    def _cancel_on_loop(self, msg: str | None) -> None:
        if not self._aborting and not self._outcome.done():
            self._abort(msg)
            self._cancel_parent()

    def _close(self) -> None:
        self._exiting = True
        self._post(self._settle)

    def join(self, timeout: float | None = None) -> None:
        """Close the group and block the calling thread until all of its tasks have ended.

        Raises the ExceptionGroup of their failures, and TimeoutError when ``timeout`` seconds (or
        the group's own deadline) have passed; after the former the tasks go on and join() may be
        called again. Ctrl-C ends the wait, not the tasks. On the loop's own thread RuntimeError
        at once: write ``await group`` there.
        """
        if runs_here(self._loop) and not self._outcome.done():
            raise RuntimeError(
                f"join() on the loop's own thread would wait forever, since {self!r} needs this "
                "thread to go on; write `await group`"
            )
        self._close()
        join_future(self._outcome, timeout)

    def __await__(self) -> Generator[Any, None, None]:
        """Close the group and wait for all of its tasks, in any loop; see join().

        Cancelling the one who awaits cancels the group and waits for its cleanup. The stop button
        of a notebook ends the wait only.
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
            # Leaving a `with` means that nothing of it is left behind; the second Ctrl-C is free.
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
        """Return the failures of the tasks and that of the body as one, as TaskGroup does."""
        if failures is not None:
            return failures.derive([*failures.exceptions, exc])
        return BaseExceptionGroup(f"unhandled errors in task group {self.name!r}", [exc])

    async def __aenter__(self) -> Self:
        """Enter: until the block ends, a failure cancels its body too. Any loop, in a task."""
        if self._parent_task is not None:
            raise RuntimeError(f"{self!r} has already been entered: one `async with` at a time")
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
        # On the parent's thread, where the block cannot end between the look and the act.
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
        if failures is not None:
            raise failures
        if cancelled is not None:
            raise cancelled
        return isinstance(exc, CancelledError)
