"""A foreground cell that runs on the embedded loop, and how the kernel waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import threading
import time
import types
from collections.abc import Callable, Coroutine
from typing import Any

from IPython.core.interactiveshell import ExecutionResult

from asyncnb._core.base.async_raise import raise_in_task
from asyncnb._core.base.errors import EmbeddedLoopError
from asyncnb._core.base.visits import runs_here
from asyncnb._core.introspection import places
from asyncnb._core.loop.embedded import EmbeddedLoop
from asyncnb._core.loop.subprocesses import cell_children, interrupt_children
from asyncnb._core.primitives.tasks import Task, interrupt

_Task = asyncio.Task  # read now: nest_asyncio replaces it by another class

#: Seconds that the embedded loop has to take an interrupt; after that the cell counts as blocking.
BLOCKED_AFTER = 0.1


class RunningCell:
    """A foreground cell on the embedded loop, for which the kernel's loop, ``here``, waits."""

    def __init__(
        self,
        coro: Coroutine[Any, Any, Any],
        source: str,
        loop: EmbeddedLoop,
        here: asyncio.AbstractEventLoop,
        *,
        id: str | None,
        own_groups: bool,
    ) -> None:
        #: The front end's id of the cell, if it sends one.
        self.id = id
        self.created = time.time()
        self.coro = coro
        self.source = source
        self.loop = loop
        self.here = here
        self.interrupted = False
        #: False once the cell has been cancelled before its first step.
        self.began = True
        #: Whether an interrupt has reached the code of the cell, which had not ended before.
        self._delivered = False
        self.traceback_shown = False
        #: Whether this cell alone is to end: an interrupt ends those queued behind it, too.
        self.stopped = False
        #: Child processes that it has started in separate process groups.
        self.children: list[asyncio.SubprocessTransport] = []
        self._ended: asyncio.Future[None] = here.create_future()
        self._interrupt_taken = threading.Event()
        self.task: Task[Any] | None = None
        #: What the kernel gets in place of the result, if the cell was detached or abandoned.
        self.early_reply: ExecutionResult | None = None
        #: Whether it was interrupted and answered for, but has not ended yet.
        self.abandoned = False
        #: Whether the loop crashed while the cell was running.
        self.loop_crashed = False
        self._blocked_by: asyncio.Task[Any] | None = self.task
        self._crash: BaseException | None = None
        loop.on_crash.add(self._on_loop_crash)
        self.context = contextvars.copy_context()
        if own_groups:
            self.context.run(cell_children.set, self.children)

    def start(self) -> None:
        """Start the cell. Interrupts must arrive here by now: what it prints may cause one."""
        self.loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        # Our Task, not asyncio.Task, which nest_asyncio replaces by another class.
        self.task = Task(self.coro, loop=self.loop, name="cell", context=self.context)
        self.task.add_done_callback(self._wake_soon)

    def detach(self, reply: ExecutionResult) -> None:
        """Let the waiter return ``reply`` while the cell keeps running. On the loop's thread."""
        self.early_reply = reply
        self._wake_soon(None)

    def _wake_soon(self, _: object) -> None:
        with contextlib.suppress(RuntimeError):  # the kernel's loop is closed: nothing waits
            self.here.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _on_loop_crash(self, _: EmbeddedLoop, exc: BaseException) -> None:
        self._crash = exc
        self._wake_soon(None)

    @property
    def interrupted_late(self) -> bool:
        """Whether the interrupt came when the code had ended, but the cell had not."""
        return self.interrupted and not self._delivered and not self.stopped

    def is_current(self) -> bool:
        """Whether the calling code is this cell's."""
        return runs_here(self.loop) and (asyncio.current_task(self.loop) is self.task)

    async def wait(self, wakes: Callable[[], bool]) -> Any:
        """Wait for the cell, even if the waiter is cancelled, and return its ExecutionResult.

        If signals have woken the loop, ``wakes()``, an interrupt arrives by that way, and the
        cancellation of the waiter, by which ipykernel reports the same interrupt again, is ignored.
        An interrupt that came before anything could wake the loop is reported by the cancellation
        only.
        """
        waiter = asyncio.current_task()
        try:
            while not self._ended.done():
                try:
                    await asyncio.shield(self._ended)
                except asyncio.CancelledError:
                    # ipykernel cancels the waiter on SIGINT. Raising here would leave the cell
                    # without a reply: the cell itself ends, and its result is the reply.
                    if waiter is not None:
                        waiter.uncancel()
                    if not wakes() or not self.interrupted:
                        self.interrupt()
        finally:
            self.loop.on_crash.discard(self._on_loop_crash)
        if self.early_reply is not None:
            return self.early_reply
        try:
            if self.task is None or not self.task.done():
                raise EmbeddedLoopError(
                    "The embedded loop crashed while this cell was running; run it again."
                ) from self._crash
            return self.task.result()
        except EmbeddedLoopError as exc:
            # Raised here, it would end the kernel's loop and leave the cell without a reply.
            self.loop_crashed = True
            result = ExecutionResult(None)
            result.error_in_exec = exc
            return result
        except KeyboardInterrupt as exc:
            # An interrupt that hit IPython after the cell's code had ended. Raised here, it would
            # propagate out of the kernel's loop and end the kernel.
            result = ExecutionResult(None)
            result.error_in_exec = exc
            return result
        except asyncio.CancelledError:
            # Cancelled before its first step: IPython has made no result of it. Raised here, it
            # would end the task that handles the kernel's requests, and no later cell would run.
            self.began = False
            return ExecutionResult(None)

    def stop(self) -> bool:
        """Interrupt this cell and nothing else; return False if it has ended. Any thread.

        The call is about this cell alone, so one that comes too late does nothing.
        """
        if self._ended.done() or self.early_reply is not None:
            return False
        try:
            self.here.call_soon_threadsafe(self._stop)
        except RuntimeError:  # the kernel's loop is closed: nothing waits
            return False
        return True

    def _stop(self) -> None:
        if self._ended.done() or self.early_reply is not None:
            return
        stopped = self.stopped or not self.interrupted
        self.interrupt()
        self.stopped = stopped

    def interrupt(self) -> None:
        """Interrupt the cell, as the stop button does. Call it in the thread of ``here``."""
        self.interrupted = True
        self.stopped = False
        if self._ended.done():
            return
        self._interrupt_taken.clear()
        self.loop.call_soon_threadsafe(self._interrupt_on_loop)
        self.here.call_later(BLOCKED_AFTER, self._interrupt_if_blocking)

    def _interrupt_on_loop(self) -> None:
        self._interrupt_taken.set()
        interrupt_children(self.children)
        task = self.task
        if task is None or task.done():
            return
        self._delivered = True
        waiter = getattr(task, "_fut_waiter", None)
        if isinstance(waiter, _Task) and _awaited_by_cell_code(task.get_coro()):
            # A task that the cell's own code awaits by name keeps running, launched or not; tasks
            # that the functions it called created for themselves are cancelled with them.
            _end_wait(task, waiter)
        else:
            interrupt(task)

    def _interrupt_if_blocking(self) -> None:
        """Raise in the code of the cell if it blocks the loop, which has not taken the interrupt.

        Once for each interrupt, and not while the cell shows the traceback of the first one.
        """
        if (
            self._interrupt_taken.is_set()
            or self._ended.done()
            or self.traceback_shown
            or self.task is None
        ):
            return
        current = asyncio.current_task(self.loop)
        if current is self.task:
            if raise_in_task(self.loop, self.task, KeyboardInterrupt, within=_is_cell_code):
                self._delivered = True
                return
        elif self._blocked_by is current and (current is not None or self.loop.blocked is not None):
            # Something else has blocked the loop for longer than a moment. The cell will end when
            # the loop is free; the interrupting user does not have to wait for that.
            from asyncnb._kernel.awaiting.abandoned import interrupted_result  # rarely needed

            self.abandoned = True
            self.early_reply = interrupted_result(self.loop, self.coro)
            self._wake()
            return
        self._blocked_by = current
        self.here.call_later(BLOCKED_AFTER, self._interrupt_if_blocking)


def _end_wait(task: asyncio.Task[Any], waiter: Any) -> None:
    """Throw CancelledError into ``task`` without cancelling ``waiter``. On their loop's thread."""
    loop = task.get_loop()
    for callback, context in waiter._callbacks or ():
        if getattr(callback, "__self__", None) is task:  # what wakes a C task
            waiter.remove_done_callback(callback)
            cancelled = loop.create_future()
            cancelled.cancel()
            loop.call_soon(functools.partial(callback, cancelled), context=context)
            return
    task.cancel()  # it has been woken already


def _is_cell_code(frame: types.FrameType) -> bool:
    return places.cell_of(frame.f_code.co_filename) is not None


def _awaited_by_cell_code(coro: Any) -> bool:
    """Return whether the innermost coroutine of the chain is a cell's top-level code."""
    while inspect.iscoroutine(coro.cr_await):
        coro = coro.cr_await
    name: str = coro.cr_code.co_name
    return name.startswith("<")  # "<module>" or IPython's "<cell line: n>"
