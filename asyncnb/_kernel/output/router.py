"""Routes all output of a background task to the cell that launched it.

A task runs in a context in which ipykernel's parent header is that of its cell. ipykernel 7 keeps
the parent of streams, displays and results in context variables; for kernels that do not,
``ipykernel/parents.py`` adds this.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.error import TryNext
from IPython.display import display

from asyncnb._core.base.errors import format_exception_line
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.text import replace_surrogates
from asyncnb._core.introspection.unmanaged import context_of
from asyncnb._kernel.current_cell import cell_id, cell_number, current_record
from asyncnb._kernel.ipykernel.parents import (
    ParentMessages,
    header,
    route_by_context,
)
from asyncnb._kernel.ipykernel.streams import (
    TaskStreams,
    refuse_input_in_tasks,
    use_one_timer,
    when_no_cell_runs,
)
from asyncnb._kernel.output.figures import FigureKeeper
from asyncnb._kernel.output.task_output import current_task, output_of, recording_write
from asyncnb._kernel.output.tracebacks import format_error
from asyncnb._kernel.undo import UndoStack

if TYPE_CHECKING:
    import types

    from asyncnb._core.launched.record import Origin, TaskRecord
    from asyncnb._kernel.output.headless import LateOutput, LateOutputs
    from asyncnb._kernel.output.reports import Reports

#: Seconds that the end of a cell waits, in a headless run, for tracebacks to be formatted.
DRAIN_SECONDS = 10.0


class _ShownBy:
    """What showed an exception: the id of a task's record, or None for the cell itself."""

    __slots__ = ("id", "name")

    def __init__(self, id: object, name: str) -> None:
        self.id = id
        self.name = name


