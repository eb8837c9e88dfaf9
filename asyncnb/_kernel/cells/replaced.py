"""The earlier run of a cell that is run again: it is cancelled, and ends first."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from asyncnb._core.primitives.tasks import Task

#: Seconds after which a run that replaces another reports that it waits for it, and gives up.
REPLACE_REPORT_SECONDS, REPLACE_SECONDS = 3.0, 60.0


async def ended(before: Sequence[Task[Any]]) -> None:
    """Wait for cancelled tasks to end, report those that do not, and give up eventually."""
    _, left = await asyncio.wait(before, timeout=REPLACE_REPORT_SECONDS)
    if not left:
        return
    names = ", ".join(repr(task.get_name()) for task in left)
    where = "".join(location_of(task) for task in list(left)[:1])
    ways = (
        "`--again keep` starts a run beside the earlier one; restarting the kernel always ends it."
    )
    print(
        f"asyncnb: the earlier run of {names} was cancelled and has not ended{where}. This run "
        f"waits for it, {REPLACE_SECONDS:g} s at most. {ways}",
        file=sys.stderr,
        flush=True,
    )
    _, left = await asyncio.wait(left, timeout=REPLACE_SECONDS - REPLACE_REPORT_SECONDS)
    if left:
        raise TimeoutError(
            f"The earlier run of {names} was cancelled {REPLACE_SECONDS:g} s ago and has not "
            f"ended{where}, so this one did not start. {ways}"
        )


def location_of(task: Task[Any]) -> str:
    """Return where ``task`` is, as `` (In[3], line 2: x = 1)``; "" if that is not known."""
    from asyncnb._core.introspection.stack import await_chain  # for a thread that does not end

    places = await_chain(task)
    if not places:
        return ""
    at = ([p for p in places if p.where.startswith("In[")] or places)[-1]
    return f" ({at.where}, line {at.line}{': ' + at.source if at.source else ''})"
