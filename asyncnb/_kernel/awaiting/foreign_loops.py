"""Objects of other loops in a cell: awaited by a bridge, and explained where there can be none.

A task that was made before ``%load_ext asyncnb`` belongs to the kernel's own loop, and a task of a
loop that the user runs in a thread belongs to that one. asyncio refuses to await either on the
embedded loop.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import re
from collections.abc import Callable
from typing import Any

from asyncnb._core.base.errors import safe_str
from asyncnb._core.base.text import truncate
from asyncnb._core.base.visits import own_loop
from asyncnb._core.loop.embedded import EmbeddedLoop
from asyncnb._core.primitives.futures import Future, FutureProxy
from asyncnb._core.primitives.tasks import Task
from asyncnb._kernel.output.thread_bound import explanation

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


_OTHER_LOOP = (
    "{what} belongs to another loop than the one that cells run on: it was made before `%load_ext "
    "asyncnb`, or by a loop in a thread. Make it again in a cell; a task or future can be awaited "
    "here by itself, `await task`, and asyncnb.wait, asyncnb.wait_for, asyncnb.as_completed and "
    "asyncnb.gather take those of any loop."
)
_RUNS_ALREADY = (
    "In a notebook a loop runs already: write `await ...` in the cell, or `asyncnb.run(...)` in a "
    "function without await."
)

#: What asyncio says, and what helps.
_ADVICE: list[tuple[type[BaseException], str, str]] = [
    (RuntimeError, "asyncio.run() cannot be called from a running event loop", _RUNS_ALREADY),
    (RuntimeError, "Runner.run() cannot be called from a running event loop", _RUNS_ALREADY),
    (RuntimeError, "attached to a different loop", _OTHER_LOOP),
    (RuntimeError, "is bound to a different event loop", _OTHER_LOOP),
    (ValueError, "The future belongs to a different loop", _OTHER_LOOP),
    # What every further `await` of it raises: the first one left a mark on the future.
    (RuntimeError, "await wasn't used with future", _OTHER_LOOP),
    # What aiohttp says of a session that was made on another loop.
    (RuntimeError, "Timeout context manager should be used inside a task", _OTHER_LOOP),
    (RuntimeError, "is not the running loop", _OTHER_LOOP),
]
_ADVISED = frozenset(kind for kind, _, _ in _ADVICE)

_REPR = re.compile(r"got Future (<.*>) attached to|^(<.*>) is bound to", re.DOTALL)
_PLACE = re.compile(r"[^\s'\"]+\.py(?=:\d+)|(?<=at )[^\s'\"]+(?=:\d+)")


def advise(exc: BaseException, cell_of: Callable[[str], str | None]) -> None:
    """Add a line to *exc* that says what to write, if it was raised for want of a loop or thread.

    *cell_of* gives the cell that a file name stands for.
    """
    advice = _loop_advice(exc, cell_of) or explanation(exc)
    if advice is not None:
        note = f"asyncnb: {advice}"
        if note not in getattr(exc, "__notes__", ()):
            exc.add_note(note)


def _loop_advice(exc: BaseException, cell_of: Callable[[str], str | None]) -> str | None:
    if type(exc) not in _ADVISED:
        return None
    text = safe_str(exc)
    for kind, sign, advice in _ADVICE:
        if type(exc) is kind and sign in text:
            return advice.format(what=_what(text, cell_of))
    return None


def _what(text: str, cell_of: Callable[[str], str | None]) -> str:
    found = _REPR.search(text)
    if found is None:
        return "It"
    what = found[1] or found[2]
    cells = [cell for cell in map(cell_of, _PLACE.findall(what)) if cell]
    short = truncate(what, 80)
    return f"{short} (its code stands in {cells[0]})" if cells else short
