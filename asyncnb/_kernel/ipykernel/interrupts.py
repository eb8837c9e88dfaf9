"""Interrupts hit the code of a cell or nothing, and wake a loop that sleeps."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


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
        _replace(signal.default_int_handler, self._note)
        return self._original(*args, **kwargs)

    def _note_interrupt(self, *_: object) -> None:
        # A handler, not SIG_IGN, which child processes would inherit.
        self._interrupted = True

    async def run_code(self, code_obj: Any, result: Any = None, *, async_: Any = False) -> Any:
        """Run one statement of a cell, as the shell does. An interrupt may hit only this."""
        if threading.current_thread() is not threading.main_thread():
            return await self._run_code(code_obj, result, async_=async_)
        self._depth += 1
        _replace(self._note, signal.default_int_handler)
        try:
            if self._interrupted and result is not None:
                self._interrupted = False
                stop = result.error_in_exec = KeyboardInterrupt()
                self.ip.showtraceback((KeyboardInterrupt, stop, None))
                return True  # failed: later statements are not run
            return await self._run_code(code_obj, result, async_=async_)
        finally:
            self._depth -= 1
            if self._depth <= 0:
                _replace(signal.default_int_handler, self._note)


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
