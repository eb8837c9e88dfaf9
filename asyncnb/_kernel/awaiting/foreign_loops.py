"""Lets a cell await objects of other loops, and refuses calls that would harm the kernel's loop.

A task that was created before ``%load_ext asyncnb`` belongs to the kernel's own loop, and a task
of a loop that the user runs in a thread belongs to that loop. asyncio refuses to await either on
the embedded loop.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
from collections.abc import Callable
from typing import Any

from asyncnb._core.base.visits import own_loop
from asyncnb._core.loop.current import is_embedded

#: The function that ``await x`` in a cell calls, among IPython's own builtins.
BRIDGE = "__asyncnb_await__"


def awaitable_here(awaitable: Any) -> Any:
    """Return *awaitable*, or a proxy on the running loop if it belongs to another one."""
    from asyncnb._core.primitives.futures import Future, FutureProxy  # here already: the loop is
    from asyncnb._core.primitives.tasks import Task

    if (
        asyncio.isfuture(awaitable)
        and not isinstance(awaitable, (Task, Future))  # which can be awaited anywhere
        and not awaitable.done()
    ):
        running = asyncio._get_running_loop()
        if running is not None and awaitable.get_loop() is not running:
            return FutureProxy(awaitable, running)
    return awaitable


class AwaitBridge(ast.NodeTransformer):
    """Makes ``await x`` in the cell's own code await :func:`awaitable_here` of ``x``.

    Functions that the cell defines are not changed, and neither are cells of other loops.
    """

    def __init__(self, ip: Any) -> None:
        self.ip = ip

    def install(self) -> None:
        """Add it to the shell's transformers."""
        if not hasattr(builtins, BRIDGE):  # else the trap would later "restore" what is our own
            self.ip.builtin_trap.add_builtin(BRIDGE, awaitable_here)
        self.ip.builtin_trap.auto_builtins[BRIDGE] = awaitable_here
        self.ip.ast_transformers.append(self)

    def uninstall(self) -> None:
        """Remove it; the builtin of a cell that is running stays until that cell ends."""
        if self in self.ip.ast_transformers:
            self.ip.ast_transformers.remove(self)
        self.ip.builtin_trap.auto_builtins.pop(BRIDGE, None)

    def visit_Module(self, node: ast.Module) -> ast.AST:
        """Change a cell only if it runs on the embedded loop."""
        return self.generic_visit(node) if is_embedded(own_loop()) else node

    def visit_Await(self, node: ast.Await) -> ast.AST:
        """Replace ``await x`` by ``await BRIDGE(x)``, at the same location."""
        self.generic_visit(node)
        call = ast.Call(ast.Name(BRIDGE, ast.Load()), [node.value], [])
        node.value = ast.copy_location(call, node.value)
        return ast.fix_missing_locations(node)

    def _leave(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _leave


#: The methods of a loop that register a file with it, or begin to.
_FILE_CALLS = ["add_reader", "add_writer", "sock_accept", "sock_connect", "sock_recv"]
_FILE_CALLS += ["sock_recv_into", "sock_recvfrom", "sock_sendall", "sock_sendto"]


class FileCalls:
    """Refuses calls on the embedded loop's thread that register files with the kernel's own loop.

    A client that was created before ``%load_ext`` makes such calls when it is used in a cell with
    ``await``. Its socket would stay registered with the kernel's loop after it was closed, and the
    next socket with the same number could not be watched: if that is one of the kernel's, the next
    cell gets no reply.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._hooks: dict[str, Any] = {}

    def install(self) -> None:
        """Hook the loop object, if it allows new attributes."""
        attributes = getattr(self._loop, "__dict__", {})
        for name in _FILE_CALLS:
            if hasattr(self._loop, name) and name not in attributes:
                attributes[name] = self._hooks[name] = _refused_elsewhere(self._loop, name)

    def uninstall(self) -> None:
        """Remove the hooks."""
        attributes = getattr(self._loop, "__dict__", {})
        for name, hook in self._hooks.items():
            if attributes.get(name) is hook:
                del attributes[name]
        self._hooks.clear()


def _refused_elsewhere(loop: Any, name: str) -> Callable[..., Any]:
    original = getattr(loop, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        if is_embedded(own_loop()):
            raise RuntimeError(f"loop.{name}() was called, and that loop is not the running loop")
        return original(*args, **kwargs)

    return call
