"""TaskRecord: what asyncnb knows of one launched task besides the task itself."""

from __future__ import annotations

import contextvars
import inspect
import itertools
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.observers import Observers
from asyncnb._core.introspection import handle as _handle
from asyncnb._core.introspection.info import ENDED, CellRef, TaskInfo
from asyncnb._core.introspection.leaves import format_failure
from asyncnb._core.launched.ended import EndedFacts
from asyncnb._core.launched.time_limit import limit_of, seconds_left

if TYPE_CHECKING:
    from asyncnb._core.introspection.info import CallsInfo
    from asyncnb._core.launched.adjustable import Adjustable, EndedCalls
    from asyncnb._core.launched.group_facts import GroupFacts
    from asyncnb._core.launched.open_group import OpenGroup
    from asyncnb._core.repeating.repeat import RunCounts
    from asyncnb._core.tracing.trace import TaskTrace

#: Called with a record when the task is launched, renamed, asked to cancel, makes progress, ends
#: and is forgotten; not for each of its steps. In any thread, so they only take note.
observers = Observers("launched tasks")
at_fork(observers.clear)

#: The record of the launched task that the running code belongs to, with all that it starts.
current_record = cast("contextvars.ContextVar[TaskRecord | None]", _handle.current_record)


class Placement:
    """Where the code of a task runs, if that is not the embedded loop."""

    __slots__ = ("cpu", "kind", "worker")

    def __init__(self, kind: str, worker: str | None = None) -> None:
        #: ``loop``, ``thread``, ``kernel``, or the kind of an engine; see ``TaskInfo``.
        self.kind = kind
        #: The worker of a task that runs elsewhere; "" while it waits for one.
        self.worker = worker
        #: Seconds of processor time that its thread used, once it has ended.
        self.cpu: float | None = None


class CellRequest:
    """What the cell that launched a task wants of its end."""

    __slots__ = ("bind", "identity", "shows_result", "waited")

    def __init__(
        self,
        *,
        identity: object = None,
        bind: str | None = None,
        shows_result: bool = False,
        waited: bool = False,
    ) -> None:
        #: What makes a second launch "the same again": a name or a cell id, or None.
        self.identity = identity
        #: The variable that gets the result, or None.
        self.bind = bind
        #: Whether the result is displayed in the launching cell.
        self.shows_result = shows_result
        #: Whether the launching cell itself waits for the end, and raises a failure.
        self.waited = waited


class Origin:
    """Where tasks were launched: one object for all tasks of a cell."""

    __slots__ = ("cell", "late", "message")

    def __init__(self, cell: CellRef | None = None, message: Any = None, late: Any = None) -> None:
        self.cell = cell
        #: The front end's request, whose cell gets the output; None in plain Python.
        self.message = message
        #: In a headless run: what puts the late part of the output into that cell.
        self.late = late


#: Shared by all records that have no other; not to be written.
NOWHERE: Final = Origin()
ON_THE_LOOP: Final = Placement("loop")
NO_REQUEST: Final = CellRequest()


