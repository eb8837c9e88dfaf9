"""Cells with ``await`` run on the embedded loop; the stop button ends them at once."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import os
import signal
import socket
import threading
import time
import types
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

from IPython.core.interactiveshell import ExecutionResult

from asyncnb._core.base.async_raise import raise_in_task
from asyncnb._core.base.errors import THREADS, EmbeddedLoopError
from asyncnb._core.base.visits import guard, own_loop, runs_here, unguard
from asyncnb._core.introspection import places as _places
from asyncnb._core.loop.current import embedded_loop
from asyncnb._core.loop.embedded import EmbeddedLoop
from asyncnb._core.loop.guarded import on_wakeup_fd_replaced
from asyncnb._core.loop.subprocesses import cell_children, interrupt_children
from asyncnb._core.primitives.tasks import Task, interrupt

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._kernel.awaiting.detach import LetGo

_Task = asyncio.Task  # now: nest_asyncio puts another class in its place

#: Seconds that the embedded loop gets to take an interrupt before the cell is taken to block it.
BLOCKED_AFTER = 0.1


class AwaitCells:
    """Sends a cell with top-level await, as a whole, to the embedded loop.

    As a whole, because IPython runs a cell statement by statement: handing over only those that
    await would split the cell over two loops.
    """

    def __init__(
        self,
        ip: InteractiveShell,
        *,
        enter: Callable[[dict[str, Any]], None],
        hand_over: Callable[[asyncio.Task[Any]], None],
    ) -> None:
        self.ip = ip
        self._run_cell_async = ip.run_cell_async
        #: The cells that are waited for, the latest last: a subshell may run one besides.
        self._cells: list[RunningCell] = []
        self._enter = enter
        self._hand_over = hand_over
        #: Whether earlier cells may have left tasks on the kernel's own loop, whose ends are
        #: reported to ours from the kernel's thread.
        self._may_meet_others = ip.execution_count > 2
        self._let_go: LetGo | None = None
        self._left: weakref.WeakSet[Any] = weakref.WeakSet()

    def install(self) -> None:
        """Hook the shell instance; not where cells run on the embedded loop as it is."""
        if not THREADS:
            return
        self.ip.run_cell_async = self.run_cell_async  # type: ignore[method-assign]

    def uninstall(self) -> None:
        """Give the shell its own method back. A cell that runs now stays where it is."""
        if self.installed:
            del self.ip.run_cell_async

    @property
    def installed(self) -> bool:
        """Whether cells with await go to the embedded loop."""
        return vars(self.ip).get("run_cell_async") == self.run_cell_async

    def run_cell_async(self, raw_cell: str, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """As ``InteractiveShell.run_cell_async``, elsewhere if the cell awaits."""
        cell = self._run_cell_async(raw_cell, *args, **kwargs)
        # IPython sends every cell through here; only those with the word can await.
        if "await" not in raw_cell and "async" not in raw_cell:
            return cell
        ip = self.ip
        if not ip.autoawait or ip.loop_runner is not ip.loop_runner_map["asyncio"][0]:
            return cell  # %autoawait off, or trio: IPython's own business
        if isinstance(own_loop(), EmbeddedLoop):
            return cell  # run_cell_async called by a cell that is there already
        if not ip.should_run_async(
            raw_cell,
            transformed_cell=kwargs.get("transformed_cell"),
            preprocessing_exc_tuple=kwargs.get("preprocessing_exc_tuple"),
        ):
            return cell
        return self._run_elsewhere(cell, raw_cell)

    async def _run_elsewhere(self, cell: Coroutine[Any, Any, Any], source: str) -> Any:
        """Run the cell on the embedded loop while the kernel's own loop stays free."""
        running = RunningCell(
            cell,
            source,
            embedded_loop(),
            asyncio.get_running_loop(),
            own_groups=hasattr(self.ip, "kernel"),  # a terminal's children stay in its own
        )
        self._cells.append(running)
        if self._may_meet_others:
            guard(running.loop)
        try:
            with _wake_on_signal(running.here, running.interrupt) as wakes:
                running.start()
                result = await running.wait(wakes)
        finally:
            self._cells.remove(running)
            if self._may_meet_others:
                unguard(running.loop)
        error = getattr(result, "error_in_exec", None)
        if running.left and error is not None:
            self._left.add(running.task)
            self.ip.showtraceback((type(error), error, error.__traceback__), tb_offset=0)
        elif running.lost and error is not None:
            self.ip.showtraceback((type(error), error, error.__traceback__))
        elif running.interrupted and isinstance(error, asyncio.CancelledError):
            result.error_in_exec = KeyboardInterrupt()
        elif not running.began or (
            running.interrupted_late and running.gone is None and result.success
        ):
            # It was cancelled before its first step; or the child process that the cell waited for
            # died of the same signal, and the cell ended before the kernel's thread noticed: the
            # queued cells must not run.
            stop = result.error_in_exec = KeyboardInterrupt()
            self.ip.showtraceback((KeyboardInterrupt, stop, None))
        return result

    def let_go(self) -> Task[Any]:
        """Let the cell that awaits now go on as a task; return it. From any thread.

        The cell's reply returns at once. What it says stays where it was, and so does its result,
        which becomes the task's and ``Out`` of its number, not ``_``; a failure is shown there.
        Raises UsageError if no cell awaits.
        """
        if self._let_go is None:
            from asyncnb._kernel.awaiting.detach import LetGo  # most notebooks never need it

            self._let_go = LetGo(self.ip, self._enter, self._hand_over)
        return self._let_go.let_go(self._running)

    def gone(self, exc: BaseException) -> bool:
        """Return whether ``exc`` ends a cell that was let go, whose task will show it.

        Or one that was stopped and has been shown as such.
        """
        running = asyncio._get_running_loop() if self._left else None
        if running is not None and asyncio.current_task(running) in self._left:
            return True  # stopped and told long ago
        return self._let_go is not None and self._let_go.takes(exc)

    @property
    def awaiting(self) -> bool:
        """Whether there is a cell that could be let go. Any thread."""
        return bool(self._cells)

    @property
    def _running(self) -> RunningCell | None:
        return self._cells[-1] if self._cells else None

    def stopped(self) -> bool:
        """Return whether the running code is a cell that the user has stopped."""
        running = self._running
        return running is not None and running.interrupted and running.is_current()

    def reported(self) -> None:
        """The running cell shows its traceback: its code has ended, no stop can hit it now."""
        running = self._running
        if running is not None and running.is_current():
            running.reported = True


