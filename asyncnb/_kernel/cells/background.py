"""Compiles background cells, and decides where they run."""

from __future__ import annotations

import argparse
import ast
import asyncio
import builtins
import functools
import inspect
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from asyncnb._core.base.errors import THREADS, OffloadError, did_you_mean
from asyncnb._core.base.worker_thread import STUCK_SECONDS, Worker
from asyncnb._core.launched import named_groups
from asyncnb._core.launched.record import (
    TaskRecord,
    current_record,
)
from asyncnb._core.launched.registry import registry
from asyncnb._core.launched.start import as_coroutine
from asyncnb._core.loop.current import embedded_loop
from asyncnb._core.primitives.tasks import Task
from asyncnb._kernel.arguments import TARGETS
from asyncnb._kernel.cells.compiled import BackgroundCell, compile_cell
from asyncnb._kernel.cells.launcher import Body, CellLauncher
from asyncnb._kernel.cells.replaced import location_of
from asyncnb._kernel.current_cell import cell_number
from asyncnb._kernel.output.router import OutputRouter

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._kernel.cells.remote import CellRunner
    from asyncnb._kernel.output.notifications import Notifications


_NOTHING_IS_SENT = (
    "%%atask --in names what is sent to another process; this cell runs in the kernel and sees all "
    "its variables. Omit --in, or use --on process."
)


class BackgroundCells:
    """Does what ``%%atask``, ``%atask`` and ``%%agroup`` ask for, once their line is parsed."""

    def __init__(
        self,
        ip: InteractiveShell,
        output: OutputRouter,
        *,
        cell_runner: Callable[[Any], CellRunner],
        make_map: Callable[..., Any],
        kernel_loop: Callable[[], asyncio.AbstractEventLoop | None],
        notifications: Callable[[], Notifications],
    ) -> None:
        self.ip = ip
        self.output = output
        self._cell_runner = cell_runner
        #: ``asyncnb.map``.
        self.make_map = make_map
        self._kernel_loop = kernel_loop
        self.launcher = CellLauncher(ip, output, notifications)

    def launch_cell(self, magic: str, body: str, args: argparse.Namespace) -> None:
        """Compile ``body`` and launch it; raise before anything has started if that fails."""
        cell = compile_cell(self.ip, body, magic=magic, sent=self.output.source())
        kind = args.on or ("loop" if cell.awaits else "thread")
        if not THREADS:
            kind = _without_threads(kind, args.on)
        name = args.name or f"cell{cell_number(self.ip)}"
        if kind not in ("loop", "thread", "kernel"):
            self._launch_remote(cell, name, args)
            return
        if args.sent is not None:
            raise UsageError(_NOTHING_IS_SENT)
        bind = _one_name(args)
        if kind == "thread" and cell.awaits:
            raise UsageError(
                "%%atask --on thread: this cell awaits, and a worker thread has no loop. Omit "
                "--on to run it on the embedded loop."
            )
        run = functools.partial(cell.run_async if cell.awaits else cell.run, self.ip.user_global_ns)
        start = run if cell.awaits else functools.partial(_in_thread, run)
        if kind != "thread" and not cell.awaits:
            start = functools.partial(_at_once, run)
        if kind == "kernel":
            from asyncnb._kernel.cells.on_kernel_loop import on_loop

            start = functools.partial(on_loop, self._loop_of_kernel(), start)
        quiet = args.quiet or cell.quiet
        code = Body(
            start=lambda _: start(), kind=kind, name=name, bind=bind, shows_result=not quiet
        )
        self.launcher.launch(code, args)

    def launch_group(self, magic: str, body: str, args: argparse.Namespace) -> None:
        """Run ``body`` inside the group ``args.name``, which ends when all its tasks have."""
        cell = compile_cell(self.ip, body, magic=magic, sent=self.output.source())
        name: str = args.name
        living = [r for r in registry.living() if r.request.identity == name]
        if hasattr(builtins, name):
            raise UsageError(f"%%agroup: {name!r} is a builtin; choose another name.")
        try:
            group = named_groups.new_group(name, on_error=args.on_error) if living else None
            group = group or named_groups.open_group(name, on_error=args.on_error)
        except ValueError as exc:
            raise UsageError(f"%%agroup: {exc}.") from None
        if group.entered:
            raise UsageError(
                f"%%agroup: another cell is inside `async with` of the group {name!r}; choose "
                "another name, or wait for that cell."
            )

        async def inside(_: TaskRecord) -> Any:
            async with group:
                if cell.awaits:
                    return await cell.run_async(self.ip.user_global_ns)
                return cell.run(self.ip.user_global_ns)

        self.ip.user_ns[name] = group  # `as NAME`: the body, and other cells, need it at once
        quiet = args.quiet or cell.quiet
        code = Body(start=inside, kind="loop", name=name, shows_result=not quiet, group=group)
        task = self.launcher.launch(code, args)
        # A body cancelled before its first step does not end the group; idempotent otherwise.
        task.add_done_callback(lambda _: group.cancel())

    def _launch_remote(self, cell: BackgroundCell, name: str, args: argparse.Namespace) -> None:
        try:
            runner = self._cell_runner(self._engine_named(args.on))
        except (TypeError, ValueError) as exc:
            raise UsageError(f"%%atask --on {args.on}: {exc}") from None
        quiet = args.quiet or cell.quiet
        if runner.in_process:
            self._launch_in_pool(runner, cell, name, args)
            return
        from asyncnb._kernel.cells import remote

        note = ""
        given: dict[str, Any] = {"given": args.sent, "out": args.out or [], "profile": args.profile}
        try:
            if args.after or args.after_any:
                start, bind = remote.prepare_later(self.ip, runner, cell, quiet=args.quiet, **given)
            else:
                start, bind, note = remote.prepare_remote(self.ip, runner, cell, **given)
        except OffloadError as exc:
            raise UsageError(f"%%atask --on {args.on}: {exc}") from None
        code = Body(
            start=start,
            kind=runner.kind,
            name=name,
            bind=bind,
            shows_result=not quiet,
            note="" if args.quiet else note,
        )
        self.launcher.launch(code, args)

    def _launch_in_pool(
        self, runner: CellRunner, cell: BackgroundCell, name: str, args: argparse.Namespace
    ) -> None:
        if args.sent is not None:
            raise UsageError(_NOTHING_IS_SENT)
        run = functools.partial(cell.run_async if cell.awaits else cell.run, self.ip.user_global_ns)
        code = Body(
            start=lambda record: runner.run_here(record, run),
            kind=runner.kind,
            name=name,
            bind=_one_name(args),
            shows_result=not (args.quiet or cell.quiet),
        )
        self.launcher.launch(code, args)

    def _engine_named(self, name: str) -> Any:
        if name in TARGETS:
            return name
        if name not in self.ip.user_ns:
            raise UsageError(
                f"%%atask --on {name}: that is not one of {', '.join(TARGETS)}, and there is no "
                f"variable {name!r}.{did_you_mean(name, (*TARGETS, *self.ip.user_ns))}"
            )
        return self.ip.user_ns[name]

    def _loop_of_kernel(self) -> asyncio.AbstractEventLoop:
        loop = self._kernel_loop()
        if loop is None:
            raise UsageError(
                "%%atask --on kernel: a terminal has no kernel with a loop that keeps running "
                "while you type. Omit --on."
            )
        return loop

    def launch_expression(self, expression: str, args: argparse.Namespace) -> Task[Any]:
        """Evaluate ``expression`` now and launch the awaitable that it returns."""
        if args.on not in (None, "loop"):
            raise UsageError(
                f"%atask --on {args.on}: an awaitable runs on the embedded loop; omit --on, "
                "or write a %%atask cell."
            )
        if args.sent is not None:
            raise UsageError("%atask --in: an awaitable runs here and sees all variables.")
        bind = _one_name(args)
        flags = self.ip.compile.flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(expression, "<%atask>", "eval", flags, dont_inherit=True)
        if code.co_flags & inspect.CO_COROUTINE:
            raise UsageError(
                "%atask awaits the expression itself: omit the `await`, or write %%atask."
            )
        value = eval(code, self.ip.user_global_ns, self.ip.user_ns)
        try:
            coro = as_coroutine(value, caller="%atask")
        except TypeError as exc:
            raise UsageError(str(exc)) from None
        first = [coro]

        def start(_: TaskRecord) -> Coroutine[Any, Any, Any]:
            if first:
                return first.pop()
            again = eval(code, self.ip.user_global_ns, self.ip.user_ns)  # --every, --retry
            return as_coroutine(again, caller="%atask")

        try:
            body = Body(start=start, kind="loop", name=args.name, bind=bind)
            task = self.launcher.launch(body, args)
        except UsageError:
            coro.close()
            raise
        # It never started if the task was cancelled before; closing it twice is harmless.
        task.add_done_callback(lambda _: coro.close())
        return task


