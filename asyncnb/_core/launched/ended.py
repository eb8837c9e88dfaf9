"""What is kept of an ended task: the task itself while code refers to it, then only its facts.

The history keeps neither results nor exceptions, because these would keep alive whatever they refer
to: data frames, and through a traceback the variables of every function that failed.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, cast

from asyncnb._core.base.errors import ResultDroppedError
from asyncnb._core.base.text import truncate
from asyncnb._core.introspection.leaves import format_failure
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


class EndedFacts:
    """The part of a task's record that describes its end and decides how long it holds the task.

    It holds the task until ``set_shown`` and ``release`` have been called, in either order.
    """

    # What every task has is in slots. For an object without them, CPython decides by the first
    # objects of the class which attributes fit into it, and whatever is set later on one of 10,000
    # living tasks costs it a dict of 460 bytes (3.13 and later).
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_ref",
        "_release_requested",
        "_shown",
        "end",
        "held",
        "last_name",
        "loop",
        "small_result",
    )

    #: The task until it is released, then None: see ``task``.
    held: Any
    #: The state in which it ended, once the record no longer holds the task.
    end: str | None
    last_name: str
    #: Its result if that is small and keeps nothing else alive.
    small_result: Any
    #: A weak reference: a crashed loop keeps memory and descriptors until nothing refers to it.
    loop: Callable[[], Any]

    _ref: Callable[[], Task[Any] | None]
    _release_requested: bool
    _shown: bool

    # What few tasks have: the defaults are in the class.

    last_error: str | None = None
    timed_out: bool = False
    #: Whether the task has been freed, had failed, and no code has retrieved its exception.
    unseen: bool = False
    #: The exception, without frames, of a failed task whose traceback was shown.
    kept_error: BaseException | None = None
    #: The exception with its frames, if the task is one of the newest that failed; for a debugger.
    failure: BaseException | None = None
    _event: threading.Event | None = None

    def __init__(self) -> None:
        self.end = self.held = None
        self._shown = self._release_requested = False

    @property
    def task(self) -> Task[Any]:
        """The task or, once it has been released and freed, the EndedTask for it. Any thread."""
        held: Task[Any] | None = self.held
        return self.released_task() if held is None else held

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

    def keep_frames(self) -> None:
        """Keep the exception of the task, which has failed, with its frames; for a debugger."""
        self.failure = self.task._exception

    def error_with_frames(self) -> BaseException | None:
        """Return the exception of a failed task; None if it, or the task, is no longer kept."""
        if self.failure is not None:
            return self.failure
        task = self.task_in_memory()
        return None if task is None else task._exception

    def release_if_small(self) -> bool:
        """Release the task, done, if its result is kept in any case; return whether it is."""
        task = self.held
        if task._exception is not None or task.cancelled():
            return False
        result = task.result()
        if result is not None and not is_small(result):
            return False
        self.release()
        return True

    def release(self) -> None:
        """Stop holding the task as soon as its end is shown. Any thread; after the task's end."""
        self._release_requested = True
        if self._shown:  # otherwise set_shown() sees what was just set
            self._release_now()
            if self.kept_error is not None:
                self.kept_error = None

    def set_shown(self) -> None:
        """Note that the task's cell shows everything about the task's end. Any thread.

        From here on no frames are held, only results.
        """
        self._shown = True  # first: see wait_shown
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

    def _release_now(self) -> None:
        if self.end is not None:
            return
        task, small = self.task, _DROPPED
        error = task._exception
        if error is not None:
            end = "failed"
            text = format_failure(error)
            self.last_error = truncate(text, LONGEST_ERROR)
            self.timed_out = isinstance(error, TimeoutError)
        elif task.cancelled():
            end = "cancelled"
        else:
            end = "done"
            result = task.result()
            if result is None or is_small(result):
                small = result
        self.small_result = small
        self.last_name, self.loop = task.get_name(), weakref.ref(task.get_loop())
        self._ref, self.end = weakref.ref(task), end
        self.held = None  # last: other threads may read this at any moment


def is_small(result: object) -> bool:
    """Return whether ``result`` is a number or text that takes little memory."""
    return type(result) in _ATOMS and sys.getsizeof(result) <= SMALL


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
    except (TypeError, ValueError):  # it was made from other args, or has its own layout
        return None
    vars(copy).update(vars(exc))
    return copy