class RunningCell:
    """A foreground cell on the embedded loop, and the kernel's side that waits for it."""

    def __init__(
        self,
        coro: Coroutine[Any, Any, Any],
        source: str,
        loop: EmbeddedLoop,
        here: asyncio.AbstractEventLoop,
        *,
        own_groups: bool,
    ) -> None:
        self.created = time.time()
        self.coro = coro
        self.source = source
        self.loop = loop
        self.here = here
        self.interrupted = False
        #: False once the cell has been cancelled before its first step.
        self.began = True
        #: Whether the code of the cell was interrupted, and had not ended before it could be.
        self._delivered = False
        self.reported = False
        #: Processes that it has started in groups of their own.
        self.children: list[asyncio.SubprocessTransport] = []
        self._ended: asyncio.Future[None] = here.create_future()
        self._taken = threading.Event()
        self.task: Task[Any] | None = None
        #: What the kernel is told in place of the result, once the cell was let go.
        self.gone: ExecutionResult | None = None
        #: Whether it was stopped, but still has to end.
        self.left = False
        #: Whether the loop crashed under it.
        self.lost = False
        self._held_by: asyncio.Task[Any] | None = self.task
        self._failed: BaseException | None = None
        loop.on_crash.add(self._loop_crashed)
        self.context = contextvars.copy_context()
        if own_groups:
            self.context.run(cell_children.set, self.children)

    def start(self) -> None:
        """Have it begin, once an interrupt finds its way here: what it prints may bring one."""
        self.loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        # Ours, not asyncio.Task: nest_asyncio puts another class in that place.
        self.task = Task(self.coro, loop=self.loop, name="cell", context=self.context)
        self.task.add_done_callback(self._tell)

    def let_go(self, reply: ExecutionResult) -> None:
        """Have the waiter go on with ``reply`` while the cell runs on. On the loop's thread."""
        self.gone = reply
        self._tell(None)

    def _tell(self, _: object) -> None:
        with contextlib.suppress(RuntimeError):  # the kernel's loop is closed: nobody waits
            self.here.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _loop_crashed(self, _: EmbeddedLoop, exc: BaseException) -> None:
        self._failed = exc
        self._tell(None)

    @property
    def interrupted_late(self) -> bool:
        """Whether the code had ended, but not the cell, when it was interrupted."""
        return self.interrupted and not self._delivered

    def is_current(self) -> bool:
        """Whether the calling code is this cell's."""
        return runs_here(self.loop) and (asyncio.current_task(self.loop) is self.task)

    async def wait(self, wakes: Callable[[], bool]) -> Any:
        """Wait for the cell, whoever cancels the waiter, and return its ExecutionResult.

        Where signals have woken the loop, ``wakes()``, an interrupt arrives by itself, and the
        cancellation of the waiter, by which ipykernel reports it once more, is only swallowed.
        That of an interrupt from before anything could wake the loop is its only report.
        """
        waiter = asyncio.current_task()
        try:
            while not self._ended.done():
                try:
                    await asyncio.shield(self._ended)
                except asyncio.CancelledError:
                    # ipykernel cancels the waiter on SIGINT. Raising here would leave the cell
                    # without a reply: the cell itself ends, and its result is the answer.
                    if waiter is not None:
                        waiter.uncancel()
                    if not wakes() or not self.interrupted:
                        self.interrupt()
        finally:
            self.loop.on_crash.discard(self._loop_crashed)
        if self.gone is not None:
            return self.gone
        try:
            if self.task is None or not self.task.done():
                raise EmbeddedLoopError(
                    "The embedded loop crashed under this cell; run it again."
                ) from self._failed
            return self.task.result()
        except EmbeddedLoopError as exc:
            # Raised here it would leave the kernel's loop, and the cell without a reply.
            self.lost = True
            result = ExecutionResult(None)
            result.error_in_exec = exc
            return result
        except KeyboardInterrupt as exc:
            # A stop that hit IPython after the cell's code had ended. Raised here it would leave
            # the kernel's loop and end the kernel.
            result = ExecutionResult(None)
            result.error_in_exec = exc
            return result
        except asyncio.CancelledError:
            # Before its first step: IPython has made no result of it. Raised here it would end
            # what takes the kernel's requests, and no later cell would run.
            self.began = False
            return ExecutionResult(None)

    def interrupt(self) -> None:
        """Stop the cell as the stop button means it. Call it in the thread of ``here``."""
        self.interrupted = True
        if self._ended.done():
            return
        self._taken.clear()
        self.loop.call_soon_threadsafe(self._interrupt_there)
        self.here.call_later(BLOCKED_AFTER, self._break_in)

    def _interrupt_there(self) -> None:
        self._taken.set()
        interrupt_children(self.children)
        task = self.task
        if task is None or task.done():
            return
        self._delivered = True
        waiter = getattr(task, "_fut_waiter", None)
        if isinstance(waiter, _Task) and _awaited_by_cell_code(task.get_coro()):
            # A task that the cell's own code awaits by name lives on, launched or not; tasks
            # that the functions it called made for themselves are cancelled with them.
            _end_wait(task, waiter)
        else:
            interrupt(task)

    def _break_in(self) -> None:
        """The loop has not taken the interrupt: if this cell blocks it, raise in its code.

        Once for each press on stop, and not while the cell shows the traceback of the first.
        """
        if self._taken.is_set() or self._ended.done() or self.reported or self.task is None:
            return
        current = asyncio.current_task(self.loop)
        if current is self.task:
            if raise_in_task(self.loop, self.task, KeyboardInterrupt, within=_is_cell_code):
                self._delivered = True
                return
        elif self._held_by is current and (current is not None or self.loop.blocked is not None):
            # Somebody else blocks the loop, for longer than a moment. The cell will end when it is
            # free; who pressed stop does not wait for that.
            from asyncnb._kernel.awaiting.abandoned import stopped_result  # rarely needed

            self.left = True
            self.gone = stopped_result(self)
            self._wake()
            return
        self._held_by = current
        self.here.call_later(BLOCKED_AFTER, self._break_in)


