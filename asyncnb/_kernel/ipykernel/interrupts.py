"""Interrupts hit the code of a cell or nothing, and wake a loop that sleeps."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._kernel.current_cell import cell_id

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


#: Seconds after which a signal that the main thread has not handled is sent again, and how often.
RETRY_AFTER = 0.05
MAX_ATTEMPTS = 6


class _Request:
    """An execute request that the main thread handles."""

    __slots__ = ("arrived", "began", "cell_id", "stopped")

    def __init__(self, cell_id: str | None) -> None:
        self.cell_id = cell_id
        self.arrived = time.time()
        #: Whether the first statement of its code has begun, on the main thread.
        self.began = False
        #: Whether only this cell is to end: see ``InterruptGuard.stop``.
        self.stopped = False


class InterruptGuard:
    """Ignores SIGINT in those parts of an execute request that are not the cell's code.

    ipykernel installs Python's own handler for the whole of a request. A KeyboardInterrupt before
    or after the cell's code can stop nothing but ipykernel itself: raised while the request is
    unpacked or a traceback is formatted, it costs the cell its reply, so that the cell never ends;
    raised in the event loop, it ends the kernel. A hundred interrupts in two seconds caused all of
    these. An interrupt before the code, or between two statements of it, ends the cell at the next
    statement. ``post_handler_hook`` restores the handler of the idle kernel, which ignores SIGINT
    as well.
    """

    def __init__(self, ip: InteractiveShell, kernel: Any) -> None:
        self.ip = ip
        self._handlers: dict[str, Any] = kernel.shell_handlers
        self._run_code: Any = ip.run_code
        self._depth = 0  # of cells that run others; in the main thread, where signals arrive
        self._interrupted = False  # since the request started, outside of the cell's code
        self._request: _Request | None = None
        #: Held where the code of a cell ends, and to send a signal to it: no signal comes later.
        self._lock = fork_safe_lock()
        self._note = self._note_interrupt  # one object, so that it is recognised

    @staticmethod
    def suits(kernel: Any) -> bool:
        """Return whether this kernel sets and resets the handler around each request."""
        return "execute_request" in getattr(kernel, "shell_handlers", ()) and hasattr(
            kernel, "post_handler_hook"
        )

    def install(self) -> None:
        """Replace the kernel's handler of execute requests; hook the shell instance."""
        self._original = self._handlers["execute_request"]
        self._handlers["execute_request"] = self._execute
        self.ip.run_code = self.run_code  # type: ignore[method-assign]

    def uninstall(self) -> None:
        """Restore both."""
        if self._handlers.get("execute_request") == self._execute:
            self._handlers["execute_request"] = self._original
        if vars(self.ip).get("run_code") == self.run_code:
            del self.ip.run_code

    def _execute(self, *args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return self._original(*args, **kwargs)  # a subshell's, which gets no signals
        # An async cell runs under ipykernel's own handler, which then restores this one.
        self._depth = 0
        self._interrupted = False
        message = args[2] if len(args) > 2 else {}
        request = self._request = _Request(cell_id(message))
        _replace(signal.default_int_handler, self._note)
        reply = self._original(*args, **kwargs)
        return self._until_end(reply, request) if inspect.isawaitable(reply) else reply

    async def _until_end(self, reply: Awaitable[Any], request: _Request) -> Any:
        try:
            return await reply
        finally:
            if self._request is request:
                self._request = None

    def _note_interrupt(self, *_: object) -> None:
        # A handler, not SIG_IGN, which child processes would inherit.
        self._interrupted = True

    async def run_code(self, code_obj: Any, result: Any = None, *, async_: Any = False) -> Any:
        """Run one statement of a cell, as the shell does. An interrupt may hit only this."""
        if threading.current_thread() is not threading.main_thread():
            return await self._run_code(code_obj, result, async_=async_)
        request, outer = self._request, self._depth
        if request is not None:
            request.began = True
        self._depth += 1
        _replace(self._note, signal.default_int_handler)
        try:
            try:
                if self._interrupted and result is not None:
                    self._interrupted = False
                    stop = result.error_in_exec = KeyboardInterrupt()
                    self.ip.showtraceback((KeyboardInterrupt, stop, None))
                    failed = True  # later statements are not run
                else:
                    failed = await self._run_code(code_obj, result, async_=async_)
            finally:
                with self._lock:
                    self._depth = outer
                if outer <= 0:
                    _replace(signal.default_int_handler, self._note)
        except KeyboardInterrupt as exc:
            if request is None or not request.stopped or result is None:
                raise
            # It was sent while the statement ran, and came when that had just ended.
            self._depth = outer
            if outer <= 0:
                _replace(signal.default_int_handler, self._note)
            self.ip.showtraceback((KeyboardInterrupt, exc, None))
            failed, result.error_in_exec = True, exc
        if failed and outer <= 0 and request is not None and request.stopped:
            _forgive(result)
        return failed

    @property
    def running(self) -> tuple[str | None, float] | None:
        """The id of the cell that the main thread handles, and since when. Any thread."""
        request = self._request
        return None if request is None else (request.cell_id, request.arrived)

    def stop(self, cell_id: str) -> bool | None:
        """Interrupt the cell with this id if the main thread runs its code. Any other thread.

        No other cell is hit, and those that are queued behind it run. Return None if that thread
        runs another cell, or none, and False if the cell has not begun.
        """
        with self._lock:
            request = self._request
            if request is None or request.cell_id != cell_id:
                return None
            if not request.began:
                return False
            request.stopped = True
            if self._depth > 0:
                self._send(request)
            else:
                self._interrupted = True  # between two statements
            return True

    def _send(self, request: _Request, before: Any = None, attempts: int = MAX_ATTEMPTS) -> None:
        """Send SIGINT to the main thread, and again while it is ``before`` in the same call.

        A signal that comes just before a system call begins does not end that call. While the
        thread is at the same instruction, it has not handled the signal, so the next one does not
        count as a second interrupt.
        """
        frame: Any = sys._current_frames().get(threading.main_thread().ident or 0)
        now = (frame, getattr(frame, "f_lasti", None))
        if before is not None and now != before:
            return
        _interrupt_main_thread()
        if attempts > 1:
            again = threading.Timer(RETRY_AFTER, self._send_again, (request, now, attempts - 1))
            again.daemon = True
            again.start()

    def _send_again(self, request: _Request, before: Any, attempts: int) -> None:
        with self._lock:
            if self._request is request and self._depth > 0:
                self._send(request, before, attempts)


def _forgive(result: Any) -> None:
    # It is shown. For a failed cell, the kernel drops the cells that are queued behind it.
    if result is not None and isinstance(result.error_in_exec, KeyboardInterrupt):
        result.error_in_exec = None


def _interrupt_main_thread() -> None:
    """Make the main thread handle SIGINT, even if it waits in a system call.

    Only this thread: an interrupt request reaches the child processes of all tasks, too.
    """
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)  # Windows: Python's handler runs in the main thread