async def _in_thread(run: Callable[[], Any]) -> Any:
    record = current_record.get()
    stuck = None if record is None else functools.partial(_report_stuck, record.task)
    worker = Worker(run, embedded_loop(), on_stuck=stuck)
    try:
        return await worker.run()
    finally:
        if record is not None and record.kind == "thread":
            record.placement.cpu = worker.cpu()


def _report_stuck(task: Task[Any]) -> None:
    """Report in the cell of ``task`` that its thread has not ended. Call in its context."""
    name, where = task.get_name(), location_of(task)
    print(
        f"asyncnb: {name!r} was cancelled {STUCK_SECONDS:g} s ago and is still running"
        f"{where}. A thread can be stopped only between two Python instructions: it ends when this "
        f"call returns. `%tasks stack {name}` shows it; restarting the kernel always ends it.",
        file=sys.stderr,
        flush=True,
    )


async def _at_once(run: Callable[[], Any]) -> Any:
    return run()


def _without_threads(kind: str, asked: str | None) -> str:
    """Return where a cell runs in Pyodide, with one thread and one loop, or refuse it."""
    if kind in ("thread", "process"):
        what = f"--on {asked}" if asked else "a cell without await"
        raise UsageError(
            f"%%atask: {what} needs a thread or a process, and this Python (Pyodide, in a browser) "
            "can start neither. Write --on loop to run the cell on the loop, where everything else "
            "waits until the cell ends or awaits."
        )
    return "loop" if kind == "kernel" else kind


def _one_name(args: argparse.Namespace) -> str | None:
    if args.out is None or len(args.out) == 1:
        return args.out[0] if args.out else None
    raise UsageError(
        f"-o {','.join(args.out)}: this cell runs in the kernel, so the names it assigns already "
        "exist there; -o takes one name, for the value of its last expression."
    )
