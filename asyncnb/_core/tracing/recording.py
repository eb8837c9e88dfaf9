"""Recording: when a traced task ran, what it waited for, and what cancelled it.

Off by default. A traced task's coroutine is wrapped in an object that every step passes through;
other tasks are created and stepped as usual. The amount recorded is bounded: the newest steps, in a
ring buffer; a task counts the steps it made, so the number of dropped steps is known.

Loop threads write and any thread reads: appending to a deque is atomic, and readers copy first.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import AbstractEventLoop
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.introspection.handle import TaskHandle
from asyncnb._core.introspection.info import ENDED
from asyncnb._core.primitives.awaitables import iscoroutine
from asyncnb._core.primitives.tasks import add_task_hook
from asyncnb._core.tracing.current import current_recording
from asyncnb._core.tracing.trace import Step, TaskTrace
from asyncnb._core.tracing.traced_coroutine import TracedCoroutine
from asyncnb._core.tracing.traced_loops import watch

__asyncnb_frames__ = "launches"

_lock = fork_safe_lock()

#: The maximum number of steps that a recording keeps, the newest: about 15 MB when it is full.
MAX_STEPS = 100_000
#: The maximum number of tasks that a recording keeps, the newest.
MAX_TASKS = 10_000


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
        _count_recorded(-1)

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
