"""A timeline as trace events, the format of chrome://tracing that Perfetto reads.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any

from asyncnb._core.timeline.rows import BARS, is_elsewhere, spans

Event = dict[str, Any]


def trace_events(data: dict[str, Any]) -> list[Event]:
    """Return ``data`` of :func:`timeline_data` as trace events, in order of time.

    There is a process for each group and one for the tasks without a group, and a thread for each
    task. On it is a slice for the task's life, which contains slices for its steps and waits. An
    arrow goes from the end of a task to the next step of the task that waited for it.
    """
    processes: dict[Any, int] = {None: 1}
    places: dict[int, tuple[int, int]] = {}
    events: list[Event] = []
    for number, row in enumerate(data["rows"], 1):
        pid = processes.setdefault(row["group"], len(processes) + 1)
        places[row["id"]] = (pid, number)
    for group, pid in processes.items():
        name = "asyncnb tasks" if group is None else f"group {group}"
        events.append(_meta("process_name", pid, 0, {"name": name}))
        events.append(_meta("process_sort_index", pid, 0, {"sort_index": pid}))
    for row in data["rows"]:
        pid, tid = places[row["id"]]
        events.append(_meta("thread_name", pid, tid, {"name": row["name"]}))
        events.append(_meta("thread_sort_index", pid, tid, {"sort_index": tid}))
    timed: list[Event] = []
    for row in data["rows"]:
        timed += _task_events(row, data, *places[row["id"]])
    timed += _arrows(data, places)
    # Of slices that begin at the same time, the longer one encloses the other.
    timed.sort(key=lambda event: (event["ts"], -event.get("dur", 0.0)))
    return events + timed


def _meta(name: str, pid: int, tid: int, args: Event) -> Event:
    return {"name": name, "ph": "M", "ts": 0, "pid": pid, "tid": tid, "args": args}


def _task_events(row: Event, data: dict[str, Any], pid: int, tid: int) -> list[Event]:
    end = data["end"] if row["ended"] is None else row["ended"]
    args = {
        key: row[key]
        for key in ("id", "parent", "state", "kind", "group", "cell", "error", "steps")
        if row[key] not in (None, "")
    }
    at: Event = {"pid": pid, "tid": tid}
    found = [_slice(row["name"], "task", row["created"], end, at, args)]
    if row["started"] is not None and row["started"] > row["created"]:
        found.append(_slice("not started", "pending", row["created"], row["started"], at, {}))
    names = {other["id"]: other["name"] for other in data["rows"]}
    if is_elsewhere(row["kind"]):  # its steps on the loop only wait for it
        parts = [span for span in spans(row, data["end"]) if span[0] == "worker"]
        found += [_slice(BARS[kind].word, kind, start, stop, at, {}) for kind, start, stop in parts]
        row = row | {"runs": [], "waits": []}
    for start, stop in row["runs"]:
        found.append(_slice("run", "run", start, min(stop, end), at, {}))
    for start, stop, what, on in row["waits"]:
        name = f"wait for {names[on]}" if on in names else f"wait in {what}"
        found.append(_slice(name, "wait", start, min(stop, end), at, {"in": what}))
    for when, what, text in row["events"]:
        if what == "on":
            continue
        found.append(
            at | {"name": what, "cat": what, "ph": "i", "s": "t", "ts": _us(when)}
            | {"args": {"message": text} if text else {}}
        )  # fmt: skip
    return found


def _slice(name: str, kind: str, start: float, end: float, at: Event, args: Event) -> Event:
    begin = _us(start)
    return at | {
        "name": name, "cat": kind, "ph": "X", "ts": begin,
        "dur": round(max(0.0, _us(end) - begin), 3), "args": args,
    }  # fmt: skip


def _arrows(data: dict[str, Any], places: dict[int, tuple[int, int]]) -> list[Event]:
    rows = {row["id"]: row for row in data["rows"]}
    found: list[Event] = []
    for number, (source, to, when) in enumerate(data["edges"], 1):
        if when is None:
            continue  # both are still waiting: the wait's name says so
        arrival = next((run[0] for run in rows[to]["runs"] if run[0] >= when), None)
        if arrival is None:
            continue
        step = max((run[0] for run in rows[source]["runs"] if run[0] <= when), default=when)
        common = {"name": "awaited", "cat": "await", "id": number}
        pid, tid = places[source]
        found.append(common | {"ph": "s", "ts": _us(step), "pid": pid, "tid": tid})
        pid, tid = places[to]
        found.append(common | {"ph": "f", "bp": "e", "ts": _us(arrival), "pid": pid, "tid": tid})
    return found


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 3)


def _beside(target: str) -> str:
    return f"{target}.{os.getpid()}-{threading.get_ident()}.part"


def write_whole(path: Any, text: str) -> None:
    """Write ``text`` to the file ``path`` atomically.

    Raises OSError with the reason if that fails; an existing file is unchanged then.
    """
    path = os.fspath(path)
    target = os.path.realpath(path)
    # An existing pipe or device (/dev/stdout) is written to; a file is replaced.
    beside = None if os.path.exists(target) and not os.path.isfile(target) else _beside(target)
    try:
        with open(beside or target, "w", encoding="utf-8") as file:
            file.write(text)
        if beside is not None:
            os.replace(beside, target)
    except OSError as exc:
        if beside is not None:
            with contextlib.suppress(OSError):
                os.unlink(beside)
        problem = f"The trace could not be written: {exc.strerror}"
        raise OSError(exc.errno, problem, path) from None
