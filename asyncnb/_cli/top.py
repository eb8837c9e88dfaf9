"""``asyncnb top``: kernels and tasks in a terminal, as they change, and keys to control them."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from pathlib import Path
from typing import Final

from asyncnb._cli.live import view
from asyncnb._cli.live.kernels import LiveKernel, LiveKernels
from asyncnb._cli.live.terminal import Terminal
from asyncnb._cli.options import add_kernel_option
from asyncnb._client.choose import choose_kernel
from asyncnb._client.held import poll_sockets
from asyncnb._client.wire import Message
from asyncnb._core.base.text import escape_control_chars

#: Seconds between two looks at the size of the terminal; of Windows' keys, nothing wakes it.
TURN: Final = 0.25 if sys.platform != "win32" else 0.05
ORDERS: Final = ("living", "time", "name", "newest")
#: The most tasks of a kernel in one line of ``--json``.
MOST: Final = 1000
_CAN_PAUSE: Final = ("running", "waiting", "pending")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``asyncnb top``."""
    parser.add_argument(
        "-i",
        "--interval",
        metavar="SECONDS",
        type=_interval,
        default=1.0,
        help="how often to ask the kernels; the default is 1",
    )
    add_kernel_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show tasks until ``q``; return the exit code."""
    if not arguments.json and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise argparse.ArgumentError(
            None,
            "this is not a terminal; `asyncnb ps` prints once, `asyncnb top --json` repeatedly",
        )
    only: Path | None = None
    if arguments.kernel is not None:
        known = choose_kernel(arguments.kernel, arguments.timeout)
        known.kernel.close()
        only = known.kernel.path
    with contextlib.closing(LiveKernels(only)) as kernels:
        if arguments.json:
            return _print(kernels, arguments.interval)
        with Terminal() as terminal:
            with contextlib.suppress(ValueError, AttributeError):
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
            return Top(kernels, terminal, arguments.interval).run()


def _print(kernels: LiveKernels, interval: float) -> int:
    """Print one object every ``interval`` seconds, until Ctrl-C."""
    while True:
        until = time.monotonic() + interval
        kernels.scan()
        for kernel in kernels:
            kernel.ask(0, MOST, "", "living")
        while (left := until - time.monotonic()) > 0:
            _poll(kernels, None, left)
            for kernel in kernels:
                kernel.read()
        found = [_facts(kernel) for kernel in kernels if kernel.state]
        print(json.dumps({"now": time.time(), "kernels": found}), flush=True)


def _facts(kernel: LiveKernel) -> Message:
    keep = ("pid", "notebook", "asyncnb", "python", "ipykernel", "loop", "busy", "blocked", "lag")
    found: Message = {"id": kernel.kernel.id, "state": kernel.state}
    if kernel.state == "alive":
        found |= {name: kernel.hello.get(name) for name in keep}
        tasks = [task | {"rate": kernel.rates.get(task["id"])} for task in kernel.tasks.values()]
        found |= {"counts": kernel.counts, "total": kernel.total, "tasks": tasks}
    return found


def _poll(kernels: LiveKernels, keys: int | None, timeout: float) -> None:
    sockets = [
        each for kernel in kernels for each in (kernel.kernel.control.socket, kernel.monitor)
    ]
    poll_sockets(sockets if keys is None else [*sockets, keys], max(0.001, timeout))


class Top:
    """The screen: what it shows, and what keys do."""

    def __init__(self, kernels: LiveKernels, terminal: Terminal, interval: float) -> None:
        self._kernels = kernels
        self._terminal = terminal
        self._interval = interval
        self._next_ask = 0.0
        self._order = ORDERS[0]
        self._match = ""
        #: What is typed as a filter, or None.
        self._typed: str | None = None
        #: The selected line and the first one on the screen, counted over all kernels and tasks.
        self._selected = 1
        self._first = 0
        self._moved = False
        #: The id of the selected task, which it stays when the order changes.
        self._id: tuple[Path, int] | None = None
        #: The command to be confirmed: verb, kernel, task.
        self._question: tuple[str, LiveKernel, Message] | None = None
        #: The task whose details are shown, and what is known of it.
        self._detail: tuple[LiveKernel, int] | None = None
        self._described: Message | None = None
        self._message = ""

    def run(self) -> int:
        """Show tasks until a key ends it."""
        while True:
            self._kernels.scan()
            self._ask()
            self._draw()
            _poll(self._kernels, self._terminal.polled, TURN)
            for kernel in self._kernels:
                for what, answer in kernel.read():
                    self._take(kernel, what, answer)
            for key in self._terminal.pressed():
                if self._press(key):
                    return 0

    # What is shown

    def _ranges(self) -> list[tuple[int, LiveKernel]]:
        """Return each kernel with the number of its own line; its tasks follow."""
        found, line = [], 0
        for kernel in self._kernels:
            found.append((line, kernel))
            line += 1 + kernel.total
        return found

    def _lines(self) -> int:
        return sum(1 + kernel.total for kernel in self._kernels)

    def _height(self) -> int:
        return self._terminal.size()[1] - 2

    def _at(self, line: int) -> tuple[LiveKernel | None, int]:
        """Return the kernel of a line, and which of its tasks it is (-1: its own line)."""
        for begin, kernel in reversed(self._ranges()):
            if line >= begin:
                return kernel, line - begin - 1
        return None, -1

    def _task(self) -> tuple[LiveKernel | None, Message | None]:
        kernel, place = self._at(self._selected)
        return kernel, None if kernel is None else kernel.tasks.get(place)

    def _ask(self) -> None:
        """Ask each kernel for its tasks on the screen, and one screen around them."""
        now = time.monotonic()
        height = self._height()
        due = now >= self._next_ask
        for begin, kernel in self._ranges():
            least = max(0, self._first - height - begin - 1)
            given = (least, 3 * height, self._match, self._order)
            on_screen = range(
                max(0, self._first - begin - 1),
                min(kernel.total, self._first + height - begin - 1),
            )
            if due:
                kernel.ask(*given)
            elif on_screen and not all(
                place in kernel.tasks for place in (on_screen[0], on_screen[-1])
            ):
                kernel.ask_for_tasks_once(*given)
        if due:
            self._next_ask = now + self._interval
            if self._detail is not None:
                self._detail[0].describe(self._detail[1])

    def _follow_selected(self) -> None:
        """Keep the same task selected if it is at another place now."""
        if self._id is None and not self._moved:
            self._selected = 1  # the first task, once there is one
        kernel, task = self._task()
        if self._id is not None:
            for begin, each in self._ranges():
                if each.kernel.path == self._id[0]:
                    for place, known in each.tasks.items():
                        if known["id"] == self._id[1]:
                            self._selected = begin + 1 + place
                            return
        if kernel is not None and task is not None:
            self._id = kernel.kernel.path, task["id"]

    def _draw(self) -> None:
        columns, _ = self._terminal.size()
        height = self._height()
        if self._detail is not None:
            body = view.detail_lines(self._described, self._message, columns, height)
            body = body[:height]
            foot = "escape back  c cancel  p pause/resume"
        else:
            self._follow_selected()
            self._selected = max(0, min(self._selected, self._lines() - 1))
            last = self._selected - height + 1
            self._first = max(0, last, min(self._first, self._selected))
            body = [
                self._line(line, columns)
                for line in range(self._first, min(self._lines(), self._first + height))
            ]
            if not body:
                body = [view.fit("No kernel is running. This waits for one.", columns)]
            foot = view.HELP
        kernels = list(self._kernels)
        head = view.summary(kernels, self._match, self._order, columns)
        body += [""] * (height - len(body))
        self._terminal.draw([head, *body, self._foot(foot, columns)])

    def _foot(self, text: str, columns: int) -> str:
        if self._question is not None:
            verb, _, task = self._question
            text = f"{verb} {escape_control_chars(task['name'], 40)!r}? y/n"
        elif self._typed is not None:
            text = f"/{escape_control_chars(self._typed)}▏ enter: apply  escape: no filter"
        elif self._message:
            text = escape_control_chars(self._message)
        return view.paint(view.fit(text, columns), view.REVERSE)

    def _line(self, line: int, columns: int) -> str:
        kernel, place = self._at(line)
        assert kernel is not None
        if place < 0:
            text = view.kernel_line(kernel, columns)
            return view.paint(text, view.REVERSE) if line == self._selected else text
        selected = line == self._selected
        return view.task_line(kernel, kernel.tasks.get(place), columns, selected)

    # Keys and answers

    def _press(self, key: str) -> bool:
        """Do what a key means; return whether that is the end."""
        if key == "ctrl-c":
            return True
        if self._question is not None:
            verb, kernel, task = self._question
            self._question = None
            if key in ("y", "Y"):
                kernel.command(verb, task["id"])
        elif self._typed is not None:
            self._type(key)
        else:
            return self._command(key)
        return False

    def _command(self, key: str) -> bool:
        self._message = ""
        if self._detail is not None and key in ("q", "escape", "enter"):
            self._detail = self._described = None
        elif key == "q":
            return True
        elif key in ("c", "p"):
            self._control(key)
        elif self._detail is not None:
            return False
        elif key == "enter":
            kernel, task = self._task()
            if kernel is not None and task is not None:
                self._detail = kernel, task["id"]
                kernel.describe(task["id"])
        elif key == "/":
            self._typed = self._match
        elif key == "s":
            self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
            self._renew()
        else:
            self._move(key)
        return False

    def _move(self, key: str) -> None:
        page = max(1, self._height() - 1)
        moves = {
            "up": -1,
            "k": -1,
            "down": 1,
            "j": 1,
            "page up": -page,
            "page down": page,
            "home": -self._lines(),
            "end": self._lines(),
        }
        if key == "tab":
            kernels = [begin + 1 for begin, _ in self._ranges()]
            later = [line for line in kernels if line > self._selected]
            moves[key] = (later or kernels or [0])[0] - self._selected
        if key in moves:
            self._selected = max(0, min(self._selected + moves[key], self._lines() - 1))
            self._id, self._moved = None, True

    def _control(self, key: str) -> None:
        kernel, task = self._task()
        if self._detail is not None:
            kernel, task = self._detail[0], self._described
        if kernel is None or task is None:
            self._message = "Select a task first."
        elif task["ended"] is not None:
            self._message = f"{task['name']!r} has ended."
        elif key == "c":
            self._question = "cancel", kernel, task
        else:
            verb = "pause" if task["state"] in _CAN_PAUSE else "resume"
            kernel.command(verb, task["id"])

    def _type(self, key: str) -> None:
        assert self._typed is not None
        if key == "enter":
            self._match, self._typed = self._typed, None
            self._renew()
        elif key == "escape":
            self._match, self._typed = "", None
            self._renew()
        elif key == "backspace":
            self._typed = self._typed[:-1]
        elif len(key) == 1 and key.isprintable() and len(self._typed) < 100:
            self._typed += key

    def _renew(self) -> None:
        """Ask again, as other tasks are to be shown."""
        self._next_ask = 0.0
        self._selected, self._first, self._id, self._moved = 1, 0, None, False
        for kernel in self._kernels:
            kernel.tasks.clear()

    def _take(self, kernel: LiveKernel, what: str, answer: Message) -> None:
        """Show the answer to a command or to a question on one task."""
        refused = str(answer.get("evalue")) if answer.get("status") != "ok" else ""
        if what == "describe":
            if self._detail is not None:
                self._described = None if refused else answer["task"]
                self._message = refused or self._message
            return
        self._message = refused or str(answer.get("text") or "")
        self._next_ask = 0.0


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 3600")
    return seconds
