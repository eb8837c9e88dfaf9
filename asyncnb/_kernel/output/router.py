"""Everything a background task says lands in the cell that launched it.

A task runs in a context in which ipykernel's parent header is that of its cell. ipykernel 7 keeps
the parent of streams, displays and results in context variables; what other kernels lack of that
they get from ``_parents.py``.
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

from asyncnb._core.base.errors import format_exception_line
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.text import replace_surrogates
from asyncnb._core.base.visits import own_loop
from asyncnb._core.introspection.info import CellRef
from asyncnb._core.introspection.unmanaged import context_of
from asyncnb._core.launched.record import TaskRecord, current_record
from asyncnb._kernel.cells.compiled import cell_number
from asyncnb._kernel.ipykernel.parents import header as _header
from asyncnb._kernel.ipykernel.parents import parent_message as _parent
from asyncnb._kernel.ipykernel.parents import route_by_context
from asyncnb._kernel.ipykernel.streams import TaskStreams
from asyncnb._kernel.output.figures import FigureKeeper
from asyncnb._kernel.output.headless import LateOutput, LateOutputs
from asyncnb._kernel.output.kept_output import TaskOutput
from asyncnb._kernel.output.reports import Reports
from asyncnb._kernel.output.tracebacks import format_error
from asyncnb._kernel.undo import UndoStack

#: Seconds that the end of a cell waits, in a run without a person, for tracebacks to be made.
DRAIN_SECONDS = 10.0


class _By(NamedTuple):
    """Who has shown an exception: the id of a task's record, or None for the cell itself."""

    id: object
    name: str


