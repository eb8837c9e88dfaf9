"""The feed of this kernel: all its tasks, what its loop is doing, and the cell that awaits."""

from __future__ import annotations

import time
from collections.abc import Callable

from asyncnb._core.base.text import duration
from asyncnb._core.launched.registry import registry
from asyncnb._core.listing.rows import cut
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._core.loop.slow_steps import MIN_LAG
from asyncnb.widgets._commands import Commands
from asyncnb.widgets._feed import Feed
from asyncnb.widgets._subscription import Message


def kernel_feed(
    *,
    awaiting: Callable[[], bool] = bool,
    awaiting_cell: Callable[[], str | None] = lambda: None,
    deadlocks: Callable[[], list[str]] = list,
    detach: Callable[[], str] = str,
    stop_cell: Callable[[str], str] = lambda _: "",
) -> Feed:
    """Return a new feed of this kernel.

    ``awaiting`` says whether a cell is awaiting, and ``awaiting_cell`` returns its id, if it has
    one; ``deadlocks`` returns a line for each deadlock. ``detach`` moves that cell to the
    background and returns what to show, or raises CommandError with the reason if it cannot.
    ``stop_cell`` does the same for stopping the foreground cell with an id; it returns an empty
    text if another cell, or none, is in the foreground.
    """
    return Feed(
        registry,
        Commands(detach, stop_cell),
        loop_facts=lambda before: (
            loop_facts(before) | {"awaiting": awaiting(), "deadlocks": deadlocks()}
        ),
        summary_facts=lambda before: {
            "awaiting": awaiting_cell(),
            "blocked": blocked_facts(before.get("blocked")),
        },
    )


def loop_facts(before: Message) -> Message:
    """Return what the header shows of the loop; ``before`` is the previous result.

    The lag is rounded to a power of two, from 16 ms on, because it is never the same twice.
    ``highest`` is that of the last minute, with the step that took most of it, if there is one.
    """
    loop = running_embedded_loop()
    if loop is None:
        return {"state": "ended"}
    facts: Message = {"state": "running", "lag": 0}
    blocked = blocked_facts(before.get("blocked"))
    if blocked is not None:
        facts["blocked"] = blocked
    elif loop.watchdog is not None:
        milliseconds = int(1000 * loop.watchdog.lag)
        facts["lag"] = 1 << milliseconds.bit_length() - 1 if milliseconds >= 16 else 0
        highest = loop.watchdog.highest_lag
        if highest is not None and highest.seconds >= MIN_LAG:
            step = highest.step
            facts["highest"] = {
                "seconds": round(highest.seconds, 2),
                "name": "many short steps" if step is None else cut(step.name),
                "where": "" if step is None else step.where,
                "call": "" if step is None else step.call,
            }
        steps = loop.watchdog.steps.longest
        facts["longest"] = [f"{duration(step.seconds)}, {cut(str(step))}" for step in steps]
    return facts


def blocked_facts(before: Message | None) -> Message | None:
    """Return what blocks the loop, and since when; None if nothing does. ``before``: as above."""
    loop = running_embedded_loop()
    blocked = None if loop is None else loop.blocked
    if blocked is None:
        return None
    since = time.time() - blocked.seconds
    if before is not None and abs(before["since"] - since) < 1:
        since = before["since"]  # the watchdog counts in steps of its own period
    return {
        "since": since,
        "id": blocked.task_id,
        "name": blocked.name,
        "where": blocked.where,
        "call": blocked.call,
    }
