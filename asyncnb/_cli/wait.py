"""``asyncnb wait``: waits until tasks have ended, for scripts; the exit code says how."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from typing import Final

from asyncnb._cli.logs import ended_text
from asyncnb._cli.options import add_task_arguments, add_timeout_option, check_task_arguments
from asyncnb._client.choose import Found, find_tasks
from asyncnb._client.errors import ClientError
from asyncnb._client.held import HeldQuestion, poll
from asyncnb._client.wire import Message
from asyncnb._core.base.text import count, duration, escape_control_chars

#: The exit code after a timeout: that of timeout(1).
TIMED_OUT: Final = 124
#: Seconds after which the kernel answers even if nothing has ended.
HOLD: Final = 60.0
#: The most tasks that a kernel lists.
MOST: Final = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``asyncnb wait``."""
    add_task_arguments(parser, patience=False)
    add_timeout_option(parser, None, "wait at most this long; then the exit code is 124")
    parser.add_argument("--any", action="store_true", help="wait until one of them has ended")


def run(arguments: argparse.Namespace) -> int:
    """Wait for tasks; return the exit code."""
    check_task_arguments(arguments)
    with contextlib.ExitStack() as stack:
        return _Waiting(arguments, _find(arguments, stack), stack).run()


def _find(arguments: argparse.Namespace, stack: contextlib.ExitStack) -> list[Found]:
    """Return the tasks by kernel: each name may be in another one."""
    names = [[name] for name in arguments.tasks] or [[]]
    by_file: dict[object, Found] = {}
    for patterns in names:
        found = find_tasks(patterns, arguments.kernel, group=arguments.group)
        stack.enter_context(found.kernel)
        tasks = found.tasks
        if found.total > len(tasks):
            given = {"patterns": patterns, "group": arguments.group, "limit": MOST}
            tasks = found.kernel.ask("find", **given)["tasks"]
        if found.total > len(tasks):
            raise ClientError(
                f"These are {count(found.total, 'task')}; wait takes at most {MOST:,} at a time."
            )
        inner = next((task for task in tasks if task["id"] < 0), None)
        if inner is not None:
            raise ClientError(
                f"{escape_control_chars(inner['name'])!r} is inside another task: wait for that."
            )
        first = by_file.setdefault(found.kernel.path, Found(found.known, [], 0))
        known = {task["id"] for task in first.tasks}
        first.tasks += [task for task in tasks if task["id"] not in known]
    return list(by_file.values())


class _Part:
    """The tasks of one kernel that have not ended."""

    def __init__(self, found: Found, question: HeldQuestion) -> None:
        self.label = found.known.label
        self.left: list[int] = [task["id"] for task in found.tasks]
        self.names = {task["id"]: task["name"] for task in found.tasks}
        self.question = question


class _Waiting:
    """One run of the command."""

    def __init__(
        self, arguments: argparse.Namespace, found: list[Found], stack: contextlib.ExitStack
    ) -> None:
        self._arguments = arguments
        limit = arguments.timeout
        self._until = None if limit is None else time.monotonic() + limit
        self._parts = [
            _Part(each, stack.enter_context(HeldQuestion(each.kernel, each.known.label)))
            for each in found
        ]
        self._ended: list[Message] = []

    def run(self) -> int:
        for part in self._parts:
            self._ask(part, 0)  # what has ended already is listed first
        waiting = list(self._parts)
        while waiting and not (self._arguments.any and self._ended):
            if self._seconds_left() <= 0:
                return self._report(timed_out=True)
            poll([part.question for part in waiting], min(1.0, self._seconds_left()))
            for part in list(waiting):
                answer = part.question.read()
                if answer is None:
                    continue
                self._note(part, answer)
                if not part.left:
                    waiting.remove(part)
                elif not (self._arguments.any and self._ended):
                    self._ask(part, min(HOLD, self._seconds_left()))
        return self._report(timed_out=False)

    def _seconds_left(self) -> float:
        return HOLD if self._until is None else self._until - time.monotonic()

    def _ask(self, part: _Part, seconds: float) -> None:
        # One at a time, so that each is printed when it ends.
        part.question.ask("wait", max(0.0, seconds), tasks=part.left, any=True)

    def _note(self, part: _Part, answer: Message) -> None:
        for task in answer["tasks"]:
            self._ended.append(task)
            if not self._arguments.json:
                print(_line(task), flush=True)
        part.left = answer["left"]

    def _report(self, timed_out: bool) -> int:
        left = [part.names[id] for part in self._parts for id in part.left]
        if self._arguments.json:
            print(json.dumps({"timed_out": timed_out, "tasks": self._ended, "left": left}))
        elif timed_out:
            more = f" and {len(left) - 5} more" if len(left) > 5 else ""
            names = ", ".join(repr(escape_control_chars(name, 40)) for name in left[:5])
            limit = duration(self._arguments.timeout)
            text = f"after {limit} still waiting for {names}{more}"
            print(f"asyncnb wait: {text}", file=sys.stderr)
        if any(task["state"] != "done" for task in self._ended):
            return 1
        return TIMED_OUT if timed_out else 0


def _line(task: Message) -> str:
    took = "" if task["started"] is None else f" after {duration(task['ended'] - task['started'])}"
    head, colon, error = ended_text(task).partition(": ")
    return f"{head}{took}{colon}{error}"
