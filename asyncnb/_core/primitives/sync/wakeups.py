"""Waiters of locks and queues: futures of any loop, which any thread may wake.

asyncio's primitives belong to the first loop that waits in them. Here each waiter belongs to the
loop of the task that waits: on that loop's own thread it is woken as asyncio does, from elsewhere
with ``call_soon_threadsafe``.

Where a single operation of a deque or a lock decides, the primitives hold no lock: a waiter enters
the deque first and then looks again whether it has to wait, and what ends the wait is changed first
and then looks for waiters, so that one of them sees the other. Counters need ``mutex``, the same
one for all primitives. It is held for a few bytecodes, never while anything waits, and it is
reentrant, because a finaliser or a signal handler may run at any call.
"""

from __future__ import annotations

import weakref
from asyncio import (
    AbstractEventLoop,
    Future,
    InvalidStateError,
    _get_running_loop,
    get_running_loop,
)
from collections import deque
from collections.abc import Iterable
from typing import Any, TypeAlias

from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.visits import runs_here, visits
from asyncnb._core.primitives.joining import is_dead, register_waiter

Waiter: TypeAlias = "Future[Any]"

#: One for all: with a lock for each primitive, every ``join()`` would look through all of them
#: (``base.locks.holds_a_lock``).
mutex = fork_safe_lock()
#: Where it is held for each item: ``try: take() ... finally: give()`` costs half of what ``with``
#: costs, and no KeyboardInterrupt fits between ``try`` and ``take()``.
take, give = mutex.acquire, mutex.release


class SharedBetweenLoops:
    """Base of the primitives: tasks of any loop wait in them, and none is lost with its loop."""

    _loop: Any = None  # the loop that waited last: known to be watched, so no need to ask
    _watch: LoopWatch | None = None

    def _get_loop(self) -> AbstractEventLoop:
        """Return the running loop, and learn of its end. Raises RuntimeError if there is none."""
        loop = get_running_loop()
        if loop is not self._loop:
            if self._watch is None:
                self._watch = LoopWatch(self)
            register_waiter(loop, self._watch)
            self._loop = loop
        return loop

    def _new_waiter(self) -> Waiter:
        # Not loop.create_future(), which is the same a call later. A plain future: the C task
        # awaits that without calling methods.
        loop = _get_running_loop()
        return Future(loop=self._get_loop() if loop is not self._loop or loop is None else loop)

    def _forget_dead_loops(self) -> None:
        """Drop the waiters whose loops are dead, and pass on what they were given. Any thread."""
        raise NotImplementedError


class LoopWatch:
    """Tells a primitive that a loop on which tasks waited in it has died."""

    __slots__ = ("__weakref__", "_primitive")

    def __init__(self, primitive: SharedBetweenLoops) -> None:
        # Weakly, and not registered itself: a user's subclass may have no hash.
        self._primitive = weakref.ref(primitive)

    def fail(self, _: BaseException) -> None:
        """Make the primitive forget the waiters of dead loops. Any thread."""
        primitive = self._primitive()
        if primitive is not None:
            primitive._loop = None
            primitive._forget_dead_loops()


def wake(waiter: Waiter) -> bool:
    """Wake a waiter; return False if its loop is dead. Any thread.

    On another thread than its loop's it is done a moment later, and may be cancelled before. So it
    is marked: ``was_woken()`` is true for both.
    """
    loop: Any = waiter._loop
    if _get_running_loop() is loop and (not visits or runs_here(loop)):
        try:
            waiter.set_result(None)
        except InvalidStateError:
            pass  # by a signal handler or a finaliser, or cancelled, after the caller looked
        return True
    waiter._asyncnb_woken = True  # type: ignore[attr-defined]
    return _post(loop, [waiter])


def was_woken(waiter: Waiter) -> bool:
    """Return whether ``wake()`` has woken a waiter, also if it was cancelled after that."""
    return getattr(waiter, "_asyncnb_woken", False) or (waiter.done() and not waiter.cancelled())


def wake_all(waiters: Iterable[Waiter]) -> None:
    """Wake all that are not done, with one call for each other loop. Any thread."""
    running = _get_running_loop()
    if running is not None and visits and not runs_here(running):
        running = None
    elsewhere: dict[AbstractEventLoop, list[Waiter]] = {}
    for waiter in list(waiters):  # a copy: the original may change meanwhile
        loop = waiter._loop
        if loop is running:
            _set([waiter])
        elif not waiter.done():
            elsewhere.setdefault(loop, []).append(waiter)
    for loop, some in elsewhere.items():
        _post(loop, some)


def _post(loop: AbstractEventLoop, waiters: list[Waiter]) -> bool:
    if is_dead(loop):
        return False
    try:
        loop.call_soon_threadsafe(_set, waiters)
    except RuntimeError:
        if not loop.is_closed():
            raise
        return False  # closed just now
    return True


def _set(waiters: list[Waiter]) -> None:
    for waiter in waiters:
        if not waiter.done():
            try:
                waiter.set_result(None)
            except InvalidStateError:
                pass  # as in wake()


def without_dead(waiters: deque[Waiter]) -> None:
    """Remove the waiters of dead loops from a deque. Any thread."""
    for waiter in waiters.copy():
        if is_dead(waiter.get_loop()):
            forget(waiters, waiter)


def all_cancelled(waiters: deque[Waiter]) -> bool:
    """Return whether all waiters are done. Any thread."""
    while True:
        try:
            return all(waiter.cancelled() for waiter in waiters)
        except RuntimeError:  # another thread, or a finaliser, has changed it meanwhile
            continue


def forget(waiters: deque[Waiter], waiter: Waiter) -> bool:
    """Remove a waiter, and return whether it was still there: one operation. Any thread."""
    try:
        waiters.remove(waiter)
    except ValueError:
        return False
    return True
