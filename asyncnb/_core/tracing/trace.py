"""The record of one task: its steps and the facts about it."""

from __future__ import annotations

import asyncio
import itertools
import types
import weakref
from asyncio import AbstractEventLoop, CancelledError
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NamedTuple

from asyncnb._core.introspection.call_graph import awaited_by
from asyncnb._core.introspection.handle import TaskHandle
from asyncnb._core.introspection.leaves import format_failure
from asyncnb._core.primitives.timeouts import innermost
from asyncnb._core.tracing.foreign_timeouts import expired_in
from asyncnb._core.tracing.traced_loops import unwatch

#: The maximum number of cancellations and timeouts, and of awaiters, that are kept for one task.
MAX_EVENTS = 100


class Step(NamedTuple):
    """One step of a task: it occupied the loop from ``start`` to ``end``, then waited.

    ``code`` is that of the innermost coroutine in which the task was suspended, None if it only
    yielded to other tasks; ``on`` is the id of the traced task it waits for, if it awaits one
    directly. Times are those of the recording's clock.
    """

    task: TaskTrace
    start: float
    end: float
    code: types.CodeType | None
    on: int | None


class TaskTrace:
    """The facts recorded about one task besides its steps. Times are the recording's clock."""

    __slots__ = (
        "__weakref__",
        "_record",
        "awaited_by",
        "created",
        "ended",
        "error",
        "events",
        "gathered_in",
        "id",
        "launched",
        "name",
        "parent",
        "recording",
        "seconds",
        "started",
        "state",
        "steps",
        "stopping",
        "task",
    )

    _ids = itertools.count(1)

    def __init__(self, recording: Any, record: TaskHandle | None) -> None:
        self.recording: Any = recording  # a Recording
        self.launched: bool = record is not None
        # A weak reference: a recording outlives the registry's history and must keep no result
        # alive.
        self._record = _nothing if record is None else weakref.ref(record)
        self.id: int = record.id if record is not None else -next(self._ids)
        self.name: str = ""
        self.parent: int | None = None
        self.created: float = recording.now()
        self.started: float | None = None
        self.ended: float | None = None
        self.state: str = "pending"
        self.error: str | None = None
        #: The number of steps taken, and the seconds for which they occupied the loop.
        self.steps: int = 0
        self.seconds: float = 0.0
        #: Whether the task was asked to end and has not resumed other work since.
        self.stopping: bool = False
        #: (when, "cancel" or "timeout", message) as delivered to its code; "on": it kept running.
        self.events: list[tuple[float, str, str]] = []
        #: The gather() futures that its end is part of, with the id of the task awaiting each.
        self.gathered_in: list[tuple[asyncio.Future[Any], int]] = []
        #: (when, id of a traced task that was awaiting this one when it ended).
        self.awaited_by: list[tuple[float, int]] = []
        self.task: Callable[[], asyncio.Task[Any] | None] = _nothing

    @property
    def record(self) -> TaskHandle | None:
        """The registry's record of a launched task, as long as the registry keeps it."""
        return self._record()

    def begin(self) -> None:
        """Record the start of the first step. Call it within that step."""
        task = asyncio.current_task()
        if task is not None:
            self.task = weakref.ref(task)
            task._trace = self  # type: ignore[attr-defined]
            self.name = task.get_name()
        self.started = self.recording.now()
        self.state = "running"

    def record_cancel(self, exc: CancelledError, coro: Coroutine[Any, Any, Any]) -> None:
        """Record a cancellation that is about to be delivered to ``coro``."""
        task = self.task()
        text = exc.args[0] if exc.args and isinstance(exc.args[0], str) else ""
        timed_out = (task is not None and _timed_out(task)) or expired_in(coro)
        what = "timeout" if timed_out else "cancel"
        if len(self.events) < MAX_EVENTS:
            self.events.append((self.recording.now(), what, text))
        self.stopping = True

    def record_recovery(self, when: float) -> None:
        """Record a withdrawal of the request, after a step of a task that was asked to end."""
        task = self.task()
        if task is None or not task.cancelling():
            self.stopping = False
            if len(self.events) < MAX_EVENTS:
                self.events.append((when, "on", ""))

    def note_gather(self, gathering: asyncio.Future[Any], children: Iterable[Any]) -> None:
        """Record that this task awaits ``gathering``, and so the end of each of ``children``."""
        for child in children:
            trace = trace_of(child)
            if trace is not None and len(trace.gathered_in) < MAX_EVENTS:
                trace.gathered_in.append((gathering, self.id))

    def end(self, error: BaseException | None, loop: AbstractEventLoop | None = None) -> None:
        """Record the end and the tasks awaiting it; call it in the last step, before they wake up.

        Pass ``loop`` for a task on a loop that will run no further step of it.
        """
        if self.ended is not None:
            return  # the loop has crashed, and the garbage collector is now closing the coroutine
        self.ended = now = self.recording.now()
        self.recording.note_ended(self)
        if error is None:
            self.state = "done"
        elif isinstance(error, CancelledError):
            self.state = "cancelled"
        else:
            self.state = "failed"
            if not isinstance(error, GeneratorExit):
                self.error = format_failure(error)
        task = self.task()
        if task is not None:
            self.name = task.get_name()
            # gather(return_exceptions=True) leaves a callback on one child at a time.
            ids = {to: None for gathering, to in self.gathered_in if not gathering.done()}
            for waiting in awaited_by(task)[:MAX_EVENTS]:
                trace = trace_of(waiting)
                if trace is not None and trace.recording is self.recording:
                    ids[trace.id] = None
            self.awaited_by += [(now, to) for to in ids]
        self.gathered_in.clear()
        if self.launched and loop is None and task is not None:
            loop = task.get_loop()
        if self.launched and loop is not None:
            unwatch(loop)

    def current_name(self) -> str:
        """Return the task's current name. Any thread."""
        if (record := self.record) is not None:
            return record.name
        task = self.task()
        return self.name if task is None else task.get_name()


def trace_of(task: Any) -> TaskTrace | None:
    """Return the trace of ``task``, even before its first step; None if it is not recorded."""
    trace: TaskTrace | None = getattr(task, "_trace", None)
    return trace or getattr(getattr(task, "_coro", None), "trace", None)


def _nothing() -> None:
    return None


def _timed_out(task: asyncio.Task[Any]) -> bool:
    scope = innermost(task)
    while scope is not None:
        if scope.expired():
            return True
        scope = scope._outer
    return False
