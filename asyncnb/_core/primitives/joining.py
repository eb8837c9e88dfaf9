"""Wait for a future of a loop from outside: from another thread or from another loop.

Waiters are registered with the loop, weakly, so that none of them waits forever for a dead loop.
"""

from __future__ import annotations

import asyncio
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
from asyncnb._core.base.visits import release_deferred, runs_here, visits

_T = TypeVar("_T")

# On Windows, Ctrl-C cannot interrupt a lock's acquire(), so waits are divided into short slices;
# elsewhere a slice only serves to notice a loop that was closed without calling fail_waiters().
_WAIT_SLICE = 0.05 if sys.platform == "win32" else 1.0


_guard = fork_safe_lock()


class _Waiter(Protocol):
    def fail(self, exc: BaseException) -> None: ...


_waiters: weakref.WeakKeyDictionary[AbstractEventLoop, weakref.WeakSet[Any]]
_waiters = weakref.WeakKeyDictionary()
#: Not weakly: a blocked thread keeps its joiner alive. And not by loop: adding to one set and
#: discarding from it needs no lock and takes a tenth of the time.
_joiners: set[Joiner] = set()


def _forget_after_fork() -> None:
    # The waiters are in the parent process and wait for loops of the parent.
    _waiters.clear()
    _joiners.clear()


at_fork(_forget_after_fork)


def register_waiter(loop: AbstractEventLoop, waiter: _Waiter) -> None:
    """Register, weakly, that *waiter* waits from outside for a future of *loop*."""
    with _guard:
        _waiters.setdefault(loop, weakref.WeakSet()).add(waiter)


def unregister_waiter(loop: AbstractEventLoop, waiter: _Waiter) -> None:
    """Undo :func:`register_waiter`; do nothing if *waiter* is not registered."""
    with _guard:
        known = _waiters.get(loop)
        if known is not None:
            known.discard(waiter)


def fail_waiters(loop: AbstractEventLoop, exc: BaseException) -> int:
    """Release all waiters outside *loop* that wait for its futures, because none will be done.

    Blocked ``join()`` calls raise *exc*, and so do ``await`` expressions in other loops. The owner
    of a loop calls this once the loop has crashed or closed. Return the number of released waiters.
    Any thread.
    """
    joiners = joiners_of(loop)
    _joiners.difference_update(joiners)
    with _guard:
        waiters = [*_waiters.pop(loop, ()), *joiners]
    for waiter in waiters:
        waiter.fail(exc)
    return len(waiters)


def fail_on_dead_loop(future: asyncio.Future[Any], error: BaseException) -> None:
    """Fail a future or task of a loop that no longer runs with ``error``.

    Its callbacks belong to that loop and are not called. An error that is never retrieved is not
    logged.
    """
    for callback, _ in getattr(future, "_callbacks", None) or ():
        asyncio.Future.remove_done_callback(future, callback)
    # This works for a task, too, whose own set_exception() only raises.
    asyncio.Future.set_exception(future, error)
    future._log_traceback = False


