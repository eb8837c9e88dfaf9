"""The kernels that ``asyncnb top`` shows, asked again and again without waiting for an answer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from asyncnb._client.errors import ClientError
from asyncnb._client.find import connection_files
from asyncnb._client.held import monitor_of
from asyncnb._client.kernel import TARGET, VERSION, RemoteKernel
from asyncnb._client.wire import Message

#: Seconds without an answer after which a kernel is shown as silent, and is asked again.
SILENT: Final = 3.0
#: Seconds between two looks for new kernels, and for which an ended one is still shown.
RESCAN: Final = 2.0
FORGET: Final = 10.0


class LiveKernel:
    """One kernel: what it has answered so far. One thread."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.kernel = RemoteKernel(path)
        #: Has a message when its connection is lost.
        self.monitor = monitor_of(self.kernel)
        self._clock = clock
        #: ``alive``, ``without asyncnb``, ``no answer``, ``ended``; "" before the first answer.
        self.state = ""
        self.ended_at = 0.0
        self.hello: Message = {}
        self.counts: dict[str, int] = {}
        self.total = 0
        self.now = 0.0
        #: The tasks that are known, by their places in the order that is shown.
        self.tasks: dict[int, Message] = {}
        #: Items per second, by the task's id, and what that was measured from.
        self.rates: dict[int, float] = {}
        self._progress: dict[int, tuple[float, int]] = {}
        self._asked: dict[str, tuple[str, float, Any]] = {}
        self._loaded = False
        #: The newest filter and order: answers to older ones are of no use.
        self._wanted = "", ""
        self._screen = 0, 0

    @property
    def label(self) -> str:
        """The name of its notebook, or its id."""
        notebook = self.hello.get("notebook")
        return os.path.basename(notebook) if notebook else self.kernel.id

    def close(self) -> None:
        """Close the connection."""
        self.kernel.control.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.kernel.close()

    def ask(self, offset: int, limit: int, match: str, order: str) -> None:
        """Send what is to be known; `read` gets the answers."""
        now = self._clock()
        changed = (match, order) != self._wanted
        self._wanted, self._screen = (match, order), (offset, limit)
        if self._asked and now - min(at for _, at, _ in self._asked.values()) > SILENT:
            self._forget("no answer" if self.kernel.listens() else "ended")
        if self.state == "ended" or (self._asked and not changed):
            return
        if not self._loaded:
            # Without asyncnb, a request would be logged as an error there.
            self._send("comms", {"target_name": TARGET}, "comm_info_request")
            return
        if not self._asked:
            self._send("hello", {"c": "hello", "version": VERSION})
        self.ask_for_tasks(offset, limit, match, order)

    def _forget(self, state: str) -> None:
        """Begin anew, as the kernel does not answer or is another one."""
        if state == "ended":
            self.ended_at = self._clock()
            self.tasks.clear()
            self.rates.clear()
            self._progress.clear()
            self.total = 0
        self._asked.clear()
        self._loaded = False
        self.state = state

    def ask_for_tasks(self, offset: int, limit: int, match: str, order: str) -> None:
        """Send what is to be known of the tasks alone, as the screen shows others now."""
        if self._loaded:
            given = {"offset": offset, "limit": limit, "match": match, "order": order}
            self._send("overview", {"c": "overview", "version": VERSION, **given}, given=given)

    def ask_for_tasks_once(self, *given: Any) -> None:
        """The same, unless that is asked already."""
        if not any(what == "overview" for what, _, _ in self._asked.values()):
            self.ask_for_tasks(*given)

    def describe(self, id: int) -> None:
        """Ask for all that is known of one task."""
        self._send("describe", {"c": "describe", "version": VERSION, "task": id})

    def command(self, verb: str, id: int) -> None:
        """Send a command."""
        self._send("command", {"c": verb, "version": VERSION, "id": id})

    def _send(
        self, what: str, content: Message, msg_type: str = "asyncnb_request", given: Any = None
    ) -> None:
        self._asked[self.kernel.send(content, msg_type)] = what, self._clock(), given

    def read(self) -> list[tuple[str, Message]]:
        """Take the answers that have arrived; return those to `describe` and `command`."""
        others = []
        while self.monitor.poll(0):  # it ended, or is being restarted
            self.monitor.recv_multipart()
            self._forget("ended")
        while (message := self.kernel.control.receive(0)) is not None:
            what, _, given = self._asked.pop(
                str(message["parent_header"].get("msg_id")), ("", 0.0, None)
            )
            content = message["content"]
            if what == "comms":
                self._loaded = bool(content.get("comms"))
                if self._loaded:
                    self.ask(*self._screen, *self._wanted)
                else:
                    self.state = "without asyncnb"
            elif what in ("describe", "command"):
                others.append((what, content))
            elif what and content.get("status") != "ok":
                self._loaded = False  # it was unloaded, or has another version
            elif what == "hello":
                self.hello = content
                self.state = "alive"
            elif what == "overview":
                self._note(content, given)
        return others

    def _note(self, content: Message, given: Any) -> None:
        if (given["match"], given["order"]) != self._wanted:
            return
        self.now, self.counts, self.total = content["now"], content["counts"], content["total"]
        self.tasks = dict(enumerate(content["tasks"], given["offset"]))
        for task in self.tasks.values():
            self._measure(task)

    def _measure(self, task: Message) -> None:
        id, done = task["id"], task["done"]
        calls = task.get("calls") or {}
        if task["ended"] is not None or done is None:
            self.rates.pop(id, None)
            self._progress.pop(id, None)
        elif calls.get("per_second") is not None:
            self.rates[id] = calls["per_second"]
        else:
            at, before = self._progress.setdefault(id, (self.now, done))
            if self.now - at >= 1:
                rate = (done - before) / (self.now - at)
                self.rates[id] = (self.rates.get(id, rate) + rate) / 2
                self._progress[id] = self.now, done


class LiveKernels:
    """All kernels that have a connection file; ``only``: the file of one."""

    def __init__(self, only: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._only = only
        self._clock = clock
        self._next_scan = 0.0
        self._none: set[Path] = set()
        self.found: dict[Path, LiveKernel] = {}

    def close(self) -> None:
        """Close all connections."""
        for kernel in self.found.values():
            kernel.close()

    def __iter__(self) -> Iterator[LiveKernel]:
        """Yield them as they are shown: those with asyncnb first."""
        shown = sorted(self.found.values(), key=lambda each: (each.state != "alive", each.label))
        yield from shown

    def scan(self) -> None:
        """Find new kernels, and forget those that ended a while ago; at most every two seconds."""
        now = self._clock()
        if now < self._next_scan:
            return
        self._next_scan = now + RESCAN
        paths = connection_files() if self._only is None else [self._only]
        for path in paths:
            if path in self.found or path in self._none:
                continue
            try:
                kernel = LiveKernel(path, self._clock)
            except ClientError:
                self._none.add(path)  # no connection file
                continue
            if kernel.kernel.listens():
                self.found[path] = kernel
            else:
                kernel.close()
        for path, kernel in list(self.found.items()):
            if kernel.state == "ended" and kernel.kernel.listens():  # started again
                kernel.state = ""
            elif kernel.state == "ended" and now - kernel.ended_at > FORGET:
                self.found.pop(path).close()
