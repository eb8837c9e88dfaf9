"""Between threads and loops: run in a thread, submit to a loop, run a loop to completion."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import enum
import functools
import inspect
import signal
import threading
from asyncio import AbstractEventLoop, CancelledError, _get_running_loop, new_event_loop
from collections.abc import Awaitable, Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any, Generic, ParamSpec, TypeVar

from asyncnb._core.base.errors import THREADS, EmbeddedLoopError, no_threads
from asyncnb._core.base.visits import runs_here
from asyncnb._core.primitives.all_tasks import all_tasks
from asyncnb._core.primitives.awaitables import (
    as_coroutine,
    close_refused,
    close_unstarted,
    iscoroutine,
    iscoroutinefunction,
)
from asyncnb._core.primitives.create_task import ensure_future, new_task
from asyncnb._core.primitives.joining import (
    Joiner,
    dead_loop_error,
    refuse_own_thread,
    refuse_with_lock_held,
)
from asyncnb._core.primitives.tasks import Task, can_construct, construct_eagerly, interrupt

__all__ = ["Runner", "new_event_loop", "run", "run_coroutine_threadsafe", "to_thread"]

_T = TypeVar("_T")
_P = ParamSpec("_P")

_construct_task: Callable[..., Any] = functools.partial(construct_eagerly, Task)

_EXECUTOR_SHUTDOWN = 300.0  # seconds, as asyncio.constants.THREAD_JOIN_TIMEOUT


def _call(func: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    try:
        return func(*args, **kwargs)
    except StopIteration as exc:
        # A future of 3.11 rejects it, and the awaiting task would wait forever (gh-112182).
        raise RuntimeError("StopIteration cannot be raised into a coroutine") from exc


async def to_thread(func: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call ``func(*args, **kwargs)`` in a worker thread and return its result.

    It runs in the loop's default executor, in a copy of the current context, so context variables
    can be read there. What it raises is raised here; a ``StopIteration`` as a ``RuntimeError``.
    Cancelling ends the wait; the thread keeps running to the end of *func*. Any loop. Raises
    ``TypeError`` if *func* is an ``async def`` function, which would only create a coroutine in the
    thread, and ``RuntimeError`` where threads are not available (Pyodide). Source: CPython 3.9.
    """
    if iscoroutinefunction(func):
        raise TypeError(
            f"to_thread() takes a regular function, but {func!r} is an async def function, which "
            "would only create a coroutine in the thread: await it here, or use create_task()"
        )
    if not THREADS:
        # Pyodide's own to_thread() would call it here and block everything else.
        what = getattr(func, "__name__", "function")
        raise no_threads(
            "to_thread()", f"call {what}(...) directly, which blocks everything else until it ends"
        )
    loop = asyncio.get_running_loop()
    call = functools.partial(_call, func, *args, **kwargs)
    return await loop.run_in_executor(None, contextvars.copy_context().run, call)


