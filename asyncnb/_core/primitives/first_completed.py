"""``wait(FIRST_COMPLETED)`` in a loop, without starting anew with all that are left each time.

The standard one adds a callback to each of n futures and takes each away again, n times over. Here
the callbacks stay, and the set of those still pending, which the caller gives back to the next
``wait()``, knows who watches them. That set may be changed meanwhile; when it is dropped instead,
so are the callbacks.
"""

from __future__ import annotations

import contextvars
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Collection, Iterable
from operator import methodcaller
from typing import Any, TypeVar

from asyncnb._core.primitives.cross_loop import (
    Waiter,
    all_local,
    done_callback_adder,
    done_callback_remover,
)
from asyncnb._core.primitives.futures import runs_elsewhere

F = TypeVar("F")

#: Below, starting anew is cheaper.
MANY = 16


class Pending(set[F]):
    """The futures that a ``wait()`` left pending: a set that knows who watches them."""

    __slots__ = ("watch",)

    watch: Watch | None  # missing in one that set's own methods made

    def __repr__(self) -> str:
        return repr(set(self))

    def __reduce__(self) -> Any:
        return set, (list(self),)  # not the watch: it has one owner

    def __del__(self) -> None:
        watch = getattr(self, "watch", None)
        if watch is not None:
            watch.drop()


class Watch:
    """Callbacks on the futures of one loop, that stay from one ``wait()`` to the next."""

    __slots__ = ("_hit", "_is_done", "_kinds", "_loop", "_on_done", "_waiter", "_watched")

    def __init__(self, loop: AbstractEventLoop, futures: Collection[Future[Any]]) -> None:
        self._loop = loop
        self._watched: set[Future[Any]] = set()
        self._kinds: set[type] = set()
        self._is_done: Callable[[Any], bool] = methodcaller("done")
        self._waiter: Waiter | None = None
        self._hit = False  # one has ended while nobody waited
        self._on_done = self._ended
        self._add(futures)

    def _add(self, futures: Collection[Future[Any]]) -> None:
        self._watched.update(futures)
        self._kinds.update(map(type, futures))
        if len(self._kinds) == 1:
            self._is_done = next(iter(self._kinds)).done  # type: ignore[attr-defined]
        else:
            self._is_done = methodcaller("done")
        context = contextvars.copy_context()  # one for all, and no copy for each
        on_done = self._on_done
        for future in futures:
            done_callback_adder(type(future))(future, on_done, context=context)

    def _remove(self, futures: Iterable[Future[Any]]) -> None:
        on_done = self._on_done
        for future in futures:
            done_callback_remover(type(future))(future, on_done)

    def _ended(self, future: Future[Any]) -> None:
        if future not in self._watched:
            return  # told already, or taken out of the set: the call was on its way
        if self._waiter is None:
            self._hit = True
        elif not self._waiter.done():
            self._waiter.set_result(None)

    def follow(self, futures: set[Any]) -> bool:
        """Watch just these; False when one is no future of the loop: nothing is watched then."""
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

    def begin(self, waiter: Waiter) -> None:
        """Have ``waiter`` released when the first one has ended, not before the next turn."""
        self._waiter = waiter
        if self._hit:
            self._hit = False
            if any(map(self._is_done, self._watched)):
                self._loop.call_soon(_release, waiter)

    def end(self, futures: Pending[Any]) -> set[Any]:
        """Take those that are done out of ``futures``, which owns us from now on; return them."""
        assert self._waiter is not None
        self._waiter._children = ()  # the step that it woke still holds it
        self._waiter = None
        done = set(filter(self._is_done, futures))
        futures -= done
        self._watched -= done
        futures.watch = self
        return done

    def stop(self) -> None:
        """Take all callbacks away. Thread of the loop."""
        watched, self._watched = self._watched, set()
        self._remove(watched)
        self._waiter = None

    def drop(self) -> None:
        """Take all callbacks away. Any thread."""
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


def _release(waiter: Waiter) -> None:
    if not waiter.done():
        waiter.set_result(None)


def watch_for(given: object, futures: Pending[Any], loop: AbstractEventLoop) -> Watch | None:
    """Return who watches ``futures``, a copy of what ``wait()`` was given; None: not worth it."""
    watch = getattr(given, "watch", None) if type(given) is Pending else None
    if watch is not None and watch._loop is loop:
        assert isinstance(given, Pending)
        given.watch = None
        return watch if watch.follow(futures) else None
    if len(futures) < MANY or not all_local(futures, loop):
        return None
    return Watch(loop, futures)
