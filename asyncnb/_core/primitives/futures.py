"""Future, and the bridges between loops and threads that everything above is built on.

An asyncio future belongs to one loop, and only that loop's thread may use it. Here the same object
may be used from any thread: a method called in another thread is passed to the future's own loop
with ``call_soon_threadsafe``; in the loop's own thread this costs one identity check.

* :class:`Future` - ``asyncio.Future`` with the 3.15 behaviour, usable and awaitable everywhere
* :class:`FutureProxy` - follows a future of another loop or thread, or a launched task, on this
  loop
* :func:`join_future`, :func:`fail_waiters` - from ``primitives.joining``: block a thread until a
  future is done, and release everything that waits for a dead loop
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import weakref
from asyncio import AbstractEventLoop, CancelledError, InvalidStateError, _get_running_loop
from collections.abc import Callable, Generator
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.visits import visits
from asyncnb._core.primitives.awaitables import as_coroutine as as_coroutine
from asyncnb._core.primitives.awaitables import iscoroutine as iscoroutine
from asyncnb._core.primitives.awaitables import iscoroutinefunction as iscoroutinefunction
from asyncnb._core.primitives.awaitables import isfuture as isfuture
from asyncnb._core.primitives.joining import accepts_calls as accepts_calls
from asyncnb._core.primitives.joining import fail_waiters as fail_waiters
from asyncnb._core.primitives.joining import join_future as join_future
from asyncnb._core.primitives.joining import register_waiter as register_waiter
from asyncnb._core.primitives.joining import unregister_waiter as unregister_waiter

__all__ = ["Future", "iscoroutine", "iscoroutinefunction", "isfuture"]
__all__ += ["wrap_future"]

_T = TypeVar("_T")

# Looked up only once, because these run for every await and every callback.
_await = asyncio.Future.__await__
_cancel = asyncio.Future.cancel
_add_done_callback = asyncio.Future.add_done_callback
_remove_done_callback = asyncio.Future.remove_done_callback
_set_result = asyncio.Future.set_result
_set_exception = asyncio.Future.set_exception


class _Interrupt:
    """The type of INTERRUPT."""

    def __repr__(self) -> str:
        return "INTERRUPT"


INTERRUPT = _Interrupt()
"""``task.cancel(msg=INTERRUPT)`` ends only what the user is waiting for: the message is passed down
the await chain with the cancellation, and launched tasks ignore it."""


def runs_elsewhere(loop: AbstractEventLoop) -> bool:
    """Return whether *loop* is currently running in a thread other than this one.

    ``is True``: a test's stand-in loop returns something truthy for every call.
    """
    if _get_running_loop() is loop:
        return bool(visits) and get_ident() in visits
    return loop.is_running() is True


_guard = fork_safe_lock()  # for the little that several threads write: claims, incoming callbacks


class _Incoming:
    """A done callback on its way to the future's loop.

    Equal only to itself: comparing contexts would compare the values in them.
    """

    __slots__ = ("context", "fn")

    def __init__(self, fn: Any, context: contextvars.Context) -> None:
        self.fn, self.context = fn, context


_incoming: weakref.WeakKeyDictionary[Any, list[_Incoming]] = weakref.WeakKeyDictionary()


def post_callback(fut: asyncio.Future[Any], fn: Any, context: contextvars.Context | None) -> None:
    """Add a done callback to a future whose loop runs in another thread.

    The context is the caller's, as if the callback had been added immediately. The pair is kept in
    a list until the loop takes it, so that an earlier removal can find it.
    """
    item = _Incoming(fn, contextvars.copy_context() if context is None else context)
    with _guard:
        _incoming.setdefault(fut, []).append(item)

    def take() -> None:
        with _guard:
            try:
                # Keep the list even when empty: a finaliser may be about to add to it.
                _incoming.get(fut, []).remove(item)
            except ValueError:
                return  # removed before it arrived
        fut.add_done_callback(item.fn, context=item.context)

    fut.get_loop().call_soon_threadsafe(take)


def post_removal(fut: asyncio.Future[Any], fn: Any) -> int:
    """Remove a done callback of a future whose loop runs in another thread; return how many.

    This counts the callbacks registered now; one that the loop is about to call will still run.
    """
    with _guard:
        items, removed = _incoming.get(fut, []), 0
        for item in items.copy():
            if item.fn == fn and item in items:
                items.remove(item)
                removed += 1
    registered = [item for item in getattr(fut, "_callbacks", None) or () if item[0] == fn]
    if registered:
        fut.get_loop().call_soon_threadsafe(fut.remove_done_callback, fn)
    return removed + len(registered)


def _no_stop_iteration(exception: Any) -> Any:
    # The 3.13 rule (gh-112182): a StopIteration cannot be raised into a coroutine. Before 3.13 this
    # was a TypeError, and the code awaiting the future waited forever.
    if isinstance(exception, type) and issubclass(exception, StopIteration):
        exception = exception()
    if isinstance(exception, StopIteration):
        error = RuntimeError(
            "StopIteration interacts badly with generators and cannot be raised into a Future"
        )
        error.__cause__ = exception
        error.__context__ = exception
        return error
    return exception


class Future(asyncio.Future[_T]):
    """A future result: ``asyncio.Future`` that any thread may use and any loop may await.

    ``Future(*, loop=None)`` belongs to *loop*, or to the running one. In the loop's own thread
    each method is the standard one. In another thread, while the loop runs:

    * ``cancel``, ``set_result``, ``set_exception``, ``add_done_callback`` and
      ``remove_done_callback`` are passed to the loop and wake it; callbacks run on the loop. The
      future is done once the loop has received the result, a moment after the call returns.
    * a second ``set_result`` or ``set_exception`` raises ``asyncio.InvalidStateError`` at once.
    * ``await`` works in every loop; if the awaiting task is cancelled, so is the future.

    Raises ``RuntimeError`` if the future's loop is closed, or if there is no loop to belong to.
    Semantics: CPython 3.15, where ``set_exception(StopIteration())`` stores a ``RuntimeError``
    (gh-112182), on every Python.
    """

    __slots__ = ()

    _launched = False
    _claimed = False  # a result from another thread is on its way

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel and schedule the callbacks; return False if already done. Any thread."""
        loop = self._loop
        if (_get_running_loop() is loop and not visits) or not runs_elsewhere(loop):
            return _cancel(self, msg)
        if self.done():
            return False
        loop.call_soon_threadsafe(_cancel, self, msg)
        return True

    def add_done_callback(self, fn: Any, /, *, context: contextvars.Context | None = None) -> None:
        """Call ``fn(future)`` on the future's loop once it is done. Any thread."""
        loop = self._loop
        if (_get_running_loop() is loop and not visits) or not runs_elsewhere(loop):
            _add_done_callback(self, fn, context=context)
        else:
            post_callback(self, fn, context)

    def remove_done_callback(self, fn: Any, /) -> int:
        """Remove all registrations of *fn* and return how many there were. Any thread."""
        loop = self._loop
        if (_get_running_loop() is loop and not visits) or not runs_elsewhere(loop):
            return _remove_done_callback(self, fn)
        return post_removal(self, fn)

    def set_result(self, result: _T, /) -> None:
        """Mark as done with *result*; ``InvalidStateError`` if already done. Any thread."""
        loop = self._loop
        if (_get_running_loop() is loop and not visits) or not runs_elsewhere(loop):
            _set_result(self, result)
        else:
            self._claim()
            loop.call_soon_threadsafe(_set_unless_done, self, _set_result, result)

    def set_exception(self, exception: type | BaseException, /) -> None:
        """Mark as done with *exception*, an instance or a class.

        Raises ``InvalidStateError`` if already done, ``TypeError`` if it is not an exception. A
        ``StopIteration`` is stored as a ``RuntimeError`` caused by it. Any thread.
        """
        exception = _no_stop_iteration(exception)
        loop = self._loop
        if (_get_running_loop() is loop and not visits) or not runs_elsewhere(loop):
            _set_exception(self, exception)
            return
        if isinstance(exception, type):
            exception = exception()
        if not isinstance(exception, BaseException):
            raise TypeError(
                f"invalid exception object: got {exception!r}; set_exception() takes an exception "
                "instance or class; use set_result() for a value"
            )
        self._claim()
        loop.call_soon_threadsafe(_set_unless_done, self, _set_exception, exception)

    def _claim(self) -> None:
        with _guard:
            if self.done() or self._claimed:
                raise InvalidStateError(f"invalid state: {self!r} already has a result")
            self._claimed = True

    def __await__(self) -> Generator[Any, None, _T]:
        running = _get_running_loop()
        if running is self._loop or running is None or self.done():
            return _await(self)
        proxy: FutureProxy[_T] = FutureProxy(self, running)
        return proxy.__await__()

    if TYPE_CHECKING:

        def __iter__(self) -> Generator[Any, None, _T]: ...
    else:
        __iter__ = __await__


