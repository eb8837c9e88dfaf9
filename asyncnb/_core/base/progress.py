"""Progress reports for observers that display them, and track(), which reports an iteration."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from operator import length_hint
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, overload

from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock

T = TypeVar("T")
logger = logging.getLogger("asyncnb")
_numbers = itertools.count(1)


class Progress(NamedTuple):
    """The progress of one piece of work.

    ``id`` distinguishes bars, ``done`` counts items, ``total`` is None if unknown, ``ended`` says
    that no further report with this id will follow, ``failed`` that an exception ended the work.
    ``task`` is the task that reports, or None in a thread.
    """

    id: int
    label: str | None
    done: int
    total: int | None
    task: asyncio.Task[Any] | None
    ended: bool = False
    failed: bool = False


Observer: TypeAlias = Callable[[Progress], object]
#: Every observer with an object that identifies its registration: a function may observe twice.
_observers: tuple[tuple[object, Observer], ...] = ()
_lock = fork_safe_lock()
#: The observer of the job that the running code belongs to. Only this observer receives the job's
#: reports: it relays them to the kernel, which displays them and may be this very process.
job_observer: contextvars.ContextVar[Observer | None] = contextvars.ContextVar(
    "asyncnb_job_observer", default=None
)
#: The ids of work whose report made an observer raise; nothing more is reported for these.
_failed: set[int] = set()


def observe_progress(observer: Observer) -> Callable[[], None]:
    """Call ``observer`` with every Progress from now on; return a function that ends this.

    The observer is called in the thread, task and context of the work, once per item, so it must be
    quick and select what it shows. If it raises, the error is logged once and this piece of work
    reports nothing more; other work continues to report. Any number of observers may be registered,
    and removed in any order; without one, reporting costs next to nothing. Any thread.
    """
    global _observers
    entry = (object(), observer)
    with _lock:
        _observers += (entry,)

    def end() -> None:
        global _observers
        with _lock:
            _observers = tuple(each for each in _observers if each is not entry)

    return end


def _reset_after_fork() -> None:
    global _observers
    _observers = ()  # their front end belongs to the parent process
    _failed.clear()


at_fork(_reset_after_fork)


def next_progress_id() -> int:
    """Return a new id for the reports of another piece of work."""
    return next(_numbers)


def report(progress: Progress) -> None:
    """Report to the job's observer, or without one to all observers, in the current context."""
    job = job_observer.get()
    if job is None and not _observers:
        return
    if progress.id in _failed:
        if progress.ended:
            _failed.discard(progress.id)
        return
    for observer in [job] if job is not None else [each for _, each in _observers]:
        try:
            observer(progress)
        except Exception:
            # A failing bar must make neither its work nor any other bar fail.
            logger.exception("The progress of %r could not be shown", progress.label)
            if not progress.ended:
                _failed.add(progress.id)


def _current_task() -> asyncio.Task[Any] | None:
    loop = asyncio._get_running_loop()
    return asyncio.current_task(loop) if loop is not None else None


class Bar:
    """One piece of work that reports its progress."""

    __slots__ = ("_progress",)

    def __init__(self, label: str | None, total: int | None) -> None:
        self._progress = Progress(next(_numbers), label, 0, total, _current_task())
        report(self._progress)

    def advance(self, *_: object) -> None:
        """Count one item; accept and ignore arguments, so that this can be a done callback."""
        if not self._progress.ended:
            self._progress = self._progress._replace(done=self._progress.done + 1)
            report(self._progress)

    def end(self, *, failed: bool = False) -> None:
        """Report the end of the work, once."""
        if not self._progress.ended:
            self._progress = self._progress._replace(ended=True, failed=failed)
            report(self._progress)


class _Tracked(Generic[T]):
    """An iterable that reports the progress of its iteration; for ``for`` and ``async for``."""

    def __init__(self, items: Any, total: int | None, name: str | None) -> None:
        self._items = items
        self._name = name
        if total is None and (hint := length_hint(items, -1)) >= 0:
            total = hint
        self._total = total

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        if not hasattr(self._items, "__iter__"):
            raise TypeError(
                f"{type(self._items).__name__} is an asynchronous iterable: use "
                "`async for item in track(...)`"
            )
        return self._run()

    def _run(self) -> Iterator[T]:
        bar = Bar(self._name, self._total)
        failed = True
        try:
            for item in self._items:
                yield item
                bar.advance()
            failed = False
        except GeneratorExit:  # `break`: incomplete, but not a failure
            failed = False
            raise
        finally:
            bar.end(failed=failed)

    async def __aiter__(self) -> AsyncIterator[T]:
        bar = Bar(self._name, self._total)
        failed = True
        try:
            if hasattr(self._items, "__aiter__"):
                async for item in self._items:
                    yield item
                    bar.advance()
            else:
                for item in self._items:
                    yield item
                    bar.advance()
            failed = False
        except GeneratorExit:
            failed = False
            raise
        finally:
            bar.end(failed=failed)


@overload
def track(
    iterable_or_aiterable: Iterable[T], total: int | None = None, name: str | None = None
) -> _Tracked[T]: ...
@overload
def track(
    iterable_or_aiterable: AsyncIterable[T], total: int | None = None, name: str | None = None
) -> _Tracked[T]: ...
def track(iterable_or_aiterable: Any, total: int | None = None, name: str | None = None) -> Any:
    """Return an iterable over the same items that reports how many are done.

    Use ``for`` over an iterable, ``async for`` over an iterable or asynchronous iterable. An item
    counts as done when the next one is requested. ``total`` defaults to the items' length, if they
    have one. The reports appear as progress of the current task, for example in ``%tasks``; this
    works in worker threads and without a loop, too. Raises TypeError if the argument is not
    iterable and ValueError for a negative total.

    >>> [page async for page in asyncnb.track(range(4), name="pages")]
    [0, 1, 2, 3]
    """
    if not hasattr(iterable_or_aiterable, "__iter__") and not hasattr(
        iterable_or_aiterable, "__aiter__"
    ):
        hint = ""
        if isinstance(iterable_or_aiterable, int):
            hint = f"; use track(range({iterable_or_aiterable}))"
        raise TypeError(
            "track() takes an iterable or asynchronous iterable, not "
            f"{type(iterable_or_aiterable).__name__}{hint}"
        )
    if total is not None and total < 0:
        raise ValueError(f"track(total={total!r}): total must be 0 or more, or None if unknown")
    return _Tracked(iterable_or_aiterable, total, name)
