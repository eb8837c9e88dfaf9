"""The time limit of a launched task, changed from any cell while the task runs."""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.introspection import places as _places
from asyncnb._core.primitives.timeouts import Timeout

if TYPE_CHECKING:
    from asyncnb._core.launched.registry import TaskRecord
    from asyncnb._core.primitives.tasks import Task

__asyncnb_frames__ = "launches"

T = TypeVar("T")

#: In place of a task's first limit once the task has had its first turn.
BEGUN: Final[Any] = object()

#: Held while a limit is read and written: two cells that both add 30 s add 60.
limits_lock = fork_safe_lock()


class TaskTimeout(Timeout):
    """The timeout around all that a launched task does, made when somebody first asks for it.

    Most tasks never have a limit, and entering a timeout costs as much as a whole task. So this
    one may be entered while the task runs already, and set before the task has its first turn.
    """

    __slots__ = ("_record",)

    def __init__(self, record: TaskRecord) -> None:
        super().__init__(None)
        self._record = record
        self._loop = record.task.get_loop()

    def remaining(self) -> float | None:
        """As ``Timeout``'s; before the task's first turn, the seconds it will have from there."""
        first = self._record.first_limit
        if first is not BEGUN and self._when is None:
            return None if first is None else float(first)
        return None if self._when is None else max(0.0, self._when - self._loop.time())

    def reschedule(self, when: float | None) -> None:
        """As ``Timeout``'s, and also before the task has its first turn."""
        with limits_lock:
            record = self._record
            if record.first_limit is BEGUN or record.task.done() or when != when:
                super().reschedule(when)
            else:
                record.first_limit, self._when = None, when

    def begin(self, seconds: float | None) -> None:
        """Enter it in the task's first step. With limits_lock held."""
        now = self._loop.time()
        if seconds is not None:
            self._when = now + seconds
        self.enter(self._loop, now)


def limit_of(task: Task[Any]) -> TaskTimeout | None:
    """Return the time limit of a launched task; None if it ended without one. Any thread."""
    record = task._record
    assert record is not None
    with limits_lock:
        limit: TaskTimeout | None = task._timeout
        if limit is None and not task.done():
            new = TaskTimeout(record)
            limit = task._timeout
            if limit is None:  # else a finaliser or a signal handler has asked for it just now
                limit = task._timeout = new
                if record.first_limit is BEGUN:
                    limit.enter_around(task)
        return limit


async def run_body(coro: Coroutine[Any, Any, T], record: TaskRecord) -> T:
    """Await ``coro``, a launched task's, within the time limit that the task has or is given.

    The TimeoutError names the task. A task without a limit pays for one look at the start and one
    at the end.
    """
    for variable, value in record.variables:
        variable.set(value)
    record.started = record.started or time.time()
    # The task is in no variable: of one that fails, the traceback would keep it alive in a cycle.
    with limits_lock:
        if record.first_limit is not None:
            limit_of(record.task)  # before it has begun: what interrupts this finds the same one
        first, record.first_limit = record.first_limit, BEGUN
        limit = record.task._timeout
        if limit is not None:
            limit.begin(first)
    at_first = None if limit is None else limit.when()
    try:
        if record.cancel_asked:
            # By another thread while the loop was busy: its wish stands in line behind this step.
            raise CancelledError
        result = await coro
    except BaseException as exc:
        limit = record.task._timeout
        if limit is not None and limit.leave():
            await _expire(limit, exc, first if limit.when() == at_first else None)
        raise
    limit = record.task._timeout
    if limit is not None and limit.leave():
        await limit.expire(None)
    return result


_places.wrappers.add(run_body.__code__)


async def _expire(limit: TaskTimeout, exc: BaseException, seconds: float | None) -> None:
    """Raise TimeoutError if ``exc`` came of ``limit``, ``seconds`` long or rescheduled (None)."""
    try:
        await limit.expire(exc)
    except TimeoutError:
        record, when = limit._record, limit.when()
        started = record.started
        if seconds is None and when is not None and started is not None:
            seconds = time.time() - started - (limit._loop.time() - when)
            seconds = max(0.0, round(seconds, 2))
        error = TimeoutError(f"Task {record.name!r} was given {seconds:.10g} s and was not done.")
        # Where it stood when time ran out is what the user wants to see.
        raise error.with_traceback(exc.__traceback__) from None


def seconds_left(task: Task[Any]) -> float | None:
    """Return what is left of the task's time limit, running or stopped by a pause. Any thread."""
    limit, pause = task._timeout, task._pause
    if limit is None:
        record = task._record
        first = BEGUN if record is None else record.first_limit
        return None if first is BEGUN else first
    stopped = pause.left(limit) if pause is not None else None
    return limit.remaining() if stopped is None else stopped


def set_limit(record: TaskRecord, seconds: float | None, *, more: bool = False) -> float | None:
    """Give the task ``seconds`` from now, ``seconds`` more than it has left, or no limit (None).

    Returns the seconds left from now. A limit set before the task has had its first turn counts
    from that turn. Raises ValueError, with nothing changed, for a task that has ended or whose
    time is up, and for more of a limit that it has not. From any thread.
    """
    left = _set_limit(record, seconds, more)
    record.changed()
    return left


def _set_limit(record: TaskRecord, seconds: float | None, more: bool) -> float | None:
    task = record.task
    name = task.get_name()
    with limits_lock:
        if task.done():
            raise ValueError(f"{name!r} has ended; there is no time left to change")
        before = seconds_left(task)
        if more:
            if before is None:
                raise ValueError(
                    f"{name!r} has no time limit to add to; without the + it gets {seconds:g} s "
                    "from now"
                )
            assert seconds is not None
            seconds += before
        if record.first_limit is not BEGUN:
            record.first_limit = seconds
            if task._timeout is not None:
                task._timeout._when = None
            return seconds
        limit = limit_of(task)
        assert limit is not None
        if task._pause is None or not task._pause.set_left(limit, seconds):
            try:
                limit.reschedule(None if seconds is None else limit._loop.time() + seconds)
            except RuntimeError:
                raise ValueError(f"the time of {name!r} is up; it is ending") from None
    return seconds