class Joiner:
    """One thread that waits for a future of a loop that runs in another thread."""

    __slots__ = ("__weakref__", "error", "lock", "loop")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self.lock = threading.Lock()
        self.lock.acquire()
        self.error: BaseException | None = None

    def register(self) -> None:
        """Register to be released when the loop is dead; ``unregister`` must follow."""
        _joiners.add(self)

    def unregister(self) -> None:
        """Undo ``register``; do nothing if it is not registered."""
        _joiners.discard(self)

    def release(self, _: object = None) -> None:
        """Release the thread; do nothing the second time. Any thread."""
        try:
            self.lock.release()
        except RuntimeError:  # the lock was released before
            pass

    def fail(self, exc: BaseException) -> None:
        """Release the thread with an error to raise if there is no result. Any thread."""
        self.error = exc
        self.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until released or the loop is closed (True), or for *timeout* seconds (False).

        The caller has just woken the loop.
        """
        loop = self.loop
        deadline = None if timeout is None else time.monotonic() + timeout
        if visits:
            release_deferred(woken=loop)
        if not THREADS and self.lock.locked():
            raise cannot_block("join()", "await task")  # no thread could release this one
        left = _WAIT_SLICE
        while True:
            if deadline is not None:
                left = min(_WAIT_SLICE, max(0.0, deadline - time.monotonic()))
            if self.lock.acquire(timeout=left) or is_dead(loop):
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False


def joiners_of(loop: AbstractEventLoop) -> list[Joiner]:
    """Return those that wait for a future of *loop* in other threads. Any thread."""
    return [joiner for joiner in _joiners.copy() if joiner.loop is loop]


def refuse_own_thread(loop: AbstractEventLoop, call: str, instead: str) -> None:
    """Raise ``WrongThreadError`` in the thread of *loop*, where blocking would deadlock."""
    if runs_here(loop):
        raise would_deadlock(call, instead)


def refuse_with_lock_held(call: str) -> None:
    """Raise ``EmbeddedLoopError`` where blocking could deadlock because asyncnb holds a lock."""
    if holds_a_lock():
        raise EmbeddedLoopError(
            f"{call} cannot wait here: this finaliser or signal handler interrupted another call "
            "into asyncnb, which the loop may be waiting for. Use asyncnb.launch(...), which does "
            "not wait."
        )


def is_dead(loop: AbstractEventLoop) -> bool:
    """Return whether *loop* will never run again: closed, crashed, or left behind by a fork."""
    return loop.is_closed() or getattr(loop, "dead", False)


def accepts_calls(loop: AbstractEventLoop) -> bool:
    """Return whether *loop* is running, or its thread will run it again or end its tasks.

    The embedded loop's thread is between two runs after a ``stop()`` or after a task has raised
    SystemExit, and past its last run in a crash. Any thread.
    """
    if loop.is_running() is True:  # a test's stand-in loop returns something truthy
        return True
    return getattr(loop, "dead", None) is False and not loop.is_closed()


def dead_loop_error(what: object) -> RuntimeError:
    """Return the error to raise when waiting for a future of a closed loop."""
    return EmbeddedLoopError(
        f"{what!r} can never be done: its event loop is closed, or belongs to the process that "
        "this one was forked from"
    )


def join_future(fut: asyncio.Future[_T], timeout: float | None = None) -> _T:
    """Block this thread until *fut* is done; this implements ``Task.join``, which documents it."""
    if timeout is not None and (timeout != timeout or isinstance(timeout, bool | str)):
        check_timeout(timeout)  # raises; a negative timeout has already expired
    if fut.done():
        return fut.result()
    loop = fut.get_loop()
    if not THREADS and _get_running_loop() is loop:
        return _join_here(fut, timeout)
    refuse_own_thread(loop, "join()", "await task")
    refuse_with_lock_held("join()")
    if is_dead(loop):
        raise dead_loop_error(fut)
    joiner = Joiner(loop)
    joiner.register()
    try:
        try:
            if accepts_calls(loop):
                loop.call_soon_threadsafe(fut.add_done_callback, joiner.release)
            else:
                fut.add_done_callback(joiner.release)
        except RuntimeError:
            if not loop.is_closed():  # just closed: *fut* is done by now or never will be
                raise
        in_time = joiner.wait(timeout)
    finally:
        joiner.unregister()
        if not fut.done():
            try:
                loop.call_soon_threadsafe(fut.remove_done_callback, joiner.release)
            except RuntimeError:
                if not loop.is_closed():  # just closed: it runs no more callbacks
                    raise
    if fut.done():
        return fut.result()
    if not in_time:
        raise TimeoutError(f"not done after {timeout} seconds; still running: {fut!r}")
    raise joiner.error or dead_loop_error(fut)


def blocking_wait() -> Callable[[Any], Any] | None:
    """Return a function that blocks here while the host's loop keeps running, None if impossible.

    Pyodide can do this in a browser that can switch stacks (JSPI, in Chrome 137 and later).
    """
    ffi: Any = sys.modules.get("pyodide.ffi")
    if ffi is None or not ffi.can_run_sync():
        return None
    return cast("Callable[[Any], Any]", ffi.run_sync)


def _join_here(fut: asyncio.Future[_T], timeout: float | None) -> _T:
    """Wait for ``fut`` if this browser can block; see ``Task.join``."""
    wait = blocking_wait()
    if wait is None:
        raise cannot_block("join()", "await task")

    async def ended() -> bool:
        return bool((await asyncio.wait([fut], timeout=timeout))[0])

    if not wait(asyncio.ensure_future(ended())):
        raise TimeoutError(f"not done after {timeout} seconds; still running: {fut!r}")
    return fut.result()
