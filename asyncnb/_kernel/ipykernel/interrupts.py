"""A press on stop hits the code of a cell, or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from asyncnb._core.loop.guarded import on_wakeup_fd_replaced

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class InterruptGuard:
    """Ignores SIGINT in those parts of an execute request that are not the cell's code.

    ipykernel installs Python's own handler for the whole of a request. A KeyboardInterrupt before
    or after the cell's code has nothing to stop but ipykernel itself: raised while the request is
    unpacked or a traceback formatted it costs the cell its reply, so that it waits for ever; raised
    in the event loop it ends the kernel. A hundred presses in two seconds did all of that. One
    before the code, or between two statements of it, ends the cell at the next statement.
    ``post_handler_hook`` puts the handler of the idle kernel back, which ignores SIGINT as well.
    """

    def __init__(self, ip: InteractiveShell, kernel: Any) -> None:
        self.ip = ip
        self._handlers: dict[str, Any] = kernel.shell_handlers
        self._run_code: Any = ip.run_code
        self._depth = 0  # a cell may run another one; of the main thread, where signals arrive
        self._interrupted = False  # since the request began, outside of the cell's code
        self._note = self._note_interrupt  # one object, to be known again

    @staticmethod
    def suits(kernel: Any) -> bool:
        """Whether this kernel sets and resets the handler around each request."""
        return "execute_request" in getattr(kernel, "shell_handlers", ()) and hasattr(
            kernel, "post_handler_hook"
        )

    def install(self) -> None:
        """Enter this kernel's handler of execute requests; hook the shell instance."""
        self._original = self._handlers["execute_request"]
        self._handlers["execute_request"] = self._execute
        self.ip.run_code = self.run_code  # type: ignore[method-assign]

    def uninstall(self) -> None:
        """Take all of it back."""
        if self._handlers.get("execute_request") == self._execute:
            self._handlers["execute_request"] = self._original
        if vars(self.ip).get("run_code") == self.run_code:
            del self.ip.run_code

    def _execute(self, *args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return self._original(*args, **kwargs)  # a subshell's: no signal comes there
        # An async cell runs under a handler of ipykernel's own, which then restores this one.
        self._depth = 0
        self._interrupted = False
        _replace(signal.default_int_handler, self._note)
        return self._original(*args, **kwargs)

    def _note_interrupt(self, *_: object) -> None:
        # A handler, not SIG_IGN: child processes inherit that one.
        self._interrupted = True

    async def run_code(self, code_obj: Any, result: Any = None, *, async_: Any = False) -> Any:
        """As the shell's: one statement of a cell. A stop may hit this, and nothing around it."""
        if threading.current_thread() is not threading.main_thread():
            return await self._run_code(code_obj, result, async_=async_)
        self._depth += 1
        _replace(self._note, signal.default_int_handler)
        try:
            if self._interrupted and result is not None:
                self._interrupted = False
                stop = result.error_in_exec = KeyboardInterrupt()
                self.ip.showtraceback((KeyboardInterrupt, stop, None))
                return True  # failed: the statements after it are not run
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

    Gives a function that returns whether the signals up to now have done so, and sees to it that
    the next ones will. They do not in a subshell's thread, to which no signal comes.

    A Python signal handler runs when the main thread gets to it, and a loop that sleeps in its
    selector does not: ipykernel's handler cancels with ``call_soon``, which wakes nobody, and
    the cell went on to its end (ipykernel#881). A byte on a socket that the loop watches does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield _never
        return
    try:
        receiver, sender = socket.socketpair()
    except OSError:  # no file descriptor left: the cell runs all the same
        yield _never
        return
    receiver.setblocking(False)
    sender.setblocking(False)
    previous = -1

    def read() -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            signals = receiver.recv(4096)
            if previous != -1:  # a loop of the main thread with signal handlers wants them too
                with contextlib.suppress(OSError):
                    os.write(previous, signals)
            if signal.SIGINT in signals:
                on_interrupt()

    def hold() -> bool:
        # A signal handler that the cell gives the loop, or takes from it, replaces the wake-up fd:
        # the stop button would do nothing until the end of the cell.
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
    hold()
    on_wakeup_fd_replaced.append(hold)
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        # Terminal IPython: KeyboardInterrupt in the middle of the loop would leave the cell
        # running with nobody waiting for it.
        signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield hold
    finally:
        on_wakeup_fd_replaced.remove(hold)
        if handler is signal.default_int_handler:
            signal.signal(signal.SIGINT, handler)
        if (now := signal.set_wakeup_fd(previous)) != sender.fileno():
            signal.set_wakeup_fd(now)  # another owner has taken it meanwhile, and keeps it
        loop.remove_reader(receiver)
        read()  # what came since the loop last looked
        receiver.close()
        sender.close()
