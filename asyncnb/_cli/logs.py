"""``asyncnb logs``: what a task has printed, and with ``-f`` what it prints until it ends."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Final

from asyncnb._cli.escapes import SafeText
from asyncnb._cli.options import add_kernel_option
from asyncnb._client.choose import find_task
from asyncnb._client.errors import ClientError
from asyncnb._client.held import HeldQuestion
from asyncnb._client.wire import Message
from asyncnb._core.base.text import count, escape_control_chars

#: Seconds after which the kernel answers even if nothing was printed.
HOLD: Final = 30.0
#: An answer with fewer characters has all that there was.
FULL: Final = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``asyncnb logs``."""
    parser.add_argument("task", metavar="NAME", help="the task's name or id")
    parser.add_argument(
        "-f",
        "--follow",
        action="store_true",
        help="keep printing its output until it ends",
    )
    parser.add_argument(
        "-n", "--tail", metavar="N", type=_number, help="start with the last N lines"
    )
    parser.add_argument(
        "--since",
        metavar="CURSOR",
        type=_number,
        default=0,
        help="start after this many characters; --json prints cursors",
    )
    parser.add_argument(
        "--raw", action="store_true", help="do not escape control characters in a terminal"
    )
    add_kernel_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the output of a task; return the exit code."""
    found = find_task(arguments.task, arguments.kernel, timeout=arguments.timeout)
    with found.kernel, HeldQuestion(found.kernel, found.known.label) as question:
        task = found.tasks[0]
        if task["id"] < 0:
            raise ClientError(
                f"{escape_control_chars(task['name'])!r} is inside another task, whose output has "
                "what it prints."
            )
        return _Logs(arguments, question, task["id"]).run()


class _Logs:
    """One run of the command."""

    def __init__(self, arguments: argparse.Namespace, question: HeldQuestion, id: int) -> None:
        self._arguments = arguments
        self._question = question
        self._id = id
        self._cursor: int = arguments.since
        self._safe = None if arguments.raw or not sys.stdout.isatty() else SafeText()
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]

    def run(self) -> int:
        try:
            answer = self._kept()
            if not self._arguments.follow:
                return 0
            while answer["task"] is None or answer["text"]:
                answer = self._ask(HOLD)
                self._write(answer)
        finally:
            self._end()
        return self._ended(answer["task"])

    def _ask(self, seconds: float) -> Message:
        answer = self._question.answer("follow", seconds, task=self._id, cursor=self._cursor)
        self._cursor = answer["cursor"]
        return answer

    def _kept(self) -> Message:
        """Print what is kept; return the last answer."""
        lines = self._arguments.tail
        answer = self._ask(0)
        texts, gone = [answer["text"]], answer["gone"]
        if lines is None:
            self._write(answer)
        while len(answer["text"]) >= FULL:
            answer = self._ask(0)
            if lines is None:
                self._write(answer)
            else:
                texts.append(answer["text"])
                gone += answer["gone"]
        if lines is not None:
            all = "".join(texts).splitlines(keepends=True)
            kept = all[len(all) - min(lines, len(all)) :]
            self._write(answer | {"text": "".join(kept), "gone": gone if lines > len(all) else 0})
        return answer

    def _write(self, answer: Message) -> None:
        if self._arguments.json:
            if answer["text"] or answer["gone"] or answer["task"] is not None:
                print(json.dumps(answer), flush=True)
            return
        if answer["gone"]:
            sys.stdout.flush()
            gone = count(answer["gone"], "character")
            print(f"asyncnb logs: {gone} before this are no longer kept", file=sys.stderr)
        text = answer["text"]
        sys.stdout.write(text if self._safe is None else self._safe.add(text))
        sys.stdout.flush()

    def _end(self) -> None:
        if self._safe is not None and not self._arguments.json:
            sys.stdout.write(self._safe.end())
            sys.stdout.flush()

    def _ended(self, task: Message) -> int:
        if task["state"] == "done":
            return 0
        if not self._arguments.json:
            print(f"asyncnb logs: {ended_text(task)}", file=sys.stderr)
        return 1


def ended_text(task: Message) -> str:
    """Return how a task has ended, in a line: ``'crawl' failed: ValueError: ...``."""
    note = f": {escape_control_chars(task['note'])}" if task["note"] else ""
    verb = {"done": "is done", "cancelled": "was cancelled"}.get(task["state"], task["state"])
    return f"{escape_control_chars(task['name'])!r} {verb}{note}"


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 15:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)
