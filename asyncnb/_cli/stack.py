"""``asyncnb stack [NAME]``: where a task is, or without a name the kernel's main thread."""

from __future__ import annotations

import argparse
import json

from asyncnb._cli.options import add_kernel_option
from asyncnb._client.choose import choose_kernel, find_task


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
    """Print the stack."""
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
        print(answer["text"])
    return 0
