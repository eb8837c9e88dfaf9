"""One kernel as the tools see it: its tasks, the cells that were started here, and requests."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

from asyncnb._client.choose import Known, look
from asyncnb._client.errors import ClientError, NoAnswerError, RefusedError
from asyncnb._client.execute import Executor
from asyncnb._client.held import HeldQuestion, LostError
from asyncnb._client.kernel import RemoteKernel
from asyncnb._client.received import Excerpt, Received, plain
from asyncnb._client.wire import Message

#: Seconds in which a cell that launches a task normally has done so.
LAUNCH_SECONDS: Final = 5.0
#: Seconds until a kernel that seemed free, and does not begin a cell, is looked at again.
BEGIN_SECONDS: Final = 0.5
#: Cells that are remembered.
MAX_CELLS: Final = 500
#: Seconds after the end of a task in which the last of its output arrives.
SETTLE_SECONDS: Final = 3.0
#: Seconds after which a wait looks whether it is still wanted.
LOOK_SECONDS: Final = 1.0
ENDED: Final = frozenset({"done", "failed", "cancelled"})

#: A cell that says itself how it is launched.
_LAUNCHES = re.compile(r"\s*%%(atask|agroup|amap)\b")


class CellFailedError(ClientError):
    """A cell could not be started: its code, or an option, is wrong."""

    def __init__(self, cell: StartedCell) -> None:
        reply = cell.received.reply or {}
        self.type = str(reply.get("ename") or "Error")
        self.message = str(reply.get("evalue") or "")
        if reply.get("status") in ("aborted", "abort"):
            self.type = "Aborted"
            self.message = "a cell before it failed, so the kernel has dropped it; start it again"
        self.traceback = "\n".join(str(line) for line in reply.get("traceback") or ())
        self.cell = cell
        super().__init__(f"{self.type}: {self.message}")


class StartedCell:
    """A cell that was started here."""

    def __init__(self, received: Received, code: str, offset: int, via: str) -> None:
        self.received = received
        self.id = received.cell_id
        #: As it was given, and how many lines were put before it.
        self.code = code
        self.offset = offset
        #: "shell" or "subshell".
        self.via = via
        #: Whether all of its output has arrived.
        self.settled = False
        #: Why there will be no more of it, if its kernel is gone.
        self.lost = ""

    @property
    def launched(self) -> bool:
        """Return whether the kernel has run it: its tasks are there."""
        return self.received.reply is not None


class Session:
    """A kernel, and what was started in it. Any thread; one request at a time."""

    def __init__(self, kernel: RemoteKernel) -> None:
        self.kernel = kernel
        self.id = kernel.id
        self.cells: dict[str, StartedCell] = {}
        self._lock = threading.RLock()
        self._executor: Executor | None = None
        self._subshell: str | None = None
        self._pid: int | None = None

    def close(self) -> None:
        """Close the connection; what runs in the kernel keeps running."""
        with self._lock:
            if self._subshell is not None:
                self.kernel.send({"subshell_id": self._subshell}, "delete_subshell_request")
                self._subshell = None
            self._close_executor()
            self.kernel.close()

    def _close_executor(self) -> None:
        if self._executor is not None:
            self._executor.close()
            self._executor = None

    # Requests.

    def greet(self) -> Known:
        """Return what the kernel says of itself; notice that it has been restarted, or has died."""
        with self._lock:
            known = look([self.kernel])[0]
            if known.state == "dead":
                self._lose("its kernel has died")
                self.kernel.close()
            elif known.pid is not None and known.pid != self._pid:
                if self._pid is not None:
                    self._lose("its kernel was restarted")
                self._pid = known.pid
            elif known.state == "without asyncnb" and self._pid is not None:
                self._lose("its kernel was restarted, and runs without asyncnb")
                self._pid = None
            return known

    def _lose(self, reason: str) -> None:
        """Note that nothing of what was started here is left."""
        for cell in self.cells.values():
            cell.lost = cell.lost or reason
        self._close_executor()
        self._subshell = None

    def usable(self) -> Known:
        """Return what the kernel says of itself; ClientError if it cannot be used."""
        known = self.greet()
        if known.state == "dead":
            raise ClientError(f"Kernel {known.label} has died.")
        if known.state == "without asyncnb":
            raise ClientError(
                f"Kernel {known.label} runs without asyncnb. Its user can load it in the notebook: "
                "%load_ext asyncnb. start_kernel starts a kernel that has it."
            )
        if known.state != "alive":
            raise NoAnswerError(known.error or f"Kernel {known.label} does not answer.")
        return known

    def ask(self, verb: str, **arguments: Any) -> Message:
        """Send a request of the protocol and return the reply. Call ``usable`` before."""
        with self._lock:
            return self.kernel.ask(verb, **arguments)

    # Tasks.

    def tasks_of(self, handle: str) -> list[Message]:
        """Return the tasks that a handle names: a cell's id, a task's name or its id.

        RefusedError if there are none, unless the cell was started here and has not begun.
        """
        listed = self.tasks_of_cell(handle)
        if listed or handle in self.cells:
            return list(listed)
        if handle.isascii() and handle.isdecimal() and len(handle) < 16:
            try:
                return [self.ask("describe", task=int(handle))["task"]]
            except RefusedError:
                pass  # a name may be a number
        return [self.ask("describe", task=handle)["task"]]

    def tasks_of_cell(self, cell_id: str) -> list[Message]:
        """Return the tasks that a cell has launched."""
        listed = self.ask("list", cell_id=cell_id, limit=1000)["tasks"]
        # Kernels with an older asyncnb do not know cell_id, and ignore it.
        return [task for task in listed if task.get("cell_id") == cell_id]

    def describe(self, task: Message) -> Message:
        """Return the details of a listed task."""
        found: Message = self.ask("describe", task=task["id"])["task"]
        return found

    def output(self, tasks: Sequence[Message], cursor: int) -> Excerpt:
        """Return what the last of the tasks has shown, as the kernel keeps it."""
        answer = self.ask("follow", task=tasks[-1]["id"], cursor=cursor)
        text, gone, end = plain(answer["text"]), answer["gone"], answer["cursor"]
        return Excerpt("", gone, text, end) if gone else Excerpt(text, 0, "", end)

    # Cells.

    def start(self, code: str, options: str) -> StartedCell:
        """Run a cell in the background; return when its tasks are there, or it is queued.

        CellFailedError if the kernel refuses it.
        """
        known = self.usable()
        running = known.hello.get("busy")
        offset, sent = 0, code
        if not _LAUNCHES.match(code):
            offset, sent = 1, f"%%atask{options}\n{code}"
        with self._lock:
            subshell = self._ensure_subshell() if running else None
            cell = self._send(sent, code, offset, subshell)
        self._await_launch(cell)
        return cell

    def _send(self, sent: str, code: str, offset: int, subshell: str | None) -> StartedCell:
        if self._executor is None:
            self._executor = Executor(self.kernel.info)
        received = self._executor.run(
            sent,
            cell_id=f"agent-{uuid.uuid4().hex[:8]}",
            # The main shell counts the cells, also while a subshell runs one.
            store_history=subshell is None,
            subshell=subshell,
        )
        cell = StartedCell(received, code, offset, "shell" if subshell is None else "subshell")
        self.cells[cell.id] = cell
        while len(self.cells) > MAX_CELLS:
            del self.cells[next(iter(self.cells))]
        return cell

    def _await_launch(self, cell: StartedCell) -> None:
        executor = self._executor
        if executor is None:
            return
        executor.wait(lambda: cell.received.begun or cell.launched, BEGIN_SECONDS)
        if cell.received.begun or self.running() is None:
            executor.wait(lambda: cell.launched, LAUNCH_SECONDS)
        reply = cell.received.reply
        if reply is not None and reply.get("status") != "ok":
            del self.cells[cell.id]
            raise CellFailedError(cell)

    def running(self) -> Message | None:
        """Return the cell in the foreground, if there is one."""
        found = self.ask("hello").get("busy")
        return found if isinstance(found, dict) else None

    def run_silently(self, code: str, timeout: float) -> Received:
        """Run code that is no cell of the notebook; ClientError if it fails."""
        if self._executor is None:
            self._executor = Executor(self.kernel.info)
        received = self._executor.run(code, cell_id=uuid.uuid4().hex, silent=True)
        if not self._executor.wait(lambda: received.reply is not None, timeout):
            raise NoAnswerError(f"The kernel has not answered within {timeout:g} s.")
        reply = received.reply or {}
        if reply.get("status") != "ok":
            raise ClientError(f"{reply.get('ename')}: {reply.get('evalue')}")
        return received

    def _ensure_subshell(self) -> str | None:
        """Return the id of a subshell; None if the kernel has none."""
        if self._subshell is None:
            info = self.kernel.reply(self.kernel.send({}, "kernel_info_request"))
            if "kernel subshells" not in (info.get("supported_features") or ()):
                return None
            made = self.kernel.reply(self.kernel.send({}, "create_subshell_request"))
            self._subshell = made.get("subshell_id") if made.get("status") == "ok" else None
        return self._subshell

    def wait(
        self,
        handles: Sequence[str],
        until: float,
        any: bool,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Wait until the tasks of the handles have ended, or of any of them, or for the time."""
        if all(self.living(handle) == set() for handle in handles):
            return  # perhaps lost with their kernel, and its connection file
        # A separate connection: other requests are answered meanwhile.
        with RemoteKernel(self.kernel.path) as own, HeldQuestion(own, self.id) as question:
            while not stopped():
                living = {handle: self.living(handle) for handle in handles}
                over = [not tasks for tasks in living.values()]
                left = min(until - time.monotonic(), LOOK_SECONDS)
                if all(over) or (any and True in over) or left <= 0:
                    return
                ids = sorted({id for tasks in living.values() for id in tasks or ()})
                try:
                    if ids and None not in living.values():
                        question.answer("wait", left, tasks=ids, any=any)
                    else:  # a cell that has not begun has no tasks
                        self._await_any_launch(list(living), left)
                except (LostError, NoAnswerError, RefusedError):
                    self.usable()
                    time.sleep(0.05)  # a task was forgotten, or too many clients are waiting

    def _await_any_launch(self, handles: Sequence[str], timeout: float) -> None:
        cells = [cell for handle in handles if (cell := self.cells.get(handle)) is not None]
        queued = [cell for cell in cells if not cell.launched]
        executor = self._executor
        if executor is not None:
            executor.wait(lambda: [cell for cell in queued if cell.launched], timeout)

    def living(self, handle: str) -> set[int] | None:
        """Return the ids of the tasks of a handle that live; None if it has not begun."""
        cell = self.cells.get(handle)
        if cell is not None and cell.lost:
            return set()
        tasks = self.tasks_of(handle)
        if not tasks and cell is not None and not cell.launched:
            return None
        return {task["id"] for task in tasks if task["state"] not in ENDED}

    def settle(self, cell: StartedCell, tasks: Sequence[Message]) -> None:
        """Wait until the output of a cell whose tasks have ended has arrived."""
        if cell.settled or cell.lost or not tasks or self._executor is None:
            return
        if any(task["state"] not in ENDED for task in tasks):
            return
        printed = sum(self.ask("output", task=task["id"])["cursor"] for task in tasks)
        failed = any(task["state"] == "failed" for task in tasks)
        received = cell.received

        def arrived() -> bool:
            return received.printed >= printed and (not failed or bool(received.errors))

        self._executor.catch_up(SETTLE_SECONDS)
        self._executor.wait(arrived, SETTLE_SECONDS)
        cell.settled = True
