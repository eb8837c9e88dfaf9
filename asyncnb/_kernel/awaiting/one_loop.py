"""Makes the embedded loop the running loop of cells without ``await`` and of comm callbacks.

So whatever one cell creates on "the running loop" (a task, a client, a queue) works in every other
cell, with and without ``await``. The machinery around the cell's code keeps the kernel's own loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import TYPE_CHECKING, Any

from asyncnb._core.base.errors import THREADS, format_exception_line
from asyncnb._core.base.visits import Visit
from asyncnb._core.loop.current import (
    embedded_loop,
    is_embedded,
    running_embedded_loop,
    running_or_starting_loop,
)
from asyncnb._kernel.ipykernel.comm_handlers import CommHandlers

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._core.loop.embedded import EmbeddedLoop
    from asyncnb._kernel.awaiting.autoawait import AwaitCells


class OneLoop:
    """Makes the code of cells and of comm callbacks visit the embedded loop.

    A cell's visit lasts from its first statement to its last, and the loop is the running one while
    a statement runs: IPython compiles them one by one.
    """

    def __init__(self, ip: InteractiveShell, await_cells: AwaitCells) -> None:
        self.ip = ip
        self._await_cells = await_cells
        self._run_ast_nodes: Any = None
        self._run_code: Any = None
        self._pid = os.getpid()
        #: The running cells, by thread: a subshell may run one at the same time.
        self._cells: dict[int, Visit] = {}
        self._comm_handlers = CommHandlers(ip, self._visiting)

    def install(self) -> None:
        """Hook the shell instance and the kernel's comm handlers; once."""
        if not THREADS or self.installed:
            return
        self._run_ast_nodes, self._run_code = self.ip.run_ast_nodes, self.ip.run_code
        self.ip.run_ast_nodes = self.run_ast_nodes  # type: ignore[method-assign]
        self.ip.run_code = self.run_code  # type: ignore[method-assign]
        self._comm_handlers.install()

    def uninstall(self) -> None:
        """Remove the hooks. A cell that is running keeps the loop that it has."""
        for name in ("run_ast_nodes", "run_code"):
            if vars(self.ip).get(name) == getattr(self, name):
                original = getattr(self, f"_{name}")
                if getattr(original, "__self__", None) is self.ip:
                    delattr(self.ip, name)
                else:  # another extension hooked it before us
                    setattr(self.ip, name, original)
        self._comm_handlers.uninstall()

    @property
    def installed(self) -> bool:
        """Whether cells without await see the embedded loop."""
        return vars(self.ip).get("run_ast_nodes") == self.run_ast_nodes

    def _applies(self) -> bool:
        """Return whether the code that is about to run here visits the embedded loop."""
        ip = self.ip
        if is_embedded(asyncio._get_running_loop()):
            return False  # a cell with await, or a cell run by another one
        if os.getpid() != self._pid:
            return False  # a forked child, in which no loop runs
        # With IPython's own await, or trio's, cells do not await on the embedded loop.
        return self._await_cells.installed and (ip.loop_runner is ip.loop_runner_map["asyncio"][0])

    async def run_ast_nodes(self, *args: Any, **kwargs: Any) -> Any:
        """Do as ``InteractiveShell.run_ast_nodes``, and hold back what the cell schedules."""
        ident = get_ident()
        if ident in self._cells or not self._applies():
            return await self._run_ast_nodes(*args, **kwargs)
        try:
            loop = embedded_loop()
        except RuntimeError as exc:  # the system's limit of threads, for example
            print(
                f"asyncnb: the embedded loop could not be started, so this cell does not see it as "
                f"the running loop: {format_exception_line(exc)}",
                file=sys.stderr,
            )
            return await self._run_ast_nodes(*args, **kwargs)
        self._cells[ident] = Visit(loop)
        try:
            return await self._run_ast_nodes(*args, **kwargs)
        finally:
            visit = self._cells.pop(ident)
            if visit.release():
                visit.settle()

    async def run_code(self, code: Any, result: Any = None, *, async_: bool = False) -> Any:
        """Do as ``InteractiveShell.run_code``: one statement, which visits the embedded loop."""
        ident = get_ident()
        visit = self._cells.get(ident)
        if visit is None or visit.entered or async_ or os.getpid() != self._pid:
            return await self._run_code(code, result, async_=async_)
        if visit.loop is not running_embedded_loop():  # restarted, or crashed, meanwhile
            visit = self._cells[ident] = Visit(embedded_loop())
        visit.enter()
        try:
            return await self._run_code(code, result, async_=async_)
        finally:
            visit.leave()

    def _visiting(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        def handle(*args: Any) -> Any:
            loop = running_or_starting_loop()
            if loop is None or not self._await_cells.installed:
                return handler(*args)
            if self._await_cells.awaiting:
                return self._between_steps(loop, handler, args)
            visit = Visit(loop)
            visit.enter()
            try:
                return handler(*args)
            finally:
                visit.leave()
                visit.release()

        return handle

    def _between_steps(
        self, loop: EmbeddedLoop, handler: Callable[..., Any], args: tuple[Any, ...]
    ) -> Coroutine[Any, Any, None]:
        """Call ``handler`` on the embedded loop when the cell that awaits there next does so.

        On the main thread, which is free, the call would interleave with that cell's code.
        """
        here = asyncio.get_running_loop()
        handled: asyncio.Future[None] = here.create_future()

        def end(error: BaseException | None) -> None:
            if not handled.done():
                if error is None:
                    handled.set_result(None)
                else:
                    handled.set_exception(error)

        def handle() -> None:
            error: BaseException | None = None
            try:
                handler(*args)
            except Exception as exc:
                error = exc  # the kernel logs it
            here.call_soon_threadsafe(end, error)

        async def wait() -> None:
            await handled

        loop.call_soon_threadsafe(handle, context=contextvars.copy_context())
        return wait()
