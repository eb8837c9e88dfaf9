"""What the waiting primitives wait on: signals from elsewhere, and a future that knows what for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import weakref
from asyncio import AbstractEventLoop
from collections.abc import Collection
from typing import Any, TypeAlias

#: What can be waited for without being awaited: it has a state, callbacks and a result.
AnyFuture: TypeAlias = "asyncio.Future[Any] | concurrent.futures.Future[Any]"


class Waiter(asyncio.Future[None]):
    """The future a waiting primitive sleeps on; it knows what for, so call graphs can tell."""

    def __init__(self, children: Collection[AnyFuture], *, loop: AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._children = children


def is_foreign(source: object, loop: AbstractEventLoop) -> bool:
    """Return whether ``source`` is a future, but none of ``loop``."""
    if asyncio.isfuture(source):
        return source.get_loop() is not loop
    return isinstance(source, concurrent.futures.Future)


_signals: weakref.WeakKeyDictionary[Any, list[asyncio.Future[Any]]] = weakref.WeakKeyDictionary()


def signal(source: AnyFuture, loop: AbstractEventLoop) -> asyncio.Future[Any]:
    """Return ``source`` if it belongs to ``loop``, else a future that is done when it is done.

    There is one per source and loop, so that a loop around ``wait()`` leaves no callbacks behind
    on a source that outlives it. Do not cancel it: nobody would hear. Call on the thread of
    ``loop``. Raises RuntimeError for an unfinished future of a closed loop: it would never end.
    """
    if asyncio.isfuture(source) and source.get_loop() is loop:
        return source
    known = _signals.setdefault(source, [])
    for future in known:
        if future.get_loop() is loop:
            return future
    future = loop.create_future()
    if source.done():
        future.set_result(None)
        return future

    def relay(_: object) -> None:
        try:
            loop.call_soon_threadsafe(_fire, future)
        except RuntimeError:
            if not loop.is_closed():  # else nobody waits there any more
                raise

    if not asyncio.isfuture(source):
        source.add_done_callback(relay)
    else:
        home = source.get_loop()
        if home.is_closed():
            raise RuntimeError(
                f"{source!r} can never be done: its event loop is closed; start the work again on "
                "a running loop"
            )
        if home.is_running() is True:
            home.call_soon_threadsafe(source.add_done_callback, relay)
        else:
            source.add_done_callback(relay)
    known.append(future)
    return future


def _fire(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_result(None)
