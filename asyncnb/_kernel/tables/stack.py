"""``%tasks stack``: where a task is, what it waits for, and what waits for it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from asyncnb._core.base.text import duration
from asyncnb._core.introspection.info import ENDED, TaskInfo
from asyncnb._core.introspection.stack import await_chain, awaited_by, worker_of


def describe_stack(task: asyncio.Task[Any], info: TaskInfo) -> str:
    """Return the text for ``task``. Any thread; the loop may be blocked."""
    places = await_chain(task)
    lines = [_head(info)]
    if info.state not in ENDED and worker_of(task) is not None:
        lines.append("its thread is at:")
    elif info.error is not None and places:
        lines.append("failed at:")
    for place in places:
        lines += [f"  {line}" for line in str(place).splitlines()]
    if not places and info.state not in ENDED:
        lines.append("  none of your code is in its stack")
    if info.waiting_on is not None:
        lines.append(f"waits for: {info.waiting_on}")
    waiters = [repr(waiter.get_name()) for waiter in awaited_by(task)]
    if waiters:
        lines.append(f"awaited by: {', '.join(waiters)}")
    return "\n".join(lines)


def _head(info: TaskInfo) -> str:
    now = time.time()
    parts = [f"{info.name}: {info.state}"]
    if info.error:
        parts[0] += f" ({info.error.partition(chr(10))[0]})"
    if info.ended is not None:
        parts.append(f"{duration(now - info.ended)} ago")
    elif info.started is not None:
        parts.append(f"started {duration(now - info.started)} ago")
    if info.cell is not None and str(info.cell):
        parts.append(f"{'launched' if info.id > 0 else 'created'} by {info.cell}")
    return ", ".join(parts)
