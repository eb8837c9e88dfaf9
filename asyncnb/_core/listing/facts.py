"""One task as an object with names, for JSON: the same in each answer and in each table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asyncnb._core.introspection.info import STATES, TaskInfo
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.listing.detail import waits_for, without_countdown
from asyncnb._core.listing.rows import Calls, Numbers, Texts, cut, row_of, sendable

#: The version of the protocol. A change that a client has to know of is a new version.
VERSION: Final = 1
#: The mime type of a list of tasks as JSON. No front end shows it: users see the table beside it.
MIME_TYPE: Final = "application/vnd.asyncnb.tasks+json"
#: The fields that only tasks have for which there is something to say.
MORE: Final = (
    *(
        "error",
        "retrieved",
        "cpu",
        "steps",
        "worker",
        "rounds",
        "failures",
        "skipped",
        "next_run",
        "after",
    ),
    *("follows", "calls"),
)

Facts = dict[str, Any]


def facts_of(record: TaskRecord, now: float) -> Facts:
    """Return what is known of a launched task. ``now`` is ``time.time()``. Any thread."""
    row = row_of(record, now)
    found: Facts = row.numbers._asdict() | row.texts._asdict()
    found["state"] = state = STATES[row.numbers.state]
    found["waits_for"] = "" if record.ended is not None else cut(waits_for(record))
    found["created"] = record.created
    more: Facts = {"cpu": record._cpu_seconds(), "worker": record.placement.worker or None}
    if record.trace is not None:
        more["steps"] = record.trace.steps
    if state == "failed":
        more["error"] = cut(record.error() or "")
        more["retrieved"] = not record.is_unseen() or None
    if (rounds := record.rounds) is not None:
        more["error"] = more.get("error") or cut(rounds.last_error or "")
        more["rounds"] = rounds.done if record.repeats else None
        more["failures"] = (rounds.failed if record.repeats else rounds.attempts) or None
        more["skipped"] = rounds.skipped or None
        more["next_run"] = rounds.next_run
    if record.after is not None:
        more["after"] = list(record.after.names)
        more["follows"] = record.after.follows or None
    if row.calls is not None:
        more["calls"] = {name: getattr(row.calls, name) for name in Calls._fields[1:]}
    return found | {name: value for name, value in more.items() if value not in (None, "")}


def facts_of_info(info: TaskInfo) -> Facts:
    """Return what is known of a task that was not launched: the same fields."""
    texts = Texts(
        id=info.id,
        name=cut(info.name),
        group=info.group,
        parent=info.parent,
        cell=0 if info.cell is None else info.cell.number,
        cell_id=None if info.cell is None else info.cell.id,
        kind=info.kind,
        note=cut((info.error or "").partition("\n")[0]),
        notify=False,
    )
    found: Facts = dict.fromkeys(Numbers._fields) | texts._asdict()
    found |= {"state": info.state, "waits_for": cut(without_countdown(info.waiting_on or ""))}
    found["created"] = info.created or None
    return found | ({"error": cut(info.error)} if info.error else {})


def listing(tasks: list[Facts], total: int, groups: Mapping[str, Facts], now: float) -> Facts:
    """Return a list of tasks as JSON has it; ``total`` counts those that are left out, too."""
    sent: Facts = sendable({"tasks": tasks, "groups": dict(groups)})
    return {"version": VERSION, "now": now, "total": total, **sent}
