"""In which thread's list of tasks a task stands, since Python 3.14.

A C task stands in a list of the thread that constructs it, and ``all_tasks()`` on the loop's
thread reads only that thread's (CPython's InternalDocs/asyncio.md; gh-128869). So a task that was
constructed in another thread leaves that list at once and enters the one of the loop's thread
before its first step, by the calls that "Extending asyncio" documents. A task left in the list of
a foreign thread is not found when the loop shuts down, and crashes the interpreter when that
exits.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

#: Enter a task into the calling thread's list, take it out of the list it is in; None where there
#: are no such lists.
register: Callable[[Any], None] | None = None
unregister: Callable[[Any], None] | None = None
if sys.version_info >= (3, 14):
    register, unregister = asyncio._register_task, asyncio._unregister_task
