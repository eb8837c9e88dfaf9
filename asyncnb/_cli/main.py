"""The command ``asyncnb``: finds the subcommand, and imports only that.

Each subcommand is a module here with ``add_arguments(parser)`` and ``run(arguments)``, which
returns the exit code, and a first line that is its help.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from asyncnb._client.errors import ClientError

#: Subcommands with their help, in the order of ``asyncnb --help``.
COMMANDS: Final = {
    "ps": "list kernels and their tasks",
    "top": "watch tasks as they change, and control them",
    "logs": "print what a task has printed",
    "wait": "wait for tasks to end",
    "cancel": "cancel tasks",
    "pause": "pause tasks at their next await",
    "resume": "resume paused tasks",
    "limit": "set how many calls a run makes at a time",
    "stack": "show where a task is, or what the main thread does",
    "run": "run a notebook, and wait for its background tasks",
    "demo": "open the quick start in JupyterLab",
    "doctor": "find out what is missing, and how to fix it",
    "mcp": "serve agents: background cells as tools of the Model Context Protocol",
}

#: The modules of those that share one; the others have one of their name.
MODULES: Final = dict.fromkeys(("cancel", "pause", "resume", "limit"), "change")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 1 not done, 2 invalid arguments."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="asyncnb", description="Background tasks of notebooks, from a terminal."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    named = next((each for each in given if not each.startswith("-")), None)
    for name, help in COMMANDS.items():
        command = commands.add_parser(name, help=help, description=help)
        command.add_argument("--json", action="store_true", help="print JSON, for programs")
        if name == named:  # the others need not be imported
            _module(name).add_arguments(command)
    parsed = parser.parse_args(given)
    try:
        return int(_module(parsed.command).run(parsed))
    except argparse.ArgumentError as exc:  # what the parser cannot see
        return _fail(parsed, "UsageError", str(exc), 2)
    except ClientError as exc:
        return _fail(parsed, type(exc).__name__, str(exc), 1)
    except BrokenPipeError:  # `asyncnb logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _module(command: str) -> Any:
    return importlib.import_module(f"asyncnb._cli.{MODULES.get(command, command)}")


def _fail(parsed: argparse.Namespace, type: str, text: str, code: int) -> int:
    if parsed.json:
        print(json.dumps({"error": {"type": type, "text": text}}))
    else:
        print(f"asyncnb {parsed.command}: {text}", file=sys.stderr)
    return code
