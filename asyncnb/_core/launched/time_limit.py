"""The time limit of a launched task, which any cell can change while the task runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from asyncnb._core.primitives.timeouts import Timeout, limits_lock

__asyncnb_frames__ = "launches"

if TYPE_CHECKING:

    class Limited(Protocol):
        """The part of a task's record that a time limit needs."""

        first_limit: Any
        started: float | None

        @property
        def name(self) -> str:
            """The task's name."""
            ...

        @property
        def task(self) -> Any:
            """The task."""
            ...

        def changed(self) -> None:
            """Notify the observers."""


#: Replaces a task's first limit once the task has taken its first step.
BEGUN: Final[Any] = object()


class TaskTimeout(Timeout):
    """The timeout around everything a launched task does, created when it is first needed.

    Most tasks never have a limit, and entering a timeout costs as much as a whole task. So this
    timeout may be entered while the task is already running, and set before its first step.
    """

    __slots__ = ("_first", "_first_when", "_record")

    def __init__(self, record: Limited) -> None:
        super().__init__(None)
        self._record = record
        #: The seconds and the deadline that it began with, which an error can name.
        self._first: float | None = None
        self._first_when: float | None = None
        self._loop = record.task.get_loop()

    def remaining(self) -> float | None:
        """As ``Timeout``'s; before the task's first step, the seconds it will have from then on."""
        first = self._record.first_limit
        if first is not BEGUN and self._when is None:
            return None if first is None else float(first)
        return None if self._when is None else max(0.0, self._when - self._loop.time())

    def reschedule(self, when: float | None) -> None:
        """As ``Timeout``'s, but may also be called before the task has taken its first step."""
        with limits_lock:
            record = self._record
            if record.first_limit is BEGUN or record.task.done() or when != when:
                super().reschedule(when)
            else:
                record.first_limit, self._when = None, when

    def begin(self, seconds: float | None) -> None:
        """Enter the timeout in the task's first step. Call it with limits_lock held."""
        now = self._loop.time()
        if seconds is not None:
            self._when = now + seconds
        self._first, self._first_when = seconds, self._when
        self.enter(self._loop, now)

    async def expire(self, exc: BaseException | None) -> None:
        """As ``Timeout``'s; the TimeoutError names the task and its limit."""
        try:
            await super().expire(exc)
        except TimeoutError:
            assert exc is not None
            when, record = self._when, self._record
            seconds = self._first if when == self._first_when else None
            if seconds is None and when is not None and record.started is not None:
                seconds = time.time() - record.started - (self._loop.time() - when)
                seconds = max(0.0, round(seconds, 2))
            error = TimeoutError(f"Task {record.name!r} did not finish within {seconds:.10g} s.")
            # The traceback shows where the task was when it timed out.
            raise error.with_traceback(exc.__traceback__) from None


def begin(record: Limited) -> None:
    """Start the limit of a task that takes its first step, if it has one. The loop's thread."""
    with limits_lock:
        first = record.first_limit
        if first is not None:
            limit_of(record)  # before it has begun: code that interrupts this finds the same limit
        record.first_limit = BEGUN
        limit: TaskTimeout | None = record.task._timeout
        if limit is not None:
            limit.begin(first)


async def leave(record: Limited, exc: BaseException | None) -> None:
    """End the limit of a task whose coroutine has ended, with ``exc`` or a result.

    Raises TimeoutError if the limit caused ``exc``.
    """
    limit: TaskTimeout = record.task._timeout
    if limit.leave():
        await limit.expire(exc)


def limit_of(record: Limited) -> TaskTimeout | None:
    """Return the time limit of a launched task; None if it ended without one. Any thread."""
    task = record.task
    with limits_lock:
        limit: TaskTimeout | None = task._timeout
        if limit is None and not task.done():
            new = TaskTimeout(record)
            limit = task._timeout
            if limit is None:  # else a finaliser or a signal handler has just made it
                limit = task._timeout = new
                if record.first_limit is BEGUN:
                    limit.enter_around(task)
        return limit


def seconds_left(record: Limited) -> float | None:
    """Return the seconds left of the task's time limit, running or paused. Any thread."""
    task, first = record.task, record.first_limit
    limit: TaskTimeout | None = task._timeout
    if limit is None:
        return None if first is BEGUN else first
    stopped: float | None = task._pause.left(limit) if task._pause is not None else None
    return limit.remaining() if stopped is None else stopped


def set_limit(record: Limited, seconds: float | None, *, more: bool = False) -> float | None:
    """Set the task's limit to ``seconds`` from now, ``seconds`` more than left, or none (None).

    Return the seconds left from now. A limit set before the task has taken its first step counts
    from that step. Raises ValueError, with nothing changed, for a task that has ended or has timed
    out, and for adding to a limit that the task does not have. From any thread.
    """
    left = _set_limit(record, seconds, more)
    record.changed()
    return left


def _set_limit(record: Limited, seconds: float | None, more: bool) -> float | None:
    task = record.task
    name = task.get_name()
    with limits_lock:
        if task.done():
            raise ValueError(f"{name!r} has ended; its timeout can no longer be changed")
        before = seconds_left(record)
        if more:
            if before is None:
                raise ValueError(
                    f"{name!r} has no timeout to add to; without the + it gets {seconds:g} s "
                    "from now"
                )
            assert seconds is not None
            seconds += before
        if record.first_limit is not BEGUN:
            record.first_limit = seconds
            if task._timeout is not None:
                task._timeout._when = None
            return seconds
        limit = limit_of(record)
        assert limit is not None
        if task._pause is None or not task._pause.set_left(limit, seconds):
            try:
                limit.reschedule(None if seconds is None else limit._loop.time() + seconds)
            except RuntimeError:
                raise ValueError(f"{name!r} has already timed out and is shutting down") from None
    return seconds
