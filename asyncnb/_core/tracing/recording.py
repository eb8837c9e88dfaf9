"""Recording: when a traced task ran, what it waited for, and what cancelled it.

Off by default. A traced task's coroutine is wrapped in an object that every step passes through;
other tasks are created and stepped as usual. The amount recorded is bounded: the newest steps, in a
ring buffer; a task counts the steps it made, so the number of dropped steps is known.

Loop threads write and any thread reads: appending to a deque is atomic, and readers copy first.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import types
import weakref
from asyncio import AbstractEventLoop, CancelledError
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from asyncnb._core.base.errors import format_exception_line
from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.introspection.call_graph import awaited_by
from asyncnb._core.introspection.info import ENDED, TaskHandle
from asyncnb._core.primitives.awaitables import iscoroutine
from asyncnb._core.primitives.tasks import add_task_hook
from asyncnb._core.tracing.foreign_timeouts import expired_in
from asyncnb._core.tracing.traced_loops import unwatch, watch

__asyncnb_frames__ = "launches"

_lock = fork_safe_lock()

#: The maximum number of steps that a recording keeps, the newest: about 15 MB when it is full.
MAX_STEPS = 100_000
#: The maximum number of tasks that a recording keeps, the newest.
MAX_TASKS = 10_000
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

    def __init__(self, recording: Recording, record: TaskHandle | None) -> None:
        self.recording: Recording = recording
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
                self.error = format_exception_line(error)
        _count_recorded(-1)
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
    from asyncnb._core.primitives.timeouts import (
        innermost,  # it builds on what builds on this module
    )

    scope = innermost(task)
    while scope is not None:
        if scope.expired():
            return True
        scope = scope._outer
    return False


class Recording:
    """The steps of some tasks, newest last.

    ``with recording:`` records every task that the block creates, and all tasks that these create
    in turn: with asyncnb's calls on any loop, with asyncio's on the embedded loop and under
    ``run_virtual``. Tasks on a virtual clock are timed by that clock.
    """

    def __init__(self, most_steps: int = MAX_STEPS, most_tasks: int = MAX_TASKS) -> None:
        self.steps: deque[Step] = deque(maxlen=most_steps)
        self.traces: OrderedDict[int, TaskTrace] = OrderedDict()
        #: The ids of the tasks that have ended, in the order in which they ended.
        self._ended: deque[int] = deque()
        self.most_tasks = most_tasks
        #: The number of tasks that were dropped with all their steps.
        self.tasks_dropped: int = 0
        self.clock: Callable[[], float] = time.perf_counter
        #: The offset that turns the clock into seconds since the epoch; 0 on a virtual clock.
        self.epoch: float = time.time() - time.perf_counter()
        self._tokens: list[Any] = []

    def now(self) -> float:
        """Return the current time of the recording's clock."""
        return self.clock()

    def use_clock_of(self, loop: AbstractEventLoop | None) -> None:
        """Use the clock of ``loop`` if it is a virtual one and nothing is recorded yet."""
        if getattr(loop, "virtual", False) and not self.traces:
            assert loop is not None
            self.clock, self.epoch = loop.time, 0.0

    def __enter__(self) -> Recording:
        _count_recorded(1)
        self._tokens.append(current_recording.set(self))
        return self

    def __exit__(self, *exc: object) -> None:
        current_recording.reset(self._tokens.pop())
        _count_recorded(-1)

    def root(
        self, coro: Coroutine[Any, Any, Any], record: TaskHandle, loop: AbstractEventLoop
    ) -> TracedCoroutine:
        """Return ``coro``, of a task that is being launched, as a traced coroutine. Any thread."""
        watch(loop, trace_child)
        return traced(coro, self, record)

    def add(self, trace: TaskTrace) -> None:
        """Add a task; drop the task that ended first if there are too many."""
        self.traces[trace.id] = trace
        while len(self.traces) > self.most_tasks and self._ended:
            if self.traces.pop(self._ended.popleft(), None) is not None:
                self.tasks_dropped += 1

    def note_ended(self, trace: TaskTrace) -> None:
        """Record that a task has ended, so that it may be dropped."""
        self._ended.append(trace.id)

    def steps_of(self) -> dict[int, list[Step]]:
        """Return the steps that are still kept, by the id of their task. Any thread."""
        found: dict[int, list[Step]] = {}
        for step in _copy_of(self.steps):
            found.setdefault(step[0].id, []).append(step)
        return found

    def clear(self) -> None:
        """Drop the tasks that have ended, and their steps."""
        for trace in list(self.traces.values()):
            if trace.state in ENDED:
                self.traces.pop(trace.id, None)
        for _ in range(len(self._ended)):
            if (ended := self._ended.popleft()) in self.traces:
                self._ended.append(ended)
        kept = [step for step in _copy_of(self.steps) if step[0].id in self.traces]
        self.steps.clear()
        self.steps.extend(kept)


