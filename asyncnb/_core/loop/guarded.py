"""Handle calls to a loop that come from a thread other than its own.

asyncio allows ``call_soon`` and everything that leads to it (``Future.set_result``, ``Event.set``,
``Queue.put_nowait``, ``create_task``) only on the loop's own thread. In a notebook such calls come
from cells on the main thread and from the bodies of tasks in worker threads. While such code runs,
the loop is guarded, and these calls arrive here instead of in a queue that the loop does not notice
until something else wakes it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import sys
import threading
from asyncio import Handle, TimerHandle, _get_running_loop
from collections.abc import Callable
from threading import get_ident
from types import FrameType
from typing import Any

from asyncnb._core.base.call_soon_hook import lazy_starts
from asyncnb._core.base.frames import is_asyncio_frame, is_internal_frame
from asyncnb._core.base.visits import DeferredHandle, DeferredTimer, visits

__asyncnb_frames__ = "loop"


_NONE: Any = object()

#: Seconds between two checks whether a worker thread has left asyncio's own code.
_RECHECK_SECONDS = 0.0005
#: The maximum number of seconds to wait for the main thread's loop to set a signal handler: far
#: more than an idle loop needs, and the embedded loop is blocked in the meantime.
_MAIN_THREAD_TIMEOUT = 1.0

#: Called in the main thread after a signal handler was added to its loop or removed from it. With
#: the first and the last handler the loop replaces the signal wake-up fd, even one it does not own.
on_wakeup_fd_replaced: list[Callable[[], object]] = []


def call_soon_from_other_thread(
    loop: Any, callback: Any, args: Any, context: contextvars.Context | None
) -> Handle:
    """Do the work of ``loop.call_soon`` in a thread that does not run *loop*."""
    visit = visits.get(get_ident())
    if visit is not None and visit.loop is loop:
        return visit.defer(DeferredHandle(callback, args, loop, context))  # type: ignore[no-any-return]
    if _in_asyncio(sys._getframe(1)):
        handle = DeferredHandle(callback, args, loop, context)
        loop.call_soon_threadsafe(_release_after, handle, get_ident())
        return handle
    return loop.call_soon_threadsafe(callback, *args, context=context)  # type: ignore[no-any-return]


def call_at_from_other_thread(
    loop: Any, when: float, callback: Any, args: Any, context: contextvars.Context | None
) -> TimerHandle:
    """Do the work of ``loop.call_at`` in a thread that does not run *loop*."""
    timer = DeferredTimer(when, callback, args, loop, context)
    visit = visits.get(get_ident())
    if visit is not None and visit.loop is loop:
        return visit.defer(timer)  # type: ignore[no-any-return]
    loop.call_soon_threadsafe(timer.release)
    return timer


def create_task_from_other_thread(
    loop: Any, create_task: Callable[..., Any], coro: Any, kwargs: dict[str, Any]
) -> Any:
    """Do the work of ``loop.create_task`` in a thread that does not run *loop*.

    The task starts lazily, even if an eager start was requested. A first step in this thread would
    make the task the loop's current one, so that the loop's own thread fails to run its next step
    (up to 3.13, "Cannot enter into task"), and leave it in this thread's list of tasks (3.14).
    """
    visit = visits.get(get_ident())
    visiting = visit is not None and visit.loop is loop
    if loop.get_task_factory() is None and visiting and not kwargs:
        return asyncio.tasks.Task(coro, loop=loop)  # the same as create_task(), faster
    if kwargs.get("eager_start"):
        kwargs["eager_start"] = False
    if loop.get_task_factory() is not None:
        with lazy_starts(loop):
            return create_task(loop, coro, **kwargs)
    if visiting:
        return create_task(loop, coro, **kwargs)
    from asyncnb._core.primitives.tasks import Task

    return Task(coro, loop=loop, **kwargs)  # it joins the list of the loop's own thread (3.14)


def _release_after(handle: DeferredHandle, ident: int) -> None:
    """Release *handle* once the thread that scheduled it has left asyncio's own code.

    ``Event.set`` iterates over the waiting futures. If the first of them woke its task while the
    thread is still iterating, the task would remove itself from the list during the iteration.
    """
    frame = sys._current_frames().get(ident)
    if frame is not None and _in_asyncio(frame):
        handle._loop.call_later(_RECHECK_SECONDS, _release_after, handle, ident)
    else:
        handle.release()


def _in_asyncio(frame: FrameType | None) -> bool:
    """Return whether *frame*, or its first caller outside asyncnb, belongs to asyncio."""
    while frame is not None and is_internal_frame(frame):
        frame = frame.f_back
    return frame is not None and is_asyncio_frame(frame)


class GuardedCalls:
    """The other methods of a loop, for a loop that runs on a dedicated thread.

    Comes before the loop's class among the bases. Methods that cannot work on such a loop raise an
    error that names an alternative.
    """

    __slots__ = ()

    _state: Any  # of EmbeddedLoop

    def _is_foreign(self) -> bool:
        """Return whether the loop is running in a thread other than the calling one."""
        thread: threading.Thread = self._state.thread
        return thread.ident is not None and thread.ident != get_ident() and thread.is_alive()

    def _is_running_here(self) -> bool:
        this: object = self
        return _get_running_loop() is this

    def _refuse(self, call: str, instead: str) -> RuntimeError:
        return RuntimeError(
            f"loop.{call} does not work on the embedded loop, which runs for the whole notebook on "
            f"its own thread: {instead}"
        )

    def run_until_complete(self, future: Any) -> Any:
        """Wait, from another thread, until *future* is done; return its result or raise its error.

        A coroutine becomes a task. Ctrl-C ends the wait, not the task; if a waiting background cell
        is cancelled, the task of its coroutine is cancelled, too. On the loop's own thread, raises
        ``RuntimeError`` with the call to use instead.
        """
        if not self._is_foreign():
            if self._is_running_here():
                if asyncio.iscoroutine(future):
                    future.close()
                raise self._refuse(
                    "run_until_complete()",
                    "use `await ...` here; or, if a function calls this or a patched "
                    "asyncio.run() itself, `await asyncio.to_thread(function, ...)`",
                )
            return super().run_until_complete(future)  # type: ignore[misc]
        from asyncnb._core.base.worker_thread import ThreadCancelled
        from asyncnb._core.primitives.awaitables import as_coroutine
        from asyncnb._core.primitives.joining import join_future
        from asyncnb._core.primitives.tasks import Task

        loop: Any = self
        made = not asyncio.isfuture(future) or future.get_loop() is not loop
        if made:
            future = Task(as_coroutine(future), loop=loop)
        try:
            return join_future(future)
        except ThreadCancelled:
            if made:
                loop.call_soon_threadsafe(future.cancel)  # no other code has a reference to it
            raise

    def run_forever(self) -> None:
        """Raise RuntimeError: the loop is already running."""
        if self._is_foreign() or self._is_running_here():
            raise self._refuse(
                "run_forever()", "it is already running; `asyncnb.launch(...)` starts a task"
            )
        super().run_forever()  # type: ignore[misc]

    def stop(self) -> None:
        """Raise RuntimeError in another thread; see ``EmbeddedLoop`` for the loop's own thread."""
        if self._is_foreign():
            raise self._refuse("stop()", '`asyncnb.cancel("*")` cancels the tasks')
        super().stop()  # type: ignore[misc]

    def close(self) -> None:
        """Close the loop. Raises RuntimeError while it is running."""
        if self._is_foreign() or self._is_running_here():
            raise self._refuse(
                "close()", "`%asyncnb restart` starts a new one, and it is closed with the kernel"
            )
        super().close()  # type: ignore[misc]

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:
        """Call *callback* on this loop when the signal *sig* arrives.

        Only the main thread receives signals: the handler is added to its loop, the kernel's. If
        the main thread has no loop, as in a script, or is busy for a second, raises RuntimeError
        that says what to do instead.
        """
        _on_main_loop(
            self,
            "add_signal_handler",
            sig,
            lambda: self.call_soon_threadsafe(callback, *args),  # type: ignore[attr-defined]
        )

    def remove_signal_handler(self, sig: int) -> bool:
        """Undo ``add_signal_handler``; return False if there was none. Same RuntimeError."""
        return bool(_on_main_loop(self, "remove_signal_handler", sig))

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:
        """Call *callback* whenever *fd* is readable, as in asyncio. Any thread."""
        return self._from_any_thread("add_reader", fd, callback, *args)

    def add_writer(self, fd: Any, callback: Any, *args: Any) -> Any:
        """Call *callback* whenever *fd* is writable, as in asyncio. Any thread."""
        return self._from_any_thread("add_writer", fd, callback, *args)

    def remove_reader(self, fd: Any) -> Any:
        """Undo ``add_reader``, as in asyncio. Any thread."""
        return self._from_any_thread("remove_reader", fd)

    def remove_writer(self, fd: Any) -> Any:
        """Undo ``add_writer``, as in asyncio. Any thread."""
        return self._from_any_thread("remove_writer", fd)

    def _from_any_thread(self, method: str, *args: Any) -> Any:
        call = getattr(super(), method)
        if not self._is_foreign():
            return call(*args)
        visit = visits.get(get_ident())
        if visit is not None and visit.loop is self:
            visit.defer(DeferredHandle(call, args, self, None))
        else:
            self.call_soon_threadsafe(call, *args)  # type: ignore[attr-defined]
        return True  # for `remove_...`: that it was registered; only the loop can know, later


