"""Launches background cells, and replaces their earlier runs."""

from __future__ import annotations

import argparse
import ast
import asyncio
import builtins
import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.display import display

from asyncnb._core.base.errors import THREADS, OffloadError, TasksFailedError, did_you_mean
from asyncnb._core.base.worker_thread import STUCK_SECONDS, Worker
from asyncnb._core.config import config
from asyncnb._core.launched import launch, named_groups
from asyncnb._core.launched.open_group import OpenGroup
from asyncnb._core.launched.record import (
    NO_REQUEST,
    CellRequest,
    Placement,
    TaskRecord,
    current_record,
)
from asyncnb._core.launched.registry import registry
from asyncnb._core.launched.start import as_coroutine, launch_record, run_body
from asyncnb._core.loop.current import embedded_loop
from asyncnb._core.primitives.tasks import Task
from asyncnb._kernel.arguments import TARGETS, task_name
from asyncnb._kernel.cells.compiled import BackgroundCell, compile_cell
from asyncnb._kernel.cells.replaced import ended, location_of
from asyncnb._kernel.current_cell import cell_id, cell_number
from asyncnb._kernel.output.router import OutputRouter
from asyncnb._kernel.output.tracebacks import format_error, user_frames

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._kernel.cells.follow import Followers
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
        self._notifications = notifications

    @functools.cached_property
    def followers(self) -> Followers:
        """The cells that run again when others do."""
        from asyncnb._kernel.cells.follow import Followers  # most notebooks have none

        return Followers(self.output)

    def close(self) -> None:
        """Have no cell follow another one any more."""
        if "followers" in vars(self):
            self.followers.clear()

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
        self.launch(
            lambda _: start(),
            args,
            kind=kind,
            name=name,
            bind=bind,
            shows_result=not (args.quiet or cell.quiet),
        )

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
        task = self.launch(
            inside,
            args,
            kind="loop",
            name=name,
            shows_result=not (args.quiet or cell.quiet),
            body_of=group,
        )
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
        self.launch(
            start,
            args,
            kind=runner.kind,
            name=name,
            bind=bind,
            shows_result=not quiet,
            note="" if args.quiet else note,
        )

    def _launch_in_pool(
        self, runner: CellRunner, cell: BackgroundCell, name: str, args: argparse.Namespace
    ) -> None:
        if args.sent is not None:
            raise UsageError(_NOTHING_IS_SENT)
        run = functools.partial(cell.run_async if cell.awaits else cell.run, self.ip.user_global_ns)
        self.launch(
            lambda record: runner.run_here(record, run),
            args,
            kind=runner.kind,
            name=name,
            bind=_one_name(args),
            shows_result=not (args.quiet or cell.quiet),
        )

    def _engine_named(self, name: str) -> Any:
        if name in TARGETS:
            return name
        if name not in self.ip.user_ns:
            raise UsageError(
                f"%%atask --on {name}: that is none of {', '.join(TARGETS)}, and there is no "
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
            task = self.launch(
                start, args, kind="loop", name=args.name, bind=bind, shows_result=False
            )
        except UsageError:
            coro.close()
            raise
        # It never started if the task was cancelled before; closing it twice is harmless.
        task.add_done_callback(lambda _: coro.close())
        return task

    def launch(
        self,
        start: Callable[[TaskRecord], Coroutine[Any, Any, Any]],
        args: argparse.Namespace,
        *,
        kind: str,
        name: str | None,
        bind: str | None = None,
        shows_result: bool,
        body_of: OpenGroup | None = None,
        note: str = "",
        bound: Callable[[Task[Any]], Any] | None = None,
        followed: TaskRecord | None = None,
    ) -> Task[Any]:
        """Launch a cell, whose coroutine ``start`` returns, as its options ``args`` say.

        ``bound`` is called with the task and returns what its name is bound to instead of it.
        ``followed`` is its earlier run if it runs again with others.
        """
        again = functools.partial(
            self.launch,
            start,
            args,
            kind=kind,
            name=name,
            bind=bind,
            shows_result=shows_result,
            note=note,
        )
        after = None
        if args.after or args.after_any or args.follow or args.even_if_failed:
            after = self.followers.after(args)
        # A name identifies a task wherever its cell was moved; without one the cell's id does.
        identity = args.name or cell_id(self.output.parent())
        before = [r for r in registry.living() if identity and r.request.identity == identity]
        if before and args.again == "error":
            raise UsageError(
                f"{name!r} is still running. `%tasks cancel {name}` stops it; --again replace "
                "would cancel it and start a new run."
            )
        if before and args.again == "skip":
            print(f"{name} is still running; nothing was started")
            return before[-1].task
        if before and args.again == "keep":
            before = []
        group = body_of
        if args.group is not None:
            group = named_groups.group_named(task_name(args.group, "-g", what="group"))
        waits = args.wait and followed is None
        record = TaskRecord()
        if followed is not None:
            record.origin = followed.origin
        record.after = after
        record.placement = Placement(kind)
        record.request = CellRequest(
            identity=identity, bind=bind, shows_result=shows_result, waited=waits
        )
        if group is not None:
            record.belong_to(group)
        once = functools.partial(start, record)
        often: Callable[[], Coroutine[Any, Any, Any]] = once
        scheduled = args.at is not None or args.cron is not None
        if scheduled or args.every is not None or args.retry is not None:
            from asyncnb._kernel.cells.repeat import repeated  # %load_ext would take longer

            often = repeated(record, once, args, self.ip, self.output)
        if args.profile:
            from asyncnb._kernel.cells.profiled import profiled

            often = profiled(record, often, self.output)
        record.first_limit = None if scheduled else args.timeout  # else of each run
        if args.notify:
            record.notify = True
            self._notifications().ask()
        coro = self._run(record, often, [r.task for r in before])
        for replaced in before:
            replaced.notify = False  # this run ends it

        def before_start() -> None:
            # Once this run is registered: a task that waits for the earlier one waits for this one.
            launch.cancel_records(before, "replaced by a new run of its cell")
            # Before the first step, so that the chip is above all that the task shows.
            if args.show:
                display(record.task)
            if note:
                print(note)

        first = before_start if before or args.show or note else None
        task = launch_record(record, coro, name=name, trace=args.trace, before_start=first)
        if group is not None and body_of is None:
            launch.join_group(group, task)
        value = task if bound is None else bound(task)
        if args.name is not None and body_of is None:
            self._bind(args.name, value)
        if args.name is not None and (after is not None or "followers" in vars(self)):
            self.followers.note_run(args.name, record, lambda run: again(followed=run))
        if waits:
            self._wait_here(record)
        return task

    async def _run(
        self,
        record: TaskRecord,
        start: Callable[[], Coroutine[Any, Any, Any]],
        before: Sequence[Task[Any]],
    ) -> Any:
        try:
            if before:
                await ended(before)  # their cleanup runs first
            if record.after is not None:
                await record.after.wait(record)
            body = start()
        except BaseException:
            registry.ends(record)  # run_body() would do it, but is not reached
            raise
        try:
            return await run_body(body, record)
        except BaseException as exc:
            # Code that awaits the task sees the user's frames, not those that led to them.
            exc.__traceback__ = user_frames(exc.__traceback__)
            raise

    def _bind(self, name: str, value: Any) -> None:
        """Bind ``name`` to a task or run unless that would overwrite something of the user's."""
        namespace = self.ip.user_ns
        if not name.isidentifier() or hasattr(builtins, name):
            return
        if name not in namespace or isinstance(namespace[name], (Task, *_run_class())):
            namespace[name] = value

    def ended(self, record: TaskRecord) -> None:
        """Bind the result and show how the task ended. Called on the loop's thread."""
        if record.request is NO_REQUEST and not (
            record.notify or config.notify == "all" or self.output.has_report(record)
        ):
            record.set_shown()  # as most tasks do, and quickly
            return
        try:
            self._report_end(record)
        except Exception:
            # Out of memory, for example. An observer that raises is removed, and no task that ends
            # after this one would be shown.
            self.ip.log.exception("asyncnb could not show how %r ended", record.name)
            record.set_shown()

    def _report_end(self, record: TaskRecord) -> None:
        task, result = record.task, None
        cancelled = task.cancelled()
        # Not exception(), which would mark the failure as retrieved.
        failed = not cancelled and task._exception is not None
        if not failed and not cancelled:
            result = task.result()
            if record.request.bind is not None:
                self.ip.user_ns[record.request.bind] = result
        if failed:
            registry.keep_frames(record)
        if failed and record.request.waited:
            record.set_shown()  # the waiting cell raises it
        else:
            self.output.report(record, result=result if record.request.shows_result else None)
        if failed or record.notify or config.notify == "all":
            self._notifications().task_ended(record)

    def _wait_here(self, record: TaskRecord) -> None:
        """``--wait``: keep the launching cell busy; the cell fails with its task."""
        try:
            from asyncnb._kernel.cells.wait import wait

            wait([record], None)
        except TasksFailedError:
            exc = record.task.exception()
            assert exc is not None
            _, _, lines = format_error(self.ip, exc)
            # IPython asks an exception for its own traceback: the cell's frames, not those of the
            # magic that waited.
            exc._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
            raise exc from None
        finally:
            record.request.waited = False


def _run_class() -> tuple[type, ...]:
    """Return the class of a run of ``asyncnb.map`` if there can be one yet."""
    module = sys.modules.get("asyncnb._core.mapping.run")
    return () if module is None else (module.MapRun,)


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