def _copy_of(steps: deque[Step]) -> list[Step]:
    while True:
        try:
            return list(steps)
        except RuntimeError:  # a loop's thread appended in the meantime
            continue


#: The number of active ``with`` blocks and traced tasks; while it is 0, tasks are created as usual.
_recorded = 0
#: The function that removes the hook by which new tasks are traced, while there is one.
_remove_task_hook: Callable[[], None] | None = None


def _count_recorded(change: int) -> None:
    global _recorded
    with _lock:
        _recorded = max(0, _recorded + change)  # a forked child may end what its parent began
        _use_task_hook(_recorded > 0)


def _use_task_hook(wanted: bool) -> None:
    global _remove_task_hook
    if wanted and _remove_task_hook is None:
        _remove_task_hook = add_task_hook(trace_child)
    elif not wanted and _remove_task_hook is not None:
        _remove_task_hook()
        _remove_task_hook = None


def _forget_after_fork() -> None:
    # The recorded tasks belong to the parent process, and none of them runs here.
    global _recorded
    _recorded = 0
    _use_task_hook(False)
    recorder.traces.clear()
    recorder.steps.clear()
    recorder._ended.clear()


at_fork(_forget_after_fork)


#: The recording that ``launch(..., trace=True)`` and ``%%atask --trace`` use.
recorder = Recording()

#: The recording for tasks created by the running code; None: they are not recorded.
current_recording: ContextVar[Recording | None] = ContextVar("asyncnb_recording", default=None)


def _innermost_code(coro: Any) -> types.CodeType | None:
    """Return the code of the innermost coroutine in which ``coro`` is suspended."""
    code: types.CodeType | None = None
    while True:
        kind = type(coro)
        if kind is types.CoroutineType:
            code, coro = coro.cr_code, coro.cr_await
        elif kind is types.GeneratorType:
            # The generator with which a future or FutureProxy is awaited tells a reader nothing.
            if coro.gi_code.co_name != "__await__":
                code = coro.gi_code
            coro = coro.gi_yieldfrom
        else:
            return code


def _steps(coro: Coroutine[Any, Any, Any], trace: TaskTrace) -> Generator[Any, Any, Any]:
    """Run ``coro`` step by step, as its task would, and record each step.

    A generator that receives a task's ``send`` directly: a method in between would double the cost.
    Its first ``yield`` comes before the first step, so that an exception thrown in before that step
    is caught here, too.
    """
    send, throw = coro.send, coro.throw
    recording = trace.recording
    clock, append = recording.clock, recording.steps.append
    error: BaseException | None = None
    new = tuple.__new__
    try:
        yield
    except BaseException as exc:
        error = exc
    trace.begin()
    while True:
        if error is not None and isinstance(error, CancelledError):
            trace.record_cancel(error, coro)
        if isinstance(error, GeneratorExit):
            # Closed or garbage-collected; the collector may have closed ``coro`` already.
            try:
                return coro.close()
            finally:
                trace.end(error)
        start = clock()
        try:
            if error is None:
                awaited = send(None)
            else:
                thrown, error = error, None
                try:
                    awaited = throw(thrown)
                finally:
                    del thrown  # its traceback holds this frame
        except BaseException as exc:
            end = clock()
            trace.steps += 1
            trace.seconds += end - start
            append(new(Step, (trace, start, end, None, None)))
            if isinstance(exc, StopIteration):
                trace.end(None)
                return exc.value
            trace.end(exc)
            raise
        end = clock()
        trace.steps += 1
        trace.seconds += end - start
        if trace.stopping:
            trace.record_recovery(end)
        if awaited is None:
            append(new(Step, (trace, start, end, None, None)))
        else:
            children = getattr(awaited, "_children", None)  # of a gather() future
            if children is not None:
                trace.note_gather(awaited, children)
                children = None
            source = getattr(awaited, "source", awaited)  # of a FutureProxy
            on = trace_of(source) if isinstance(source, asyncio.Task) else None
            append(
                new(Step, (trace, start, end, _innermost_code(coro), None if on is None else on.id))
            )
            del source, on
        try:
            yield awaited
        except BaseException as exc:
            error = exc
        awaited = None


