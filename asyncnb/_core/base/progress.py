"""Progress reports for observers that display them, and track(), which reports an iteration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from operator import length_hint
from typing import Any, Generic, NamedTuple, TypeVar, overload

from asyncnb._core.base.progress_observers import next_progress_id, report

T = TypeVar("T")


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


def _current_task() -> asyncio.Task[Any] | None:
    loop = asyncio._get_running_loop()
    return asyncio.current_task(loop) if loop is not None else None


class Bar:
    """One piece of work that reports its progress."""

    __slots__ = ("_progress",)

    def __init__(self, label: str | None, total: int | None) -> None:
        self._progress = Progress(next_progress_id(), label, 0, total, _current_task())
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
