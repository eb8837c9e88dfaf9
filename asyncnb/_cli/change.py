"""``asyncnb cancel``, ``pause``, ``resume`` and ``limit``: the commands that change tasks."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from asyncnb._cli.escapes import escape_lines
from asyncnb._cli.options import add_kernel_option, add_task_arguments, check_task_arguments
from asyncnb._client.choose import Found, find_task, find_tasks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command that ``parser`` is for."""
    if not (parser.prog or "").endswith(" limit"):
        add_task_arguments(parser)
        return
    parser.add_argument("task", metavar="NAME", help="the name or id of the run")
    parser.add_argument("calls", metavar="N", help="a whole number, 1 or more")
    add_kernel_option(parser)


#: The verb of the protocol for each command.
VERBS: Final = {"cancel": "cancel_named", "pause": "pause_named", "resume": "resume_named"}


def run(arguments: argparse.Namespace) -> int:
    """Find the kernel that has the tasks, ask it, and print its sentence."""
    if arguments.command == "limit":
        return _limit(arguments)
    check_task_arguments(arguments)
    patterns, group = arguments.tasks, arguments.group
    found = find_tasks(patterns, arguments.kernel, group=group, timeout=arguments.timeout)
    return _send(arguments, found, VERBS[arguments.command], patterns=patterns, group=group)


def _limit(arguments: argparse.Namespace) -> int:
    calls = arguments.calls
    if not (calls.isascii() and calls.isdecimal() and len(calls) < 18 and int(calls) > 0):
        raise argparse.ArgumentError(None, f"N is a whole number, 1 or more, not {calls!r}")
    found = find_task(arguments.task, arguments.kernel, timeout=arguments.timeout)
    return _send(arguments, found, "limit", id=found.tasks[0]["id"], calls=int(calls))


def _send(arguments: argparse.Namespace, found: Found, verb: str, **given: Any) -> int:
    """Send ``verb`` to the kernel of ``found``, and close it; print the answer."""
    with found.kernel:
        text = str(found.kernel.ask(verb, arguments.timeout, **given).get("text", ""))
    if arguments.json:
        known = found.known
        answer = {"kernel": known.kernel.id, "notebook": known.notebook, "text": text}
        print(json.dumps(answer | {"total": found.total, "tasks": found.tasks}))
    else:
        print(escape_lines(text))
    return 0
