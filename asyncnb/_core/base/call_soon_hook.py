"""A word between a C task and its loop: what the constructor hands to ``loop.call_soon``.

The constructor of the C task looks ``call_soon`` up on the loop object, so an attribute set on
that object for the moment of construction is asked instead. It works on the standard loops and on
uvloop, whose own internals do not go through it, and nothing of asyncio is patched.
"""

from __future__ import annotations

import contextlib
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from threading import get_ident
from types import TracebackType
from typing import Any

from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.visits import runs_here

# A signal handler or a finaliser may make a task while one is being made.
call_soon_lock = fork_safe_lock()


def call_soon_anywhere(
    loop: AbstractEventLoop, fn: Callable[..., object], *args: Any, context: Any = None
) -> Any:
    """Do what ``loop.call_soon`` does when it is not replaced; from another thread, safely."""
    if runs_here(loop) or not loop.is_running():
        return type(loop).call_soon(loop, fn, *args, context=context)
    return loop.call_soon_threadsafe(fn, *args, context=context)


@contextlib.contextmanager
def lazy_starts(loop: Any) -> Iterator[None]:
    """Have the task that this thread makes in the block start lazily, whatever its factory says.

    asyncio starts a task eagerly if its loop runs, which it asks the loop. While the block runs,
    an attribute of this one loop object answers the calling thread that it does not.
    """
    ident = get_ident()

    def is_running() -> bool:
        return get_ident() != ident and bool(type(loop).is_running(loop))

    with call_soon_lock:
        before = loop.__dict__.get("is_running")
        loop.__dict__["is_running"] = is_running
        try:
            yield
        finally:
            if before is None:
                del loop.__dict__["is_running"]
            else:
                loop.__dict__["is_running"] = before


class replaced_call_soon:
    """While the block runs, ``loop.call_soon`` is safe to call from every thread.

    In a foreign thread it becomes ``call_soon_threadsafe``; in the loop's own thread the call
    goes on unchanged. *take*, when given, is asked first with (function, context); True means
    that it took the call.
    """

    __slots__ = ("_loop", "_saved", "_take")

    def __init__(
        self, loop: AbstractEventLoop, take: Callable[[Any, Any], bool] | None = None
    ) -> None:
        self._loop = loop
        self._take = take

    def __enter__(self) -> None:
        call_soon_lock.acquire()
        loop, take = self._loop, self._take
        self._saved = loop.__dict__.get("call_soon")
        original = loop.call_soon

        def call_soon(fn: Any, *args: Any, context: Any = None) -> Any:
            if take is not None and take(fn, context):
                return None
            if runs_here(loop) or not loop.is_running():
                return original(fn, *args, context=context)
            return loop.call_soon_threadsafe(fn, *args, context=context)

        loop.__dict__["call_soon"] = call_soon

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            if self._saved is None:
                del self._loop.__dict__["call_soon"]
            else:
                self._loop.__dict__["call_soon"] = self._saved
        finally:
            call_soon_lock.release()
