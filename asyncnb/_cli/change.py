"""What commands that change tasks have in common: find the kernel, ask it, print its sentence."""

from __future__ import annotations

import argparse
import json
from typing import Any

from asyncnb._cli.options import check_task_arguments
from asyncnb._client.choose import Found, find_tasks


def run(arguments: argparse.Namespace, verb: str) -> int:
    """Send ``verb`` to the kernel that has the tasks; return the exit code."""
    check_task_arguments(arguments)
    patterns = arguments.tasks
    found = find_tasks(patterns, arguments.kernel, group=arguments.group, timeout=arguments.timeout)
    return send(arguments, found, verb, patterns=patterns, group=arguments.group)


def send(arguments: argparse.Namespace, found: Found, verb: str, **given: Any) -> int:
    """Send ``verb`` to the kernel of ``found``, and close it; print the answer."""
    with found.kernel:
        text = str(found.kernel.ask(verb, arguments.timeout, **given).get("text", ""))
    if arguments.json:
        known = found.known
        answer = {"kernel": known.kernel.id, "notebook": known.notebook, "text": text}
        print(json.dumps(answer | {"total": found.total, "tasks": found.tasks}))
    else:
        print(text)
    return 0
