"""Detaches a cell that awaits: its reply is sent, and it continues as a launched task."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import ExecutionResult
from IPython.display import display

from asyncnb._core.base.visits import runs_here
from asyncnb._core.introspection.unmanaged import current_cell
from asyncnb._core.launched.record import Origin, TaskRecord, current_record
from asyncnb._core.launched.start import launch_record, run_body
from asyncnb._core.primitives.tasks import Task
from asyncnb._kernel.output.tracebacks import user_frames

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._kernel.awaiting.running_cell import RunningCell

#: Seconds in which the loop must detach a cell; after that the cell counts as blocking it.
BLOCKED_AFTER = 0.25


class CellDetacher:
    """Turns the running cell into a task, whose output keeps appearing under the cell."""

    def __init__(
        self,
        ip: InteractiveShell,
        enter: Callable[[dict[str, Any]], None],
        hand_over: Callable[[Task[Any]], None],
    ) -> None:
        self.ip = ip
        #: Routes the output of the running context to the cell with that message.
        self._enter = enter
        self._hand_over = hand_over
        self._detached: dict[Task[Any], _DetachedCell] = {}

    def detach(self, cell: RunningCell | None) -> Task[Any]:
        """Detach ``cell`` and return the task that it is from now on. Any thread.

        Raises UsageError if there is no cell to detach, or if it does not await.
        """
        if cell is None:
            raise UsageError(
                "No cell is awaiting now. This one was queued behind the cell that was running: "
                "press Background in the dashboard, use a subshell console that was already open "
                "(New Subshell Console for Notebook), or make %tasks background the first line "
                "of the cell."
            )
        if runs_here(cell.loop):
            return self._detach_on_loop(cell)
        answers: list[Any] = []
        answered, late = threading.Event(), threading.Lock()

        def on_loop() -> None:
            if not late.acquire(blocking=False):
                return  # the caller has stopped waiting
            try:
                answers.append(self._detach_on_loop(cell))
            except UsageError as exc:
                answers.append(exc)
            answered.set()

        cell.loop.call_soon_threadsafe(on_loop)
        if not answered.wait(BLOCKED_AFTER) and late.acquire(blocking=False):
            raise UsageError(
                "The cell does not await: it blocks the loop and cannot be moved to the background."
            )
        answered.wait()
        if isinstance(answers[0], UsageError):
            raise answers[0]
        task: Task[Any] = answers[0]
        return task

    def _detach_on_loop(self, cell: RunningCell) -> Task[Any]:
        """Detach the cell. On the loop's thread: in a callback, or in the cell's own code."""
        task = cell.task
        if task is None or task.done() or cell.interrupted or cell.early_reply:
            raise UsageError(
                "The cell is already ending; there is nothing to move to the background."
            )
        context = cell.context
        # A context that has been entered, by the cell's own code, cannot be entered again.
        own = asyncio.current_task(cell.loop) is task
        number = context.get(current_cell)
        record = context.copy().run(TaskRecord)
        record.origin = Origin(number)
        record.created = record.started = cell.created
        detached = _DetachedCell(self.ip, cell, number.number if number is not None else 0)
        follow = context.copy().run(
            launch_record,
            record,
            run_body(detached.follow(task), record),
            name=f"cell{detached.number}",
        )
        follow._delegate = task

        def enter() -> None:
            self._enter(record.origin.message)
            current_record.set(record)
            self._hand_over(task)

        # The hook for results of cells must not be part of what this cell may capture with.
        outside = contextvars.copy_context()
        outside.run(current_record.set, None)
        if own:
            enter()
        else:
            context.run(enter)
        self._detached[task] = detached
        task.add_done_callback(self._ended, context=outside)
        outside.run(self._watch)
        cell.detach(detached.reply())
        return follow

    def _watch(self) -> None:
        if not isinstance(sys.displayhook, _DisplayHook):
            sys.displayhook = _DisplayHook(self, sys.displayhook)

    def _ended(self, task: Any) -> None:
        self._detached.pop(task, None)
        if not self._detached and isinstance(sys.displayhook, _DisplayHook):
            sys.displayhook = sys.displayhook.original

    def _running(self) -> _DetachedCell | None:
        """Return the detached cell whose code is running here, or None."""
        if not self._detached or asyncio._get_running_loop() is None:
            return None
        task: Any = asyncio.current_task()
        return self._detached.get(task)

    def is_detached_failure(self, exc: BaseException) -> bool:
        """Return whether ``exc`` ends a detached cell: then its task shows it, not the shell."""
        detached = self._running()
        result = None if detached is None else detached.result
        return result is not None and result.error_in_exec is exc

    def show(self, value: object) -> bool:
        """Show a value for the detached cell whose code is running; return False without one."""
        detached = self._running()
        if detached is not None:
            detached.show(value)
        return detached is not None


class _DisplayHook:
    """Replaces the shell's while there are detached cells: ``_`` is for foreground cells."""

    def __init__(self, owner: CellDetacher, original: Callable[[object], Any]) -> None:
        self._owner = owner
        self.original = original

    def __call__(self, value: object) -> None:
        if not self._owner.show(value):
            self.original(value)


class _DetachedCell:
    """What belongs to a detached cell: its result, its failure, its number."""

    def __init__(self, ip: InteractiveShell, cell: RunningCell, number: int) -> None:
        self.ip = ip
        self.number = number
        # IPython's own ExecutionResult of this cell: there is no other way to get it.
        frame: Any = getattr(cell.coro, "cr_frame", None)
        result = frame.f_locals.get("result") if frame is not None else None
        self.result = result if isinstance(result, ExecutionResult) else None
        self._quiet = bool(ip.displayhook.semicolon_at_end_of_expression(cell.source))
        self._value: Any = None

    def reply(self) -> ExecutionResult:
        """Return the result for the kernel now: success, and no value yet."""
        return ExecutionResult(None) if self.result is None else copy.copy(self.result)

    def show(self, value: object) -> None:
        """Use ``value`` as the result: show it below the cell, enter it in ``Out``."""
        if value is None:
            return
        self._value = value
        namespace = self.ip.user_ns
        if self.number and self.ip.displayhook.do_full_cache:
            namespace.get("_oh", {})[self.number] = namespace[f"_{self.number}"] = value
        if not self._quiet:
            display(value)

    async def follow(self, task: Task[ExecutionResult]) -> Any:
        """Wait for the cell; return its result or raise its failure."""
        result = await task
        error = result.error_before_exec or result.error_in_exec
        if error is None:
            return self._value
        try:
            raise error.with_traceback(user_frames(error.__traceback__))
        finally:
            del error
