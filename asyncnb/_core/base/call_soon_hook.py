"""Intercept the call of ``loop.call_soon`` that the constructor of a C task makes.

The constructor of the C task looks up ``call_soon`` on the loop object, so an attribute that is set
on that object during construction is called instead. This works on the standard loops and on
uvloop, whose own internals do not use that attribute, and nothing in asyncio is patched.
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

# A signal handler or a finaliser may create a task while another one is being created.
call_soon_lock = fork_safe_lock()


def call_soon_anywhere(
    loop: AbstractEventLoop, fn: Callable[..., object], *args: Any, context: Any = None
) -> Any:
    """Call the original ``loop.call_soon``, or ``call_soon_threadsafe`` from another thread."""
    if runs_here(loop) or not loop.is_running():
        return type(loop).call_soon(loop, fn, *args, context=context)
    return loop.call_soon_threadsafe(fn, *args, context=context)


@contextlib.contextmanager
def lazy_starts(loop: Any) -> Iterator[None]:
    """Make the task that this thread creates in the block start lazily, whatever its factory does.

    asyncio starts a task eagerly if ``loop.is_running()`` is true. While the block runs, an
    attribute of this one loop object makes that return False in the calling thread.
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
    """A context manager in whose block ``loop.call_soon`` is safe to call from every thread.

    In another thread it becomes ``call_soon_threadsafe``; in the loop's own thread the call is
    passed on unchanged. *intercept*, if given, is called first with (function, context); it returns
    True if it has handled the call.
    """

    __slots__ = ("_intercept", "_loop", "_saved")

    def __init__(
        self, loop: AbstractEventLoop, intercept: Callable[[Any, Any], bool] | None = None
    ) -> None:
        self._loop = loop
        self._intercept = intercept

    def __enter__(self) -> None:
        call_soon_lock.acquire()
        loop, intercept = self._loop, self._intercept
        self._saved = loop.__dict__.get("call_soon")
        original = loop.call_soon

        def call_soon(fn: Any, *args: Any, context: Any = None) -> Any:
            if intercept is not None and intercept(fn, context):
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
