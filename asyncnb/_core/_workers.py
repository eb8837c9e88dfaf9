"""Worker: blocking code on a thread of its own, stoppable."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from asyncnb._core._visits import guard, unguard

T = TypeVar("T")


class ThreadCancelled(asyncio.CancelledError):
    """Raised inside a worker thread whose task was cancelled, at the next bytecode."""


def raise_in_thread(ident: int, exc: type[BaseException] | None) -> bool:
    """Make ``exc`` surface in thread ``ident`` at its next bytecode; None takes it back.

    CPython's ``PyThreadState_SetAsyncExc``: code inside a C call (``time.sleep``, a socket read)
    sees it when the call returns. Returns whether there is such a thread.
    """
    api = ctypes.pythonapi.PyThreadState_SetAsyncExc
    return bool(api(ctypes.c_ulong(ident), ctypes.py_object(exc) if exc is not None else None))


class Worker:
    """One function on one daemon thread, with a cancel that stops pure-Python code.

    A daemon thread of its own, not a pool's: a blocking cell must neither wait for other
    blocking cells nor keep the interpreter from ending.

    ``asyncio.get_event_loop()`` returns *loop* there, as it does in a cell on the main thread.
    """

    _numbers = itertools.count(1)

    def __init__(self, func: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self._func = func
        self._loop = loop
        # Reentrant: a finaliser or a signal handler that asks for the task's cpu may interrupt it.
        self._lock = threading.RLock()
        self._open = True  # guarded by the lock: may an exception still be sent in?
        self._sent = False
        self._wake: asyncio.Future[None] | None = None
        self._result: Any = None
        self._exception: BaseException | None = None
        self.ended = False
        self._clock: int | None = None
        self._cpu: float | None = None
        self.thread = threading.Thread(
            target=self._main,
            args=(contextvars.copy_context(),),
            name=f"asyncnb worker {next(self._numbers)}",
            daemon=True,
        )

    def cancel(self) -> None:
        """Raise ThreadCancelled in the function, if it still runs. From any thread."""
        with self._lock:
            if self._open:
                self._sent = True
                if self.thread.ident is not None:
                    raise_in_thread(self.thread.ident, ThreadCancelled)
                    if not self.thread.is_alive():
                        # It ended before its code began: a profile function that raised.
                        self._open, self._exception = False, ThreadCancelled()
                        self._loop.call_soon_threadsafe(self._tell)

    def cpu(self) -> float | None:
        """Return the seconds of processor time that the function has used, or None. Any thread.

        While it runs only Linux tells (``pthread_getcpuclockid``); afterwards every system does.
        """
        with self._lock:
            if self._clock is None:
                return self._cpu
            return time.clock_gettime(self._clock)

    def _main(self, context: contextvars.Context) -> None:
        try:
            try:
                if hasattr(time, "pthread_getcpuclockid"):
                    # The id of the calling thread: of another one, which may have ended, asking
                    # is undefined.
                    self._clock = time.pthread_getcpuclockid(threading.get_ident())
                # Clients with a plain interface ask for it and call run_until_complete(), which
                # waits for the loop. It is not the running one: asyncio.run() works, too.
                asyncio.set_event_loop(self._loop)
                self._result = context.run(self._func)
            finally:
                self._close()
        except BaseException as exc:
            self._exception = exc
        self._close()  # again: the exception may have cut the first call short
        with self._lock:
            self._clock = None
            self._cpu = time.thread_time()
        self._loop.call_soon_threadsafe(self._tell)

    def _close(self) -> None:
        """Let no exception in from here on, and take back one that has not surfaced yet.

        Otherwise it would surface later, in whatever this thread does then.
        """
        while True:
            try:
                with self._lock:
                    self._open = False
                    if self._sent:
                        raise_in_thread(threading.get_ident(), None)
                return
            except ThreadCancelled as exc:
                self._exception = self._exception or exc

    def _tell(self) -> None:
        self.ended = True
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def run(self) -> Any:
        """Start the thread and wait for it; a cancel goes to the function, and the wait goes on.

        So the task ends when its code has really ended. Raises what the function raised.
        """
        guard(self._loop)  # `event.set()` in the function wakes a task of the loop at once
        try:
            self.thread.start()
            while not self.ended:
                self._wake = self._loop.create_future()
                try:
                    await self._wake
                except asyncio.CancelledError:
                    if not self.ended:
                        self.cancel()
        finally:
            unguard(self._loop)
        exc, self._exception = self._exception, None
        try:
            if isinstance(exc, ThreadCancelled):
                # asyncio.timeout() of 3.11 and 3.12 knows CancelledError itself only.
                raise asyncio.CancelledError(*exc.args).with_traceback(exc.__traceback__)
            if exc is not None:
                raise exc
        finally:
            del exc  # no reference cycle through this frame
        return self._result
