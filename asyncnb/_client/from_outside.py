"""Prints the stacks and the tasks of another process of this Python; its argument is the pid.

A script for the kernel's own interpreter, 3.14 or later, which need not have asyncnb: only a Python
of the same version knows where things are in that process. It imports the standard library alone.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

#: Exit codes: what the command reports.
TOO_OLD = 3
NOT_ALLOWED = 4


def main(pid: int) -> int:
    """Print the stacks of all threads, outermost frame first, and the tree of tasks."""
    if sys.version_info >= (3, 14):
        from asyncio import tools

        from _remote_debugging import RemoteUnwinder

        return _read(pid, RemoteUnwinder, tools.display_awaited_by_tasks_tree)
    print(sys.version.split()[0])
    return TOO_OLD


def _read(pid: int, unwinder: Any, print_tasks: Callable[[int], object]) -> int:
    try:
        found = unwinder(pid, all_threads=True).get_stack_trace()
    except PermissionError as exc:
        print(exc)
        return NOT_ALLOWED
    # Since 3.15 a list of interpreters, before one of threads.
    threads = [thread for each in found for thread in getattr(each, "threads", None) or [each]]
    threads.sort(key=lambda thread: thread.thread_id != pid)  # the main thread first
    _print(threads[:1], pid)
    which = "" if hasattr(found[0], "threads") else " of the main thread; Python 3.15 sees all"
    print(f"tasks{which}:")
    try:
        print_tasks(pid)
    except Exception:  # a process that runs may change while it is read
        print(f"  {traceback.format_exc(limit=0).splitlines()[-1]}")
    _print(threads[1:], pid)
    return 0


def _print(threads: list[Any], pid: int) -> None:
    for thread in threads:
        which = "main thread" if thread.thread_id == pid else f"thread {thread.thread_id}"
        print(f"{which}:")
        for frame in reversed(thread.frame_info):
            print(f"  {frame.filename}, line {_line(frame)}, in {frame.funcname}()")


def _line(frame: Any) -> Any:
    at = getattr(frame, "location", None)
    return frame.lineno if at is None else at.lineno


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
