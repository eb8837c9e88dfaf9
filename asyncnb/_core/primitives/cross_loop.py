"""The building blocks of the waiting primitives.

Signals for futures of other loops and threads, a future to wait on that knows what it waits for,
and cheap ways to check many futures of this loop and add callbacks to them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import weakref
from asyncio import AbstractEventLoop
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

from asyncnb._core.primitives.futures import Future, accepts_calls, register_waiter
from asyncnb._core.primitives.tasks import Task

#: ``add_edge(future, waiter)``, ``discard_edge(future, waiter)``: the interpreter's own call graph
#: (``asyncio.print_call_graph``, ``python -m asyncio pstree``) follows them; None before 3.14.
Edge: TypeAlias = Callable[[Any, Any], None]
add_edge: Edge | None = getattr(asyncio, "future_add_to_awaited_by", None)
discard_edge: Edge | None = getattr(asyncio, "future_discard_from_awaited_by", None)

#: An object that can be waited for without being awaited: it has a state, callbacks and a result.
AnyFuture: TypeAlias = "asyncio.Future[Any] | concurrent.futures.Future[Any]"


def new_waiter(children: Collection[AnyFuture], loop: AbstractEventLoop) -> Any:
    """Return the future for a primitive to await; call graphs read from it what it waits for."""
    # A plain future, which the C task awaits without calling methods, with the attribute that the
    # future of asyncio's gather() has: a class would cost a twentieth of a wait.
    waiter: Any = asyncio.Future(loop=loop)
    waiter._children = children
    return waiter


#: ``add_callback(task, fn)`` for asyncnb's tasks on the loop of this thread: their own method first
#: checks in which thread it is called.
add_callback: Any = asyncio.Task.add_done_callback
# Looked up now, not when called: nest_asyncio replaces these classes by pure-Python ones.
_add_to_future: Any = asyncio.Future.add_done_callback
_remove_from_task: Any = asyncio.Task.remove_done_callback
_remove_from_future: Any = asyncio.Future.remove_done_callback
_adders: dict[type, Any] = {}
_removers: dict[type, Any] = {}
_usual_kinds: frozenset[type] = frozenset((asyncio.Task, asyncio.Future, Task, Future))


def done_callback_adder(kind: Any) -> Callable[..., object]:
    """Return ``add_done_callback`` for a future of type ``kind`` on the loop of this thread.

    asyncnb's futures first check which thread they are called in; here the check is skipped.
    """
    add: Callable[..., object] | None = _adders.get(kind)
    if add is None:
        add = kind.add_done_callback
        if add is Task.add_done_callback:
            add = add_callback
        elif add is Future.add_done_callback:
            add = _add_to_future
        _adders[kind] = add
    return add


def done_callback_remover(kind: Any) -> Callable[[Any, Callable[[Any], object]], int]:
    """Return ``remove_done_callback`` in the way ``done_callback_adder`` returns its method."""
    remove: Callable[[Any, Callable[[Any], object]], int] | None = _removers.get(kind)
    if remove is None:
        remove = kind.remove_done_callback
        if remove is Task.remove_done_callback:
            remove = _remove_from_task
        elif remove is Future.remove_done_callback:
            remove = _remove_from_future
        _removers[kind] = remove
    return remove


def all_local(given: Collection[Any], loop: AbstractEventLoop) -> bool:
    """Return whether all of ``given``, at least one, are futures of ``loop``."""
    try:
        for each in given:
            if each._loop is not loop:
                return False
            if type(each) not in _usual_kinds and not asyncio.isfuture(each):
                return False
    except AttributeError:
        return False
    return bool(given)


def is_foreign(source: object, loop: AbstractEventLoop) -> bool:
    """Return whether ``source`` is a future that does not belong to ``loop``."""
    if asyncio.isfuture(source):
        return source.get_loop() is not loop
    return isinstance(source, concurrent.futures.Future)


_done_signals: weakref.WeakKeyDictionary[Any, list[DoneSignal]] = weakref.WeakKeyDictionary()


def done_signal(source: AnyFuture, loop: AbstractEventLoop) -> asyncio.Future[Any]:
    """Return ``source`` if it belongs to ``loop``, else a future that is done once ``source`` is.

    There is only one per source and loop, so that repeated calls of ``wait()`` do not accumulate
    callbacks on a long-lived source. Do not cancel it: the source would not notice. Call this on
    the thread of ``loop``. Raises RuntimeError for an unfinished future of a closed loop, which
    would never end.
    """
    if asyncio.isfuture(source) and source.get_loop() is loop:
        return source
    known = _done_signals.setdefault(source, [])
    for future in known:
        if future.get_loop() is loop:
            return future
    future = DoneSignal(loop=loop)
    if source.done():
        future.set()
        return future
    if not asyncio.isfuture(source):
        source.add_done_callback(future.forward)
    else:
        home = source.get_loop()
        if home.is_closed() and not source.done():  # it may have ended with its loop
            raise RuntimeError(
                f"{source!r} can never be done: its event loop is closed; start the work again on "
                "a running loop"
            )
        register_waiter(home, future)
        try:
            if accepts_calls(home):
                home.call_soon_threadsafe(source.add_done_callback, future.forward)
            else:
                source.add_done_callback(future.forward)
        except RuntimeError:
            if not source.done():
                raise
            future.set()  # its loop was closed just now, which has ended it
    known.append(future)
    return future


class DoneSignal(asyncio.Future[None]):
    """A future that is done when one of another loop or thread is; it fails if that loop dies."""

    def forward(self, _: object) -> None:
        """Set the signal on its own loop. Any thread."""
        self._post(self.set)

    def fail(self, exc: BaseException) -> None:
        """End with ``exc``, because the source will never be done. Any thread."""
        self._post(self.set, exc)

    def _post(self, call: Callable[..., None], *args: BaseException) -> None:
        loop = self.get_loop()
        try:
            loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            if not loop.is_closed():  # closed: nothing waits there any more
                raise

    def set(self, exc: BaseException | None = None) -> None:
        """Mark the signal as done, with ``exc`` if given. Thread of its own loop."""
        if self.done():
            return
        if exc is None:
            self.set_result(None)
        else:
            self.set_exception(exc)
            self._log_traceback = False  # the waiting code retrieves the source's exception