class OutputRouter:
    """Leads output to cells; ``install`` and ``uninstall`` put the hooks in and take them out."""

    def __init__(self, ip: Any) -> None:  # Any: what is hooked here is ipykernel's, untyped
        self.ip = ip
        self.kernel = getattr(ip, "kernel", None)
        self.figures = FigureKeeper()
        self.task_streams = TaskStreams()
        #: Where ipykernel 7.4 and later keep the message of the cell that a context belongs to.
        self._thread_parent: contextvars.ContextVar[Any] | None = None
        variable = getattr(ip, "_parent_header", None)
        if isinstance(variable, contextvars.ContextVar) and hasattr(ip, "set_thread_parent"):
            self._thread_parent = variable
        self._undo = UndoStack()
        self._streams: list[tuple[Any, Any, Any]] = []
        self._claims = fork_safe_lock()
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
        self._undo.push(lambda: _when_no_cell_runs(self._restore_streams))
        _when_no_cell_runs(self._record_streams)
        for stream in (sys.stdout, sys.stderr):
            if all(hasattr(stream, name) for name in ("_schedule_flush", "_io_loop", "pub_thread")):
                self._undo.set(stream, "_schedule_flush", _one_timer(stream))
        self._route_pager()
        self._undo.push(self.figures.uninstall)
        self.figures.install()
        self._undo.push(self.task_streams.uninstall)
        publisher = self.task_streams.install_publisher(self.ip)
        self._publish = publisher.publish
        self._undo.set(publisher, "publish", self._recording_publish(publisher.publish))
        if self.kernel is not None:
            for name in ("raw_input", "getpass"):
                if hasattr(self.kernel, name):
                    hook = _refused_in_tasks(getattr(self.kernel, name))
                    self._undo.set(self.kernel, name, hook)
            route_by_context(self._undo, self.kernel, publisher, self.ip.displayhook)
        # First of all, as the last one: the reports under way come out.
        self._undo.push(lambda: self._reports.stop(2.0))
        self._reports.start()

    def uninstall(self) -> None:
        """Put everything back, and let the reports under way come out first."""
        self._undo.unwind()

    def _record_streams(self) -> None:
        for stream, kind in ((sys.stdout, "stdout"), (sys.stderr, "stderr")):
            original = stream.write
            recorder = _recording_write(original, kind)
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
        parent = _parent.get()
        if parent is None:
            # JupyterLite's shell has none of its own; a terminal has no kernel either.
            owner: Any = self.ip if hasattr(self.ip, "get_parent") else self.kernel
            parent = owner.get_parent() if hasattr(owner, "get_parent") else None
        return parent or {}

    def source(self) -> str:
        """Return the cell of the running code as the front end sent it, or ``""``."""
        code = self.parent().get("content", {}).get("code", "")
        return code if isinstance(code, str) else ""

    def prepare(self, record: TaskRecord) -> None:
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
            record.output.late = self._late.of(parent, lambda: self._late_output(parent))
        if outer is None or _parent.get() is not parent:  # else copied from one that had entered
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
        _parent.set(parent)
        if self.kernel is None or not parent:
            return
        # ipykernel gives a parent to what is in sys, which may be what a cell captures with.
        for stream in self.task_streams.replaced():
            variable = getattr(stream, "_parent_header", None)
            if isinstance(variable, contextvars.ContextVar):
                variable.set(_header(parent))
        if self._belongs_to_cell(parent):
            return
        if hasattr(self.ip, "set_thread_parent"):  # ipykernel 7.4
            self.ip.set_thread_parent(parent)
        else:
            header = _header(parent)
            for part in (self.ip.displayhook, self.ip.display_pub, sys.stdout, sys.stderr):
                variable = getattr(part, "_parent_header", None)
                if isinstance(variable, contextvars.ContextVar):
                    variable.set(header)
            if isinstance(getattr(self.ip, "_parent_header", None), contextvars.ContextVar):
                self.ip._parent_header.set(parent)
        # Parents of comm messages: widgets made by the task.
        if isinstance(getattr(self.kernel, "_shell_parent", None), contextvars.ContextVar):
            self.kernel._shell_parent.set(parent)

    def _belongs_to_cell(self, parent: dict[str, Any]) -> bool:
        """Return whether ipykernel itself made all of this context ``parent``'s.

        It does for the thread that runs a cell (7.4 and later), in one go; setting it all again
        for each task would be half the cost of launching one.
        """
        variable = self._thread_parent
        return variable is not None and variable.get(None) is parent

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

        if exc is not None and self._is_one_too_many(record.output.parent, context):
            record.set_shown()
            return
        self._reports.put(show)

    def _is_one_too_many(self, parent: dict[str, Any], context: contextvars.Context) -> bool:
        def tell(number: int) -> None:
            text = (
                f"asyncnb: {number:,} more tasks of this cell failed meanwhile. "
                "`%tasks --failed` lists the latest.\n"
            )
            context.run(sys.stderr.write, text)

        return self._reports.count(_header(parent).get("msg_id", ""), tell)

    async def show_aside(self, show: Callable[[], object]) -> None:
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

    def report_lost(self, exc: BaseException, context: contextvars.Context) -> None:
        """Show ``exc``, of a task that nobody launched, in the cell of ``context``, once."""
        self._reports.put(lambda short: context.run(self.show_error, exc, short))

    def claim(self, exc: BaseException) -> bool:
        """Return whether the cell of the running code has yet to show ``exc``; from then not.

        A cell that launches a task and awaits it would otherwise show its failure twice.
        """
        return self._first_shown(exc, None) is None

    def _first_shown(self, exc: BaseException, by: _By | None) -> _By | None:
        """Return who has shown ``exc`` in the cell of the running code; None if ``by`` is first."""
        message = _header(self.parent()).get("msg_id")
        if message is None:
            return None  # a terminal, which cannot tell its cells apart
        with self._claims:
            shown: dict[str, _By] = vars(exc).setdefault("_asyncnb_shown_in", {})
            first = shown.get(message)
            if first is None:
                shown[message] = by or _By(None, "")
        return first

    def show_error(self, exc: BaseException, short: bool = False) -> None:
        """Show ``exc``, of a task, as IPython would, or in short, in the context's cell.

        One that stands there already as another task's gets one line. What the cell itself has
        shown, which then awaited this task, is not shown again.
        """
        record = current_record.get()
        by = _By(object(), "A task") if record is None else _By(record.id, record.name)
        first = self._first_shown(exc, by)
        if first is not None:
            if first.id not in (None, by.id):
                sys.stderr.write(
                    f"{by.name} failed with the very exception of {first.name}, which is shown in "
                    f"this cell: {format_exception_line(exc)}\n"
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
                late.say("error", (ename, evalue, lines), lambda said: self._send_error(*said))
                return
        self._send_error(ename, evalue, lines)

    def _send_error(self, ename: str, evalue: str, lines: list[str]) -> None:
        if self.kernel is None or not hasattr(self.ip.displayhook, "session"):  # JupyterLite
            # As the end of the task, which is kept as an error, not as something that it wrote.
            context = contextvars.copy_context()
            context.run(current_record.set, None)
            context.run(print, "\n".join(lines), file=sys.stderr)
            return
        self._flush()
        hook = self.ip.displayhook
        hook.session.send(
            hook.pub_socket,
            "error",
            {"ename": ename, "evalue": evalue, "traceback": lines},
            parent=hook.parent_header,
            ident=self.kernel._topic("error"),
        )

    def _flush(self) -> None:
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
            self._flush()
            self._late.cell_ended(_header(self.parent()).get("msg_id", ""))
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
                output.late.say("display", said, lambda said: original(said[0], said[1], **said[2]))

        return publish


def _when_no_cell_runs(action: Callable[[], None]) -> None:
    """Call ``action`` when the cell that runs now has ended; at once where that cannot be told.

    IPython replaces ``sys.stdout.write`` while a cell without await runs, and puts back what it
    found: a hook put in, or taken out, by the cell itself would be undone.
    """
    loop = own_loop()
    if loop is None:
        action()
    else:
        loop.call_soon(action)


def _refused_in_tasks(ask: Callable[..., str]) -> Callable[..., str]:
    """Wrap ipykernel's ``input()``: in a task it would block the loop until somebody answers."""

    def ask_or_refuse(*args: Any, **kwargs: Any) -> str:
        if current_record.get() is not None:
            raise RuntimeError(
                "input() is not available in a background task: its question would stand under a "
                "cell that is done. Ask in a cell, and hand the answer to the task."
            )
        return ask(*args, **kwargs)

    return ask_or_refuse


def _one_timer(stream: Any) -> Callable[[], None]:
    """Make a ``_schedule_flush`` for ipykernel's ``stream`` that keeps one timer at a time.

    Its own forgets at each ``flush()`` that a timer runs, and the next write starts another. Where
    a task prints all the time, every cell, which flushes at its end, would leave some more of
    them, and each goes on for as long as the printing: dozens of messages a second.
    """
    waiting = False

    def schedule() -> None:
        nonlocal waiting
        if not waiting:
            waiting = True
            stream.pub_thread.schedule(start)

    def start() -> None:
        stream._io_loop.call_later(stream.flush_interval, end)

    def end() -> None:
        nonlocal waiting
        waiting = False  # first: what is written from here on gets a timer of its own
        stream._flush()

    return schedule


def current_output() -> TaskOutput | None:
    """Return the output record of the task that the running code belongs to."""
    record = current_record.get()
    return None if record is None else record.output


def _recording_write(original: Callable[[str], int], kind: str) -> Callable[[str], int]:
    get = current_record.get

    def write(string: str) -> int:
        record = get()
        if record is None or record.output is None or not isinstance(string, str):
            return original(string)
        output, said = record.output, len(string)
        string = replace_surrogates(string)
        output.add(kind, string)
        if output.late is None:
            original(string)
        else:
            output.late.say(kind, string, original)
        return said

    return write


def cell_id(parent: dict[str, Any]) -> str | None:
    """Return the front end's id of the cell that ``parent`` runs, if it sends one."""
    metadata = parent.get("metadata") or {}
    found = metadata.get("cellId") or metadata.get("cell_id")
    return found if isinstance(found, str) else None