class TaskRecord(EndedFacts):
    """What asyncnb knows of one launched task besides the task itself.

    Written by the thread that launches the task until the task starts, and from then on by the
    loop's thread alone; ``dirty`` is the feed's. Which file writes which part is in a table that
    ``tests/core/launched/test_record.py`` compares with the code.
    """

    __slots__ = ("body", "created", "ended", "first_limit", "id", "origin", "parent", "started")

    # How it starts.

    id: int
    created: float
    #: What the task's coroutine awaits, to be closed if that never begins.
    body: Any
    #: The time limit that it starts with, in seconds, or None for none; then BEGUN.
    first_limit: Any
    #: What to set in a context of the user's at the first step: variables with their values.
    variables: Sequence[tuple[Any, Any]] = ()

    # Where it belongs, and where it runs.

    #: The id of the launched task that launched it, or None.
    parent: int | None
    origin: Origin
    #: What the cell that launched it wants of its end.
    request: CellRequest = NO_REQUEST
    #: The facts of the open group that it belongs to; the group's name may be used again.
    group_facts: GroupFacts | None = None
    placement: Placement = ON_THE_LOOP

    #: The ``After`` of a task that waits for others before it starts, also once it has started.
    after: Any = None

    # What happens to it.

    started: float | None
    ended: float | None
    cancel_asked: bool = False
    #: What it has done so far if it is repeated, or tried again after a failure.
    rounds: RunCounts | None = None
    #: Items done and items in all (None: unknown), of what the task reports.
    progress: tuple[int, int | None] | None = None
    #: The run of many calls that the task is, with a limit and a rate that can be set, or None;
    #: after its end, the facts about it.
    adjustable: Adjustable | EndedCalls | None = None
    #: What a recording knows of it (``steps``, ``seconds`` on the loop, ...), if it is traced.
    trace: TaskTrace | None = None
    #: What the task has printed and displayed; the front end keeps it here. None: nothing so far.
    output: Any = None
    #: Whether the user asked to be notified of its end. A command of any thread sets it.
    notify: bool = False
    #: The observers were notified, and the feed has not looked at it since.
    dirty: bool = False

    _ids = itertools.count(1)

    def __init__(self) -> None:
        # EndedFacts.__init__ written inline, since this is a part of every launch.
        self.end = self.held = None
        self._shown = self._release_requested = False
        self.body = self.first_limit = self.started = self.ended = None
        self.id = next(self._ids)
        parent = current_record.get()
        if parent is None:
            self.parent, self.origin = None, NOWHERE
        else:
            self.parent, self.origin = parent.id, parent.origin
        self.created = time.time()

    def belong_to(self, group: OpenGroup) -> None:
        """Note that the task belongs to ``group``."""
        self.group_facts = group.facts

    @property
    def cell(self) -> CellRef | None:
        """The cell that launched it, or None."""
        return self.origin.cell

    @property
    def group(self) -> str | None:
        """The name of the open group that it belongs to, or None."""
        return None if self.group_facts is None else self.group_facts.name

    @property
    def kind(self) -> str:
        """Where it runs, as ``TaskInfo.kind``."""
        return self.placement.kind

    @property
    def repeats(self) -> bool:
        """Whether the loop runs it again and again, wherever one round of it runs."""
        return self.rounds is not None and self.rounds.repeats

    def changed(self) -> None:
        """Notify the observers that a fact about this task has changed; any thread."""
        if observers.each:
            observers.notify(self)

    def state(self) -> str:
        """Return the state; from any thread."""
        if self.end is not None:
            return self.end
        task = self.task
        if task.done():
            if task.cancelled():
                return "cancelled"
            return "done" if task._exception is None else "failed"
        if task.cancelling() or self.cancel_asked:
            return "cancelling"
        coro = task.get_coro()
        if task._pause is not None and not getattr(coro, "cr_running", False):
            return "paused"
        if self.started is None and (
            inspect.iscoroutine(coro) and inspect.getcoroutinestate(coro) == inspect.CORO_CREATED
        ):
            return "pending"
        if self.after is not None and self.after.pending:
            return "pending"
        if self.rounds is not None and self.rounds.is_between_runs():
            return "waiting"
        worker = self.placement.worker
        if worker is not None:
            return "running" if worker else "pending"
        if self.kind == "thread" or getattr(coro, "cr_running", False):
            return "running"
        return "waiting"

    def error(self) -> str | None:
        """Return ``Type: message`` of a task that has failed, None of any other; any thread."""
        if self.end is not None:
            return self.last_error
        task = self.task
        error = task._exception if task.done() else None
        return None if error is None else format_failure(error)

    def has_timed_out(self) -> bool:
        """Return whether it has failed with TimeoutError; any thread."""
        if self.end is not None:
            return self.timed_out
        return isinstance(self.task._exception, TimeoutError)

    def info(self) -> TaskInfo:
        """Return a frozen snapshot; from any thread."""
        from asyncnb._core.introspection.stack import waiting_on  # seldom needed

        state = self.state()
        error = self.error() if state == "failed" else None
        rounds, calls = self.rounds, self.calls()
        if error is None and rounds is not None and state not in ENDED:
            error = rounds.last_error
        return TaskInfo(
            id=self.id,
            name=self.name,
            state=state,
            kind=self.kind,
            group=self.group,
            parent=self.parent,
            cell=self.cell,
            created=self.created,
            started=self.began(state),
            ended=self.ended,
            timeout=None if self.end is not None else seconds_left(self),
            progress=self.progress if calls is None else calls.progress,
            error=error,
            waiting_on=None if state in ENDED else waiting_on(self.task._delegate or self.task),
            cpu=self._cpu_seconds(),
            worker=self.placement.worker or None,
            steps=None if self.trace is None else self.trace.steps,
            rounds=rounds.done if rounds is not None and self.repeats else None,
            failures=0 if rounds is None else rounds.failed if self.repeats else rounds.attempts,
            after=None if self.after is None else self.after.names,
            follows=self.after is not None and self.after.follows,
            next_run=None if rounds is None else rounds.next_run,
            skipped=0 if rounds is None else rounds.skipped,
            calls=calls,
        )

    def calls(self) -> CallsInfo | None:
        """Return the counts of a task that is a run of many calls, None of another; any thread."""
        if self.adjustable is None:
            return None
        from asyncnb._core.launched.adjustable import calls_info  # few tasks are

        found = calls_info(self.adjustable)
        # Nothing starts while it is paused, so there is neither a pace nor an end to report.
        return found._replace(per_second=None, eta=None) if self.state() == "paused" else found

    def began(self, state: str) -> float | None:
        """Return when its code started, in the given state; None if it has not, or never did."""
        if self.started is not None or state == "pending" or self.after is not None:
            return self.started
        return self.created

    def printed(self) -> str:
        """Return the end of what the task printed; any thread."""
        return "" if self.output is None else str(self.output.text)

    def time_limit(self) -> Any:
        """Return the ``Timeout`` of the task; None if it ended without one. Any thread."""
        return limit_of(self)

    def pause_refusal(self) -> str | None:
        """Return the sentence for a task that cannot be paused, None for one that can."""
        if self.kind == "loop" or self.repeats or (self.after is not None and self.after.pending):
            return None
        if self.rounds is not None and self.rounds.is_between_runs():
            return None
        name = self.name
        return (
            f"{name!r} does not run on the loop ({self.kind}), and only code there can be paused, "
            f"between two awaits; `%tasks cancel {name}` ends it"
        )

    def report_failure(self) -> None:
        """Pass the exception of a task that has failed to its loop's exception handler."""
        if self.state() != "failed":
            return
        task = self.task
        task.get_loop().call_exception_handler(
            {
                "message": f"Task {task.get_name()!r} failed",
                "exception": task._exception,
                "task": task,
            }
        )
        self.silence()

    def silence(self) -> None:
        """Keep the garbage collector from reporting a failure that was already shown."""
        task = self.task_in_memory()
        if task is not None:
            task._log_traceback = False

    def is_unseen(self) -> bool:
        """Return whether no code has retrieved the exception of a failed task."""
        task = self.task_in_memory()
        return self.unseen if task is None else task._log_traceback

    def _cpu_seconds(self) -> float | None:
        if self.trace is not None and self.kind == "loop":
            return self.trace.seconds
        if self.placement.cpu is None and self.kind == "thread" and self.end is None:
            from asyncnb._core.introspection.stack import worker_of  # seldom needed

            worker = worker_of(self.task)
            return None if worker is None else worker.cpu()
        return self.placement.cpu
