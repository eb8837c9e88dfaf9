"""What the tools do, in threads: they answer with facts, or raise a ClientError."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from typing import Any, Final, Literal

from asyncnb._client.choose import Known
from asyncnb._client.errors import ClientError, RefusedError
from asyncnb._client.received import Excerpt, plain
from asyncnb._client.wire import Message
from asyncnb._core.base.text import duration
from asyncnb._mcp.excerpts import shorten
from asyncnb._mcp.kernels import Kernels
from asyncnb._mcp.marked import MAX_MESSAGE, place_in_cell
from asyncnb._mcp.results import (
    CellFacts,
    CellState,
    Changed,
    ErrorFacts,
    Frame,
    KernelFacts,
    KernelList,
    Output,
    Stack,
    Stopped,
    TaskFacts,
    TaskList,
    TaskStack,
    Variable,
    Variables,
    Waited,
)
from asyncnb._mcp.session import ENDED, CellFailedError, Session, StartedCell

#: Images in one answer, the newest, and characters of base64 of all of them.
MAX_IMAGES: Final = 5
MAX_IMAGE_TEXT: Final = 5_000_000
#: Frames of a stack.
MAX_FRAMES: Final = 30
#: Characters of a traceback.
MAX_TRACEBACK: Final = 3000
#: Lines of output of each cell after a wait.
TAIL_LINES: Final = 5

Image = tuple[str, str]


class Work:
    """The tools, for one server. Any thread."""

    def __init__(self) -> None:
        self.kernels = Kernels()

    def list_kernels(self) -> KernelList:
        """Return the kernels of this user on this machine."""
        return KernelList(kernels=[self._kernel_facts(each) for each in self.kernels.known()])

    def _kernel_facts(self, known: Known) -> KernelFacts:
        busy = known.hello.get("busy")
        return KernelFacts(
            kernel=known.kernel.id,
            notebook=known.notebook,
            state=known.state,
            pid=known.pid,
            python=known.hello.get("python"),
            started_here=self.kernels.is_started_here(known.kernel.id),
            running=_foreground(busy) if busy else None,
            error=known.error or None,
        )

    def start_kernel(
        self, kernel_name: str | None, directory: str | None, keep: bool
    ) -> KernelFacts:
        """Start a kernel."""
        return self._kernel_facts(self.kernels.start(kernel_name, directory, keep).greet())

    def stop_kernel(self, kernel: str) -> Stopped:
        """Shut down a kernel that was started here."""
        session = self.kernels.session(kernel)
        self.kernels.stop(session)
        return Stopped(kernel=session.id, text="shut down")

    def start_cell(
        self,
        code: str,
        name: str | None,
        kernel: str | None,
        timeout: float | None,
        on: str | None,
        replace: bool,
    ) -> CellFacts:
        """Start a background cell."""
        if not code.strip():
            raise ClientError("The cell is empty: code is the body of a cell.")
        options = _options(name, timeout, on, replace)
        session = self.kernels.session(kernel)
        cell = session.start(code, options)
        facts = self._cell_facts(session, cell.id)
        if not cell.launched:
            running = session.running()
            facts.note = "queued behind " + (_foreground(running) if running else "another cell")
        elif cell.via == "subshell":
            facts.note = "started beside the cell that the kernel is running"
        return facts

    def list_tasks(self, kernel: str | None, state: str | None, limit: int) -> TaskList:
        """Return tasks, the newest last."""
        if kernel is None:
            ids = [each.kernel.id for each in self.kernels.known() if each.state == "alive"]
            if not ids:
                raise ClientError("No kernel with asyncnb is running. start_kernel starts one.")
        else:
            ids = [kernel]
        total, tasks = 0, []
        for id in ids:
            session = self.kernels.session(id)
            session.usable()
            asked: dict[str, Any] = {} if state is None else {"state": state}
            here = session.ask("list", limit=0, **asked)["total"]
            start = max(0, here - limit)
            listed = session.ask("list", limit=limit, offset=start, **asked)
            total += listed["total"]
            tasks += [_task_facts(session, task, listed["now"]) for task in listed["tasks"]]
        return TaskList(total=total, tasks=tasks[-limit:])

    def read_output(
        self, cell: str, kernel: str | None, cursor: int, head: int, tail: int
    ) -> tuple[Output, list[Image]]:
        """Return the output of a cell since a cursor, and its images."""
        session, started, tasks = self._find(cell, kernel)
        if started is not None:
            state = self._state(started, tasks)  # first: what has ended prints no more
            session.settle(started, tasks)
            excerpt, images = _received(started, cursor)
        else:
            state = _state_of(tasks)
            excerpt, images = session.output(tasks, cursor), []
        short = shorten(excerpt, head, tail)
        output = Output(
            cell=cell,
            state=state,
            text=short.text,
            cursor=short.cursor,
            lines=short.lines,
            omitted=short.omitted,
            gone=short.gone,
            error=self._error(session, started, tasks),
        )
        shown = [image for at, image in images if at < short.cursor]
        chosen = _fitting(shown[-MAX_IMAGES:])
        output.images = len(chosen)
        return output, chosen

    def wait(
        self,
        cells: Sequence[str],
        kernel: str | None,
        timeout: float,
        until: Literal["all", "any"],
        stopped: Any,
    ) -> Waited:
        """Wait until cells have ended, or for ``timeout`` seconds."""
        if not cells:
            raise ClientError("No cell was given to wait for.")
        end = time.monotonic() + timeout
        by_session: dict[Session, list[str]] = {}
        for cell in cells:
            session, _, _ = self._find(cell, kernel)
            by_session.setdefault(session, []).append(cell)
        if len(by_session) == 1:
            for session, handles in by_session.items():
                session.wait(handles, end, until == "any", stopped)
        else:
            while not stopped() and time.monotonic() < end:
                for session, handles in by_session.items():
                    session.wait(handles, time.monotonic() + 0.1, until == "any", stopped)
                over = [s.living(h) == set() for s, handles in by_session.items() for h in handles]
                if all(over) or (until == "any" and any(over)):
                    break
        states = [self._cell_state(cell, kernel) for cell in cells]
        over = [each.state in ENDED or each.state in ("ended", "lost") for each in states]
        return Waited(ended=all(over) if until == "all" else any(over), cells=states)

    def cancel(self, cell: str, kernel: str | None) -> Changed:
        """Cancel the tasks of a cell, or interrupt the cell itself if it is in the foreground."""
        try:
            return self._change(cell, kernel, "cancel", "cancelled")
        except RefusedError as exc:
            session = self.kernels.session(kernel, cell)
            running = session.running()
            if running is None or running.get("cell_id") != cell:
                raise exc
            text = session.ask("stop_cell", cell_id=cell)["text"]
            return Changed(cell=cell, text=text, state="cancelling")

    def pause(self, cell: str, kernel: str | None) -> Changed:
        """Pause the tasks of a cell."""
        return self._change(cell, kernel, "pause", "paused")

    def resume(self, cell: str, kernel: str | None) -> Changed:
        """Let the paused tasks of a cell continue."""
        return self._change(cell, kernel, "resume", "resumed")

    def _change(self, cell: str, kernel: str | None, verb: str, done: str) -> Changed:
        session, started, tasks = self._find(cell, kernel)
        if started is not None and started.lost:
            raise ClientError(f"Cell {cell} is lost: {started.lost}.")
        if started is not None and not started.launched and not tasks:
            raise ClientError(
                f"Cell {cell} is queued behind another cell, and cannot be {done} before it begins."
            )
        living = [task for task in tasks if task["state"] not in ENDED]
        if not living:
            state = _state_of(tasks) if tasks else "ended"
            return Changed(cell=cell, text=f"nothing to do: it is {state}", state=state)
        texts = [session.ask(verb, id=task["id"])["text"] for task in living]
        if verb == "cancel":  # most end at once; the answer then says so
            session.wait([cell], time.monotonic() + 1.0, any=False)
        state = _state_of(session.tasks_of(cell))
        return Changed(cell=cell, text="; ".join(dict.fromkeys(texts)), state=state)

    def stack(self, cell: str, kernel: str | None) -> Stack:
        """Return where the tasks of a cell are."""
        session, _, tasks = self._find(cell, kernel)
        found = []
        for task in tasks[:20]:
            detail = session.describe(task)
            frames = detail.get("frames") or []
            found.append(
                TaskStack(
                    task=detail["id"],
                    name=detail["name"],
                    state=detail["state"],
                    waits_for=detail.get("waits") or None,
                    frames=[
                        Frame(file=str(f), line=int(n), function=str(w), source=str(s))
                        for f, n, w, s in frames[-MAX_FRAMES:]
                    ],
                    traceback=plain(str(detail.get("traceback") or ""))[-MAX_TRACEBACK:] or None,
                    awaited_by=detail.get("awaited_by") or [],
                )
            )
        return Stack(cell=cell, tasks=found)

    def variables(self, kernel: str | None, pattern: str, limit: int) -> Variables:
        """Return variables of the notebook."""
        session = self.kernels.session(kernel)
        session.usable()
        answer = session.ask("variables", pattern=pattern, limit=limit)
        return Variables(
            total=answer["total"], variables=[Variable(**each) for each in answer["variables"]]
        )

    # What the tools have in common.

    def _find(
        self, cell: str, kernel: str | None
    ) -> tuple[Session, StartedCell | None, list[Message]]:
        """Return the session, the cell if it was started here, and the tasks of a handle."""
        session = self.kernels.session(kernel, cell)
        started = session.cells.get(cell)
        try:
            session.usable()
        except ClientError:
            started = session.cells.get(cell)
            if started is None or not started.lost:
                raise
            return session, started, []
        if started is not None and started.lost:
            return session, started, []
        try:
            return session, started, session.tasks_of(cell)
        except RefusedError as exc:
            raise RefusedError(
                f"{exc} A handle is the id of a cell that start_cell returned, or the name or id "
                "of a task: list_tasks has them."
            ) from None

    def _cell_facts(self, session: Session, handle: str) -> CellFacts:
        started = session.cells.get(handle)
        tasks = session.tasks_of_cell(handle)
        return CellFacts(
            cell=handle,
            kernel=session.id,
            state=self._state(started, tasks),
            tasks=[_task_facts(session, task, time.time()) for task in tasks[:20]],
            error=self._error(session, started, tasks),
        )

    def _cell_state(self, handle: str, kernel: str | None) -> CellState:
        output, _ = self.read_output(handle, kernel, 0, 0, TAIL_LINES)
        return CellState(
            cell=handle,
            state=output.state,
            lines=output.lines,
            tail=output.text,
            error=output.error,
        )

    def _state(self, started: StartedCell | None, tasks: Sequence[Message]) -> str:
        if started is not None:
            if started.lost:
                return "lost"
            if not tasks:
                reply = started.received.reply
                if reply is None:
                    return "queued"
                return "failed" if reply.get("status") != "ok" else "ended"
        return _state_of(tasks)

    def _error(
        self, session: Session, started: StartedCell | None, tasks: Sequence[Message]
    ) -> ErrorFacts | None:
        """Return the error of the newest task that has failed."""
        if started is not None:
            if started.lost:
                return ErrorFacts(type="KernelDied", message=f"{started.lost}; its tasks are gone")
            reply = started.received.reply
            if reply is not None and reply.get("status") != "ok":
                return error_facts(CellFailedError(started))
        failed = [task for task in tasks if task["state"] == "failed"]
        if not failed:
            return None
        detail = session.describe(failed[-1])
        kind, _, message = str(detail.get("note") or "").partition(": ")
        traceback = plain(str(detail.get("traceback") or ""))
        if started is not None:
            with started.received.lock:
                shown = list(started.received.errors)
            if shown:
                kind, message, traceback = shown[-1].type, shown[-1].message, shown[-1].traceback
        return _error_facts(kind, message, traceback, started)


def error_facts(failed: CellFailedError) -> ErrorFacts:
    """Return what to show of a cell that could not be started."""
    return _error_facts(failed.type, failed.message, plain(failed.traceback), failed.cell)


def _error_facts(
    kind: str, message: str, traceback: str, started: StartedCell | None
) -> ErrorFacts:
    place = None
    if started is None:
        place = place_in_cell(traceback)
    else:
        place = place_in_cell(traceback, started.code, started.offset)
    found = ErrorFacts(type=kind, message=message[:MAX_MESSAGE])
    if place is not None:
        found.line, found.lines = place.line, place.lines
        number = None if started is None else started.received.number
        if started is None or (number is not None and place.cell != number):
            found.in_cell = place.cell
    return found


def _received(started: StartedCell, cursor: int) -> tuple[Excerpt, list[tuple[int, Image]]]:
    received = started.received
    with received.lock:
        if cursor > received.log.length:
            raise ClientError(
                f"Cell {started.id} has {received.log.length:,} characters of output, so there is "
                f"none from {cursor:,} on. Use the cursor of the previous answer, or 0."
            )
        images = [
            (each.at, image)
            for each in received.displays
            if each.at >= cursor and (image := each.image) is not None
        ]
        return received.log.since(cursor), images


def _fitting(images: list[Image]) -> list[Image]:
    """Return the newest images that are not too large together."""
    found: list[Image] = []
    size = 0
    for image in reversed(images):
        size += len(image[1])
        if size > MAX_IMAGE_TEXT and found:
            break
        found.insert(0, image)
    return found


def _options(name: str | None, timeout: float | None, on: str | None, replace: bool) -> str:
    """Return the options of ``%%atask``."""
    options = ""
    if name is not None:
        if not name.strip() or "\n" in name or name.startswith("-"):
            raise ClientError(f"{name!r} is not a name for a task.")
        options += f" {shlex.quote(name)}"
        options += f" --again {'replace' if replace else 'error'}"
    if timeout is not None:
        if not timeout > 0:
            raise ClientError(f"timeout is a number of seconds above 0, not {timeout:g}.")
        options += f" -t {timeout:g}"
    if on is not None:
        options += f" --on {shlex.quote(on)}"
    return options


def _task_facts(session: Session, task: Message, now: float) -> TaskFacts:
    seconds = None
    if task.get("started") is not None:
        seconds = round((task.get("ended") or now) - task["started"], 2)
    progress = None
    if task.get("done") is not None:
        total = task.get("total")
        progress = f"{task['done']:g}" + ("" if total is None else f"/{total:g}")
    return TaskFacts(
        task=task["id"],
        name=task["name"],
        state=task["state"],
        cell=task.get("cell_id") or None,
        kernel=session.id,
        seconds=seconds,
        waits_for=task.get("waits_for") or None,
        note=task.get("note") or None,
        progress=progress,
    )


def _state_of(tasks: Sequence[Message]) -> str:
    """Return the state of a cell: that of a task that lives, else the worst one."""
    states = [str(task["state"]) for task in tasks]
    for state in states:
        if state not in ENDED:
            return state
    for state in ("failed", "cancelled", "done"):
        if state in states:
            return state
    return "ended"


def _foreground(busy: Message) -> str:
    """Return the name of the cell in the foreground, and for how long it has run."""
    name = f"In[{busy['cell']}]" if busy.get("cell") else "a cell"
    if busy.get("cell_id"):
        name += f" (cell {busy['cell_id']})"
    since = busy.get("since")
    return name if since is None else f"{name}, for {duration(max(0.0, time.time() - since))} now"
