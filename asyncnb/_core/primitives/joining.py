"""Waiting for something of a loop from outside: from another thread, or from another loop.

Who waits is registered with the loop, weakly, so that nobody waits forever for one that died.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
import weakref
from asyncio import AbstractEventLoop, _get_running_loop
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

from asyncnb._core.base.errors import THREADS, EmbeddedLoopError, cannot_block, would_deadlock
from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.locks import fork_safe_lock, holds_a_lock
from asyncnb._core.base.seconds import check_timeout
from asyncnb._core.base.visits import release_held, runs_here

_T = TypeVar("_T")

# A lock's acquire cannot be interrupted by Ctrl-C on Windows, so waits are cut there; elsewhere a
# slice only serves to notice a loop that was closed without a word to fail_waiters().
_WAIT_SLICE = 0.05 if sys.platform == "win32" else 1.0


_guard = fork_safe_lock()


class _Waiter(Protocol):
    def fail(self, exc: BaseException) -> None: ...


_waiters: weakref.WeakKeyDictionary[AbstractEventLoop, weakref.WeakSet[Any]]
_waiters = weakref.WeakKeyDictionary()
_joiners: dict[AbstractEventLoop, set[Joiner]] = {}


def _forget_after_fork() -> None:
    # They wait in the parent, for loops of the parent.
    _waiters.clear()
    _joiners.clear()


at_fork(_forget_after_fork)


def register_waiter(loop: AbstractEventLoop, waiter: _Waiter) -> None:
    """Remember, weakly, that *waiter* waits for something of *loop* from outside of it."""
    with _guard:
        _waiters.setdefault(loop, weakref.WeakSet()).add(waiter)


def forget_waiter(loop: AbstractEventLoop, waiter: _Waiter) -> None:
    """Undo :func:`register_waiter`; nothing happens when it was not registered."""
    with _guard:
        known = _waiters.get(loop)
        if known is not None:
            known.discard(waiter)


def fail_waiters(loop: AbstractEventLoop, exc: BaseException) -> int:
    """Release everybody who waits from outside for something of *loop*, which will not come.

    Blocked ``join()`` calls raise *exc*, and so do ``await`` expressions in other loops. For the
    owner of a loop to call once it crashed or closed. Returns how many were released. Any thread.
    """
    with _guard:
        waiters = [*_waiters.pop(loop, ()), *_joiners.pop(loop, ())]
    for waiter in waiters:
        waiter.fail(exc)
    return len(waiters)


def end_lost(future: asyncio.Future[Any], error: BaseException) -> None:
    """Have a future or task of a loop that runs no more fail with ``error``.

    Its callbacks are for that loop, and are not called. Nothing is logged when no code asks for it.
    """
    for callback, _ in getattr(future, "_callbacks", None) or ():
        asyncio.Future.remove_done_callback(future, callback)
    # Of a task, too: its own set_exception() only refuses.
    asyncio.Future.set_exception(future, error)
    future._log_traceback = False


class Joiner:
    """One thread that waits for something of a loop that runs in another."""

    __slots__ = ("__weakref__", "error", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.error: BaseException | None = None

    def register(self, loop: AbstractEventLoop) -> None:
        """Be released when *loop* is lost; ``forget`` must follow."""
        # Not weakly: who is blocked does not go away, and a weak set costs three times as much.
        with _guard:
            _joiners.setdefault(loop, set()).add(self)

    def forget(self, loop: AbstractEventLoop) -> None:
        """Undo ``register``; nothing happens when it was not registered."""
        with _guard:
            known = _joiners.get(loop)
            if known is not None:
                known.discard(self)
                if not known:
                    _joiners.pop(loop, None)  # a finaliser that joined may have come before

    def wake(self, _: object = None) -> None:
        """Release the thread. Any thread; the second time nothing happens."""
        with contextlib.suppress(RuntimeError):  # it was released before
            self.lock.release()

    def fail(self, exc: BaseException) -> None:
        """Release the thread with an error to raise, if there is no result. Any thread."""
        self.error = exc
        self.wake()

    def wait(self, loop: AbstractEventLoop, timeout: float | None = None) -> bool:
        """Block until woken or until *loop* is closed (True), or for *timeout* seconds (False)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        release_held()
        if not THREADS and self.lock.locked():
            raise cannot_block("join()", "await task")  # nobody could wake us
        while True:
            left = _WAIT_SLICE
            if deadline is not None:
                left = min(left, max(0.0, deadline - time.monotonic()))
            if self.lock.acquire(timeout=left) or is_dead(loop):
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False


