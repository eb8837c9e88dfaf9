"""The kernel's handlers of comm messages, which call the user's code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asyncnb._kernel.ipykernel.kernel import kernel_of

_COMM_MESSAGES = ("comm_open", "comm_msg", "comm_close")

Handle = Callable[..., Any]


class CommHandlers:
    """Puts what ``wrap`` makes of each handler of comm messages in its place."""

    def __init__(self, ip: Any, wrap: Callable[[Handle], Handle]) -> None:
        self._handlers: dict[str, Any] = getattr(kernel_of(ip), "shell_handlers", {})
        self._wrap = wrap
        self._wrapped: dict[str, tuple[Handle, Handle]] = {}

    def install(self) -> None:
        """Wrap the handlers that this kernel has."""
        for kind in _COMM_MESSAGES:
            if kind in self._handlers:
                original = self._handlers[kind]
                wrapper = self._wrap(original)
                self._wrapped[kind] = original, wrapper
                self._handlers[kind] = wrapper

    def uninstall(self) -> None:
        """Put the kernel's own handlers back."""
        for kind, (original, wrapper) in self._wrapped.items():
            if self._handlers.get(kind) is wrapper:
                self._handlers[kind] = original
        self._wrapped.clear()
