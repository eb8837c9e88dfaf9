"""Everything a background task says lands in the cell that launched it.

A task runs in a context in which ipykernel's parent header is that of its cell. ipykernel 7 keeps
the parent of streams, displays and results in context variables; what other kernels lack of that
they get from ``ipykernel/parents.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from IPython.core.error import TryNext
from IPython.display import display

from asyncnb._core.base.errors import describe
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.text import replace_surrogates
from asyncnb._core.introspection.info import CellRef
from asyncnb._core.introspection.unmanaged import context_of
from asyncnb._core.launched.record import TaskRecord, current_record
from asyncnb._kernel.current_cell import cell_id, cell_number
from asyncnb._kernel.ipykernel.messages import error_sender
from asyncnb._kernel.ipykernel.parents import (
    ParentMessages,
    header,
    parent_message,
    route_by_context,
)
from asyncnb._kernel.ipykernel.streams import (
    TaskStreams,
    refuse_input_in_tasks,
    use_one_timer,
    when_no_cell_runs,
)
from asyncnb._kernel.output.figures import FigureKeeper
from asyncnb._kernel.output.headless import LateOutput, LateOutputs
from asyncnb._kernel.output.reports import Reports
from asyncnb._kernel.output.task_output import TaskOutput, current_output, recording_write
from asyncnb._kernel.output.tracebacks import format_error
from asyncnb._kernel.undo import UndoStack

#: Seconds that the end of a cell waits, in a run without a person, for tracebacks to be made.
DRAIN_SECONDS = 10.0


class _ShownBy(NamedTuple):
    """Who has shown an exception: the id of a task's record, or None for the cell itself."""

    id: object
    name: str


