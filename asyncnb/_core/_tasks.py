"""Task: the standard library's, touched and awaited from any loop and any thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from asyncnb._core._errors import EmbeddedLoopError, would_deadlock

T_co = TypeVar("T_co", covariant=True)

if TYPE_CHECKING:
    from asyncnb._core._info import TaskInfo

    _Base = asyncio.Task[T_co]
else:

    class _Base(asyncio.Task):
        pass


#: Serialises the moments in which a loop's call_soon is replaced, see _on_loop_of.
_patching = threading.Lock()


class _on_loop_of:
    """While entered, the standard task may call ``loop.call_soon`` from this foreign thread.

    The C task schedules its steps and callbacks with ``loop.call_soon``, which neither wakes a
    sleeping loop nor is thread-safe (uvloop's corrupts its handle list). An instance attribute,
    there for this moment only, sends the calls of this thread through ``call_soon_threadsafe``.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        loop, me = self._loop, threading.get_ident()
        ours, theirs = loop.call_soon_threadsafe, type(loop).call_soon

        def call_soon(callback: Any, *args: Any, **kwargs: Any) -> asyncio.Handle:
            if threading.get_ident() == me:
                return ours(callback, *args, **kwargs)
            return theirs(loop, callback, *args, **kwargs)

        _patching.acquire()
        loop.call_soon = call_soon  # type: ignore[method-assign]

    def __exit__(self, *exc: object) -> None:
        del self._loop.call_soon  # type: ignore[method-assign]
        _patching.release()


#: Futures outside a loop that wait for a task of it, to be failed if the loop dies.
_foreign_waiters: weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, weakref.WeakSet[concurrent.futures.Future[Any]]
] = weakref.WeakKeyDictionary()


def fail_waiters(loop: asyncio.AbstractEventLoop, exc: BaseException) -> None:
    """Release everybody outside ``loop`` who waits for one of its tasks, with ``exc``."""
    for waiter in list(_foreign_waiters.get(loop, ())):
        if not waiter.done():
            waiter.set_exception(exc)


class Task(_Base[T_co]):
    """An ``asyncio.Task`` that may be awaited, cancelled and watched from any loop and thread.

    Done callbacks run on the task's own loop. Everything else is ``asyncio.Task``.
    """

    #: True for tasks that ``launch`` started: an interrupted ``await`` leaves these alive.
    _launched = False

    def __init__(self, coro: Coroutine[Any, Any, T_co], *, loop: Any = None, **kwargs: Any) -> None:
        if loop is None or _is_running_here(loop):
            super().__init__(coro, loop=loop, **kwargs)
        else:
            with _on_loop_of(loop):
                super().__init__(coro, loop=loop, **kwargs)

    def cancel(self, msg: Any | None = None) -> bool:
        """Ask the task to cancel itself, from any thread. False if it has ended already.

        From another thread the request reaches the task a moment later, on its own loop.
        """
        loop = self.get_loop()
        if _is_running_here(loop):
            return super().cancel(msg)
        if self.done() or loop.is_closed():
            return False
        loop.call_soon_threadsafe(super().cancel, msg)
        return True

    def add_done_callback(
        self,
        fn: Callable[[asyncio.Task[T_co]], object],
        /,
        *,
        context: contextvars.Context | None = None,
    ) -> None:
        """Call ``fn(task)`` on the task's own loop when it has ended. Thread-safe."""
        loop = self.get_loop()
        if _is_running_here(loop):
            super().add_done_callback(fn, context=context)
        else:
            with _on_loop_of(loop):
                super().add_done_callback(fn, context=context)

    def __await__(self) -> Generator[Any, None, T_co]:
        here = asyncio._get_running_loop()
        if here is None or here is self.get_loop() or self.done():
            return super().__await__()
        return self._from_afar(here).__await__()

    __iter__ = __await__

    async def _from_afar(self, here: asyncio.AbstractEventLoop) -> T_co:
        """Wait on a loop that is not the task's; a cancelled wait cancels the task, as ever."""
        ended = self._ended()
        try:
            await asyncio.wrap_future(ended, loop=here)
        except asyncio.CancelledError:
            self.cancel()
            raise
        return self.result()

    def _ended(self) -> concurrent.futures.Future[None]:
        """Return a thread's future that is set when the task has ended or its loop has died."""
        if not getattr(self.get_loop(), "alive", True):
            raise EmbeddedLoopError(
                f"Task {self.get_name()!r} will never end: its loop has ended, or lives in the "
                "process that this one was forked from."
            )
        ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        _foreign_waiters.setdefault(self.get_loop(), weakref.WeakSet()).add(ended)

        def release(_: object) -> None:
            if not ended.done():
                ended.set_result(None)

        self.add_done_callback(release)
        ended.add_done_callback(lambda _: self.remove_done_callback(release))
        return ended

    def info(self) -> TaskInfo:
        """Return a frozen snapshot of the task's facts; from any thread."""
        from asyncnb._core import _registry

        record = getattr(self, "_record", None)
        return _registry.plain_task_info(self) if record is None else record.info()

    @property
    def output(self) -> str:
        """The end of what a launched task printed, stdout and stderr as they came."""
        output = getattr(getattr(self, "_record", None), "output", None)
        return "" if output is None else output.text

    def join(self, timeout: float | None = None) -> T_co:
        """Block the calling thread until the task has ended; return its result.

        Raises the task's exception, or ``TimeoutError`` after ``timeout`` seconds (the task goes
        on), or ``WrongThreadError`` on the thread of the task's own loop. Ctrl-C ends the wait
        with ``KeyboardInterrupt``, not the task.
        """
        if not self.done():
            if _is_running_here(self.get_loop()):
                raise would_deadlock("Task.join()", "await task")
            wait_interruptibly(self._ended(), timeout, f"{self.get_name()!r} still runs")
        return self.result()