def _replace(old: Any, new: Any) -> None:
    if signal.getsignal(signal.SIGINT) is old:
        signal.signal(signal.SIGINT, new)


def _never() -> bool:
    return False


@contextlib.contextmanager
def wake_on_signal(
    loop: asyncio.AbstractEventLoop, on_interrupt: Callable[[], None]
) -> Iterator[Callable[[], bool]]:
    """Wake ``loop`` when a signal arrives, and call ``on_interrupt`` for each SIGINT.

    Yield a function that returns whether signals have woken the loop so far, and makes sure that
    the next ones will. They do not in the thread of a subshell, which gets no signals.

    A Python signal handler runs when the main thread gets to it, and a loop that sleeps in its
    selector does not get there: ipykernel's handler cancels with ``call_soon``, which wakes
    nothing, and the cell ran to completion (ipykernel#881). A byte on a socket that the loop
    watches wakes it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield _never
        return
    try:
        receiver, sender = socket.socketpair()
    except OSError:  # no file descriptor left: the cell runs nevertheless
        yield _never
        return
    receiver.setblocking(False)
    sender.setblocking(False)
    previous = -1

    def read() -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            signals = receiver.recv(4096)
            if previous != -1:  # a loop of the main thread with signal handlers needs them too
                with contextlib.suppress(OSError):
                    os.write(previous, signals)
            if signal.SIGINT in signals:
                on_interrupt()

    def hold() -> bool:
        # A signal handler that the cell adds to the loop, or removes, replaces the wake-up fd: the
        # stop button would do nothing until the end of the cell.
        nonlocal previous
        owner = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        if owner == sender.fileno():
            return True
        previous = owner
        return False

    try:
        loop.add_reader(receiver, read)
    except NotImplementedError:  # a bare proactor loop, which no ipykernel runs on
        receiver.close()
        sender.close()
        yield _never
        return
    # Not for `%load_ext`: it comes with the embedded loop, on which a cell waits by now.
    from asyncnb._core.loop.guarded import on_wakeup_fd_replaced

    hold()
    on_wakeup_fd_replaced.append(hold)
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        # Terminal IPython: a KeyboardInterrupt inside the loop would leave the cell running with
        # nothing waiting for it.
        signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield hold
    finally:
        on_wakeup_fd_replaced.remove(hold)
        if handler is signal.default_int_handler:
            signal.signal(signal.SIGINT, handler)
        if (now := signal.set_wakeup_fd(previous)) != sender.fileno():
            signal.set_wakeup_fd(now)  # another owner has set it meanwhile, and keeps it
        loop.remove_reader(receiver)
        read()  # signals since the loop last looked
        receiver.close()
        sender.close()