def _on_main_loop(loop: Any, method: str, *args: Any) -> Any:
    main = loop._state.main_loop
    if main is None:
        raise RuntimeError(
            "only the main thread receives signals, and the embedded loop runs on another one: use "
            "signal.signal(...) in the main thread, and loop.call_soon_threadsafe(...) in the "
            "handler"
        )

    def act() -> Any:
        try:
            return getattr(main, method)(*args)
        finally:
            for replaced in on_wakeup_fd_replaced.copy():
                replaced()

    if threading.current_thread() is threading.main_thread():
        return act()
    answer: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def answer_on_main_loop() -> None:
        if answer.set_running_or_notify_cancel():
            try:
                answer.set_result(act())
            except Exception as exc:
                answer.set_exception(exc)

    main.call_soon_threadsafe(answer_on_main_loop)
    try:
        return answer.result(_MAIN_THREAD_TIMEOUT)
    except TimeoutError:
        if not answer.cancel():
            return answer.result()  # just now
        raise RuntimeError(
            f"loop.{method}() has to run in the main thread, where signals arrive, and code there, "
            f"such as a cell without `await`, has kept it busy for {_MAIN_THREAD_TIMEOUT:g} s. "
            "Call it again when that cell has ended; or start this from a cell with `await`, which "
            "leaves the main thread free."
        ) from None


