"""The launched tasks: living ones held fast, ended ones in a bounded history."""

from __future__ import annotations

import asyncio
import fnmatch
import inspect
import itertools
import logging
import operator
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from asyncnb._core.base.errors import TaskNotFoundError, describe, near
from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.text import shown_as, visible
from asyncnb._core.introspection.info import ENDED, STATES, CellRef, TaskInfo, current_record
from asyncnb._core.launched.ended import EndedFacts
from asyncnb._core.launched.repeat import Rounds
from asyncnb._core.launched.time_limit import seconds_left
from asyncnb._core.primitives.cross_loop import add_callback
from asyncnb._core.primitives.tasks import Task

if TYPE_CHECKING:
    from asyncnb._core.launched.open_group import GroupFacts, OpenGroup
    from asyncnb._core.tracing.recording import TaskTrace

logger = logging.getLogger("asyncnb")

#: Ended tasks that ``tasks()`` still lists; older ones are forgotten.
HISTORY = 1000

#: Ended tasks, the newest, whose results are kept also when no other code holds the task.
RESULTS = 100

#: Names, the latest, among which to look for one that was meant.
NEAR_AMONG = 2000


class TaskRecord(EndedFacts):
    """What asyncnb knows of one launched task besides the task itself.

    Written by the thread that launches it and, from then on, by the loop's thread alone.
    """

    # Defaults stand in the class, for storing 25 of them for each task would cost a third of one.

    #: Whether the loop runs it again and again, wherever one round of it runs.
    repeats: bool = False
    #: What it has done so far if it is repeated, or tried again after a failure.
    rounds: Rounds | None = None
    cell: CellRef | None = None
    #: Name of the open group that it belongs to, or None.
    group: str | None = None
    #: The facts of that group itself; its name may be used again.
    group_facts: GroupFacts | None = None
    #: What the task says; the extension keeps it here.
    output: Any = None
    started: float | None = None
    ended: float | None = None
    cancel_asked: bool = False
    #: Told to the observers, and not looked at by them since.
    dirty: bool = False
    #: What the task's coroutine awaits, to be closed if that never begins.
    body: Any = None
    #: The time limit that it starts with, in seconds, or None for none; then BEGUN.
    first_limit: Any = None
    #: What to set in a context of the user's at the first step: variables with their values.
    variables: Sequence[tuple[Any, Any]] = ()
    #: Items done and items in all (None: nobody knows), of what the task reports.
    progress: tuple[int, int | None] | None = None
    #: Processor time in seconds and steps taken, where somebody counts them; see TaskInfo.
    cpu: float | None = None
    steps: int | None = None
    #: Where it runs, of a task that runs elsewhere; "" while it waits for a worker.
    worker: str | None = None
    #: What a recording knows of it (``steps``, ``seconds`` on the loop, ...), if it is traced.
    trace: TaskTrace | None = None
    kind: str = "loop"
    #: What makes a second launch "the same again": a name or a cell id, or None.
    identity: object = None
    #: The variable that gets the result, or None.
    bind: str | None = None
    #: Whether the result is displayed in the launching cell.
    shows_result: bool = False
    #: Whether the launching cell itself waits for the end, and raises a failure.
    waited: bool = False

    _event: threading.Event | None = None
    _ids = itertools.count(1)

    def __init__(self) -> None:
        self.id: int = next(self._ids)
        parent = current_record.get()
        self.parent: int | None = None if parent is None else parent.id
        self.created: float = time.time()

    def belong_to(self, group: OpenGroup) -> None:
        """Note that the task belongs to ``group``."""
        self.group, self.group_facts = group.name, group.facts

    def set_shown(self) -> None:
        """Note that all that the task's end has to say stands in its cell. Any thread."""
        self.show_ended()  # first: see wait_shown
        if self._event is not None:
            self._event.set()

    def wait_shown(self, timeout: float | None) -> None:
        """Block until ``set_shown``, or for ``timeout`` seconds. Any thread but the loop's."""
        if self._shown:
            return
        # Made for the caller: an Event for each task would cost more than the task itself. It is
        # there before the second look, so one of the two threads sees what the other did.
        event: threading.Event = self.__dict__.setdefault("_event", threading.Event())
        if not self._shown:
            event.wait(timeout)

    def changed(self) -> None:
        """Tell the observers that a fact of this task is new; any thread, and cheap without one."""
        for observer in observers:
            observer(self)

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
        if self.repeats and self.rounds is not None and not self.rounds.running:
            return "waiting"
        if self.worker is not None:
            return "running" if self.worker else "pending"
        if self.kind == "thread" or getattr(coro, "cr_running", False):
            return "running"
        return "waiting"

    def error(self) -> str | None:
        """Return ``Type: message`` of a task that has failed, None of any other; any thread."""
        if self.end is not None:
            return self.last_error
        task = self.task
        error = task._exception if task.done() else None
        return None if error is None else describe(error)

    def has_timed_out(self) -> bool:
        """Return whether it has failed with TimeoutError; any thread."""
        if self.end is not None:
            return self.timed_out
        return isinstance(self.task._exception, TimeoutError)

    def info(self) -> TaskInfo:
        """Return a frozen snapshot; from any thread."""
        from asyncnb._core.introspection import stack as _stack  # not needed until somebody looks

        state = self.state()
        error = self.error() if state == "failed" else None
        rounds = self.rounds
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
            started=self.started if self.started or state == "pending" else self.created,
            ended=self.ended,
            timeout=None if self.end is not None else seconds_left(self.task),
            progress=self.progress,
            error=error,
            waiting_on=None
            if state in ENDED
            else _stack.waiting_on(self.task._delegate or self.task),
            cpu=self._cpu_seconds(),
            worker=self.worker or None,
            steps=self.steps if self.trace is None else self.trace.steps,
            rounds=rounds.done if rounds is not None and self.repeats else None,
            failures=0 if rounds is None else rounds.failed if self.repeats else rounds.attempts,
        )

    def _cpu_seconds(self) -> float | None:
        if self.trace is not None and self.kind == "loop":
            return self.trace.seconds
        if self.cpu is None and self.kind == "thread" and self.end is None:
            from asyncnb._core.introspection import stack as _stack

            worker = _stack.worker_of(self.task)
            return None if worker is None else worker.cpu()
        return self.cpu


