"""Progress: facts for whoever shows them, and track, which reports an iteration."""

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
    """How far a piece of work has come.

    ``id`` tells bars apart, ``done`` counts items, ``total`` is None when nobody knows, ``ended``
    says that no further report with this id will come; ``failed`` that an exception ended it.
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
#: Every observer with what makes it one of its kind: the same function may observe twice.
_observers: tuple[tuple[object, Observer], ...] = ()
_lock = fork_safe_lock()
#: The observer of the job that the running code belongs to. It alone gets the job's reports: it
#: relays them to the kernel, which shows them, and may live in this very process.
job_observer: contextvars.ContextVar[Observer | None] = contextvars.ContextVar(
    "asyncnb_job_observer", default=None
)
#: Ids of the work whose report an observer could not take; no more is reported of that.
_failed: set[int] = set()


def observe_progress(observer: Observer) -> Callable[[], None]:
    """Have ``observer`` called with every Progress from now on; return what ends that.

    It is called in the thread, task and context of the work, once per item, so it must be quick
    and pick what it shows. Where it raises, that is logged once, and the work at hand reports no
    more; other work does. Any number of observers may observe, and end in any order; without one,
    reporting costs next to nothing. From any thread.
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


def _forget_after_fork() -> None:
    global _observers
    _observers = ()  # their front end is the parent's
    _failed.clear()


at_fork(_forget_after_fork)


def next_number() -> int:
    """Return the id for reports of one more piece of work."""
    return next(_numbers)


def tell(progress: Progress) -> None:
    """Report to the job's observer, else to all observers, in the running context."""
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
            # The work must not fail because its bar does, and no other bar with it.
            logger.exception("The progress of %r could not be shown", progress.label)
            if not progress.ended:
                _failed.add(progress.id)


def _current_task() -> asyncio.Task[Any] | None:
    loop = asyncio._get_running_loop()
    return asyncio.current_task(loop) if loop is not None else None


class Bar:
    """One piece of work that reports its progress."""

    __slots__ = ("_now",)

    def __init__(self, label: str | None, total: int | None) -> None:
        self._now = Progress(next(_numbers), label, 0, total, _current_task())
        tell(self._now)

    def advance(self, *_: object) -> None:
        """Count one item; takes and ignores arguments, so it can be a done callback."""
        if not self._now.ended:
            self._now = self._now._replace(done=self._now.done + 1)
            tell(self._now)

    def end(self, *, failed: bool = False) -> None:
        """Report the end, once."""
        if not self._now.ended:
            self._now = self._now._replace(ended=True, failed=failed)
            tell(self._now)


class _Tracked(Generic[T]):
    """Iterates over what it was given and reports; ``for`` and ``async for`` alike."""

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
                f"{type(self._items).__name__} is an asynchronous iterable: write "
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
        except GeneratorExit:  # `break`: not all of it, but no failure either
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

    ``for`` over an iterable, ``async for`` over either kind. An item counts as done when the next
    one is asked for. ``total`` is taken from the items' length where they have one. Reports go to
    whoever observes, as progress of the current task; works in worker threads and without any
    loop too. Raises TypeError for what cannot be iterated and ValueError for a negative total.

    >>> [page async for page in asyncnb.track(range(4), name="pages")]
    [0, 1, 2, 3]
    """
    if not hasattr(iterable_or_aiterable, "__iter__") and not hasattr(
        iterable_or_aiterable, "__aiter__"
    ):
        hint = ""
        if isinstance(iterable_or_aiterable, int):
            hint = f"; write track(range({iterable_or_aiterable}))"
        raise TypeError(
            "track() takes something to iterate over, not "
            f"{type(iterable_or_aiterable).__name__}{hint}"
        )
    if total is not None and total < 0:
        raise ValueError(f"track(total={total!r}): a total is zero or more; None if unknown")
    return _Tracked(iterable_or_aiterable, total, name)
