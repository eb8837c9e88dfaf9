"""What is left of a task when it has ended: the task as long as code holds it, then its facts.

The history keeps neither results nor exceptions, for with them it would keep whatever these refer
to: data frames, and by a traceback the variables of every function that failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from asyncnb._core.base.errors import ResultDroppedError, format_exception_line
from asyncnb._core.base.text import truncate
from asyncnb._core.primitives.tasks import Task, construct, note_unseen

#: Characters of a failure's description that are kept, as many as anybody reads.
LONGEST_ERROR = 10_000

#: Bytes that a result of one of these types may take to be kept with the facts.
SMALL = 500
_ATOMS = frozenset({bool, int, float, complex, str, bytes})
_DROPPED = object()

#: Py_TPFLAGS_HEAPTYPE: set for a class that a ``class`` statement has made.
_HEAP_TYPE = 1 << 9


class _ClosedLoop(asyncio.BaseEventLoop):
    """The loop, closed, of an ended task whose own does not exist any more."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not note_unseen(context):
            super().call_exception_handler(context)


_CLOSED_LOOP = _ClosedLoop()
_CLOSED_LOOP.close()


class EndedTask(Task[Any]):
    """Stands for a task that has ended and is gone, in what ``task()`` and ``tasks()`` return.

    It has the name, the facts, the output and the kind of end of that task, and its result if that
    was None, a number or a short text. Asking for another result raises ResultDroppedError, and
    so does asking for the exception unless a copy of that was kept.
    """

    def __init__(self, record: EndedFacts) -> None:
        # The future's alone: there is no coroutine, and nothing is scheduled.
        asyncio.Future.__init__(self, loop=record.loop() or _CLOSED_LOOP)
        self._record = cast(Any, record)
        self._launched = True
        asyncio.Task.set_name(self, record.last_name)
        if record.end == "cancelled":
            asyncio.Future.cancel(self)
        elif record.small_result is not _DROPPED:
            asyncio.Future.set_result(self, record.small_result)
        else:
            error = record.kept_error or ResultDroppedError(_dropped(record))
            asyncio.Future.set_exception(self, error)
            if not record.unseen:
                self._log_traceback = False
            record.unseen = False  # from here on this object knows it

    def get_coro(self) -> Any:
        """Return None: the coroutine has ended and is gone."""
        return None

    def get_context(self) -> contextvars.Context:
        """Return an empty context: the task's is gone."""
        return contextvars.Context()

    def __repr__(self) -> str:
        return f"<EndedTask name={self.get_name()!r} {self.info().state}>"


def _dropped(record: EndedFacts) -> str:
    what = "result" if record.end == "done" else f"exception ({record.last_error})"
    return (
        f"The {what} of {record.last_name!r} is not kept any more. That of an ended task is kept "
        "while your code holds the task, and of the newest tasks in any case: keep what launch() "
        "returns in a variable, or more of them, `%asyncnb option results 1000`."
    )


def _no_object() -> None:
    return None


class _WhenReleased:
    """The attribute ``task`` of a record that does not hold it any more."""

    def __get__(self, record: EndedFacts | None, owner: type) -> Any:
        return self if record is None else record.released_task()


class EndedFacts:
    """The part of a task's record that is about its end, and about how long it holds the task.

    It holds the task until ``set_shown`` and ``release`` have been called, in either order.
    """

    if TYPE_CHECKING:
        task: Task[Any]
    else:
        task = _WhenReleased()

    #: The state in which it ended, once the record does not hold the task any more.
    end: str | None = None
    last_name: str = ""
    last_error: str | None = None
    #: Its result if that keeps nothing else alive and is small.
    small_result: Any = _DROPPED
    timed_out: bool = False
    #: Whether the task is gone, has failed, and no code has asked for its exception.
    unseen: bool = False
    #: Weakly: a loop that has crashed holds memory and descriptors until nothing refers to it.
    loop: Callable[[], Any] = staticmethod(_no_object)

    _shown = False
    _release_requested = False
    _ref: Callable[[], Task[Any] | None] = staticmethod(_no_object)
    #: Of a failed task whose traceback was shown: its exception, without frames.
    kept_error: BaseException | None = None

    def task_in_memory(self) -> Task[Any] | None:
        """Return the task, or what stands for it; None if there is no such object. Any thread."""
        return self.task if self.end is None else self._ref()

    def released_task(self) -> Task[Any]:
        """Return the task if code holds it still, else what stands for it. Any thread."""
        task = self._ref()
        if task is None:
            task = construct(EndedTask, self)
            self._ref = weakref.ref(task)
        return task

    @property
    def name(self) -> str:
        """The task's name. Any thread."""
        task = self.task_in_memory()
        return self.last_name if task is None else task.get_name()

    def never_retrieved(self) -> bool:
        """Note that the task is gone, has failed, and no code asked for its exception.

        Returns whether it was shown, so that nothing has to be logged. Finalisers call it.
        """
        if self.end != "failed":
            return False
        self.unseen = True
        return True

    def release(self) -> None:
        """Hold the task no longer, once its end is shown. Any thread; after its end."""
        self._release_requested = True
        if self._shown:  # else set_shown() sees what was just set
            self._release_now()
            self.kept_error = None

    def show_ended(self) -> None:
        """Note that the end is shown. No frames are held from here on, only results."""
        self._shown = True
        if self._release_requested:
            self._release_now()
        elif self.end is None and (task := self.task).done():
            error = task._exception
            if error is not None or task.cancelled():
                self._release_now()
            if error is not None:
                self.kept_error = without_frames(error)
                if self._release_requested:
                    self.kept_error = None

    def _release_now(self) -> None:
        # Not by a look into __dict__, which 3.12 would have to make first.
        if self.end is not None:
            return
        task = self.task
        error = task._exception
        if error is not None:
            end = "failed"
            text = format_exception_line(error)
            self.last_error = truncate(text, LONGEST_ERROR)
            self.timed_out = isinstance(error, TimeoutError)
        elif task.cancelled():
            end = "cancelled"
        else:
            end = "done"
            result = task.result()
            if result is None or (type(result) in _ATOMS and sys.getsizeof(result) <= SMALL):
                self.small_result = result
        self.last_name, self.loop = task.get_name(), weakref.ref(task.get_loop())
        self._ref, self.end = weakref.ref(task), end
        # Last: other threads may look at any moment, and one may be here, too.
        with contextlib.suppress(AttributeError):
            del self.task


def without_frames(exc: BaseException) -> BaseException | None:
    """Return a copy of ``exc`` that keeps no frame alive; None if it cannot be copied.

    With its type, ``args`` and attributes, without traceback, cause and context. No code of the
    exception's own class is run. Of a group the members are copied, too.
    """
    kind = type(exc)
    native: Any = next(base for base in kind.__mro__ if not base.__flags__ & _HEAP_TYPE)
    args: tuple[Any, ...] = native.__reduce__(exc)[1]  # of an OSError with the file's name
    if isinstance(exc, BaseExceptionGroup):
        members = [without_frames(member) for member in exc.exceptions]
        if None in members:
            return None
        args = exc.message, members
    try:
        copy: BaseException = native.__new__(kind, *args)
        native.__init__(copy, *args)
    except (TypeError, ValueError):  # its args are not what made it, or its layout is its own
        return None
    vars(copy).update(vars(exc))
    return copy
