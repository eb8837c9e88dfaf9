"""The registry of launched tasks: strong references to living ones, a bounded history of ended."""

from __future__ import annotations

import atexit
import fnmatch
import logging
import operator
import re
import time
from asyncio import _get_running_loop
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from asyncnb._core import frontend
from asyncnb._core.base.errors import TaskNotFoundError, did_you_mean
from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.text import escape_control_chars, shown_as
from asyncnb._core.config import FRAMES, HISTORY, RESULTS
from asyncnb._core.introspection.info import ENDED, STATES
from asyncnb._core.launched.record import TaskRecord, observers
from asyncnb._core.primitives.cross_loop import add_callback
from asyncnb._core.primitives.tasks import Task

logger = logging.getLogger("asyncnb")

#: Number of latest names that are searched for a similar one.
NEAR_AMONG = 2000


class _Ending:
    """The tasks of one loop whose last step has returned since the loop last handled such ends."""

    __slots__ = ("loop", "posted", "records")

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.posted = False
        self.records: deque[TaskRecord] = deque()


class TaskRegistry:
    """Holds every living launched task, so that none is garbage-collected.

    Its methods may be called from any thread, finaliser and signal handler, also from one that
    interrupts another of its methods. So it has no lock: each change is a single operation of a
    dict or a deque, which the interpreter does not interrupt, and which is correct on its own.
    """

    def __init__(self, history: int = HISTORY, results: int = RESULTS) -> None:
        #: Living tasks and those in the history, by id. A task that ends stays where it is.
        self._records: dict[int, TaskRecord] = {}
        #: Ended tasks, in the order they ended in.
        self._ended: deque[TaskRecord] = deque()
        self._history = history
        #: The ids of the newest ended tasks, whose records still hold the task itself.
        self._newest: deque[int] = deque()
        self._results = results
        #: The ids of the newest failed tasks, whose records still hold their frames.
        self._failed: deque[int] = deque()
        self._frames = FRAMES
        self._ending = _Ending(None)
        #: How many tasks have failed so far. It never falls; written by the loop's thread.
        self.failures = 0

    def set_history_limit(self, history: int) -> None:
        """Keep at most ``history`` ended tasks from now on; forget the oldest beyond that."""
        self._history = history
        self._forget_old()

    def set_results_limit(self, number: int) -> None:
        """Keep from now on the results of the newest ``number`` ended tasks that no code holds."""
        self._results = number
        self._release_old()

    def set_frames_limit(self, number: int) -> None:
        """Keep from now on the frames of the newest ``number`` failed tasks, for a debugger."""
        self._frames = number
        self._drop_old_frames()

    def keep_frames(self, record: TaskRecord) -> None:
        """Keep the frames of a failed task until newer ones have failed or it is forgotten."""
        record.keep_frames()
        self._failed.append(record.id)
        self._drop_old_frames()

    def drop_frames(self) -> None:
        """Discard the frames of the tasks that have failed so far."""
        self._drop_old_frames(0)

    def _drop_old_frames(self, limit: int | None = None) -> None:
        while len(self._failed) > (self._frames if limit is None else limit):
            try:
                record = self._records.get(self._failed.popleft())
            except IndexError:  # another thread, or a finaliser, was faster
                return
            if record is not None:
                record.failure = None

    def _release_old(self) -> None:
        while len(self._newest) > self._results:
            try:
                record = self._records.get(self._newest.popleft())
            except IndexError:  # another thread, or a finaliser, was faster
                return
            if record is not None:
                record.release()

    def _forget_old(self) -> None:
        # Two threads that do this at the same time may forget one task too many, the oldest.
        while len(self._ended) > self._history:
            self._forget_oldest()

    def _forget_oldest(self) -> bool:
        try:
            record = self._ended.popleft()
        except IndexError:  # another thread, or a finaliser, was faster
            return False
        self._records.pop(record.id, None)
        if record.end != "done":
            record.silence()
        if observers.each:
            record.changed()
        return True

    def add(self, record: TaskRecord, task: Task[Any]) -> None:
        """Register ``task``, not started yet, until it ends; after that keep it in the history."""
        record.held = task
        task._record = record
        self._records[record.id] = record
        if observers.each:
            record.changed()

    def ends(self, record: TaskRecord) -> None:
        """Note that the last step of a task is about to return, or that its coroutine is closed.

        A done callback for each task would cost a copy of a context, a handle and a call by the
        loop; instead, one call handles all tasks that end in the same iteration of the loop. It
        comes before the done callbacks of these tasks, which the loop gets later.
        """
        task = record.held
        if task is None:
            return  # lost with its loop, and closed now that nothing refers to it
        loop, ending = task.get_loop(), self._ending
        if _get_running_loop() is not loop:
            # Closed, perhaps by the garbage collector, where the loop does not run any more.
            if not task.done():
                self.watch_end(task)
            return
        if ending.loop is not loop:
            ending = self._ending = _Ending(loop)
        ending.records.append(record)
        if not ending.posted:
            ending.posted = True
            loop.call_soon(self._end_all, ending)

    def watch_end(self, task: Task[Any]) -> None:
        """Note the end of ``task`` when it comes, whatever its coroutine does before."""
        # Not Task.add_done_callback, which would go through the loop of another thread.
        add_callback(task, self._end_task)

    def _end_all(self, ending: _Ending) -> None:
        ending.posted = False
        records = ending.records
        try:
            for _ in range(len(records)):
                record = records.popleft()
                if record.ended is not None:
                    pass  # it was cancelled before it began, and ended anyway
                elif record.held.done():
                    self._end(record)
                else:
                    self.watch_end(record.held)  # what awaits its coroutine is not done
        finally:
            if records and not ending.posted:  # an exception was raised in the loop's thread
                ending.posted = True
                ending.loop.call_soon(self._end_all, ending)

    def _end_task(self, task: Any) -> None:
        if task._record.ended is None:
            self._end(task._record)

    def _end(self, record: TaskRecord) -> None:
        record.ended = time.time()
        if record.body is not None:
            record.body.close()
            record.body = None
        self._enter_end(record)
        try:
            frontend.current.task_ended(record)
        except Exception:
            logger.exception("The end of %r could not be shown", record.name)
            frontend.PLAIN.task_ended(record)

    def _enter_end(self, record: TaskRecord) -> None:
        self._ended.append(record)
        if record.adjustable is not None:
            from asyncnb._core.launched.adjustable import EndedCalls  # few tasks are runs

            # The run has all results, and is held no longer than code of the user's holds it.
            record.adjustable = EndedCalls(record.adjustable)
        if len(self._ended) > self._history:
            self._forget_old()
        if record.release_if_small():
            pass  # nothing more to keep
        elif record.request.bind is not None and record.state() == "done":
            record.release()  # the variable has its result, until it is deleted
        else:
            if record.state() == "failed":
                self.failures += 1
            self._newest.append(record.id)
            if len(self._newest) > self._results:
                self._release_old()
        if observers.each:
            record.changed()

    def mark_lost(self, record: TaskRecord) -> None:
        """Move a task whose loop crashed to the history; its cell shows nothing about its end."""
        if record.ended is not None:
            return
        record.ended = time.time()
        self._enter_end(record)
        record.set_shown()

    def discard(self, records: list[TaskRecord]) -> None:
        """Forget living tasks that never started, or that a restart does not wait for."""
        for record in records:
            self._records.pop(record.id, None)
            record.set_shown()
            record.changed()

    def get(self, id: int) -> TaskRecord | None:
        """Return the record of the living or ended task with this id, or None. Any thread."""
        return self._records.get(id)

    def holds(self, record: TaskRecord) -> bool:
        """Return whether the task is alive or still in the history. Any thread."""
        return record.id in self._records

    def records(self) -> list[TaskRecord]:
        """Return all records, oldest first."""
        return sorted(self._records.values(), key=_by_id)  # sorted() copies in one operation

    def living(self) -> list[TaskRecord]:
        """Return the records of tasks that have not ended, oldest first."""
        return [record for record in self.records() if record.ended is None]

    def match(self, pattern: str = "*", *, state: str | None = None) -> Iterator[TaskRecord]:
        """Yield the records whose name matches the glob ``pattern``, oldest first.

        If there is none, yield those whose names a table shows as ``pattern``: see ``shown_as``.
        """
        records = self.records() if pattern == "*" else self._matching(pattern)
        for record in records:
            if state is None or record.state() == state:
                yield record

    def _matching(self, pattern: str) -> list[TaskRecord]:
        if not _GLOB.search(pattern) and (exact := self._named(pattern)):
            return exact
        # Compiled once, since there may be 100,000 names.
        hit = re.compile(fnmatch.translate(pattern)).match
        records = self.records()
        names = [record.name for record in records]
        named = list(zip(records, names, strict=True))
        found = [record for record, name in named if name == pattern or hit(name)]
        if not found and (shown := shown_as(pattern, names)):
            found = [record for record, name in named if name in shown]
        return found

    def _named(self, name: str) -> list[TaskRecord]:
        """Return the records of the tasks with this name, oldest first; quick with 100,000."""
        found = []
        for record in list(self._records.values()):
            task = record.held
            if name == (record.name if task is None else task.get_name()):
                found.append(record)
        return sorted(found, key=_by_id)

    def find(self, name: str) -> TaskRecord:
        """Return the one task named ``name``: the living one, else the last that ended.

        A task whose name a table shows as ``name`` is found, too: see ``shown_as``. Raises
        TaskNotFoundError if there is none (suggesting similar names) or if several are alive.
        """
        found = self._named(name)
        if not found:
            records = self.records()
            shown = shown_as(name, [r.name for r in records])
            found = [r for r in records if r.name in shown]
        living = [r for r in found if r.state() not in ENDED]
        if len(living) > 1:
            cells = ", ".join(str(r.cell or f"task {r.id}") for r in living)
            raise TaskNotFoundError(
                f"{len(living)} living tasks are named {name!r} ({cells}). "
                f"asyncnb.tasks({name!r}) returns all of them."
            )
        if not found:
            raise TaskNotFoundError(self.no_match_message(name))
        return (living or found)[-1]

    def no_match_message(self, pattern: str, names: Iterable[str] | None = None) -> str:
        """Return the error for a pattern that matches none of ``names`` (default: all names)."""
        if names is None:
            names = (r.name for r in self.records())
        names = list(dict.fromkeys(names))[-NEAR_AMONG:]
        hint = did_you_mean(pattern, names)
        if not hint:
            hint = (
                f" Known names: {', '.join(map(escape_control_chars, names[-8:]))}."
                if names
                else " No task has been launched yet."
            )
        return f"No task named {pattern!r}.{hint}"

    def failed_unseen(self) -> list[TaskRecord]:
        """Return the failed tasks whose exception no code has retrieved yet."""
        return [r for r in list(self._ended) if r.state() == "failed" and r.is_unseen()]

    def validate(self) -> list[str]:
        """Return violations of the registry's invariants, as sentences: always an empty list.

        For tests and bug reports. From any thread.
        """
        wrong, ended = [], len(self._ended)
        for record in self.records():
            end = record.ended  # read first: the state only moves on
            name, state, task = record.name, record.state(), record.task_in_memory()
            if task is not None and getattr(task, "_record", None) is not record:
                wrong.append(f"{name!r} is registered under a record of another task")
            if state not in STATES:
                wrong.append(f"{name!r} is in the state {state!r}, which does not exist")
            if end is not None and state not in ENDED:
                wrong.append(f"{name!r} is registered as ended but is {state}")
            if end is not None and not record.created <= end:
                wrong.append(f"{name!r} ended at {end}, before it was created")
        if ended > self._history + 1:  # a task that is just ending makes room for itself
            wrong.append(f"{ended} ended tasks are kept; {self._history} is the limit")
        if len(self._newest) > self._results + 1:
            wrong.append(f"{len(self._newest)} results are kept; {self._results} is the limit")
        return wrong

    def clear_ended(self) -> int:
        """Forget the tasks that have ended; return how many."""
        return sum(self._forget_oldest() for _ in range(len(self._ended)))

    def reset_after_fork(self) -> None:
        """Forget the parent's tasks: neither they nor their observers belong to the child."""
        self._records.clear()
        self._ended.clear()
        self._newest.clear()
        self._failed.clear()
        self._ending = _Ending(None)
        self.failures = 0


def matches(record: TaskRecord, pattern: str) -> bool:
    """Return whether the task is named ``pattern``, or matches it as a glob."""
    name = record.name
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


#: The characters by which a pattern may match other names than itself.
_GLOB = re.compile(r"[*?[]")
_by_id = operator.attrgetter("id")

#: Every launched task of this process.
registry = TaskRegistry()
at_fork(registry.reset_after_fork)
atexit.register(registry.clear_ended)  # so that no failure is logged a second time at exit