def refuse_own_thread(loop: AbstractEventLoop, call: str, instead: str) -> None:
    """Raise ``WrongThreadError`` in the thread of *loop*, where blocking would be a deadlock."""
    if runs_here(loop):
        raise would_deadlock(call, instead)


def refuse_inside(call: str) -> None:
    """Raise ``EmbeddedLoopError`` where blocking could deadlock, as a lock of ours is held."""
    if holds_a_lock():
        raise EmbeddedLoopError(
            f"{call} cannot wait here: this finaliser or signal handler came in the middle of "
            "another call of asyncnb, which the loop may wait for. Write asyncnb.launch(...), "
            "which does not wait."
        )


def is_dead(loop: AbstractEventLoop) -> bool:
    """Tell whether *loop* will never run again: closed, crashed, or left behind by a fork."""
    return loop.is_closed() or getattr(loop, "lost", False)


def takes_calls(loop: AbstractEventLoop) -> bool:
    """Tell whether *loop* runs, or its thread will run it again or end what is on it.

    The embedded loop's thread is between two runs after a ``stop()``, or when SystemExit has left
    a task, and past its last one in a crash. Any thread.
    """
    if loop.is_running() is True:  # a stand-in of a test answers with something truthy
        return True
    return getattr(loop, "lost", None) is False and not loop.is_closed()


def dead_loop_error(what: object) -> RuntimeError:
    """Make the error for who waits for something of a closed loop."""
    return EmbeddedLoopError(
        f"{what!r} can never be done: its event loop is closed, or lives in the process that this "
        "one was forked from"
    )


def join_future(fut: asyncio.Future[_T], timeout: float | None = None) -> _T:
    """Block this thread until *fut* is done; see ``Task.join``, whose body this is."""
    if timeout is not None and (timeout != timeout or isinstance(timeout, bool | str)):
        check_timeout(timeout)  # refuses it; what is below 0 is a time that is up
    if fut.done():
        return fut.result()
    loop = fut.get_loop()
    if not THREADS and _get_running_loop() is loop:
        return _join_here(fut, timeout)
    refuse_own_thread(loop, "join()", "await task")
    refuse_inside("join()")
    if is_dead(loop):
        raise dead_loop_error(fut)
    joiner = Joiner()
    joiner.register(loop)
    try:
        try:
            if takes_calls(loop):
                loop.call_soon_threadsafe(fut.add_done_callback, joiner.wake)
            else:
                fut.add_done_callback(joiner.wake)
        except RuntimeError:
            if not loop.is_closed():  # closed meanwhile: *fut* is done by now, or never
                raise
        in_time = joiner.wait(loop, timeout)
    finally:
        joiner.forget(loop)
        if not fut.done():
            try:
                loop.call_soon_threadsafe(fut.remove_done_callback, joiner.wake)
            except RuntimeError:
                if not loop.is_closed():  # closed meanwhile: it calls nobody back any more
                    raise
    if fut.done():
        return fut.result()
    if not in_time:
        raise TimeoutError(f"not done after {timeout} seconds; it goes on: {fut!r}")
    raise joiner.error or dead_loop_error(fut)


def blocking_wait() -> Callable[[Any], Any] | None:
    """Return what blocks here while the host's loop goes on, None where nothing can.

    A browser that can switch stacks (JSPI, in Chrome from 137 on) lets Pyodide do that.
    """
    ffi: Any = sys.modules.get("pyodide.ffi")
    if ffi is None or not ffi.can_run_sync():
        return None
    return cast("Callable[[Any], Any]", ffi.run_sync)


def _join_here(fut: asyncio.Future[_T], timeout: float | None) -> _T:
    """Wait for ``fut`` where this browser can wait; see ``Task.join``."""
    wait = blocking_wait()
    if wait is None:
        raise cannot_block("join()", "await task")

    async def ended() -> bool:
        return bool((await asyncio.wait([fut], timeout=timeout))[0])

    if not wait(asyncio.ensure_future(ended())):
        raise TimeoutError(f"not done after {timeout} seconds; it goes on: {fut!r}")
    return fut.result()
