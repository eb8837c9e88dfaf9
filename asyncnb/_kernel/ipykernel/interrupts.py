"""A press on stop hits the code of a cell, or nothing."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

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
        self._pressed = False  # since the request began, outside of the cell's code
        self._note = self._note_press  # one object, to be known again

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
        self._pressed = False
        _replace(signal.default_int_handler, self._note)
        return self._original(*args, **kwargs)

    def _note_press(self, *_: object) -> None:
        # A handler, not SIG_IGN: child processes inherit that one.
        self._pressed = True

    async def run_code(self, code_obj: Any, result: Any = None, *, async_: Any = False) -> Any:
        """As the shell's: one statement of a cell. A stop may hit this, and nothing around it."""
        if threading.current_thread() is not threading.main_thread():
            return await self._run_code(code_obj, result, async_=async_)
        self._depth += 1
        _replace(self._note, signal.default_int_handler)
        try:
            if self._pressed and result is not None:
                self._pressed = False
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
