"""``asyncnb pause``: pauses tasks at their next await."""

from __future__ import annotations

import argparse

from asyncnb._cli import change
from asyncnb._cli.options import add_task_arguments as add_arguments

__all__ = ["add_arguments", "run"]


def run(arguments: argparse.Namespace) -> int:
    """Print the kernel's sentence on what was done."""
    return change.run(arguments, "pause_named")
