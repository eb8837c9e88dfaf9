"""Runs cells with ``await`` on the embedded loop, where an interrupt ends them at once."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from asyncnb._core.base.errors import THREADS
from asyncnb._core.base.visits import guard, own_loop, unguard
from asyncnb._core.loop.current import embedded_loop, is_embedded
from asyncnb._kernel.current_cell import cell_id
from asyncnb._kernel.ipykernel.interrupts import wake_on_signal
from asyncnb._kernel.ipykernel.kernel import kernel_of

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._core.frontend import Foreground
    from asyncnb._core.primitives.tasks import Task
    from asyncnb._kernel.awaiting.detach import CellDetacher
    from asyncnb._kernel.awaiting.running_cell import RunningCell
    from asyncnb._kernel.ipykernel.interrupts import InterruptGuard


class AwaitCells:
    """Sends a cell with top-level await, as a whole, to the embedded loop.

    As a whole, because IPython runs a cell statement by statement: moving only those that await
    would split the cell over two loops.
    """

    def __init__(
        self,
        ip: InteractiveShell,
        *,
        parent: Callable[[], dict[str, Any]],
        enter: Callable[[dict[str, Any]], None],
        hand_over: Callable[[asyncio.Task[Any]], None],
    ) -> None:
        self.ip = ip
        self._run_cell_async = ip.run_cell_async
        #: The cells that are waited for, the latest last: a subshell may run one at the same time.
        self._cells: list[RunningCell] = []
        self._parent = parent
        self._enter = enter
        self._hand_over = hand_over
        #: Whether earlier cells may have left tasks on the kernel's own loop. The ends of such
        #: tasks are reported to our loop from the kernel's thread.
        self._may_meet_others = ip.execution_count > 2
        self._detacher: CellDetacher | None = None
        self._abandoned: weakref.WeakSet[Any] = weakref.WeakSet()

    def install(self) -> None:
        """Hook the shell instance; not where cells run on the embedded loop anyway."""
        if not THREADS:
            return
        self.ip.run_cell_async = self.run_cell_async  # type: ignore[method-assign]

    def uninstall(self) -> None:
        """Restore the shell's own method. A cell that is running stays where it is."""
        if self.installed:
            del self.ip.run_cell_async

    @property
    def installed(self) -> bool:
        """Whether cells with await run on the embedded loop."""
        return vars(self.ip).get("run_cell_async") == self.run_cell_async

    def run_cell_async(self, raw_cell: str, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Do as ``InteractiveShell.run_cell_async``, on the embedded loop if the cell awaits."""
        cell = self._run_cell_async(raw_cell, *args, **kwargs)
        # IPython passes every cell through here; only those with one of these words can await.
        if "await" not in raw_cell and "async" not in raw_cell:
            return cell
        ip = self.ip
        if not ip.autoawait or ip.loop_runner is not ip.loop_runner_map["asyncio"][0]:
            return cell  # %autoawait off, or trio: IPython handles it
        if is_embedded(own_loop()):
            return cell  # called by a cell that already runs on the embedded loop
        if not ip.should_run_async(
            raw_cell,
            transformed_cell=kwargs.get("transformed_cell"),
            preprocessing_exc_tuple=kwargs.get("preprocessing_exc_tuple"),
        ):
            return cell
        return self._run_on_embedded_loop(cell, raw_cell)

    async def _run_on_embedded_loop(self, cell: Coroutine[Any, Any, Any], source: str) -> Any:
        """Run the cell on the embedded loop while the kernel's own loop stays free."""
        from asyncnb._kernel.awaiting.running_cell import RunningCell  # for the first such cell

        running = RunningCell(
            cell,
            source,
            embedded_loop(),
            asyncio.get_running_loop(),
            id=cell_id(self._parent()),
            own_groups=kernel_of(self.ip) is not None,  # in a terminal they stay in its group
        )
        self._cells.append(running)
        if self._may_meet_others:
            guard(running.loop)
        try:
            with wake_on_signal(running.here, running.interrupt) as wakes:
                running.start()
                result = await running.wait(wakes)
        finally:
            self._cells.remove(running)
            if self._may_meet_others:
                unguard(running.loop)
        error = getattr(result, "error_in_exec", None)
        if running.abandoned and error is not None:
            self._abandoned.add(running.task)
            self.ip.showtraceback((type(error), error, error.__traceback__), tb_offset=0)
        elif running.loop_crashed and error is not None:
            self.ip.showtraceback((type(error), error, error.__traceback__))
        elif running.interrupted and isinstance(error, asyncio.CancelledError):
            result.error_in_exec = KeyboardInterrupt()
        elif not running.began or (
            running.interrupted_late and running.early_reply is None and result.success
        ):
            # It was cancelled before its first step; or the child process that the cell waited for
            # was killed by the same signal, and the cell ended before the kernel's thread noticed:
            # the queued cells must not run.
            stop = result.error_in_exec = KeyboardInterrupt()
            self.ip.showtraceback((KeyboardInterrupt, stop, None))
        if running.stopped and isinstance(
            getattr(result, "error_in_exec", None), asyncio.CancelledError | KeyboardInterrupt
        ):
            # It is shown. For a failed cell, the kernel drops the cells that are queued behind it.
            result.error_in_exec = None
        return result

    def detach(self) -> Task[Any]:
        """Turn the cell that is awaiting now into a background task; return the task. Any thread.

        The cell's reply is sent at once. Its output keeps appearing under it, and so does its
        result, which becomes the result of the task and ``Out`` under the cell's number, not
        ``_``; a failure is shown there as well. Raises UsageError if no cell is awaiting.
        """
        if self._detacher is None:
            from asyncnb._kernel.awaiting.detach import CellDetacher  # most notebooks never need it

            self._detacher = CellDetacher(self.ip, self._enter, self._hand_over)
        return self._detacher.detach(self._running)

    def is_detached_failure(self, exc: BaseException) -> bool:
        """Return whether ``exc`` ends a detached cell, whose task will show it.

        Or an abandoned one, whose interrupt has been shown already.
        """
        running = asyncio._get_running_loop() if self._abandoned else None
        if running is not None and asyncio.current_task(running) in self._abandoned:
            return True  # its interrupt has been shown already
        return self._detacher is not None and self._detacher.is_detached_failure(exc)

    @property
    def awaiting(self) -> bool:
        """Whether there is a cell that could be detached. Any thread."""
        return bool(self._cells)

    @property
    def awaiting_cell(self) -> str | None:
        """The id of the cell that could be detached, if there is one that has an id. Any thread."""
        running = self._running
        return None if running is None else running.id

    def stop(self, id: str, guard: InterruptGuard | None) -> str:
        """Stop the cell with this id if it is in the foreground: see ``stop_foreground``."""
        from asyncnb._kernel.awaiting.stop import stop_foreground  # most notebooks never need it

        running = next((cell for cell in list(self._cells) if cell.id == id), None)
        return stop_foreground(id, running, guard)

    def foreground(self, guard: InterruptGuard | None) -> Foreground | None:
        """Return the cell that the main thread runs or waits for; None if none. Any thread."""
        from asyncnb._kernel.awaiting.stop import foreground  # only other processes ask

        return foreground(self.ip, self._running, guard)

    def is_current(self) -> bool:
        """Return whether the calling code is that of a cell that awaits."""
        return any(cell.is_current() for cell in list(self._cells))

    @property
    def _running(self) -> RunningCell | None:
        # A copy: another thread may ask while the cell ends.
        return next(iter(self._cells[-1:]), None)

    def was_interrupted(self) -> bool:
        """Return whether the running code is a cell that the user has interrupted."""
        running = self._running
        return running is not None and running.interrupted and running.is_current()

    def on_traceback_shown(self) -> None:
        """Note that the running cell shows its traceback: no interrupt can hit its code now."""
        running = self._running
        if running is not None and running.is_current():
            running.traceback_shown = True
