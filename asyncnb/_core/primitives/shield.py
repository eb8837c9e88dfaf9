"""shield: wait for a future without passing a cancellation on to it."""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop, current_task
from typing import Any, TypeVar

from asyncnb._core.primitives.create_task import ensure_future
from asyncnb._core.primitives.cross_loop import add_edge, discard_edge
from asyncnb._core.primitives.futures import FutureProxy

_T = TypeVar("_T")
_cancel = asyncio.Future.cancel


class _Shield(asyncio.Future[_T]):
    """The future that ``await shield(inner)`` waits for; cancelling it disconnects ``inner``."""

    __slots__ = ("_inner", "_parent_task")

    _inner: asyncio.Future[_T]
    _parent_task: asyncio.Task[Any] | None  # the task that called shield(), for call graphs

    def cancel(self, msg: Any | None = None) -> bool:
        if not _cancel(self, msg):
            return False
        inner = self._inner
        if not inner.done():
            # The shield no longer handles its outcome: a failure that is never retrieved is
            # reported by the future itself, like any other (gh-156321).
            inner.remove_done_callback(self._inner_done)
        if discard_edge is not None:
            discard_edge(inner, self._parent_task)
        self._parent_task = None
        return True

    def _inner_done(self, inner: asyncio.Future[_T]) -> None:
        if discard_edge is not None:
            discard_edge(self._inner, self._parent_task)
        self._parent_task = None
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


def shield(arg: Any) -> asyncio.Future[Any]:
    """Wait for *arg* without passing a cancellation on to it.

    ``await shield(aw)`` is ``await aw``, except that if the awaiting task is cancelled, *aw* keeps
    running. If *aw* then fails and its exception is never retrieved, the loop's exception handler
    is called, as for any task (gh-156321). If *aw* itself is cancelled, so is the shield. Keep a
    reference to what you shield. *arg* may be a future of another loop or thread.

    >>> saving = asyncio.create_task(asyncio.sleep(9, "saved"))
    >>> try:
    ...     await asyncnb.wait_for(asyncnb.shield(saving), timeout=5)
    ... except TimeoutError:
    ...     print("no longer waited for:", await saving)
    no longer waited for: saved

    Raises ``TypeError`` if *arg* cannot be awaited, ``RuntimeError`` without a loop. Thread of the
    awaiting loop. Source: CPython 3.15.
    """
    inner = ensure_future(arg)
    if inner.done():
        return inner
    loop = inner.get_loop()
    running = _get_running_loop()
    if running is not None and running is not loop:
        loop, inner = running, FutureProxy(inner, running)
    outer: _Shield[Any] = _Shield(loop=loop)
    outer._inner = inner
    parent = outer._parent_task = current_task(loop)
    if add_edge is not None and parent is not None:
        add_edge(inner, parent)
    inner.add_done_callback(outer._inner_done)
    return outer
