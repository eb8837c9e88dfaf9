"""``asyncnb limit NAME N``: sets how many calls a run of ``asyncnb.map`` makes at a time."""

from __future__ import annotations

import argparse

from asyncnb._cli import change
from asyncnb._cli.options import add_kernel_option
from asyncnb._client.choose import find_task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``asyncnb limit``."""
    parser.add_argument("task", metavar="NAME", help="the name or id of the run")
    parser.add_argument("calls", metavar="N", help="a whole number, 1 or more")
    add_kernel_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the kernel's sentence on what was done."""
    calls = arguments.calls
    if not (calls.isascii() and calls.isdecimal() and int(calls) > 0):
        raise argparse.ArgumentError(None, f"N is a whole number, 1 or more, not {calls!r}")
    found = find_task(arguments.task, arguments.kernel, timeout=arguments.timeout)
    return change.send(arguments, found, "limit", id=found.tasks[0]["id"], calls=int(calls))