def _end_wait(task: asyncio.Task[Any], waiter: Any) -> None:
    """Throw CancelledError into ``task`` without a word to ``waiter``, on their loop's thread."""
    loop = task.get_loop()
    for callback, context in waiter._callbacks or ():
        if getattr(callback, "__self__", None) is task:  # how a C task is woken
            waiter.remove_done_callback(callback)
            cancelled = loop.create_future()
            cancelled.cancel()
            loop.call_soon(functools.partial(callback, cancelled), context=context)
            return
    task.cancel()  # woken already, on its way


def _is_cell_code(frame: types.FrameType) -> bool:
    return _places.cell_of(frame.f_code.co_filename) is not None


def _awaited_by_cell_code(coro: Any) -> bool:
    """Return whether the innermost coroutine of the chain is a cell's top-level code."""
    while inspect.iscoroutine(coro.cr_await):
        coro = coro.cr_await
    name: str = coro.cr_code.co_name
    return name.startswith("<")  # "<module>" or IPython's "<cell line: n>"


def _never() -> bool:
    return False


@contextlib.contextmanager
def _wake_on_signal(
    loop: asyncio.AbstractEventLoop, on_interrupt: Callable[[], None]
) -> Iterator[Callable[[], bool]]:
    """Wake ``loop`` when a signal arrives, and call ``on_interrupt`` for each SIGINT.

    Gives a function that returns whether the signals up to now have done so, and sees to it that
    the next ones will. They do not in a subshell's thread, to which no signal comes.

    A Python signal handler runs when the main thread gets to it, and a loop that sleeps in its
    selector does not: ipykernel's handler cancels with ``call_soon``, which wakes nobody, and
    the cell went on to its end (ipykernel#881). A byte on a socket that the loop watches does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield _never
        return
    try:
        receiver, sender = socket.socketpair()
    except OSError:  # no file descriptor left: the cell runs all the same
        yield _never
        return
    receiver.setblocking(False)
    sender.setblocking(False)
    previous = -1

    def read() -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            signals = receiver.recv(4096)
            if previous != -1:  # a loop of the main thread with signal handlers wants them too
                with contextlib.suppress(OSError):
                    os.write(previous, signals)
            if signal.SIGINT in signals:
                on_interrupt()

    def hold() -> bool:
        # A signal handler that the cell gives the loop, or takes from it, replaces the wake-up fd:
        # the stop button would do nothing until the end of the cell.
        nonlocal previous
        owner = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        if owner == sender.fileno():
            return True
        previous = owner
        return False

    try:
        loop.add_reader(receiver, read)
    except NotImplementedError:  # a bare proactor loop, which no ipykernel runs on
        receiver.close()
        sender.close()
        yield _never
        return
    hold()
    on_wakeup_fd_replaced.append(hold)
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        # Terminal IPython: KeyboardInterrupt in the middle of the loop would leave the cell
        # running with nobody waiting for it.
        signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield hold
    finally:
        on_wakeup_fd_replaced.remove(hold)
        if handler is signal.default_int_handler:
            signal.signal(signal.SIGINT, handler)
        if (now := signal.set_wakeup_fd(previous)) != sender.fileno():
            signal.set_wakeup_fd(now)  # another owner has taken it meanwhile, and keeps it
        loop.remove_reader(receiver)
        read()  # what came since the loop last looked
        receiver.close()
        sender.close()
