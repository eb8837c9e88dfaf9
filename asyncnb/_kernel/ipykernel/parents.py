"""Which cell the running code belongs to, and how each kernel keeps that.

ipykernel 7 keeps it in context variables. ipykernel 6 keeps one parent header for displays and one
for results, JupyterLite's kernel a single one for everything, which the page reads with every
message: these are made to follow the context.
"""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable
from typing import Any

from asyncnb._kernel.current_cell import current_record
from asyncnb._kernel.ipykernel.kernel import kernel_of
from asyncnb._kernel.ipykernel.streams import TaskStreams
from asyncnb._kernel.undo import UndoStack

#: The message whose cell gets the output of the running code, if that is neither the cell that the
#: main thread is running nor the one that launched the task that the code belongs to.
parent_message: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar(
    "asyncnb_parent", default=None
)


def header(message: dict[str, Any]) -> dict[str, Any]:
    """Return the header of ``message``, or ``message`` itself if it is a header."""
    found: dict[str, Any] = message.get("header", message)
    return found


def is_headless(parent: dict[str, Any]) -> bool:
    """Return whether a program runs the notebook rather than a user.

    Such clients allow no stdin; front ends for users do (Jupyter protocol, execute_request).
    """
    return (parent.get("content") or {}).get("allow_stdin") is False


def message_of_context() -> dict[str, Any] | None:
    """Return the message of the cell to which the running context belongs, as asyncnb knows it."""
    record = current_record.get()
    message: dict[str, Any] | None = None if record is None else record.origin.message
    return parent_message.get() if message is None else message


class ParentMessages:
    """The message whose cell gets the output of the running code, as the kernel keeps it.

    ``streams`` knows which streams and publishers of the notebook a cell has replaced.
    """

    def __init__(self, ip: Any, streams: TaskStreams) -> None:
        self.ip = ip
        self._streams = streams
        self._kernel = kernel_of(ip)
        #: Where ipykernel 7.4 and later keep the message of the cell that a context belongs to.
        self._thread_parent: contextvars.ContextVar[Any] | None = None
        variable = getattr(ip, "_parent_header", None)
        if isinstance(variable, contextvars.ContextVar) and hasattr(ip, "set_thread_parent"):
            self._thread_parent = variable

    def current(self) -> dict[str, Any]:
        """Return the message of the cell to which the running code belongs."""
        parent = message_of_context()
        if parent is None:
            # JupyterLite's shell has none; a terminal has no kernel either.
            owner: Any = self.ip if hasattr(self.ip, "get_parent") else self._kernel
            parent = owner.get_parent() if hasattr(owner, "get_parent") else None
        return parent or {}

    def is_in_cell(self, parent: dict[str, Any] | None) -> bool:
        """Return whether ipykernel routes all output of the running context to ``parent``."""
        return (
            parent is not None
            and self._belongs_to_cell(parent)
            and parent_message.get() is None
            and not self._streams.any_may_be_replaced()
        )

    def enter(self, parent: dict[str, Any]) -> None:
        """Route the output of the running context to the cell with the message ``parent``."""
        parent_message.set(parent)
        if self._kernel is None or not parent:
            return
        # ipykernel sets the parent of what is in sys, which may be what a cell captures with.
        for stream in self._streams.replaced():
            variable = getattr(stream, "_parent_header", None)
            if isinstance(variable, contextvars.ContextVar):
                variable.set(header(parent))
        if self._belongs_to_cell(parent):
            return
        if hasattr(self.ip, "set_thread_parent"):  # ipykernel 7.4
            self.ip.set_thread_parent(parent)
        else:
            for part in (self.ip.displayhook, self.ip.display_pub, sys.stdout, sys.stderr):
                variable = getattr(part, "_parent_header", None)
                if isinstance(variable, contextvars.ContextVar):
                    variable.set(header(parent))
            if isinstance(getattr(self.ip, "_parent_header", None), contextvars.ContextVar):
                self.ip._parent_header.set(parent)
        # Parents of comm messages: widgets made by the task.
        if isinstance(getattr(self._kernel, "_shell_parent", None), contextvars.ContextVar):
            self._kernel._shell_parent.set(parent)

    def _belongs_to_cell(self, parent: dict[str, Any]) -> bool:
        """Return whether ipykernel itself has set all of this context to ``parent``.

        It does that for the thread that runs a cell (7.4 and later), in one step; setting it again
        for each task would be half the cost of launching one.
        """
        variable = self._thread_parent
        return variable is not None and variable.get(None) is parent


def route_by_context(undo: UndoStack, ip: Any, *parts: Any) -> None:
    """Make the kernel of ``ip`` and ``parts``, its publishers, follow the context."""
    kernel = kernel_of(ip)
    if kernel is None:
        return
    if not hasattr(kernel, "session") and hasattr(kernel, "get_parent"):  # JupyterLite
        vars(kernel).setdefault("_parent_header", {})
        _follow_context(undo, kernel, "_parent_header", vars(kernel), lambda parent: parent)
        return
    for part in parts:
        variable = getattr(part, "_parent_header", None)
        if not hasattr(part, "set_thread_parent") and not isinstance(
            variable, contextvars.ContextVar
        ):
            part.parent_header  # a trait's default is made on first access  # noqa: B018
            _follow_context(undo, part, "parent_header", part._trait_values, header)


def _follow_context(
    stack: UndoStack,
    part: Any,
    name: str,
    values: dict[str, Any],
    convert: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    """Make ``part``'s ``name`` follow the context; ``values`` has the one for no context."""

    def get(self: Any) -> Any:
        parent = message_of_context()
        return values[name] if parent is None else convert(parent)

    def put(self: Any, value: Any) -> None:
        values[name] = value

    stack.give_class(part, {name: property(get, put)})
