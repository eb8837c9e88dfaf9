"""Awaits objects of other loops in a cell, by a bridge.

A task that was made before ``%load_ext asyncnb`` belongs to the kernel's own loop, and a task of a
loop that the user runs in a thread belongs to that one. asyncio refuses to await either on the
embedded loop.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
from collections.abc import Callable
from typing import Any

from asyncnb._core.base.visits import own_loop
from asyncnb._core.loop.embedded import EmbeddedLoop
from asyncnb._core.primitives.futures import Future, FutureProxy
from asyncnb._core.primitives.tasks import Task

#: The name that ``await x`` in a cell calls, among IPython's own builtins.
BRIDGE = "__asyncnb_await__"


def awaitable_here(awaitable: Any) -> Any:
    """Return *awaitable*, or what follows it on the running loop if it belongs to another one."""
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
    """Has ``await x`` in the cell's own code await :func:`awaitable_here` of ``x``.

    Functions that the cell defines stay as they are, and so do cells that run elsewhere.
    """

    def __init__(self, ip: Any) -> None:
        self.ip = ip

    def install(self) -> None:
        """Enter it with the shell's transformers."""
        if not hasattr(builtins, BRIDGE):  # else the trap would later "restore" what is our own
            self.ip.builtin_trap.add_builtin(BRIDGE, awaitable_here)
        self.ip.builtin_trap.auto_builtins[BRIDGE] = awaitable_here
        self.ip.ast_transformers.append(self)

    def uninstall(self) -> None:
        """Take it out; the builtin of a cell that runs now stays until that ends."""
        if self in self.ip.ast_transformers:
            self.ip.ast_transformers.remove(self)
        self.ip.builtin_trap.auto_builtins.pop(BRIDGE, None)

    def visit_Module(self, node: ast.Module) -> ast.AST:
        """A cell: only those that run on the embedded loop are changed."""
        return self.generic_visit(node) if isinstance(own_loop(), EmbeddedLoop) else node

    def visit_Await(self, node: ast.Await) -> ast.AST:
        """``await x`` becomes ``await BRIDGE(x)``, at the same place."""
        self.generic_visit(node)
        call = ast.Call(ast.Name(BRIDGE, ast.Load()), [node.value], [])
        node.value = ast.copy_location(call, node.value)
        return ast.fix_missing_locations(node)

    def _leave(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _leave


#: What of a loop registers a file with it, or starts to.
_FILE_CALLS = ["add_reader", "add_writer", "sock_accept", "sock_connect", "sock_recv"]
_FILE_CALLS += ["sock_recv_into", "sock_recvfrom", "sock_sendall", "sock_sendto"]


class FileCalls:
    """Refuses the calls for files of the kernel's own loop on the embedded loop's thread.

    A client from before ``%load_ext`` makes them when it is used in a cell with ``await``. Its
    socket would stay registered with the kernel's loop after it was closed, and the next socket
    with the same number could not be watched: one of the kernel's, and the next cell has no reply.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._hooks: dict[str, Any] = {}

    def install(self) -> None:
        """Hook the loop object, if it takes attributes."""
        attributes = getattr(self._loop, "__dict__", {})
        for name in _FILE_CALLS:
            if hasattr(self._loop, name) and name not in attributes:
                attributes[name] = self._hooks[name] = _refused_elsewhere(self._loop, name)

    def uninstall(self) -> None:
        """Take the hooks off."""
        attributes = getattr(self._loop, "__dict__", {})
        for name, hook in self._hooks.items():
            if attributes.get(name) is hook:
                del attributes[name]
        self._hooks.clear()


def _refused_elsewhere(loop: Any, name: str) -> Callable[..., Any]:
    original = getattr(loop, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        if isinstance(own_loop(), EmbeddedLoop):
            raise RuntimeError(f"loop.{name}() was called, and that loop is not the running loop")
        return original(*args, **kwargs)

    return call