class TracedCoroutine(Coroutine[Any, Any, Any]):
    """A coroutine that records its steps; to introspection it looks like the one that it wraps."""

    # As slots, `send` and the others are the generator's own methods: no call in between.
    __slots__ = (
        "__name__",
        "__qualname__",
        "__weakref__",
        "close",
        "send",
        "throw",
        "trace",
        "traced",
    )
    if TYPE_CHECKING:
        send: Any
        throw: Any
        close: Any

    def __init__(self, coro: Coroutine[Any, Any, Any], trace: TaskTrace) -> None:
        self.traced: Coroutine[Any, Any, Any] = coro
        self.trace: TaskTrace = trace
        self.__name__: str = getattr(coro, "__name__", type(coro).__name__)
        self.__qualname__ = getattr(coro, "__qualname__", self.__name__)
        steps = _steps(coro, trace)
        next(steps)
        self.send, self.throw, self.close = steps.send, steps.throw, steps.close

    def __await__(self) -> Generator[Any, Any, Any]:
        raise RuntimeError("a traced coroutine belongs to its task: await the task instead")

    def __getattr__(self, name: str) -> Any:
        # cr_frame, cr_await, cr_running, cr_code...: stacks and graphs see the wrapped coroutine.
        return getattr(self.traced, name)


def traced(
    coro: Coroutine[Any, Any, Any], recording: Recording, record: TaskHandle | None = None
) -> TracedCoroutine:
    """Return ``coro``, wrapped so that ``recording`` keeps its steps, for a task created next.

    Call it on the thread that creates the task.
    """
    trace = TaskTrace(recording, record)
    _count_recorded(1)
    if record is not None:
        record.trace = trace
        trace.parent = record.parent
    try:
        parent = asyncio.current_task()
    except RuntimeError:
        parent = None
    if (above := getattr(parent, "_trace", None)) is not None and above.recording is recording:
        trace.parent = above.id
    recording.add(trace)
    return TracedCoroutine(coro, trace)


def trace_child(coro: Any, loop: AbstractEventLoop | None = None) -> Any:
    """Return ``coro``, traced if the running code is traced, for a task that is created next."""
    recording = current_recording.get()
    if recording is None or type(coro) is TracedCoroutine or not iscoroutine(coro):
        return coro
    recording.use_clock_of(loop or asyncio._get_running_loop())
    return traced(coro, recording)


def end_on_dead_loop(trace: TaskTrace, loop: AbstractEventLoop, error: BaseException) -> None:
    """Record that a launched task has ended with ``error``, because ``loop`` runs no further step.

    The other recorded tasks on that loop end with it.
    """
    for other, task in list(living(trace.recording)):
        if task.get_loop() is loop and not other.launched:
            other.end(error)
    trace.end(error, loop)


def living(recording: Recording) -> Iterator[tuple[TaskTrace, asyncio.Task[Any]]]:
    """Yield the traced tasks that have not ended. Any thread."""
    for trace in list(recording.traces.values()):
        task = trace.task()
        if task is not None and trace.ended is None and not task.done():
            yield trace, task
