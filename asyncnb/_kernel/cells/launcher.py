"""Launches cells as tasks, as the options of their lines say, and shows how they ended."""

from __future__ import annotations

import argparse
import builtins
import functools
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.display import display

from asyncnb._core.base.errors import TasksFailedError
from asyncnb._core.config import config
from asyncnb._core.launched import launch, named_groups
from asyncnb._core.launched.open_group import OpenGroup
from asyncnb._core.launched.record import NO_REQUEST, CellRequest, Placement, TaskRecord
from asyncnb._core.launched.registry import registry
from asyncnb._core.launched.start import launch_record, run_body
from asyncnb._core.primitives.tasks import Task
from asyncnb._kernel.arguments import task_name
from asyncnb._kernel.cells.replaced import ended
from asyncnb._kernel.current_cell import cell_id
from asyncnb._kernel.output.router import OutputRouter
from asyncnb._kernel.output.tracebacks import format_error, user_frames

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._kernel.cells.follow import Followers
    from asyncnb._kernel.output.notifications import Notifications

Start = Callable[[], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a background cell runs, before the options of its line are looked at."""

    #: Returns the coroutine of a run; called once for each run of a cell that repeats.
    start: Callable[[TaskRecord], Coroutine[Any, Any, Any]]
    kind: str
    name: str | None
    #: The variable for the result.
    bind: str | None = None
    shows_result: bool = False
    #: The group whose body this is.
    group: OpenGroup | None = None
    #: Printed above all that the task prints.
    note: str = ""
    #: Called with the task; returns what its name is bound to instead of it.
    bound: Callable[[Task[Any]], Any] | None = None
    #: Called with the record before its task is launched, and whether the task is going to start at
    #: once. Returns what undoes it if the task never starts; may refuse with UsageError.
    prepare: Callable[[TaskRecord, bool], Callable[[], object]] | None = None
    #: Returns the body of the next run of a cell that follows others, if not the same one.
    renew: Callable[[], Body] | None = None


class CellLauncher:
    """Launches the cells of one shell: replaces their earlier runs, and reports their ends."""

    def __init__(
        self,
        ip: InteractiveShell,
        output: OutputRouter,
        notifications: Callable[[], Notifications],
    ) -> None:
        self._ip = ip
        self._output = output
        self._notifications = notifications

    @functools.cached_property
    def followers(self) -> Followers:
        """The cells that run again when others do."""
        from asyncnb._kernel.cells.follow import Followers  # most notebooks have none

        return Followers(self._output)

    def close(self) -> None:
        """Stop all cells from following others."""
        if "followers" in vars(self):
            self.followers.clear()

    def launch(
        self, body: Body, args: argparse.Namespace, *, followed: TaskRecord | None = None
    ) -> Task[Any]:
        """Launch ``body`` as its options ``args`` say; UsageError before anything has started.

        ``followed`` is its earlier run if it runs again with others.
        """
        if followed is not None and body.renew is not None:
            body = body.renew()
        after = None
        if args.after or args.after_any or args.follow or args.even_if_failed:
            after = self.followers.after(args)
        # A name identifies a task wherever its cell was moved; without one the cell's id does.
        identity = args.name or cell_id(self._output.parent())
        before = [r for r in registry.living() if identity and r.request.identity == identity]
        if before and args.again == "error":
            raise UsageError(
                f"{body.name!r} is still running. `%tasks cancel {body.name}` stops it; --again "
                "replace would cancel it and start a new run."
            )
        if before and args.again == "skip":
            print(f"{body.name} is still running; nothing was started")
            return before[-1].task
        if before and args.again == "keep":
            before = []
        group = body.group
        if args.group is not None:
            group = named_groups.group_named(task_name(args.group, "-g", what="group"))
        waits = args.wait and followed is None
        record = TaskRecord()
        if followed is not None:
            record.origin = followed.origin
        record.after = after
        record.placement = Placement(body.kind)
        record.request = CellRequest(
            identity=identity, bind=body.bind, shows_result=body.shows_result, waited=waits
        )
        undo = None
        if body.prepare is not None:
            undo = body.prepare(record, not before and after is None)
        if group is not None:
            record.belong_to(group)
        start = self._as_often_as_asked(record, functools.partial(body.start, record), args)
        if args.notify:
            record.notify = True
            self._notifications().ask()
        coro = self._run(record, start, [r.task for r in before])
        for replaced in before:
            replaced.notify = False  # this run ends it

        def before_start() -> None:
            # Once this run is registered: a task that waits for the earlier one waits for this one.
            launch.cancel_records(before, "replaced by a new run of its cell")
            # Before the first step, so that the chip is above all that the task shows.
            if args.show:
                display(record.task)
            if body.note:
                print(body.note)

        first = before_start if before or args.show or body.note else None
        try:
            task = launch_record(record, coro, name=body.name, trace=args.trace, before_start=first)
        except BaseException:
            if undo is not None:
                undo()
            raise
        if undo is not None:
            task.add_done_callback(lambda _: undo())
        if group is not None and body.group is None:
            launch.join_group(group, task)
        if args.name is not None and body.group is None:
            self._bind(args.name, task if body.bound is None else body.bound(task))
        if args.name is not None and (after is not None or "followers" in vars(self)):
            again = functools.partial(self.launch, body, args)
            self.followers.note_run(args.name, record, lambda run: again(followed=run))
        if waits:
            self._wait_here(record)
        return task

    def _as_often_as_asked(
        self, record: TaskRecord, start: Start, args: argparse.Namespace
    ) -> Start:
        """Return what runs ``start`` at the times and as often as the options say."""
        scheduled = args.at is not None or args.cron is not None
        record.first_limit = None if scheduled else args.timeout  # else of each run
        if scheduled or args.every is not None or args.retry is not None:
            from asyncnb._kernel.cells.repeat import repeated  # %load_ext would take longer

            start = repeated(record, start, args, self._ip, self._output)
        if args.profile:
            from asyncnb._kernel.cells.profiled import profiled

            start = profiled(record, start, self._output)
        return start

    async def _run(
        self,
        record: TaskRecord,
        start: Start,
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
        """Bind ``name`` to a task or run unless that overwrites something else; say so then."""
        namespace = self._ip.user_ns
        if not name.isidentifier():
            return
        unbound = object()
        bound = namespace.get(name, getattr(builtins, name, unbound))
        if bound is unbound or isinstance(bound, (Task, *_run_class())):
            namespace[name] = value
        else:
            kind = type(bound).__name__
            print(
                f"asyncnb: the variable {name!r} is in use ({kind}) and stays as it is; the task "
                f"is asyncnb.task({name!r})."
            )

    def ended(self, record: TaskRecord) -> None:
        """Bind the result and show how the task ended. Called on the loop's thread."""
        if record.request is NO_REQUEST and not (
            record.notify or config.notify == "all" or self._output.has_report(record)
        ):
            record.set_shown()  # as most tasks do, and quickly
            return
        try:
            self._report_end(record)
        except Exception:
            # Out of memory, for example. An observer that raises is removed, and no task that ends
            # after this one would be shown.
            self._ip.log.exception("asyncnb could not show how %r ended", record.name)
            record.set_shown()

    def _report_end(self, record: TaskRecord) -> None:
        task, result = record.task, None
        cancelled = task.cancelled()
        # Not exception(), which would mark the failure as retrieved.
        failed = not cancelled and task._exception is not None
        if not failed and not cancelled:
            result = task.result()
            if record.request.bind is not None:
                self._ip.user_ns[record.request.bind] = result
        if failed:
            registry.keep_frames(record)
        if failed and record.request.waited:
            record.set_shown()  # the waiting cell raises it
        else:
            self._output.report(record, result=result if record.request.shows_result else None)
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
            _, _, lines = format_error(self._ip, exc)
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