class OutputRouter:
    """Routes output to cells; ``install`` adds the hooks, ``uninstall`` removes them."""

    def __init__(self, ip: Any) -> None:  # Any: what is hooked here is ipykernel's, untyped
        self.ip = ip
        self.figures = FigureKeeper()
        self.task_streams = TaskStreams()
        self._parents = ParentMessages(ip, self.task_streams)
        self._undo = UndoStack()
        self._streams: list[tuple[Any, Any, Any]] = []
        self._shown_lock = fork_safe_lock()
        #: That of the cell that launched a task most recently, for all tasks of this cell.
        self._last_origin: Origin | None = None
        self._made_reports: Reports | None = None
        self._made_late: LateOutputs | None = None
        #: The notebook's own ``publish``, which a capturing cell replaces.
        self._publish: Callable[..., None] = ip.display_pub.publish

    # What loading does not have to wait for.

    @property
    def _reports(self) -> Reports:
        """The queue of the results and failures of tasks."""
        if self._made_reports is None:
            from asyncnb._kernel.output.reports import Reports

            with self._shown_lock:
                if self._made_reports is None:
                    self._made_reports = Reports(self.ip)
        return self._made_reports

    @property
    def _late(self) -> LateOutputs:
        """The output of tasks after the end of their cells, in headless runs."""
        if self._made_late is None:
            from asyncnb._kernel.output.headless import LateOutputs

            with self._shown_lock:
                if self._made_late is None:
                    self._made_late = LateOutputs()
        return self._made_late

    # Hooks, on the instances only.

    def install(self) -> None:
        """Hook the streams and the display publisher of this shell."""
        self._undo.push(lambda: when_no_cell_runs(self._restore_streams))
        when_no_cell_runs(self._record_streams)
        use_one_timer(self._undo)
        self._route_pager()
        self._undo.push(self.figures.uninstall)
        self.figures.install()
        self._undo.push(self.task_streams.uninstall)
        publisher = self.task_streams.install_publisher(self.ip)
        self._publish = publisher.publish
        self._undo.set(publisher, "publish", self._recording_publish(publisher.publish))
        refuse_input_in_tasks(self._undo, self.ip)
        route_by_context(self._undo, self.ip, publisher, self.ip.displayhook)
        # Pushed last, so undone first: reports that are already under way are shown.
        self._undo.push(lambda: self._reports.stop(2.0))

    def prepare(self) -> None:
        """Start the thread that shows how tasks end, before the first task does. Any thread."""
        self._reports.start()

    def uninstall(self) -> None:
        """Remove the hooks; show the reports that are already under way first."""
        self._undo.unwind()

    def _record_streams(self) -> None:
        for stream, kind in ((sys.stdout, "stdout"), (sys.stderr, "stderr")):
            original = stream.write
            recorder = recording_write(original, kind)
            self._streams.append((stream, original, recorder))
            stream.write = recorder  # type: ignore[method-assign]
        self.task_streams.install()

    def _restore_streams(self) -> None:
        self.task_streams.uninstall()
        while self._streams:
            stream, original, recorder = self._streams.pop()
            if vars(stream).get("write") is recorder:
                stream.write = original

    def _route_pager(self) -> None:
        """Show the help of ``name?`` in a task under the task's cell, not under the next one."""

        def show(shell: Any, data: Any, *args: Any, **kwargs: Any) -> None:
            if current_record.get() is None:
                raise TryNext
            display(data if isinstance(data, dict) else {"text/plain": data}, raw=True)

        def undo() -> None:
            chain = self.ip.hooks.show_in_pager.chain
            chain[:] = [each for each in chain if getattr(each[1], "__func__", None) is not show]

        self._undo.push(undo)
        self.ip.set_hook("show_in_pager", show, priority=0)

    # Contexts.

    def parent(self) -> dict[str, Any]:
        """Return the message of the cell to which the running code belongs."""
        return self._parents.current()

    def source(self) -> str:
        """Return the cell of the running code as the front end has it, or ``""``.

        "Run in Background" (_lab/src/background.js) sends a line with a magic above the cell,
        and the number of such lines: the cell's reader, and the debugger, count without it.
        """
        message = self.parent()
        code = message.get("content", {}).get("code", "")
        if not isinstance(code, str):
            return ""
        ours = message.get("metadata", {}).get("asyncnb")
        if isinstance(ours, dict) and ours.get("added_lines") == 1:
            return code.partition("\n")[2]
        return code

    #: What a task has printed, also if that is nothing so far.
    kept_of = staticmethod(output_of)

    def is_entered(self, record: TaskRecord) -> bool:
        """Return whether the output of the running context already goes where the task's must go.

        It does in the context of the task that launches it, and in that of a cell that has launched
        a task already; then ``record`` gets the same origin.
        """
        given, origin = record.origin, self._last_origin
        if given.message is not None or given.cell is not None:
            return given.message is not None
        if origin is None or not self._parents.is_in_cell(origin.message):
            return False
        record.origin = origin
        return True

    def on_task_launch(self, record: TaskRecord) -> None:
        """Route the output of the running context to the current cell; note the cell in ``record``.

        Called in the context of the task that is being launched.
        """
        # Imported already: there is a record.
        from asyncnb._core.introspection.info import CellRef
        from asyncnb._core.launched.record import NOWHERE, Origin

        parent = self.parent()
        if record.origin is not NOWHERE:
            late = self._late_of(parent) if current_record.get() is None else record.origin.late
            record.origin = Origin(record.cell, parent, late)
        else:
            origin = self._last_origin
            if origin is None or origin.message is not parent:
                cell = CellRef(cell_number(self.ip), cell_id(parent))
                origin = self._last_origin = Origin(cell, parent, self._late_of(parent))
            record.origin = origin
        self.enter(parent)

    def adopt(self, records: list[TaskRecord]) -> None:
        """Keep from now on the output of tasks that were launched before this router existed.

        Their cell is the one that their context belongs to; where the kernel does not note that
        in a context (ipykernel 6, a terminal), the cell that is running now.
        """
        from asyncnb._core.launched.record import Origin

        for record in records:
            if record.origin.message is None:
                own = context_of(record.task)
                context = contextvars.copy_context() if own is None else own.copy()
                record.origin = Origin(record.cell, context.run(self.parent))

    def context(self, parent: dict[str, Any]) -> contextvars.Context:
        """Return a copy of the running context in which output belongs to ``parent``."""
        context = contextvars.copy_context()
        context.run(self.enter, parent)
        return context

    def enter(self, parent: dict[str, Any]) -> None:
        """Route the output of the running context to the cell with the message ``parent``."""
        self._parents.enter(parent)

    def clear_cell(self, origin: Origin) -> None:
        """Remove the output of a cell that is run again. Call in the context of that cell."""
        if origin.late is not None:
            origin.late.clear()
        if origin.message:  # else a terminal, where nothing can be removed
            self.ip.display_pub.clear_output()

    # Results and failures of tasks.

    def has_report(self, record: TaskRecord) -> bool:
        """Return whether ``report`` would show something for the task without a result."""
        return record.task._exception is not None or self.figures.has_figures(record)

    def report(self, record: TaskRecord, *, result: Any = None) -> None:
        """Show the result or the failure of ``record`` in its cell, once; from any thread.

        It may appear there later; ``record.set_shown`` is called at that point.
        """
        if result is None and not self.has_report(record):
            record.set_shown()
            return
        task = record.task
        exc = task._exception  # exception() would mark it as retrieved
        # Before a cell that awaits the task adds its own frames to the exception.
        tb = None if exc is None else exc.__traceback__
        own = context_of(task)
        context = contextvars.copy_context() if own is None else own.copy()
        context.run(self.enter, record.origin.message)
        context.run(current_record.set, record)

        def show(short: bool) -> None:
            try:
                if result is not None:
                    try:
                        context.run(display, result)
                    except BaseException as broken:  # of its repr: IPython catches Exception only
                        context.run(self.show_error, broken, short)
                context.run(self.figures.show, record)
                if exc is not None:
                    context.run(self.show_error, exc, short, tb)
            finally:
                record.set_shown()

        if exc is not None and self._over_report_limit(record.origin.message, context):
            record.set_shown()
            return
        self._reports.put(show)

    def _over_report_limit(self, parent: dict[str, Any], context: contextvars.Context) -> bool:
        def report(number: int) -> None:
            text = (
                f"asyncnb: {number:,} more failures in this cell not shown. "
                "`%tasks --failed` lists the latest.\n"
            )
            context.run(sys.stderr.write, text)

        return self._reports.count_instead(header(parent).get("msg_id", ""), report)

    async def show_off_loop(self, show: Callable[[], object]) -> None:
        """Call ``show`` in this context on the reports' thread, and wait until it returns.

        For calls that take tens of milliseconds. Not in the loop's default executor, which is the
        user's: work that fills it would delay the failures of a repeating task.
        """
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        shown: asyncio.Future[None] = loop.create_future()

        def end() -> None:
            if not shown.done():
                shown.set_result(None)

        def report(_: bool) -> None:
            try:
                context.run(show)
            finally:
                with contextlib.suppress(RuntimeError):  # the loop has been closed
                    loop.call_soon_threadsafe(end)

        self._reports.put(report)
        await shown

    def report_unawaited(self, exc: BaseException, context: contextvars.Context) -> None:
        """Show ``exc``, of a task that was not launched, in the cell of ``context``, once."""
        self._reports.put(lambda short: context.run(self.show_error, exc, short))

    def first_time_shown(self, exc: BaseException) -> bool:
        """Return whether ``exc`` is new to the cell of the running code; note it as shown there.

        A cell that launches a task and awaits it would otherwise show the task's failure twice.
        """
        return self._shown_by(exc, None) is None

    def _shown_by(self, exc: BaseException, by: _ShownBy | None) -> _ShownBy | None:
        """Return what has shown ``exc`` in the running code's cell; None if ``by`` is the first."""
        message = header(self.parent()).get("msg_id")
        if message is None:
            return None  # a terminal, which cannot distinguish its cells
        with self._shown_lock:
            shown: dict[str, _ShownBy] = vars(exc).setdefault("_asyncnb_shown_in", {})
            first = shown.get(message)
            if first is None:
                shown[message] = by or _ShownBy(None, "")
        return first

    def show_error(
        self, exc: BaseException, short: bool = False, tb: types.TracebackType | None = None
    ) -> None:
        """Show ``exc``, of a task, in the context's cell: as IPython would, or in short form.

        ``tb``: its traceback, if that may have grown since. If another task has already shown it
        there, one line refers to that. If the cell itself has shown it, because it awaited this
        task, it is not shown again.
        """
        record = current_record.get()
        by = _ShownBy(object(), "A task") if record is None else _ShownBy(record.id, record.name)
        first = self._shown_by(exc, by)
        if first is not None:
            if first.id not in (None, by.id):
                sys.stderr.write(
                    f"{by.name} failed with the same exception as {first.name}, whose traceback is "
                    f"shown in this cell: {format_exception_line(exc)}\n"
                )
            return
        ename, evalue, lines = format_error(self.ip, exc, short=short, tb=tb)
        ename, evalue, lines = (
            replace_surrogates(ename),
            replace_surrogates(evalue),
            list(map(replace_surrogates, lines)),
        )
        if record is not None:
            output_of(record).add_error(ename, evalue, lines)
            late: LateOutput | None = record.origin.late
            if late is not None:
                late.add("error", (ename, evalue, lines), lambda error: self._send_error(*error))
                return
        self._send_error(ename, evalue, lines)

    def _send_error(self, ename: str, evalue: str, lines: list[str]) -> None:
        from asyncnb._kernel.ipykernel.messages import error_sender  # for the first error

        send = error_sender(self.ip)
        if send is None:
            # Outside of the task: its failure is kept as an error, not as something that it wrote.
            context = contextvars.copy_context()
            context.run(current_record.set, None)
            context.run(print, "\n".join(lines), file=sys.stderr)
            return
        self._flush_streams()
        send(ename, evalue, lines)

    def _flush_streams(self) -> None:
        """Send everything printed so far, so that what follows does not overtake it."""
        for stream in [each[0] for each in self._streams] or [sys.stdout, sys.stderr]:
            # The user may have put anything there: None, or a file that has been closed.
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()

    def show_again(self, record: TaskRecord) -> None:
        """Show the task's output so far in the cell that is running now."""
        for kind, value in () if record.output is None else record.output.items():
            if kind == "display":
                data, metadata, _ = value
                self.ip.display_pub.publish(data, metadata)
            elif kind == "error":
                print("\n".join(value[2]), file=sys.stderr)
            else:
                print(value, end="", file=sys.stderr if kind == "stderr" else sys.stdout)

    # Headless runs.

    def _late_of(self, parent: dict[str, Any]) -> LateOutput | None:
        return self._late.for_cell(parent, lambda: self._late_output(parent))

    def _late_output(self, parent: dict[str, Any]) -> LateOutput:
        from asyncnb._kernel.output.headless import LateOutput

        return self.context(parent).run(LateOutput, self._publish)

    def cell_ended(self) -> None:
        """Note that the running cell has ended: from now on the output of its tasks is late."""
        if self._made_late:
            # A program that runs the notebook continues at once, and may exit while a traceback
            # is still being formatted; what is sent after that is lost.
            self._reports.drain(DRAIN_SECONDS)
            self._flush_streams()
            self._late.cell_ended(header(self.parent()).get("msg_id", ""))
        self.deliver_late_output()

    def deliver_late_output(self) -> None:
        """Put the output of tasks since the last call into the cells that launched them."""
        if self._made_late is not None:
            self._made_late.deliver()

    def _recording_publish(self, original: Callable[..., None]) -> Callable[..., None]:
        def publish(data: Any, metadata: Any = None, **kwargs: Any) -> None:
            record = current_task()
            if record is None:
                original(data, metadata, **kwargs)
                return
            data = {k: replace_surrogates(v) if isinstance(v, str) else v for k, v in data.items()}
            output_of(record).add_display(data, metadata, kwargs)
            late: LateOutput | None = record.origin.late
            if late is None:
                original(data, metadata, **kwargs)
            else:
                shown = (data, metadata, kwargs)
                late.add("display", shown, lambda it: original(it[0], it[1], **it[2]))

        return publish
