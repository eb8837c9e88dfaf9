"""``asyncnb stack [NAME]``: where a task is, or without a name the kernel's main thread."""

from __future__ import annotations

import argparse
import json

from asyncnb._cli.escapes import escape_lines
from asyncnb._cli.options import add_kernel_option
from asyncnb._client.choose import choose_kernel, find_task
from asyncnb._client.errors import ClientError, NoAnswerError, NotLoadedError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``asyncnb stack``."""
    parser.add_argument(
        "task",
        nargs="?",
        metavar="NAME",
        help="the name or id of a task; without it, the stack of the kernel's main thread",
    )
    add_kernel_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the stack; of a kernel that does not answer, what can be read from outside."""
    try:
        return _ask(arguments)
    except (NoAnswerError, NotLoadedError) as exc:
        if exc.process is None:
            raise
        from asyncnb._client.outside import read  # seldom needed

        try:
            text = read(exc.process)
        except ClientError as missing:
            raise type(exc)(f"{exc}\n{missing}") from None
        if arguments.json:
            print(json.dumps({"pid": exc.process.pid, "why": str(exc), "text": text}))
        else:
            print(f"{exc}\nRead from outside, process {exc.process.pid}:\n{escape_lines(text)}")
        return 0


def _ask(arguments: argparse.Namespace) -> int:
    if arguments.task is None:
        known, task = choose_kernel(arguments.kernel, arguments.timeout), None
    else:
        found = find_task(arguments.task, arguments.kernel, timeout=arguments.timeout)
        known, task = found.known, found.tasks[0]["id"]
        if task < 0:  # of a task inside another one, whose path is its name
            task = found.tasks[0]["name"]
    with known.kernel as kernel:
        answer = kernel.ask("stack", arguments.timeout, task=task)
    if arguments.json:
        keep = {name: answer[name] for name in ("id", "text", "frames")}
        print(json.dumps({"kernel": kernel.id, "notebook": known.notebook} | keep))
    else:
        print(escape_lines(answer["text"]))
    return 0
