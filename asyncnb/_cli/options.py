"""The options that several commands have."""

from __future__ import annotations

import argparse
import math

from asyncnb._client.kernel import PATIENCE


def add_kernel_option(parser: argparse.ArgumentParser, *, patience: bool = True) -> None:
    """Add ``--kernel``, and with ``patience`` ``--timeout``; see `asyncnb._client.choose`."""
    parser.add_argument(
        "-k",
        "--kernel",
        metavar="K",
        help="the kernel: the name or path of its notebook, its id or the beginning of it, its "
        "pid, or its connection file",
    )
    if patience:
        add_timeout_option(parser)


def add_timeout_option(
    parser: argparse.ArgumentParser,
    default: float | None = PATIENCE,
    help: str = f"how long a kernel has to answer; the default is {PATIENCE:g}",
) -> None:
    """Add ``--timeout``: how long kernels have to answer, unless ``help`` says otherwise."""
    parser.add_argument("--timeout", metavar="SECONDS", type=_seconds, default=default, help=help)


def add_task_arguments(parser: argparse.ArgumentParser, *, patience: bool = True) -> None:
    """Add names of tasks, and ``--group`` and ``--kernel``; ``patience`` as above."""
    parser.add_argument(
        "tasks",
        nargs="*",
        metavar="NAME",
        help='a task\'s name or id, or a pattern such as "page*", in quotes',
    )
    parser.add_argument(
        "-g", "--group", help="the tasks of this group; with names, those that match"
    )
    add_kernel_option(parser, patience=patience)


def check_task_arguments(arguments: argparse.Namespace) -> None:
    """Raise argparse.ArgumentError if neither a name nor a group was given."""
    if not arguments.tasks and arguments.group is None:
        command = f"asyncnb {arguments.command}"
        raise argparse.ArgumentError(
            None, f'name a task, as in `{command} NAME`; `{command} "*"` means all of them'
        )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