def wait_interruptibly(
    future: concurrent.futures.Future[Any], timeout: float | None, what: str
) -> None:
    """Wait for ``future`` so that Ctrl-C gets through on every platform."""
    deadline = None if timeout is None else _now() + timeout
    # Windows cannot interrupt a thread that waits for a lock: come up for air there.
    slice_ = 0.05 if sys.platform == "win32" else None
    while True:
        left = None if deadline is None else max(0.0, deadline - _now())
        step = left if slice_ is None else slice_ if left is None else min(slice_, left)
        try:
            future.result(step)
            return
        except concurrent.futures.TimeoutError:
            if future.done():
                raise
            if deadline is not None and _now() >= deadline:
                future.cancel()
                raise TimeoutError(f"{what} after {timeout} s; it goes on.") from None
        except KeyboardInterrupt:
            future.cancel()
            raise KeyboardInterrupt from None  # without the frames of the lock it waited at
        except BaseException:
            future.cancel()
            raise


def _now() -> float:
    import time

    return time.monotonic()


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    return asyncio._get_running_loop() is loop


def is_protected(waiter: object) -> bool:
    """Return whether an interrupt ends only the wait for ``waiter``, never ``waiter`` itself."""
    return bool(getattr(waiter, "_launched", False))


def interrupt(
    task: asyncio.Task[Any], *, protects: Callable[[object], bool] = is_protected
) -> None:
    """Cancel ``task`` as a user's stop does; call it on the task's loop.

    An ordinary ``cancel()`` goes down to whatever the task waits for. Here it stops at waiters
    that ``protects`` returns True for (launched tasks): those go on, and only the wait ends.
    """
    waiter = getattr(task, "_fut_waiter", None)
    children = getattr(waiter, "_children", None)
    if waiter is None or task.done():
        task.cancel()
    elif protects(waiter):
        _end_wait(task, waiter)
    elif isinstance(waiter, asyncio.Task):
        interrupt(waiter, protects=protects)
    elif children is not None and any(map(protects, children)):  # a gather()
        for child in children:
            if isinstance(child, asyncio.Task) and not protects(child):
                interrupt(child, protects=protects)
        _end_wait(task, waiter)
    else:
        task.cancel()


def _end_wait(task: asyncio.Task[Any], waiter: Any) -> None:
    """Throw CancelledError into ``task`` without telling ``waiter``."""
    for callback, context in waiter._callbacks or ():
        if getattr(callback, "__self__", None) is task:
            waiter.remove_done_callback(callback)
            cancelled = task.get_loop().create_future()
            cancelled.cancel()
            task.get_loop().call_soon(functools.partial(callback, cancelled), context=context)
            return
    task.cancel()  # woken already, on its way
