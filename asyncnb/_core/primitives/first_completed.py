"""``wait(FIRST_COMPLETED)`` in a loop, without registering all remaining futures again each time.

The standard ``wait()`` adds a callback to each of n futures and removes each of them again, n times
over. Here the callbacks remain from the second wait on, which shows that this is such a loop, and
the set of futures still pending, which the caller passes to the next ``wait()``, refers to the
object that watches them. That set may be changed in the meantime; if it is dropped instead, the
callbacks are removed.
"""

from __future__ import annotations

import contextvars
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Collection, Iterable
from operator import methodcaller
from typing import Any, TypeVar

from asyncnb._core.primitives.cross_loop import (
    all_local,
    done_callback_adder,
    done_callback_remover,
)
from asyncnb._core.primitives.futures import runs_elsewhere

F = TypeVar("F")

#: Below this number of futures, registering them again is cheaper.
MIN_WATCHED = 8


class Pending(set[F]):
    """The futures that a ``wait()`` left pending: a set that refers to their watch."""

    __slots__ = ("watch",)

    watch: Watch | None  # missing after a first wait, and in a copy made by a method of set

    def __repr__(self) -> str:
        return repr(set(self))

    def __reduce__(self) -> Any:
        return set, (list(self),)  # without the watch, which has only one owner

    def __del__(self) -> None:
        watch = getattr(self, "watch", None)
        if watch is not None:
            watch.drop()


class Watch:
    """Callbacks on the futures of one loop that remain from one ``wait()`` to the next."""

    __slots__ = ("_is_done", "_kinds", "_loop", "_missed_end", "_on_done", "_waiter", "_watched")

    def __init__(self, loop: AbstractEventLoop, futures: Collection[Future[Any]]) -> None:
        self._loop = loop
        self._watched: set[Future[Any]] = set()
        self._kinds: set[type] = set()
        self._is_done: Callable[[Any], bool] = methodcaller("done")
        self._waiter: Any = None
        self._missed_end = False  # whether a future has ended while there was no waiter
        self._on_done = self._ended
        self._add(futures)

    def _add(self, futures: Collection[Future[Any]]) -> None:
        self._watched.update(futures)
        self._kinds.update(map(type, futures))
        if len(self._kinds) == 1:
            self._is_done = next(iter(self._kinds)).done  # type: ignore[attr-defined]
        else:
            self._is_done = methodcaller("done")
        context = contextvars.copy_context()  # one for all callbacks instead of one copy each
        on_done = self._on_done
        for future in futures:
            done_callback_adder(type(future))(future, on_done, context=context)

    def _remove(self, futures: Iterable[Future[Any]]) -> None:
        on_done = self._on_done
        for future in futures:
            done_callback_remover(type(future))(future, on_done)

    def _ended(self, future: Future[Any]) -> None:
        if future not in self._watched:
            return  # already reported, or removed from the set after this call was scheduled
        if self._waiter is None:
            self._missed_end = True
        elif not self._waiter.done():
            self._waiter.set_result(None)

    def update(self, futures: set[Any]) -> bool:
        """Watch exactly ``futures``; if one is not a future of the loop, stop and return False."""
        if futures != self._watched:
            new = futures - self._watched
            if new and not all_local(new, self._loop):
                self.stop()
                return False
            self._remove(self._watched - futures)
            self._watched &= futures
            if new:
                self._add(new)
        return True

    def begin(self, waiter: Future[None]) -> None:
        """Release ``waiter`` when the first future ends, in the loop's next iteration or later."""
        self._waiter = waiter
        if self._missed_end:
            self._missed_end = False
            if any(map(self._is_done, self._watched)):
                self._loop.call_soon(_release, waiter)

    def end(self, futures: Pending[Any]) -> set[Any]:
        """Remove the done ones from ``futures``, this watch's owner from now on; return them."""
        assert self._waiter is not None
        self._waiter._children = ()  # the step that it woke still refers to it
        self._waiter = None
        done = set(filter(self._is_done, futures))
        futures -= done
        self._watched -= done
        futures.watch = self
        return done

    def stop(self) -> None:
        """Remove all callbacks. Thread of the loop."""
        watched, self._watched = self._watched, set()
        self._remove(watched)
        self._waiter = None

    def drop(self) -> None:
        """Remove all callbacks. Any thread."""
        if not self._watched:
            return
        if not runs_elsewhere(self._loop):
            self.stop()
            return
        try:
            self._loop.call_soon_threadsafe(self.stop)
        except RuntimeError:
            if not self._loop.is_closed():
                raise


def _release(waiter: Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def watch_for(given: object, futures: set[Any], loop: AbstractEventLoop) -> Watch | None:
    """Return the watch for ``futures``, a copy of ``given``; None if a watch does not pay off.

    ``given`` is the argument of ``wait()``. It pays off from the second wait on: a first one alone
    does not show that there will be more.
    """
    if type(given) is not Pending:
        return None
    watch = getattr(given, "watch", None)
    if watch is not None and watch._loop is loop:
        given.watch = None
        return watch if watch.update(futures) else None
    if len(futures) < MIN_WATCHED or not all_local(futures, loop):
        return None
    return Watch(loop, futures)
