"""The per-thread lists of tasks of Python 3.14 and later, and which one a task is in.

A C task is added to a list of the thread that constructs it, and ``all_tasks()`` on the loop's
thread reads only that thread's list (CPython's InternalDocs/asyncio.md; gh-128869). So a task that
was constructed in another thread is removed from that list at once and added to the list of the
loop's thread before its first step, by the calls that "Extending asyncio" documents. A task left in
the list of another thread is not found when the loop shuts down, and crashes the interpreter at
exit.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

#: Add a task to the calling thread's list; remove a task from the list it is in. None where Python
#: has no such lists.
register: Callable[[Any], None] | None = None
unregister: Callable[[Any], None] | None = None
if sys.version_info >= (3, 14):
    register, unregister = asyncio._register_task, asyncio._unregister_task
