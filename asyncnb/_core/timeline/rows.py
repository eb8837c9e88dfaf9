"""The lines of a drawn timeline (a group, a task, or many tasks in one), and how they look."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from asyncnb._core.base.text import duration


class Bar(NamedTuple):
    """How one kind of bar looks: its word in the legend, its character, its width and dashes."""

    word: str
    char: str
    width: int
    dashes: str = ""


class End(NamedTuple):
    """How the end of a bar looks: its word in the legend, and the path of its sign at 0, 0."""

    word: str
    path: str


# What the picture, the text and the page draw. They share these, so that they look alike.

#: The kinds of bars of :func:`spans`, in the order of drawing: later ones cover earlier ones.
BARS = {
    "pending": Bar("not started", "·", 2, "1.5 3.5"),
    "wait": Bar("waiting", "─", 2),
    "life": Bar("alive", "━", 8),
    "thread": Bar("in a thread", "▒", 10, "5 1.5"),
    "worker": Bar("in a worker", "▓", 10, "9 2"),
    "stop": Bar("cancelled, cleaning up", "╌", 6, "2 2"),
    "run": Bar("running", "█", 12),
}
#: The ends of bars, as :func:`end_of` names them: each has its own shape.
ENDS = {
    "done": End("done", "m-4 0l3 3.5l5 -7"),
    "failed": End("failed", "m-4 -4l8 8m0 -8l-8 8"),
    "cancelled": End("cancelled", "m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0m1.3 3.2l6.4 -6.4"),
    "timed out": End("timed out", "m-4 -5h8l-8 10h8z"),
    "alive": End("still running", "m-3 -4l6 4l-6 4"),
    "paused": End("paused", "m-2.5 -4v8m5 -8v8"),
    "pending": End("not started yet", "m-4 -1v2m4 -2v2m4 -2v2"),
}
#: What can reach a task from outside, by its word in ``events``.
MARKS = {"cancel": "cancellation", "timeout": "timeout"}
#: What an arrow from the end of one task to another one means.
ARROW = "wakes the waiting task"

#: The character of each end of a bar in a timeline of text.
SIGNS = {
    "done": "✓",
    "failed": "✗",
    "cancelled": "⊘",
    "timed out": "⧖",
    "alive": "▶",
    "paused": "‖",
    "pending": "◌",
}


class Line(NamedTuple):
    """One line: its tasks (none for the heading of a group), and its label."""

    rows: tuple[dict[str, Any], ...]
    label: str
    depth: int


def lines(data: dict[str, Any], most: int) -> list[Line]:
    """Return about ``most`` lines at most: beyond that, siblings with similar names share one."""
    rows = data["rows"]
    if len(rows) <= most:
        return _with_groups([Line((row,), row["name"], row["depth"]) for row in rows])
    families: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        stem = re.sub(r"\d+", "#", row["name"])
        families.setdefault((row["group"], row["parent"], stem), []).append(row)
    if len(families) > most:  # grandchildren of many parents: ignore the parents
        families = {}
        for row in rows:
            stem = re.sub(r"\d+", "#", row["name"])
            families.setdefault((row["group"], row["depth"], stem), []).append(row)
    # The largest families become one line each until the others fit.
    count, merged = len(rows), set[tuple[Any, ...]]()
    for key, family in sorted(families.items(), key=lambda item: -len(item[1])):
        if count <= most or len(family) == 1:
            break
        merged.add(key)
        count -= len(family) - 1
    found, others = [], []
    for key, family in families.items():
        if key in merged:
            found.append(Line(tuple(family), f"{key[2]} × {len(family)}", family[0]["depth"]))
        else:
            found += [Line((row,), row["name"], row["depth"]) for row in family]
    if len(found) > most:
        found, rest = found[: most - 1], found[most - 1 :]
        others = [row for line in rest for row in line.rows]
        found.append(Line(tuple(others), f"others × {len(others)}", 0))
    if not others:
        order = {row["id"]: number for number, row in enumerate(rows)}
        found.sort(key=lambda line: order[line.rows[0]["id"]])
    return _with_groups(found)


def _with_groups(found: Sequence[Line]) -> list[Line]:
    """Put a heading before the tasks of each group, which follow each other."""
    out: list[Line] = []
    group = None
    for line in found:
        here = line.rows[0]["group"] if line.depth == 0 else group
        if here != group and here is not None:
            out.append(Line((), f"group {here}", 0))
        group = here
        out.append(line._replace(depth=line.depth + 1) if here is not None else line)
    return out


def verdict(line: Line) -> str:
    """Return the states of the tasks of a line, and how long a single one took, in words."""
    if len(line.rows) == 1:
        row = line.rows[0]
        word = row["state"]
        if row["error"] and word == "failed":
            word = f"failed: {row['error']}"
        if row["ended"] is not None and row["started"] is not None:
            return f"{word}, {duration(row['ended'] - row['started'], fine=True)}"
        return str(word)
    counts: dict[str, int] = {}
    for row in line.rows:
        counts[row["state"]] = counts.get(row["state"], 0) + 1
    return ", ".join(f"{number} {state}" for state, number in counts.items())


def spans(row: dict[str, Any], end: float) -> list[tuple[str, float, float]]:
    """Return the parts of a row's bar as (kind, start, end), in order of time and without gaps.

    The picture, the text and the page all draw these. Kinds: ``pending``, ``run``, ``wait``,
    ``stop`` (cancelled, cleaning up), ``thread``, ``worker`` (in another process), and ``life`` if
    the steps were not recorded. A task that runs elsewhere is pending until a worker has begun it.
    """
    until = end if row["ended"] is None else row["ended"]
    # A worker on another machine has another clock.
    started = until if row["started"] is None else max(row["created"], row["started"])
    found = [("pending", row["created"], started)]
    if row["kind"] == "thread" or is_elsewhere(row["kind"]):
        # The steps on the loop of such a task, recorded or not, only wait for it.
        found.append(("thread" if row["kind"] == "thread" else "worker", started, until))
    elif not row["recorded"]:
        found.append(("life", started, until))
    else:
        at = started
        for run_start, run_end in row["runs"]:
            found += _waiting(at, run_start, row["events"])
            found.append(("run", run_start, run_end))
            at = max(at, run_end)
        found += _waiting(at, until, row["events"])
    return [(kind, start, stop) for kind, start, stop in found if stop > start or kind == "run"]


def is_elsewhere(kind: str) -> bool:
    """Return whether tasks of this kind run in a worker: a process, an executor or a cluster."""
    return kind not in ("loop", "kernel", "thread")


def end_of(row: dict[str, Any]) -> str:
    """Return how the end of a row's bar looks: a key of ``ENDS``, or "" if it is not known."""
    if row["ended"] is not None or row["state"] in ("paused", "pending"):
        return row["state"] if row["state"] in ENDS else ""
    return "alive"


