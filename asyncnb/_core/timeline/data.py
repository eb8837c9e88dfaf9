"""The facts of a timeline: what was recorded and launched, as plain numbers and texts."""

from __future__ import annotations

import asyncio
import fnmatch
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, cast

from asyncnb._core.base.errors import TaskNotFoundError
from asyncnb._core.introspection.call_graph import awaited_by
from asyncnb._core.introspection.info import ENDED
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import registry
from asyncnb._core.timeline.rows import is_elsewhere
from asyncnb._core.tracing.recording import Recording, recorder
from asyncnb._core.tracing.trace import Step, TaskTrace, trace_of

#: What a timeline can show; None: all launched tasks, and all other recorded ones.
Tasks = Any


def timeline_data(
    tasks: Tasks = None, *, grid: float | None = None, sampled: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """Return the facts of a timeline as plain numbers and texts, ready for JSON. Any thread.

    ``origin``: time 0 in seconds since the epoch; ``end``: the last moment; ``recorded``: whether
    any task was recorded; ``dropped``: steps that the bounded recordings lost; ``rows``: the tasks,
    a parent before its children. A row has ``id``, ``parent``, ``depth``, ``name``, ``state``,
    ``kind``, ``group``, ``cell``, ``error``, ``created``, ``started``, ``ended`` (None: not yet),
    ``recorded``, ``steps``, ``seconds`` (on the loop), ``runs`` (``[start, end]``), ``waits``
    (``[start, end, what, id of the task waited for or None]``), ``events`` (``[when, "cancel" or
    "timeout", message]``) and ``dropped``. ``edges``: ``[id of the task waited for, id of the one
    that waited, when it was woken or None]``. Times are seconds after ``origin``. ``sampled`` are
    more rows, which have ``sampled`` set.
    """
    recording = tasks if isinstance(tasks, Recording) else recorder
    rows = _rows(tasks, recording)
    steps = recording.steps_of()
    now = recording.now() + recording.epoch
    facts = [_facts(row, recording, steps, now) for row in rows]
    if sampled:
        known = {row["id"] for row in (*facts, *sampled)}
        facts += [row for row in sampled if row["parent"] in known]
    starts = [row["created"] for row in facts]
    origin = min(starts, default=now)
    ends = [row["ended"] if row["ended"] is not None else now for row in facts]
    known = {row["id"] for row in facts}
    data: dict[str, Any] = {
        "origin": origin,
        "end": max(ends, default=now),
        "live": any(row["ended"] is None for row in facts),
        "recorded": any(row["recorded"] for row in facts),
        "dropped": sum(row["dropped"] for row in facts),
        "rows": _as_tree(facts),
        "edges": [edge for edge in _edges(rows, recording) if {*edge[:2]} <= known],
    }
    _shift(data, origin, grid)
    return data


def _rows(tasks: Tasks, recording: Recording) -> list[TaskRecord | TaskTrace]:
    """Return the records of launched tasks, and the traces of others that were recorded."""
    traces = list(recording.traces.values())
    if tasks is None:
        records = list(registry.records())
    elif isinstance(tasks, Recording):
        # A task's record outlives its place in the registry's history.
        records = [
            cast(TaskRecord, record) for trace in traces if (record := trace.record) is not None
        ]
    else:
        records, wanted = _asked_for(tasks, traces)
        return [*records, *_with_children(records, wanted, traces)]
    return [*records, *(trace for trace in traces if trace.record is None)]


def _asked_for(tasks: Tasks, traces: list[TaskTrace]) -> tuple[list[TaskRecord], list[TaskTrace]]:
    if isinstance(tasks, str):
        records = list(registry.match(tasks))
        wanted = [
            trace
            for trace in traces
            if trace.record is None and fnmatch.fnmatchcase(trace.current_name(), tasks)
        ]
        if not records and not wanted:
            raise TaskNotFoundError(registry.no_match_message(tasks))
        return records, wanted
    several = tasks if isinstance(tasks, Iterable) and not asyncio.isfuture(tasks) else [tasks]
    found: tuple[list[TaskRecord], list[TaskTrace]] = ([], [])
    for task in several:
        if (record := getattr(task, "_record", None)) is not None:
            found[0].append(record)
        elif (trace := trace_of(task)) is not None:
            found[1].append(trace)
        else:
            what = (
                "was neither launched nor recorded" if asyncio.isfuture(task) else "is not a task"
            )
            raise TypeError(
                f"timeline() takes names, launched or recorded tasks, or a recording; {task!r} "
                f"{what}."
            )
    return found


def _with_children(
    records: list[TaskRecord], wanted: list[TaskTrace], traces: list[TaskTrace]
) -> list[TaskTrace]:
    """Return the recorded tasks in ``wanted``, and the descendants of all tasks asked for."""
    ids = {record.id for record in records} | {trace.id for trace in wanted}
    found = {trace.id: trace for trace in wanted}
    for trace in traces:  # parents come first
        if trace.parent in ids and trace.record is None:
            ids.add(trace.id)
            found.setdefault(trace.id, trace)
    return list(found.values())


def _facts(
    row: TaskRecord | TaskTrace, recording: Recording, steps: dict[int, list[Step]], now: float
) -> dict[str, Any]:
    trace = row if isinstance(row, TaskTrace) else row.trace
    epoch = recording.epoch
    if isinstance(row, TaskTrace):
        facts: dict[str, Any] = {
            "id": row.id, "parent": row.parent, "name": row.current_name(),
            "state": row.state, "kind": "loop", "group": None, "cell": "", "error": row.error,
            "created": row.created + epoch,
            "started": None if row.started is None else row.started + epoch,
            "ended": None if row.ended is None else row.ended + epoch,
        }  # fmt: skip
        if row.state not in ENDED and row.state != "pending":
            facts["state"] = "waiting"
    else:
        info = row.info()
        facts = {
            "id": info.id, "parent": info.parent, "name": info.name, "state": info.state,
            "kind": info.kind, "group": info.group, "cell": str(info.cell or ""),
            "error": info.error, "created": info.created, "started": info.started,
            "ended": info.ended,
        }  # fmt: skip
        if facts["ended"] is None and info.state in ENDED:
            facts["ended"] = now  # its callbacks are about to set it
        if info.state == "failed" and row.has_timed_out():
            facts["state"] = "timed out"
    for key in ("name", "group", "error"):
        if facts[key] is not None:  # a lone surrogate can be neither saved nor sent
            facts[key] = facts[key].encode("utf-8", "replace").decode()
    if trace is not None and trace.recording is not recording:
        trace = None  # another recording's
    facts |= {"recorded": trace is not None, "steps": 0, "seconds": 0.0, "dropped": 0}
    facts |= {"runs": [], "waits": [], "events": []}
    if trace is not None:
        _add_recorded(facts, trace, steps.get(trace.id, []), now)
    return facts


def _add_recorded(facts: dict[str, Any], trace: TaskTrace, steps: list[Step], now: float) -> None:
    epoch = trace.recording.epoch
    if trace.record is not None:
        # One clock for all that is drawn together: time.time() can be set while a task runs.
        facts["created"] = trace.created + epoch
        if facts["ended"] is not None and trace.ended is not None:
            facts["ended"] = trace.ended + epoch
    if trace.started is not None and not is_elsewhere(facts["kind"]):
        facts["started"] = trace.started + epoch
    facts["steps"], facts["seconds"] = trace.steps, trace.seconds
    facts["dropped"] = max(0, trace.steps - len(steps))
    facts["runs"] = [[step.start + epoch, step.end + epoch] for step in steps]
    for step, after in itertools.zip_longest(steps, steps[1:]):
        if after is not None:
            until = after.start + epoch
        elif trace.ended is None:
            until = now
        else:
            continue
        facts["waits"].append([step.end + epoch, until, _what(step), step.on])
    facts["events"] = [[when + epoch, what, text] for when, what, text in trace.events]


def _what(step: Step) -> str:
    if step.code is None:
        return "its turn"
    return step.code.co_qualname.replace("<locals>.", "")


def _edges(rows: list[TaskRecord | TaskTrace], recording: Recording) -> list[list[Any]]:
    """Return which task waited for which: as recorded at its end, or as of now if it is alive."""
    edges: list[list[Any]] = []
    for row in rows:
        trace = row if isinstance(row, TaskTrace) else row.trace
        if trace is not None and trace.ended is not None and trace.recording is recording:
            edges += [
                [trace.id, waiting, when + recording.epoch] for when, waiting in trace.awaited_by
            ]
            continue
        task = row.task() if isinstance(row, TaskTrace) else row.task
        if task is None or task.done():
            continue
        for waiting in awaited_by(task):
            other = getattr(waiting, "_record", None) or trace_of(waiting)
            if other is not None:
                edges.append([row.id, other.id, None])
    return edges


def _as_tree(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Order rows so that children follow their parent, and the tasks of a group are together."""
    ids = {row["id"] for row in rows}
    children: dict[Any, list[dict[str, Any]]] = {}
    groups: dict[str, float] = {}
    for row in sorted(rows, key=lambda row: (row["created"], abs(row["id"]))):
        parent = row["parent"] if row["parent"] in ids else None
        children.setdefault(parent, []).append(row)
        if row["group"]:
            groups.setdefault(row["group"], row["created"])
    children.get(None, []).sort(
        key=lambda row: (groups.get(row["group"], row["created"]), row["group"] or "")
    )
    ordered: list[dict[str, Any]] = []
    todo = [(row, 0) for row in reversed(children.get(None, []))]
    while todo:
        row, depth = todo.pop()
        ordered.append(row | {"depth": depth})
        todo += [(child, depth + 1) for child in reversed(children.get(row["id"], []))]
    return ordered


def _shift(data: dict[str, Any], origin: float, grid: float | None) -> None:
    """Count all times from ``origin``, rounded to microseconds or to the grid."""

    def at(when: float | None) -> Any:
        if when is None:
            return None
        if grid is None:
            return round(max(0.0, when - origin), 6)
        return round(round(max(0.0, when - origin) / grid) * grid, 6)

    data["end"] = at(data["end"])
    for row in data["rows"]:
        for key in ("created", "started", "ended"):
            row[key] = at(row[key])
        row["runs"] = [[at(start), at(end)] for start, end in row["runs"]]
        row["waits"] = [[at(start), at(end), *rest] for start, end, *rest in row["waits"]]
        row["events"] = [[at(when), *rest] for when, *rest in row["events"]]
        if grid is not None:
            row["seconds"] = at(origin + row["seconds"])
            row["waits"] = [wait for wait in row["waits"] if wait[0] < wait[1]]
            row["runs"] = [list(run) for run in dict.fromkeys(map(tuple, row["runs"]))]
    data["edges"] = [[source, to, at(when)] for source, to, when in data["edges"]]
    if grid is not None:
        data["origin"] = 0.0