def _set_unless_done(fut: Future[Any], setter: Callable[[Any, Any], None], value: Any) -> None:
    # Cancelled, or set by the loop itself, before this result arrived: the result is too late.
    if not fut.done():
        setter(fut, value)


def _asyncio_error(exc: BaseException) -> BaseException:
    """Convert concurrent.futures' errors to asyncio's, with their traceback (3.13)."""
    if type(exc) is concurrent.futures.CancelledError:
        return CancelledError(*exc.args).with_traceback(exc.__traceback__)
    if type(exc) is concurrent.futures.InvalidStateError:
        return InvalidStateError(*exc.args).with_traceback(exc.__traceback__)
    return exc


class FutureProxy(asyncio.Future[_T]):
    """A future of *loop* that follows *source*, which lives in another loop or thread.

    Create ``FutureProxy(source, loop)`` on the thread of *loop*. Cancelling the proxy requests the
    source to cancel and waits for the outcome, as awaiting a task does; a source in another thread
    that was done before the request reached it does not swallow the cancellation. With the message
    :data:`INTERRUPT` a launched source is unaffected and only the proxy is cancelled, which is why
    launched tasks are awaited through a proxy in their own loop, too.

    The constructor raises ``RuntimeError`` if the source's loop is not running, because nothing
    would complete the source.
    """

    __slots__ = ("_accepted", "_cancel_request", "source")

    def __init__(self, source: Any, loop: AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.source = source
        #: The message of a cancellation that was passed to the source, as a tuple.
        self._cancel_request: tuple[Any] | None = None
        self._accepted = False  # written in the source's thread, before the source can be done
        if not isfuture(source):
            source.add_done_callback(self._source_done)
            return
        home = source.get_loop()
        if home is loop:
            source.add_done_callback(self._copy_outcome)
        else:
            if source.done():
                self._copy_outcome(source)
                return
            if not accepts_calls(home) and not source.done():  # it may have ended with its loop
                raise RuntimeError(
                    f"Task {asyncio.current_task(loop)!r} got Future {source!r} attached to a "
                    "different loop, which is not running, so the task would wait forever; start "
                    "the work again on a running loop"
                )
            register_waiter(home, self)
            try:
                home.call_soon_threadsafe(source.add_done_callback, self._source_done)
            except RuntimeError:
                if not source.done():
                    raise
                self._copy_outcome(source)  # its loop was closed just now, which has ended it

    def _source_done(self, source: Any) -> None:
        # In the source's thread.
        try:
            self._loop.call_soon_threadsafe(self._copy_outcome, source)
        except RuntimeError:
            if not self._loop.is_closed():  # closed: nothing there waits any more
                raise

    def _copy_outcome(self, source: Any) -> None:
        if self.done():
            return
        if isfuture(source):
            unregister_waiter(source.get_loop(), self)
        if self._cancel_request is not None and not self._accepted and not source.cancelled():
            _cancel(self, *self._cancel_request)  # the request came too late for the source
            return
        try:
            exc = source.exception()
        except (CancelledError, concurrent.futures.CancelledError) as cancelled:
            _cancel(self, *cancelled.args[:1])
            return
        if exc is None:
            _set_result(self, source.result())
        else:
            _set_exception(self, _no_stop_iteration(_asyncio_error(exc)))

    def cancel(self, msg: Any | None = None) -> bool:
        """Request the source to cancel; the proxy ends as the source does. This loop's thread."""
        if self.done():
            return False
        source = self.source
        if not isfuture(source):
            source.cancel()
            return _cancel(self, msg)
        home = source.get_loop()
        if msg is INTERRUPT and getattr(source, "_launched", False):
            self._disconnect()
            return _cancel(self, msg)
        if home is self._loop:
            return bool(source.cancel(msg=msg))
        self._cancel_request = (msg,)
        try:
            home.call_soon_threadsafe(self._cancel_source, msg)
        except RuntimeError:  # that loop is closed and will not answer
            return _cancel(self, msg)
        return True

    def _cancel_source(self, msg: Any) -> None:
        # In the source's thread.
        if self.source.cancel(msg=msg):
            self._accepted = True

    def _disconnect(self) -> None:
        source = self.source
        home = source.get_loop()
        if home is self._loop:
            source.remove_done_callback(self._copy_outcome)
            return
        unregister_waiter(home, self)
        if not home.is_closed():
            home.call_soon_threadsafe(source.remove_done_callback, self._source_done)

    def fail(self, exc: BaseException) -> None:
        """End with *exc* because the source's loop is dead. Any thread."""
        try:
            self._loop.call_soon_threadsafe(self._fail, exc)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _fail(self, exc: BaseException) -> None:
        if not self.done():
            _set_exception(self, exc)


def local(fut: Any, loop: AbstractEventLoop) -> asyncio.Future[Any]:
    """Return *fut* as a future of *loop*: itself if it is one, else a :class:`FutureProxy` for it.

    For waiting functions, which call ``add_done_callback`` on the result in this loop. *fut* may
    belong to another loop or be a ``concurrent.futures.Future``. Thread of *loop*.
    """
    if isfuture(fut) and fut.get_loop() is loop:
        return fut
    return FutureProxy(fut, loop)


def wrap_future(
    future: concurrent.futures.Future[_T] | asyncio.Future[_T],
    *,
    loop: AbstractEventLoop | None = None,
) -> asyncio.Future[_T]:
    """Wrap a ``concurrent.futures.Future`` in a future of *loop* (default: the running one).

    The result, exception or cancellation is passed on, and cancelling the wrapper cancels what it
    wraps. An asyncio future is returned unchanged, unless it belongs to a loop other than *loop*:
    then a wrapper follows it. Raises ``TypeError`` for anything else; ``RuntimeError`` without a
    loop. Thread of *loop*. Source: CPython 3.15; following other loops is asyncnb's addition.
    """
    if isfuture(future):
        target = loop if loop is not None else _get_running_loop()
        if target is None or future.get_loop() is target:
            return future
        return FutureProxy(future, target)
    if not isinstance(future, concurrent.futures.Future):
        # An AssertionError in CPython, absent under -O: then it fails later and less clearly.
        raise TypeError(
            f"a concurrent.futures.Future is expected, got {future!r}; an executor's submit() "
            "returns one; for a coroutine use ensure_future()"
        )
    return FutureProxy(future, loop if loop is not None else asyncio.get_event_loop())