def _waiting(start: float, end: float, events: list[Any]) -> list[tuple[str, float, float]]:
    """Return the parts of a wait: after a cancellation it is that of a task that is stopping."""
    found, stopping = [], False
    for when, what, _ in events:
        if start < when < end:
            found.append(("stop" if stopping else "wait", start, when))
            start = when
        if when < end:
            stopping = what != "on"
    return [*found, ("stop" if stopping else "wait", start, end)] if end > start else found


def deliveries(row: dict[str, Any]) -> list[tuple[float, str]]:
    """Return when a cancellation or timeout reached the task's code, and which."""
    return [(when, what) for when, what, _ in row["events"] if what != "on"]


def ticks(end: float, most: int) -> list[float]:
    """Return round times from 0 to ``end``, about ``most`` at most."""
    if end <= 0:
        return [0.0]
    step = 10.0**-7
    while end / step > most:
        for factor in (2, 2.5, 2):
            step *= factor
            if end / step <= most:
                break
    return [round(number * step, 9) for number in range(int(end / step + 1e-9) + 1)]


def tick_label(when: float, end: float) -> str:
    """Return a time for the axis, in seconds and without superfluous digits."""
    return f"{when:.9f}".rstrip("0").rstrip(".") if end < 10 else f"{when:g}"


def notes(data: dict[str, Any]) -> list[str]:
    """Return sentences that a reader needs besides the picture."""
    found = []
    if data["dropped"]:
        found.append(f"{data['dropped']:,} older steps were not kept: a recording is bounded.")
    elif not data["recorded"]:
        found.append(
            "Steps and waits were not recorded; %%atask --trace or launch(..., trace=True) records "
            "them."
        )
    if any(row.get("sampled") for row in data["rows"]):
        found.append(
            "Tasks inside others that were not recorded are sampled: they are shown from when they "
            "were first seen, while this timeline was open."
        )
    return found
