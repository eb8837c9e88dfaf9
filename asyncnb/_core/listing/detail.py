"""The details of an opened row: where the task is, what it waits for, output, traceback."""

from __future__ import annotations

import re
from typing import Any, Final

from asyncnb._core.introspection.stack import await_chain, awaited_by, waiting_on
from asyncnb._core.launched.adjustable import failures_of
from asyncnb._core.launched.record import TaskRecord

#: The most characters of output that are shown, from its end, and the most frames of a chain.
MAX_OUTPUT: Final = 20_000
MAX_FRAMES: Final = 60

_COUNTDOWN = re.compile(r", [0-9][^,]* left$")


def waits_for(record: TaskRecord) -> str:
    """Return what the task waits for in a few words; nothing while it runs."""
    return without_countdown(waiting_on(record.task) or "")


def without_countdown(waits: str) -> str:
    """Return ``waits`` without the seconds left, which would be a change twice a second."""
    return _COUNTDOWN.sub("", waits)


def detail_of(record: TaskRecord) -> dict[str, Any]:
    """Return what an opened row shows of its task. Any thread."""
    task = record.task
    found: dict[str, Any] = {"output": task.output[-MAX_OUTPUT:], "waits": waits_for(record)}
    traceback = ""
    if record.output is not None:
        errors = [value for kind, value in record.output.items() if kind == "error"]
        if errors:
            traceback = "\n".join(errors[-1][2])[-MAX_OUTPUT:]
    found["traceback"] = traceback
    if not task.done() or (task._exception is not None and not traceback):
        found["frames"] = [list(place) for place in await_chain(task)[-MAX_FRAMES:]]
    if record.adjustable is not None:
        found["failures"] = [list(each) for each in failures_of(record.adjustable)]
    found["awaited_by"] = [each.get_name() for each in awaited_by(task)[:MAX_FRAMES]]
    return found
