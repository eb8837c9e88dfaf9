"""A press on stop hits the code of a cell, or nothing."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class StopGuard:
    """Ignores SIGINT in those parts of an execute request that are not the cell's code.

    ipykernel installs Python's own handler for the whole of a request. A KeyboardInterrupt before
    or after the cell's code has nothing to stop but ipykernel itself: raised while the request is
    unpacked or a traceback formatted it costs the cell its reply, so that it waits for ever; raised
    in the event loop it ends the kernel. A hundred presses in two seconds did all of that.
    ``post_handler_hook`` puts the handler of the idle kernel back, which ignores SIGINT as well.
    """

    def __init__(self, ip: InteractiveShell, kernel: Any) -> None:
        self.ip = ip
        self._handlers: dict[str, Any] = kernel.shell_handlers
        self._run_code: Any = ip.run_code
        self._depth = 0  # a cell may run another one; of the main thread, where signals arrive

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
        _replace(signal.default_int_handler, _ignore)
        return self._original(*args, **kwargs)

    async def run_code(self, *args: Any, **kwargs: Any) -> Any:
        """As the shell's: one statement of a cell. A stop may hit this, and nothing around it."""
        if threading.current_thread() is not threading.main_thread():
            return await self._run_code(*args, **kwargs)
        self._depth += 1
        _replace(_ignore, signal.default_int_handler)
        try:
            return await self._run_code(*args, **kwargs)
        finally:
            self._depth -= 1
            if self._depth <= 0:
                _replace(signal.default_int_handler, _ignore)


def _replace(old: Any, new: Any) -> None:
    if signal.getsignal(signal.SIGINT) is old:
        signal.signal(signal.SIGINT, new)


def _ignore(*_: object) -> None:
    """A function, not SIG_IGN: child processes inherit that one."""
