"""``asyncnb ps``: the kernels by the name of their notebook, and their tasks."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from asyncnb._client.errors import ClientError
from asyncnb._client.find import connection_files
from asyncnb._client.kernel import RemoteKernel, each
from asyncnb._core.base.text import count, duration, escape_control_chars


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``asyncnb ps``."""
    parser.add_argument("--all", action="store_true", help="ended tasks, too")


def run(arguments: argparse.Namespace) -> int:
    """Print all kernels and their tasks."""
    kernels = [facts(kernel) for kernel in each(connection_files())]
    if arguments.json:
        print(json.dumps({"kernels": kernels}))
        return 0
    if not kernels:
        print("No kernel is running.")
    for kernel in kernels:
        print(headline(kernel))
        now = kernel.get("now", time.time())
        for task in kernel.get("tasks", ()):
            if task["ended"] is None or arguments.all:
                age = duration((task["ended"] or now) - (task["started"] or now))
                print(
                    f"  {escape_control_chars(task['name'], 30):30}  {task['state']:10}  {age:>12}"
                )
    return 0


def facts(kernel: RemoteKernel) -> dict[str, Any]:
    """Return what ``--json`` says of a kernel."""
    found: dict[str, Any] = {"id": kernel.id, "file": str(kernel.path)}
    with kernel:
        if not kernel.listens():
            return found | {"state": "dead"}
        try:
            if not kernel.load_state():
                return found | {"state": "without asyncnb"}
            hello = kernel.ask("hello")
            listed = kernel.ask("list")
        except ClientError as exc:
            return found | {"state": "no answer", "error": str(exc)}
    keep = ("pid", "notebook", "asyncnb", "python", "ipykernel", "loop")
    found |= {"state": "alive", **{name: hello.get(name) for name in keep}}
    return found | {"now": listed["now"], "total": listed["total"], "tasks": listed["tasks"]}


def headline(kernel: dict[str, Any]) -> str:
    """Return the line above the tasks of a kernel."""
    name = kernel.get("notebook") or kernel["id"]
    if kernel["state"] != "alive":
        return f"{escape_control_chars(str(name))}  ({kernel['state']})"
    return (
        f"{escape_control_chars(str(name))}  pid {kernel['pid']}  {count(kernel['total'], 'task')}"
    )
