"""shield: wait for a future without passing a cancellation on to it."""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop
from typing import Any, TypeVar

from asyncnb._core._futures import Mirror, ensure_future

_T = TypeVar("_T")
_cancel = asyncio.Future.cancel


class _Shield(asyncio.Future[_T]):
    """What ``await shield(inner)`` waits for; cancelling it lets go of the inner future."""

    __slots__ = ("_inner",)

    _inner: asyncio.Future[_T]

    def cancel(self, msg: Any | None = None) -> bool:
        if not _cancel(self, msg):
            return False
        inner = self._inner
        if not inner.done():
            inner.remove_done_callback(self._inner_done)
            if not getattr(inner, "_launched", False):  # those report their failures themselves
                inner.remove_done_callback(_log_exception)  # one report for any number of shields
                inner.add_done_callback(_log_exception)
        return True

    def _inner_done(self, inner: asyncio.Future[_T]) -> None:
        if self.done():
            return
        if inner.cancelled():
            _cancel(self)
            return
        exc = inner.exception()
        if exc is None:
            self.set_result(inner.result())
        else:
            self.set_exception(exc)


def _log_exception(fut: asyncio.Future[Any]) -> None:
    if fut.cancelled() or (exc := fut.exception()) is None:
        return
    report = {
        "message": f"{type(exc).__name__} exception in shielded future",
        "exception": exc,
        "future": fut,
    }
    source_traceback = getattr(fut, "_source_traceback", None)  # in debug mode
    if source_traceback:
        report["source_traceback"] = source_traceback
    fut.get_loop().call_exception_handler(report)


def shield(arg: Any) -> asyncio.Future[Any]:
    """Wait for *arg* without passing a cancellation on to it.

    ``await shield(aw)`` is ``await aw``, except that when the awaiting task is cancelled, *aw*
    goes on. If it then fails, the loop's exception handler is told, once (3.14, gh-134331). When
    *aw* itself is cancelled, so is the shield. Keep a reference to what you shield. *arg* may be
    a future of another loop or thread.

    >>> saving = asyncio.create_task(asyncio.sleep(9, "saved"))
    >>> try:
    ...     await asyncnb.wait_for(asyncnb.shield(saving), timeout=5)
    ... except TimeoutError:
    ...     print("no longer waited for:", await saving)
    no longer waited for: saved

    ``TypeError`` for what cannot be awaited, ``RuntimeError`` without a loop. Thread of the
    awaiting loop. Source: CPython 3.14.
    """
    inner = ensure_future(arg)
    if inner.done():
        return inner
    loop = inner.get_loop()
    running = _get_running_loop()
    if running is not None and running is not loop:
        loop, inner = running, Mirror(inner, running)
    outer: _Shield[Any] = _Shield(loop=loop)
    outer._inner = inner
    inner.add_done_callback(outer._inner_done)
    return outer
