"""Queue, PriorityQueue, LifoQueue: items from any thread to tasks on any loop, and back."""

from __future__ import annotations

import asyncio
import sys
from asyncio import QueueEmpty, QueueFull
from collections import deque
from itertools import count
from typing import Any, NoReturn, TypeVar

from asyncnb._core.primitives.sync.event import Event
from asyncnb._core.primitives.sync.wakeups import (
    SharedBetweenLoops,
    Waiter,
    forget,
    give,
    mutex,
    take,
    wake,
    wake_all,
    without_dead,
)

T = TypeVar("T")

if sys.version_info >= (3, 13):
    from asyncio import QueueShutDown
else:

    class QueueShutDown(Exception):
        """Raised when putting on to or getting from a shut-down Queue."""


#: What a subclass may override to keep its items in another way.
_INNER = ("_init", "_put", "_get", "qsize", "empty", "full")
_turns = count(1)


class Queue(SharedBetweenLoops, asyncio.Queue[T]):
    """A queue: ``asyncio.Queue`` that every loop and thread of the process may use.

    ``await queue.put(item)`` and ``await queue.get()`` wait in the loop of the task, whichever that
    is. The plain calls, ``put_nowait``, ``get_nowait``, ``task_done`` and ``shutdown``, may be made
    in any thread, and wake the tasks that wait at once. In code that cannot await,
    ``asyncnb.run(queue.get())``, ``asyncnb.run(queue.put(item))`` and ``asyncnb.run(queue.join())``
    block until there is an item, room, or nothing left to do; add ``timeout=SECONDS`` to give up.

    ``maxsize`` is the maximum number of items; 0, the default, means no limit. Tasks are served in
    the order in which they arrived; ``get_nowait`` and a ``get()`` that need not wait may take an
    item before them, as in asyncio. No item is lost when a task is cancelled, or when a loop dies.

    A subclass may override ``_init``, ``_put`` and ``_get``, which are called with a lock held that
    all queues share: they must not wait. Semantics: CPython 3.15, with ``shutdown()``. Any loop,
    any thread; also from a finaliser or a signal handler.
    """

    _queue: Any
    #: Whether the class, as far as it is a queue, is this one: then items need no calls.
    _is_plain = True
    #: Whether its items are those in _queue, which len() counts.
    _is_counted = True
    #: Whether its _get() is a single operation, which needs no lock.
    _gets_at_once = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._is_plain = all(getattr(cls, name) is getattr(asyncio.Queue, name) for name in _INNER)
        cls._is_counted = all(
            getattr(cls, name) is getattr(asyncio.Queue, name) for name in _INNER[3:]
        )
        cls._gets_at_once = cls._is_plain or (
            cls._init is asyncio.LifoQueue._init and cls._get is asyncio.LifoQueue._get
        )

    def __init__(self, maxsize: int = 0) -> None:
        self._maxsize = maxsize
        self._getters: deque[Waiter] = deque()
        self._putters: deque[Waiter] = deque()
        self._unfinished_tasks = 0
        self._finished = Event()
        self._finished.set()
        self._init(maxsize)
        # On the object they are found in half the time.
        self._plain, self._counted = self._is_plain, self._is_counted
        self._is_shutdown = False

    def _format(self) -> str:
        result = f"maxsize={self._maxsize!r}"
        if getattr(self, "_queue", None):
            result += f" _queue={list(self._queue)!r}"
        if self._getters:
            result += f" _getters[{len(self._getters)}]"
        if self._putters:
            result += f" _putters[{len(self._putters)}]"
        if self._unfinished_tasks:
            result += f" tasks={self._unfinished_tasks}"
        if self._is_shutdown:
            result += " shutdown"
        return result

    async def put(self, item: T) -> None:
        """Put an item into the queue; wait for room if it is full.

        Raises QueueShutDown if the queue is shut down, also while this waits, and CancelledError if
        the task is cancelled; in both cases the item is not in the queue. Any loop.
        """
        turn = 0
        while True:
            if not self.full() or self._is_shutdown:
                try:
                    return self.put_nowait(item)
                except QueueFull:  # another thread was faster, or a subclass has its reasons
                    if type(self).put_nowait is not Queue.put_nowait and not self.full():
                        raise
            if turn:
                waiter = self._line_up_again(self._putters, turn)
            else:
                waiter, turn = self._new_waiter(), next(_turns)
                self._putters.append(waiter)
            # Checked again as a waiter: another thread may not have seen a waiter yet.
            if self.full() and not self._is_shutdown:
                try:
                    await waiter
                except BaseException:
                    if not forget(self._putters, waiter) and not self.full():
                        self._wakeup_next(self._putters)  # it was woken, and does not come
                    raise
            else:
                forget(self._putters, waiter)

    def put_nowait(self, item: T) -> None:
        """Put an item into the queue, and wake a task that waits for one. Any thread.

        Raises QueueFull if there is no room, and QueueShutDown if the queue is shut down.
        """
        try:
            take()
            if self._is_shutdown:
                raise QueueShutDown
            if 0 < self._maxsize <= len(self._queue) if self._counted else self.full():
                raise QueueFull
            # Counted first: another thread may take the item at once, and say that it is done.
            self._unfinished_tasks += 1
            if self._unfinished_tasks == 1:
                self._finished.clear()
            if self._plain:
                self._queue.append(item)
            else:
                try:
                    self._put(item)
                except BaseException:
                    self.task_done()
                    raise
            if self._getters:
                self._wakeup_next(self._getters)
        finally:
            give()

    async def get(self) -> T:
        """Take an item from the queue; wait for one if it is empty.

        Raises QueueShutDown if the queue is shut down and empty, also while this waits, and
        CancelledError if the task is cancelled; then no item is taken. Any loop.
        """
        turn = 0
        while True:
            if not self.empty():
                try:
                    return self.get_nowait()
                except QueueEmpty:  # another thread was faster, or a subclass has its reasons
                    if type(self).get_nowait is not Queue.get_nowait and not self.empty():
                        raise
            elif self._is_shutdown:
                raise QueueShutDown
            if turn:
                waiter = self._line_up_again(self._getters, turn)
            else:
                waiter, turn = self._new_waiter(), next(_turns)
                self._getters.append(waiter)
            if self.empty() and not self._is_shutdown:  # as in put()
                try:
                    await waiter
                except BaseException:
                    if not forget(self._getters, waiter) and not self.empty():
                        self._wakeup_next(self._getters)
                    raise
            else:
                forget(self._getters, waiter)

    def get_nowait(self) -> T:
        """Take an item from the queue, and wake a task that waits for room. Any thread.

        Raises QueueEmpty if there is none, and QueueShutDown if there is none and the queue is shut
        down.
        """
        item: T
        if self._plain:
            try:
                item = self._queue.popleft()
            except IndexError:
                self._refuse_get()
        elif self._gets_at_once:
            try:
                item = self._get()
            except IndexError:
                self._refuse_get()
        else:
            try:
                take()
                if not self._queue if self._counted else self.empty():
                    self._refuse_get()
                item = self._get()
            finally:
                give()
        if self._putters:
            self._wakeup_next(self._putters)
        return item

    def _refuse_get(self) -> NoReturn:
        if self._is_shutdown:
            raise QueueShutDown from None
        raise QueueEmpty from None

    def task_done(self) -> None:
        """Report that the work on an item taken from the queue is done. Any thread.

        The last one ends the wait of ``join()``. Raises ValueError if called more often than items
        were put into the queue.
        """
        with mutex:
            if self._unfinished_tasks <= 0:
                raise ValueError("task_done() called too many times")
            self._unfinished_tasks -= 1
            if self._unfinished_tasks == 0:
                self._finished.set()

    async def join(self) -> None:
        """Wait until ``task_done()`` was called for each item put into the queue. Any loop."""
        with mutex:
            if self._unfinished_tasks <= 0:
                return
        await self._finished.wait()

    def shutdown(self, immediate: bool = False) -> None:
        """Shut the queue down: from now on ``put`` raises QueueShutDown. Any thread.

        ``get`` still returns what is in the queue, and raises QueueShutDown when it is empty. With
        ``immediate=True`` the items are dropped, and count as done for ``join()``. Tasks that wait
        in ``put()`` and ``get()`` are woken. Calling it again is not an error.
        """
        with mutex:
            self._is_shutdown = True
            if immediate:
                while not self.empty():
                    try:
                        self._get()
                    except IndexError:
                        break  # another thread has taken the last one
                    if self._unfinished_tasks > 0:
                        self._unfinished_tasks -= 1
                if self._unfinished_tasks == 0:
                    self._finished.set()
            for waiters in (self._getters, self._putters):
                woken = list(waiters)
                waiters.clear()
                wake_all(woken)

    def _line_up_again(self, waiters: deque[Waiter], turn: int) -> Waiter:
        """Return a new waiter for a task that was woken in vain, in the place of its turn."""
        waiter = self._new_waiter()
        waiter._asyncnb_turn = turn  # type: ignore[attr-defined]
        with mutex:
            # The first in the deque are others that returned; all behind them arrived later.
            place = 0
            for other in waiters.copy():
                if getattr(other, "_asyncnb_turn", turn) >= turn:
                    break
                place += 1
            waiters.insert(place, waiter)
        return waiter

    def _wakeup_next(self, waiters: deque[Waiter]) -> None:
        while True:
            try:
                waiter = waiters.popleft()  # that is how it knows that it was woken
            except IndexError:
                return
            if not waiter.done() and wake(waiter):
                return

    def _forget_dead_loops(self) -> None:
        with mutex:
            without_dead(self._getters)
            without_dead(self._putters)
            # Of those that were woken last, the dead will not come. The others look for
            # themselves, and wait again if there is nothing for them.
            for _ in range(min(self.qsize(), len(self._getters))):
                self._wakeup_next(self._getters)
            if not self.full():
                for _ in range(len(self._putters)):
                    self._wakeup_next(self._putters)


class PriorityQueue(Queue[T], asyncio.PriorityQueue[T]):  # type: ignore[type-var]
    """A queue that returns the lowest item first, such as ``(priority, data)``; see ``Queue``.

    Items are compared in the thread that puts or takes one.
    """


class LifoQueue(Queue[T], asyncio.LifoQueue[T]):
    """A queue that returns the newest item first; see ``Queue``."""
