"""What is kept of an ended task: the task itself while code refers to it, then only its facts.

The history keeps neither results nor exceptions, because these would keep alive whatever they refer
to: data frames, and through a traceback the variables of every function that failed.
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
from asyncnb._core.primitives.suspended import construct
from asyncnb._core.primitives.tasks import Task, note_unseen

#: Characters of a failure's description that are kept; more than that is not readable.
LONGEST_ERROR = 10_000

#: Bytes up to which a result of one of these types is kept with the facts.
SMALL = 500
_ATOMS = frozenset({bool, int, float, complex, str, bytes})
_DROPPED = object()

#: Py_TPFLAGS_HEAPTYPE: set for a class made by a ``class`` statement.
_HEAP_TYPE = 1 << 9


class _ClosedLoop(asyncio.BaseEventLoop):
    """The closed loop of an ended task whose own loop has been freed."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not note_unseen(context):
            super().call_exception_handler(context)


_CLOSED_LOOP = _ClosedLoop()
_CLOSED_LOOP.close()


class EndedTask(Task[Any]):
    """Represents an ended task that has been freed, in what ``task()`` and ``tasks()`` return.

    It has the name, the facts, the output and the final state of that task, and its result if that
    was None, a number or a short text. Retrieving any other result raises ResultDroppedError, and
    so does retrieving the exception unless a copy of it was kept.
    """

    def __init__(self, record: EndedFacts) -> None:
        # Only the future's __init__: there is no coroutine, and nothing is scheduled.
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
            record.unseen = False  # from here on this object keeps track of it

    def get_coro(self) -> Any:
        """Return None: the coroutine has ended and has been freed."""
        return None

    def get_context(self) -> contextvars.Context:
        """Return an empty context: the task's own has been freed."""
        return contextvars.Context()

    def __repr__(self) -> str:
        return f"<EndedTask name={self.get_name()!r} {self.info().state}>"


def _dropped(record: EndedFacts) -> str:
    what = "result" if record.end == "done" else f"exception ({record.last_error})"
    return (
        f"The {what} of {record.last_name!r} is no longer kept. That of an ended task is kept "
        "while your code holds the task, and in any case for the newest tasks: keep what launch() "
        "returns in a variable, or keep more results with `%asyncnb option results 1000`."
    )


def _no_object() -> None:
    return None


class _WhenReleased:
    """The attribute ``task`` of a record that no longer holds its task."""

    def __get__(self, record: EndedFacts | None, owner: type) -> Any:
        return self if record is None else record.released_task()


class EndedFacts:
    """The part of a task's record that describes its end and decides how long it holds the task.

    It holds the task until ``set_shown`` and ``release`` have been called, in either order.
    """

    if TYPE_CHECKING:
        task: Task[Any]
    else:
        task = _WhenReleased()

    #: The state in which it ended, once the record no longer holds the task.
    end: str | None = None
    last_name: str = ""
    last_error: str | None = None
    #: Its result if that is small and keeps nothing else alive.
    small_result: Any = _DROPPED
    timed_out: bool = False
    #: Whether the task has been freed, had failed, and no code has retrieved its exception.
    unseen: bool = False
    #: A weak reference: a crashed loop keeps memory and descriptors until nothing refers to it.
    loop: Callable[[], Any] = staticmethod(_no_object)

    _shown = False
    _release_requested = False
    _ref: Callable[[], Task[Any] | None] = staticmethod(_no_object)
    #: The exception, without frames, of a failed task whose traceback was shown.
    kept_error: BaseException | None = None

    def task_in_memory(self) -> Task[Any] | None:
        """Return the task or the EndedTask for it; None if neither exists. Any thread."""
        return self.task if self.end is None else self._ref()

    def released_task(self) -> Task[Any]:
        """Return the task if code still holds it, else the EndedTask for it. Any thread."""
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
        """Note that the task was freed, had failed, and no code retrieved its exception.

        Return whether it was shown, so that nothing has to be logged. Finalisers call this.
        """
        if self.end != "failed":
            return False
        self.unseen = True
        return True

    def release(self) -> None:
        """Stop holding the task as soon as its end is shown. Any thread; after the task's end."""
        self._release_requested = True
        if self._shown:  # otherwise set_shown() sees what was just set
            self._release_now()
            self.kept_error = None

    def show_ended(self) -> None:
        """Note that the end is shown. From here on no frames are held, only results."""
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
        # Without looking into __dict__, which 3.12 would have to create first.
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
        # Last: other threads may read this at any moment, and one may be here, too.
        with contextlib.suppress(AttributeError):
            del self.task


def without_frames(exc: BaseException) -> BaseException | None:
    """Return a copy of ``exc`` that keeps no frame alive; None if it cannot be copied.

    The copy has its type, ``args`` and attributes, but no traceback, cause or context. No code of
    the exception's own class is run. Members of a group are copied, too.
    """
    kind = type(exc)
    native: Any = next(base for base in kind.__mro__ if not base.__flags__ & _HEAP_TYPE)
    args: tuple[Any, ...] = native.__reduce__(exc)[1]  # of an OSError, with the file's name
    if isinstance(exc, BaseExceptionGroup):
        members = [without_frames(member) for member in exc.exceptions]
        if None in members:
            return None
        args = exc.message, members
    try:
        copy: BaseException = native.__new__(kind, *args)
        native.__init__(copy, *args)
    except (TypeError, ValueError):  # it was made from other args, or has a layout of its own
        return None
    vars(copy).update(vars(exc))
    return copy