class OutputRouter:
    """Leads output to cells; ``install`` and ``uninstall`` put the hooks in and take them out."""

    def __init__(self, ip: Any) -> None:  # Any: what is hooked here is ipykernel's, untyped
        self.ip = ip
        self.figures = FigureKeeper()
        self.task_streams = TaskStreams()
        self._parents = ParentMessages(ip, self.task_streams.replaced)
        self._undo = UndoStack()
        self._streams: list[tuple[Any, Any, Any]] = []
        self._shown_lock = fork_safe_lock()
        #: The cell that launched last: many tasks of one cell share one reference to it.
        #: In one attribute with its message, as a subshell's cell may launch at the same time.
        self._last_cell: tuple[dict[str, Any] | None, CellRef | None] = None, None
        self._reports = Reports(ip)
        #: The notebook's own ``publish``, which a cell that captures replaces.
        self._publish: Callable[..., None] = ip.display_pub.publish
        self._late = LateOutputs()

    # What is hooked, on the instances only.

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
        # First of all, as the last one: the reports under way come out.
        self._undo.push(lambda: self._reports.stop(2.0))
        self._reports.start()

    def uninstall(self) -> None:
        """Put everything back, and let the reports under way come out first."""
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
        """``name?`` in a task: its help is for the task's cell, not for whoever runs next."""

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
        """Return the cell of the running code as the front end sent it, or ``""``."""
        code = self.parent().get("content", {}).get("code", "")
        return code if isinstance(code, str) else ""

    def on_task_launch(self, record: TaskRecord) -> None:
        """Lead the output of the context that runs to the cell at hand, and note it in ``record``.

        It runs in the context of a task that is being launched here and now.
        """
        parent = self.parent()
        record.output = TaskOutput(parent)
        outer = current_record.get()
        if outer is not None:
            record.cell = outer.cell
            record.output.late = outer.output.late if outer.output is not None else None
        else:
            last, cell = self._last_cell
            if parent is not last:
                cell = CellRef(cell_number(self.ip), cell_id(parent))
                self._last_cell = parent, cell
            if record.cell is None:
                record.cell = cell
            record.output.late = self._late.for_cell(parent, lambda: self._late_output(parent))
        # Else the context was copied from one that had entered.
        if outer is None or parent_message.get() is not parent:
            self.enter(parent)

    def adopt(self, records: list[TaskRecord]) -> None:
        """Keep from now on what tasks say that were launched before there was this router.

        Theirs is the cell that their context belongs to; where the kernel does not note that in a
        context (ipykernel 6, a terminal), the cell that runs now.
        """
        for record in records:
            if record.output is None:
                origin = context_of(record.task)
                context = contextvars.copy_context() if origin is None else origin.copy()
                record.output = TaskOutput(context.run(self.parent))

    def context(self, parent: dict[str, Any]) -> contextvars.Context:
        """Return a copy of the running context in which output belongs to ``parent``."""
        context = contextvars.copy_context()
        context.run(self.enter, parent)
        return context

    def enter(self, parent: dict[str, Any]) -> None:
        """Lead the output of the running context to the cell with the message ``parent``."""
        self._parents.enter(parent)

    # What a task's end has to say.

    def report(self, record: TaskRecord, *, result: Any = None) -> None:
        """Show the result or the failure of ``record`` in its cell, once; from any thread.

        It may stand there later; ``record.set_shown`` is called then.
        """
        task = record.task
        exc = task._exception  # exception() would count as somebody's having seen it
        if exc is None and result is None and not self.figures.has_figures(record):
            record.set_shown()
            return
        context = self.context(record.output.parent)
        context.run(current_record.set, record)

        def show(short: bool) -> None:
            try:
                if result is not None:
                    try:
                        context.run(display, result)
                    except BaseException as broken:  # of its repr: IPython takes Exceptions alone
                        context.run(self.show_error, broken, short)
                context.run(self.figures.show, record)
                if exc is not None:
                    context.run(self.show_error, exc, short)
            finally:
                record.set_shown()

        if exc is not None and self._over_report_limit(record.output.parent, context):
            record.set_shown()
            return
        self._reports.put(show)

    def _over_report_limit(self, parent: dict[str, Any], context: contextvars.Context) -> bool:
        def tell(number: int) -> None:
            text = (
                f"asyncnb: {number:,} more failures in this cell not shown. "
                "`%tasks --failed` lists the latest.\n"
            )
            context.run(sys.stderr.write, text)

        return self._reports.count_instead(header(parent).get("msg_id", ""), tell)

    async def show_off_loop(self, show: Callable[[], object]) -> None:
        """Call ``show`` in this context on the thread of the reports, and wait for it.

        For what takes tens of milliseconds. Not in the loop's default executor, which is the
        user's: work that fills it would hold up the failures of a task that repeats.
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
        """Show ``exc``, of a task that nobody launched, in the cell of ``context``, once."""
        self._reports.put(lambda short: context.run(self.show_error, exc, short))

    def first_time_shown(self, exc: BaseException) -> bool:
        """Return whether the cell of the running code has yet to show ``exc``; from then not.

        A cell that launches a task and awaits it would otherwise show its failure twice.
        """
        return self._shown_by(exc, None) is None

    def _shown_by(self, exc: BaseException, by: _ShownBy | None) -> _ShownBy | None:
        """Return who has shown ``exc`` in the cell of the running code; None if ``by`` is first."""
        message = header(self.parent()).get("msg_id")
        if message is None:
            return None  # a terminal, which cannot tell its cells apart
        with self._shown_lock:
            shown: dict[str, _ShownBy] = vars(exc).setdefault("_asyncnb_shown_in", {})
            first = shown.get(message)
            if first is None:
                shown[message] = by or _ShownBy(None, "")
        return first

    def show_error(self, exc: BaseException, short: bool = False) -> None:
        """Show ``exc``, of a task, as IPython would, or in short, in the context's cell.

        One that stands there already as another task's gets one line. What the cell itself has
        shown, which then awaited this task, is not shown again.
        """
        record = current_record.get()
        by = _ShownBy(object(), "A task") if record is None else _ShownBy(record.id, record.name)
        first = self._shown_by(exc, by)
        if first is not None:
            if first.id not in (None, by.id):
                sys.stderr.write(
                    f"{by.name} failed with the same exception as {first.name}, whose traceback is "
                    f"shown in this cell: {describe(exc)}\n"
                )
            return
        ename, evalue, lines = format_error(self.ip, exc, short=short)
        ename, evalue, lines = (
            replace_surrogates(ename),
            replace_surrogates(evalue),
            list(map(replace_surrogates, lines)),
        )
        if record is not None:
            record.output.add_error(ename, evalue, lines)
            if record.output.late is not None:
                late = record.output.late
                late.add("error", (ename, evalue, lines), lambda said: self._send_error(*said))
                return
        self._send_error(ename, evalue, lines)

    def _send_error(self, ename: str, evalue: str, lines: list[str]) -> None:
        send = error_sender(self.ip)
        if send is None:
            # As the end of the task, which is kept as an error, not as something that it wrote.
            context = contextvars.copy_context()
            context.run(current_record.set, None)
            context.run(print, "\n".join(lines), file=sys.stderr)
            return
        self._flush_streams()
        send(ename, evalue, lines)

    def _flush_streams(self) -> None:
        """Have all that was printed sent: what follows is not to overtake it."""
        for stream in [each[0] for each in self._streams] or [sys.stdout, sys.stderr]:
            # The user may have put anything there: None, a file that is closed by now.
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()

    def show_again(self, record: TaskRecord) -> None:
        """Show what the task said so far, in the cell that runs now."""
        for kind, value in record.output.items():
            if kind == "display":
                data, metadata, _ = value
                self.ip.display_pub.publish(data, metadata)
            elif kind == "error":
                print("\n".join(value[2]), file=sys.stderr)
            else:
                print(value, end="", file=sys.stderr if kind == "stderr" else sys.stdout)

    # Headless runs.

    def _late_output(self, parent: dict[str, Any]) -> LateOutput:
        return self.context(parent).run(LateOutput, self._publish)

    def cell_ended(self) -> None:
        """The running cell has ended: its tasks' output is late from here on."""
        if self._late:
            # A program that runs the notebook goes on at once, and to its end while a traceback is
            # still being made; what is told after that is lost.
            self._reports.drain(DRAIN_SECONDS)
            self._flush_streams()
            self._late.cell_ended(header(self.parent()).get("msg_id", ""))
        self.deliver_late_output()

    def deliver_late_output(self) -> None:
        """Put what tasks said since the last call into the cells that launched them."""
        self._late.deliver()

    def _recording_publish(self, original: Callable[..., None]) -> Callable[..., None]:
        def publish(data: Any, metadata: Any = None, **kwargs: Any) -> None:
            output = current_output()
            if output is None:
                original(data, metadata, **kwargs)
                return
            data = {k: replace_surrogates(v) if isinstance(v, str) else v for k, v in data.items()}
            output.add_display(data, metadata, kwargs)
            said = (data, metadata, kwargs)
            if output.late is None:
                original(data, metadata, **kwargs)
            else:
                output.late.add("display", said, lambda said: original(said[0], said[1], **said[2]))

        return publish