class _Submitted(concurrent.futures.Future[_T]):
    """The future of run_coroutine_threadsafe(): waiting for it on the loop's thread is an error."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        super().__init__()
        self._loop_of_task = loop

    def _refuse_own_thread(self, method: str) -> None:
        if runs_here(self._loop_of_task) and not self.done():
            raise RuntimeError(
                f"{method}() on the loop's own thread would deadlock, because the coroutine needs "
                "this thread to run; use `await coro` or `await wrap_future(future)` instead"
            )

    def result(self, timeout: float | None = None) -> _T:
        self._refuse_own_thread("result")
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._refuse_own_thread("exception")
        return super().exception(timeout)


def run_coroutine_threadsafe(
    coro: Coroutine[Any, Any, _T], loop: AbstractEventLoop
) -> concurrent.futures.Future[_T]:
    """Start *coro* as a task of *loop*, which runs in another thread.

    Return a ``concurrent.futures.Future``: ``result(timeout)`` blocks this thread and raises what
    the coroutine raised, or ``TimeoutError`` after *timeout* seconds; ``cancel()`` cancels the
    task. On the loop's own thread ``result()`` and ``exception()`` raise ``RuntimeError`` at once
    instead of deadlocking. Raises ``TypeError`` if *coro* is not a coroutine, ``RuntimeError`` if
    the loop is closed. Any thread, any loop. Source: CPython 3.15; raising instead of deadlocking
    is asyncnb's.
    """
    if not isinstance(loop, AbstractEventLoop):
        close_unstarted(coro)
        raise TypeError(f"run_coroutine_threadsafe(coro, loop) takes an event loop, not {loop!r}")
    if not iscoroutine(coro):
        given: Any = coro
        hint = "; asyncnb.run(awaitable) takes any awaitable" if inspect.isawaitable(given) else ""
        raise TypeError(f"A coroutine object is required, got {coro!r}{hint}")
    submitted: _Submitted[_T] = _Submitted(loop)

    def start() -> None:
        try:
            task = ensure_future(coro, loop=loop)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            if submitted.set_running_or_notify_cancel():
                submitted.set_exception(exc)
            raise
        task.add_done_callback(carry_over)

        def cancel_task(_: object) -> None:
            if not submitted.cancelled():
                return
            if runs_here(loop):
                task.cancel()  # at once, not one loop iteration later (gh-105836)
            else:
                try:
                    loop.call_soon_threadsafe(task.cancel)
                except RuntimeError:
                    if not loop.is_closed():
                        raise

        submitted.add_done_callback(cancel_task)

    def carry_over(task: asyncio.Future[_T]) -> None:
        if task.cancelled():
            submitted.cancel()
        if not submitted.set_running_or_notify_cancel():
            return
        exc = task.exception()
        if exc is None:
            submitted.set_result(task.result())
        else:
            submitted.set_exception(exc)

    with close_refused(coro):
        loop.call_soon_threadsafe(start)
    return submitted


def run_on(
    loop: AbstractEventLoop,
    awaitable: Awaitable[_T],
    *,
    timeout: float | None = None,
    name: str | None = None,
) -> _T:
    """Run an awaitable as a task of *loop*, which runs in another thread; return the result.

    Blocks the calling thread. Ctrl-C cancels the task, waits for its cleanup (a second Ctrl-C does
    not) and raises ``KeyboardInterrupt``; the cancel of a function that waits here in a worker
    thread does the same and raises ``CancelledError``. After *timeout* seconds the task is
    cancelled in the same way, and ``TimeoutError`` is raised. Raises ``RuntimeError`` on the loop's
    own thread and if the loop closes or crashes in the meantime; ``TypeError`` if the argument
    cannot be awaited. Any other thread.
    """
    refuse_own_thread(loop, "run()", "await ...")
    coro = as_coroutine(awaitable)
    try:
        refuse_with_lock_held("run()")
    except EmbeddedLoopError:
        coro.close()
        raise
    work: _Work[_T] = _Work(loop, coro, name)
    work.register()
    try:
        try:
            loop.call_soon_threadsafe(work.start)
            in_time = work.wait(timeout)
        except (KeyboardInterrupt, CancelledError):  # Ctrl-C; the cancel of a worker thread
            work.end_and_wait()
            raise
        if not in_time:
            work.end_and_wait()
            raise TimeoutError(f"cancelled because not done after {timeout} seconds: {awaitable!r}")
    finally:
        work.unregister()
    task = work.task
    if task is not None and task.done():
        return task.result()
    raise work.error or dead_loop_error(awaitable)


class _Work(Joiner, Generic[_T]):
    """A coroutine to run on a loop, for the thread that waits for it."""

    __slots__ = ("context", "coro", "name", "task")

    def __init__(
        self, loop: AbstractEventLoop, coro: Coroutine[Any, Any, _T], name: str | None
    ) -> None:
        super().__init__(loop)
        self.coro = coro
        self.name = name
        self.context = contextvars.copy_context()
        self.task: asyncio.Task[_T] | None = None

    def start(self) -> None:
        """Run the first step, on the loop's thread.

        Here, not in the waiting thread, and eagerly: the loop wakes up once instead of twice, and a
        coroutine that does not suspend is done before the waiting thread falls asleep.
        """
        coro, loop = self.coro, self.loop
        make = _construct_task if can_construct(coro, loop) else Task
        try:
            task = make(coro, loop=loop, name=self.name, context=self.context, eager_start=True)
        except BaseException as exc:
            self.fail(exc)
            raise
        self.task = task
        if task.done():
            self.release()
        else:
            task.add_done_callback(self.release)

    def cancel(self) -> None:
        """Cancel the task, on the loop's thread."""
        if self.task is not None:
            interrupt(self.task)  # launched tasks that it waits for keep running
        else:  # Ctrl-C came before the loop had started the task
            self.coro.close()
            self.release()

    def end_and_wait(self) -> None:
        """Cancel the task and wait for its cleanup, in the waiting thread."""
        try:
            self.loop.call_soon_threadsafe(self.cancel)
        except RuntimeError:
            if not self.loop.is_closed():
                raise
        self.wait()


