"""Worker: runs blocking code on a dedicated thread, and can stop it."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import gc
import itertools
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable
from typing import Any, TypeVar

from asyncnb._core.base.async_raise import send_if_in_frame, send_if_user_code
from asyncnb._core.base.inner_loops import InnerLoop, ended_by_cancel, inner_loop
from asyncnb._core.base.visits import guard, unguard

__asyncnb_frames__ = "launches"

T = TypeVar("T")

#: How often a thread is looked at that moves on during each look, before it is hit all the same.
_MAX_LOOKS = 100
#: Seconds between two checks of a thread whose own loop has been asked to cancel what it runs.
_CHECK_SECONDS = 0.1
#: The number of checks after which a loop that has not answered counts as blocked by a step.
_BLOCKED_CHECKS = 3
#: Seconds after a cancel until a function that still runs is reported.
STUCK_SECONDS = 2.0


class ThreadCancelled(asyncio.CancelledError):
    """Raised in a worker thread whose task was cancelled, at the next bytecode."""


def raise_in_thread(ident: int, exc: type[BaseException] | None) -> bool:
    """Raise ``exc`` in thread ``ident`` at its next bytecode; None withdraws a pending one.

    Uses CPython's ``PyThreadState_SetAsyncExc``: code inside a C call (``time.sleep``, a socket
    read) sees the exception when the call returns. Return whether the thread exists.
    """
    api = ctypes.pythonapi.PyThreadState_SetAsyncExc
    return bool(api(ctypes.c_ulong(ident), ctypes.py_object(exc) if exc is not None else None))


class Worker:
    """One function on one daemon thread, with a ``cancel`` that stops pure-Python code.

    A dedicated daemon thread, not one from a pool: a blocking cell must neither wait for other
    blocking cells nor keep the interpreter from exiting.

    ``asyncio.get_event_loop()`` returns *loop* there, as it does in a cell on the main thread.
    """

    _numbers = itertools.count(1)

    def __init__(
        self,
        func: Callable[[], Any],
        loop: asyncio.AbstractEventLoop,
        *,
        on_stuck: Callable[[], object] | None = None,
    ) -> None:
        self._func = func
        self._loop = loop
        self._on_stuck = on_stuck
        #: The loop that the function itself runs, once it has been asked to cancel what it runs.
        self._inner: InnerLoop | None = None
        self._cancelled = False
        # Reentrant: a finaliser or signal handler that reads the task's CPU time may interrupt it.
        self._lock = threading.RLock()
        self._open = True  # guarded by the lock: whether an exception may still be sent
        self._sent = False
        self._waiter: asyncio.Future[None] | None = None
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
        """Raise ThreadCancelled in the function if it is still running. Any thread.

        If the function itself runs an event loop, cancel what that loop runs instead.
        """
        with self._lock:
            if self._open:
                self._cancelled = True
                self._cancel_loop_or_raise()
                requested = self._inner
                if requested is not None:
                    self._loop.call_soon_threadsafe(self._check_later, requested, 1)

    def _cancel_loop_or_raise(self, *, allow_guess: bool = True) -> None:
        ident = self.thread.ident
        self._inner = None
        if ident is None:
            self._sent = True
            return
        for _ in range(_MAX_LOOKS):
            frame = sys._current_frames().get(ident)
            offset = -1 if frame is None else frame.f_lasti
            inner = inner_loop(ident, frame)
            if inner is not None and (allow_guess or inner.is_certain):
                self._inner = inner
                inner.cancel()
                return
            if frame is None:
                break
            # Only where no loop was seen: a thread that has moved may be in one by now, and a
            # coroutine that was suspended during the look no longer leads to the loop that runs
            # it. In the selector of that loop the exception would never surface.
            if send_if_in_frame(ident, frame, ThreadCancelled, offset=offset):
                self._sent = True
                return
            if sys._current_frames().get(ident) is frame and frame.f_lasti == offset:
                break  # in a call that does not notice by itself; what comes after it does
        self._sent = True
        raise_in_thread(ident, ThreadCancelled)
        if not self.thread.is_alive():
            # The thread ended before its code began: a profile function raised.
            self._open, self._exception = False, ThreadCancelled()
            self._loop.call_soon_threadsafe(self._notify_end)

    def _check_later(self, requested: InnerLoop, checks: int) -> None:
        self._loop.call_later(_CHECK_SECONDS, self._check_cancel, requested, checks)

    def _check_cancel(self, requested: InnerLoop, checks: int) -> None:
        """Check that ``requested``, a loop of the function, has accepted the cancel.

        The loop may have ended before it could, or be blocked by one of its steps: then raise the
        exception in that step. Thread of the embedded loop.
        """
        with self._lock:
            if not self._open or requested.accepted or self._inner is not requested:
                return
            ident = self.thread.ident or 0
            frame = sys._current_frames().get(ident)
            now = inner_loop(ident, frame)
            if now is None or now.loops != requested.loops or not requested.is_certain:
                if requested.withdraw():
                    self._cancel_loop_or_raise(allow_guess=requested.is_certain)
                    checks = 0
            elif checks >= _BLOCKED_CHECKS and frame is not None:
                self._sent = True
                if requested.interrupt_step(
                    lambda: send_if_user_code(ident, frame, ThreadCancelled)
                ):
                    return
            if self._inner is not None:
                self._check_later(self._inner, checks + 1)

    def cpu(self) -> float | None:
        """Return the seconds of CPU time that the function has used, or None. Any thread.

        While the function runs, this is known only on Linux (``pthread_getcpuclockid``); once it
        has ended, on every system.
        """
        with self._lock:
            if self._clock is None:
                return self._cpu
            return time.clock_gettime(self._clock)

    def _main(self, context: contextvars.Context) -> None:
        try:
            try:
                if hasattr(time, "pthread_getcpuclockid"):
                    # The clock of the calling thread: for another thread, which may have ended, the
                    # call is undefined.
                    self._clock = time.pthread_getcpuclockid(threading.get_ident())
                # Clients with a synchronous interface get this loop and call run_until_complete(),
                # which waits for it. It is not the running loop, so asyncio.run() works, too.
                asyncio.set_event_loop(self._loop)
                self._result = context.run(self._func)
            finally:
                self._close()
        except BaseException as exc:
            self._exception = exc
            if self._inner is not None and ended_by_cancel(exc):
                # A server that is cancelled leaves its socket to the garbage collector (uvicorn
                # 0.54), and the next run of the cell needs the port.
                _free_frames(exc.__traceback__)
                gc.collect()
        self._close()  # again: the exception may have interrupted the first call
        with self._lock:
            self._clock = None
            self._cpu = time.thread_time()
        self._loop.call_soon_threadsafe(self._notify_end)

    def _close(self) -> None:
        """Refuse exceptions from here on, and withdraw one that has not surfaced yet.

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

    def _notify_end(self) -> None:
        self.ended = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def run(self) -> Any:
        """Start the thread and wait for it; pass a cancel on to the function and keep waiting.

        So the task ends only when its code has really ended. Raises what the function raised.
        ``on_stuck`` is called if the function still runs two seconds after the cancel.
        """
        report: asyncio.TimerHandle | None = None
        guard(self._loop)  # so that `event.set()` in the function wakes a task of the loop at once
        try:
            self.thread.start()
            while not self.ended:
                self._waiter = self._loop.create_future()
                try:
                    await self._waiter
                except asyncio.CancelledError:
                    if not self.ended:
                        self.cancel()
                        if report is None and self._on_stuck is not None:
                            report = self._loop.call_later(STUCK_SECONDS, self._on_stuck)
        finally:
            unguard(self._loop)
            if report is not None:
                report.cancel()
        exc, self._exception = self._exception, None
        try:
            if exc is not None and self._cancelled and ended_by_cancel(exc):
                # asyncio.timeout() of 3.11 and 3.12 recognizes only CancelledError itself.
                raise asyncio.CancelledError(*exc.args).with_traceback(exc.__traceback__)
            if exc is not None:
                raise exc
        finally:
            del exc  # avoid a reference cycle through this frame
        return self._result


def _free_frames(tb: types.TracebackType | None) -> None:
    """Free what the finished functions of a traceback hold; the outermost one is still running."""
    traceback.clear_frames(tb)
    while tb is not None and (tb := tb.tb_next) is not None:
        _ = tb.tb_frame.f_locals  # up to 3.12 this renews the copy that inner_loop() looked at