def guarded_class(loop: Any, base: Any) -> type[Any]:
    """Return the class that *loop*, written in C, has while it is guarded.

    The class is temporary, since a method in Python makes every step of every task slower; each
    loop has a separate class, so that the method knows the loop's thread. A loop of the standard
    library checks the thread itself: see ``FastCallSoonLoop``.
    """
    own = loop._state.thread.ident
    base_call_soon, base_call_at, base_call_later = base.call_soon, base.call_at, base.call_later

    def call_soon(
        self: Any, callback: Any, arg: Any = _NONE, *args: Any, context: Any = None
    ) -> Handle:
        if get_ident() == own:
            # A task's step takes at most one argument; passing it on separately saves a third.
            if arg is _NONE:
                return base_call_soon(self, callback, context=context)  # type: ignore[no-any-return]
            if not args:
                return base_call_soon(self, callback, arg, context=context)  # type: ignore[no-any-return]
            return base_call_soon(self, callback, arg, *args, context=context)  # type: ignore[no-any-return]
        args = () if arg is _NONE else (arg, *args)
        return call_soon_from_other_thread(self, callback, args, context)

    def call_at(self: Any, when: float, callback: Any, *args: Any, context: Any = None) -> Handle:
        if get_ident() == own:
            return base_call_at(self, when, callback, *args, context=context)  # type: ignore[no-any-return]
        return call_at_from_other_thread(self, when, callback, args, context)

    def call_later(
        self: Any, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> Handle:
        if get_ident() == own:
            return base_call_later(self, delay, callback, *args, context=context)  # type: ignore[no-any-return]
        return call_at_from_other_thread(self, self.time() + delay, callback, args, context)

    def create_task(self: Any, coro: Any, **kwargs: Any) -> Any:
        if get_ident() == own:
            return base.create_task(self, coro, **kwargs)
        return create_task_from_other_thread(self, base.create_task, coro, kwargs)

    methods: dict[str, Any] = {"call_soon": call_soon, "call_at": call_at, "call_later": call_later}
    methods |= {"create_task": create_task, "__slots__": (), "__module__": type(loop).__module__}
    return type(type(loop).__name__, (type(loop),), methods)