class _State(enum.Enum):
    CREATED = "created"
    INITIALIZED = "initialized"
    CLOSED = "closed"


class _NotAwaitable(TypeError, ValueError):
    """A TypeError, as in 3.14; also a ValueError, for handlers written for Python up to 3.13."""


class Runner:
    """A context manager that creates an event loop, runs coroutines in it and closes it properly.

    ``Runner(*, debug=None, loop_factory=None)``: *debug* sets the loop's debug mode unless it is
    None; *loop_factory* creates the loop, otherwise :func:`new_event_loop` does and the loop is set
    as the thread's current one. ``run()`` may be called several times, with the same loop and
    context. For use on one thread, usually the main one, where Ctrl-C cancels the running task.
    Source: CPython 3.15.
    """

    def __init__(
        self,
        *,
        debug: bool | None = None,
        loop_factory: Callable[[], AbstractEventLoop] | None = None,
    ) -> None:
        self._state = _State.CREATED
        self._debug = debug
        self._loop_factory = loop_factory
        self._loop: AbstractEventLoop | None = None
        self._context: contextvars.Context | None = None
        self._interrupt_count = 0
        self._set_event_loop = False

    def __enter__(self) -> Runner:
        self.get_loop()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel all tasks, wait for their cleanup, shut down generators and executor, and close.

        Waits up to 300 seconds for the threads of the default executor. Does nothing if there is no
        loop yet, or no longer.
        """
        if self._state is not _State.INITIALIZED:
            return
        loop = self.get_loop()
        try:
            _cancel_all_tasks(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(_shutdown_executor(loop))
        finally:
            if self._set_event_loop:
                asyncio.set_event_loop(None)
            loop.close()
            self._loop = None
            self._state = _State.CLOSED

    def get_loop(self) -> AbstractEventLoop:
        """Return the loop, created now if needed. ``RuntimeError`` if the runner is closed."""
        if self._state is _State.CLOSED:
            raise RuntimeError("Runner is closed; create a new one")
        if self._loop is None:
            if self._loop_factory is None:
                self._loop = asyncio.new_event_loop()
                if not self._set_event_loop:
                    # Only once: a second call would attach the child watcher again.
                    asyncio.set_event_loop(self._loop)
                    self._set_event_loop = True
            else:
                self._loop = self._loop_factory()
            if self._debug is not None:
                self._loop.set_debug(self._debug)
            self._context = contextvars.copy_context()
            self._state = _State.INITIALIZED
        return self._loop

    def run(self, coro: Awaitable[_T], *, context: contextvars.Context | None = None) -> _T:
        """Run an awaitable to completion in the runner's loop and return its result.

        It runs in *context*, by default the runner's one context. In the main thread the first
        Ctrl-C cancels the task, and ``KeyboardInterrupt`` is raised once the task has ended; the
        second one raises it at once. Raises ``RuntimeError`` if a loop runs in this thread or the
        runner is closed; ``TypeError`` if *coro* cannot be awaited.
        """
        if _get_running_loop() is not None:
            raise RuntimeError(
                "Runner.run() cannot be called from a running event loop; use `await coro` instead"
            )
        with close_refused(coro):
            loop = self.get_loop()
        try:
            coro = as_coroutine(coro)
        except TypeError as exc:
            raise _NotAwaitable(f"a coroutine was expected: {exc}") from None
        if context is None:
            context = self._context
        task = new_task(loop, coro, context=context)
        handler = self._install_sigint(loop, task)
        self._interrupt_count = 0
        try:
            return loop.run_until_complete(task)  # type: ignore[no-any-return]
        except CancelledError:
            if self._interrupt_count > 0:
                uncancel = getattr(task, "uncancel", None)
                if uncancel is not None and uncancel() == 0:
                    raise KeyboardInterrupt from None
            raise
        finally:
            if handler is not None and signal.getsignal(signal.SIGINT) is handler:
                signal.signal(signal.SIGINT, signal.default_int_handler)

    def _install_sigint(self, loop: AbstractEventLoop, task: asyncio.Task[Any]) -> Any:
        if (
            threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        ):
            return None

        # A function, not a partial: signal.signal() of 3.11 and 3.12.1 calls repr() on the handler,
        # the repr of a partial includes that of the task, and that includes its result (gh-112559).
        def on_sigint(signum: int, frame: FrameType | None) -> None:
            self._interrupt_count += 1
            if self._interrupt_count == 1 and not task.done():
                task.cancel()
                loop.call_soon_threadsafe(lambda: None)  # the loop may be sleeping in select()
                return
            raise KeyboardInterrupt

        try:
            signal.signal(signal.SIGINT, on_sigint)
        except ValueError:  # an embedded interpreter without signals (gh-91880)
            return None
        return on_sigint


async def _shutdown_executor(loop: AbstractEventLoop) -> None:
    try:
        shutdown = loop.shutdown_default_executor(_EXECUTOR_SHUTDOWN)  # type: ignore[call-arg]
    except TypeError:  # on 3.11 and uvloop it has no timeout parameter
        shutdown = loop.shutdown_default_executor()
    await shutdown


def _cancel_all_tasks(loop: AbstractEventLoop) -> None:
    to_cancel = all_tasks(loop)
    if not to_cancel:
        return
    for task in to_cancel:
        task.cancel()
    loop.run_until_complete(_all_done(to_cancel))
    for task in to_cancel:
        if not task.cancelled() and task.exception() is not None:
            loop.call_exception_handler(
                {
                    "message": "unhandled exception during asyncio.run() shutdown",
                    "exception": task.exception(),
                    "task": task,
                }
            )


async def _all_done(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


def run(
    main: Awaitable[_T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], AbstractEventLoop] | None = None,
) -> _T:
    """Run an awaitable in a new event loop, close the loop, and return the result.

    At the end all remaining tasks are cancelled and awaited, async generators closed and the
    default executor shut down (up to 300 seconds). *debug* and *loop_factory* are those of
    :class:`Runner`. Raises ``RuntimeError`` if a loop runs in this thread, ``TypeError`` if *main*
    cannot be awaited, ``KeyboardInterrupt`` after Ctrl-C, otherwise what *main* raises. Source:
    CPython 3.15, which accepts any awaitable.
    """
    if _get_running_loop() is not None:
        close_unstarted(main)
        raise RuntimeError(
            "asyncio.run() cannot be called from a running event loop; use `await main()` instead"
        )
    with Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)