#: Called with a record when the task is launched, renamed, asked to cancel, makes progress, ends
#: and is forgotten; not for each of its steps. In any thread, so they only take note.
observers: list[Callable[[TaskRecord], object]] = []
at_fork(observers.clear)


class TaskRegistry:
    """Holds every living launched task, so that none is lost to the garbage collector.

    Its methods may be called from any thread, any finaliser and any signal handler, also one that
    interrupts another of its methods. So it has no lock: each change is a single operation of a
    dict or a deque, which the interpreter does not interrupt, and right by itself. Observers in
    ``on_end`` are called on the loop's thread; one that raises is logged once and unplugged.
    """

    def __init__(self, history: int = HISTORY, results: int = RESULTS) -> None:
        #: The living and the remembered, by id. A task that ends stays where it is.
        self._records: dict[int, TaskRecord] = {}
        #: Those that have ended, in that order.
        self._ended: deque[TaskRecord] = deque()
        self._history = history
        #: The ids of those of them, the newest, that hold the task itself.
        self._newest: deque[int] = deque()
        self._results = results
        self.on_end: list[Callable[[TaskRecord], object]] = []
        self._ended_callback = self._end  # one for all: a bound method is an object

    def keep(self, history: int) -> None:
        """Keep so many ended tasks from now on, and forget those that are too many."""
        self._history = history
        self._forget_old()

    def keep_results(self, number: int) -> None:
        """Keep the results of so many ended tasks that no code holds from now on, the newest."""
        self._results = number
        self._let_go_old()

    def _let_go_old(self) -> None:
        while len(self._newest) > self._results:
            try:
                record = self._records.get(self._newest.popleft())
            except IndexError:  # another thread, or a finaliser, was faster
                return
            if record is not None:
                record.let_go()

    def _forget_old(self) -> None:
        # Two threads that do this at once may forget one task too many, the oldest.
        while len(self._ended) > self._history:
            self._forget_oldest()

    def _forget_oldest(self) -> bool:
        try:
            record = self._ended.popleft()
        except IndexError:  # another thread, or a finaliser, was faster
            return False
        self._records.pop(record.id, None)
        _silence(record)
        record.changed()
        return True

    def add(self, record: TaskRecord, task: Task[Any]) -> None:
        """Take in ``task``, not started yet; it stays until it has ended, then in the history."""
        record.task = task
        task._launched = True
        task._record = record
        self._records[record.id] = record
        # Not Task's: nobody else has the task yet, so this needs no detour over its loop.
        add_callback(task, self._ended_callback)
        if observers:
            record.changed()

    def _end(self, task: asyncio.Task[Any]) -> None:
        record: TaskRecord = task._record  # type: ignore[attr-defined]
        record.ended = time.time()
        if record.body is not None:
            record.body.close()
            record.body = None
        self._enter_end(record)
        for observer in self.on_end.copy():
            try:
                observer(record)
            except Exception:
                logger.exception(
                    "An observer of ended tasks failed and was unplugged: %r", observer
                )
                self.on_end.remove(observer)
        if not self.on_end:  # plain Python: no cell to show a failure in
            if record.state() == "failed":
                task.get_loop().call_exception_handler(
                    {
                        "message": f"Task {task.get_name()!r} failed",
                        "exception": task._exception,
                        "task": task,
                    }
                )
                _silence(record)
            record.set_shown()

    def _enter_end(self, record: TaskRecord) -> None:
        self._ended.append(record)
        self._forget_old()
        if record.bind is not None and record.state() == "done":
            record.let_go()  # its result is in that variable, and gone with it
        else:
            self._newest.append(record.id)
            self._let_go_old()
        if observers:
            record.changed()

    def end_lost(self, record: TaskRecord) -> None:
        """Take a task whose loop crashed into the history; its cell shows nothing of it."""
        if record.ended is not None:
            return
        record.ended = time.time()
        self._enter_end(record)
        record.set_shown()

    def lose(self, records: list[TaskRecord]) -> None:
        """Forget living tasks that were never started, or that a restart does not wait for."""
        for record in records:
            self._records.pop(record.id, None)
            record.set_shown()
            record.changed()

    def get(self, id: int) -> TaskRecord | None:
        """Return the record of the living or remembered task with this id. Any thread."""
        return self._records.get(id)

    def holds(self, record: TaskRecord) -> bool:
        """Return whether the task lives, or is in the history still. Any thread."""
        return record.id in self._records

    def records(self) -> list[TaskRecord]:
        """Return all records, oldest first."""
        return sorted(self._records.values(), key=_by_id)  # which makes its copy in one go

    def living(self) -> list[TaskRecord]:
        """Return the records of tasks that have not ended, oldest first."""
        return [record for record in self.records() if record.ended is None]

    def match(self, pattern: str = "*", *, state: str | None = None) -> Iterator[TaskRecord]:
        """Yield the records whose name matches the glob ``pattern``, oldest first.

        If there is none, those whose names a table shows as ``pattern``: see ``shown_as``.
        """
        records = self.records()
        if pattern != "*":
            # Compiled once, for there may be 100,000 names.
            hit = re.compile(fnmatch.translate(pattern)).match
            names = [record.name for record in records]
            found = zip(records, names, strict=True)
            records = [record for record, name in found if name == pattern or hit(name)]
            if not records and (shown := shown_as(pattern, names)):
                records = [r for r in self.records() if r.name in shown]
        for record in records:
            if state is None or record.state() == state:
                yield record

    def find(self, name: str) -> TaskRecord:
        """Return the one task called ``name``: the living one, else the last that ended.

        Or whose name a table shows as ``name``: see ``shown_as``. Raises TaskNotFoundError if there
        is none (with near names) or if several live.
        """
        records = self.records()
        found = [r for r in records if r.name == name]
        if not found and (shown := shown_as(name, [r.name for r in records])):
            found = [r for r in records if r.name in shown]
        living = [r for r in found if r.state() not in ENDED]
        if len(living) > 1:
            cells = ", ".join(str(r.cell or f"task {r.id}") for r in living)
            raise TaskNotFoundError(
                f"{len(living)} living tasks are called {name!r} ({cells}). "
                f"asyncnb.tasks({name!r}) returns all of them."
            )
        if not found:
            raise TaskNotFoundError(self.no_match_message(name))
        return (living or found)[-1]

    def no_match_message(self, pattern: str, names: Iterable[str] | None = None) -> str:
        """Return the sentence for a pattern that matches none of ``names``, by default of all."""
        if names is None:
            names = (r.name for r in self.records())
        names = list(dict.fromkeys(names))[-NEAR_AMONG:]
        hint = near(pattern, names)
        if not hint:
            hint = (
                f" There are: {', '.join(map(visible, names[-8:]))}."
                if names
                else " No task was launched yet."
            )
        return f"No task is called {pattern!r}.{hint}"

    def failed_unseen(self) -> list[TaskRecord]:
        """Return the failed tasks whose exception nobody has got by awaiting or asking yet."""
        return [r for r in list(self._ended) if r.state() == "failed" and _is_unseen(r)]

    def validate(self) -> list[str]:
        """Return what is wrong with the books, as sentences: nothing, whatever happened before.

        For tests and bug reports; from any thread.
        """
        wrong, ended = [], len(self._ended)
        for record in self.records():
            end = record.ended  # first: the state only gets later
            name, state, task = record.name, record.state(), record.task_in_memory()
            if task is not None and getattr(task, "_record", None) is not record:
                wrong.append(f"{name!r} is entered under a record that is not its own")
            if state not in STATES:
                wrong.append(f"{name!r} is in the state {state!r}, which there is not")
            if end is not None and state not in ENDED:
                wrong.append(f"{name!r} has ended by the books and is {state}")
            if end is not None and not record.created <= end:
                wrong.append(f"{name!r} ended at {end} and was created later")
        if ended > self._history + 1:  # one that ends now makes room for itself
            wrong.append(f"{ended} ended tasks are kept; {self._history} is the limit")
        if len(self._newest) > self._results + 1:
            wrong.append(f"{len(self._newest)} results are kept; {self._results} is the limit")
        return wrong

    def clear_ended(self) -> int:
        """Forget the tasks that have ended; return how many."""
        return sum(self._forget_oldest() for _ in range(len(self._ended)))

    def reset_after_fork(self) -> None:
        """After a fork: neither the parent's tasks nor their observers are the child's."""
        self._records.clear()
        self._ended.clear()
        self._newest.clear()
        self.on_end.clear()


def matches(record: TaskRecord, pattern: str) -> bool:
    """Return whether the task is called ``pattern``, or matches that as a glob."""
    name = record.name
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def _silence(record: TaskRecord) -> None:
    """The failure was shown in its cell; the garbage collector need not tell it again."""
    task = record.task_in_memory()
    if task is not None:
        task._log_traceback = False


def _is_unseen(record: TaskRecord) -> bool:
    task = record.task_in_memory()
    return record.unseen if task is None else task._log_traceback


_by_id = operator.attrgetter("id")
