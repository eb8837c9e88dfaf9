"""What a drawn timeline has on each of its lines: a group, a task, or many tasks in one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from asyncnb._core.base.text import duration

#: Sign and word of each way a task can be; the sign alone tells them apart too.
SIGNS = {
    "done": "✓",
    "failed": "✗",
    "cancelled": "⊘",
    "timed out": "⧖",
    "pending": "·",
    "running": "▶",
    "waiting": "▶",
    "paused": "‖",
    "cancelling": "▶",
}


class Line(NamedTuple):
    """One line: the tasks on it (none on the heading of a group), and what it is called."""

    rows: tuple[dict[str, Any], ...]
    label: str
    depth: int


def lines(data: dict[str, Any], most: int) -> list[Line]:
    """Return at most about ``most`` lines: like-named siblings share one when there are more."""
    rows = data["rows"]
    if len(rows) <= most:
        return _with_groups([Line((row,), row["name"], row["depth"]) for row in rows])
    families: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        stem = re.sub(r"\d+", "#", row["name"])
        families.setdefault((row["group"], row["parent"], stem), []).append(row)
    if len(families) > most:  # grandchildren of many parents: leave the parents out of it
        families = {}
        for row in rows:
            stem = re.sub(r"\d+", "#", row["name"])
            families.setdefault((row["group"], row["depth"], stem), []).append(row)
    # The largest families become one line each until the rest fits.
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
    """Put a heading before the tasks of each group, which stand together."""
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
    """Return what a row's bar is made of: (kind, start, end), in order of time, touching.

    The picture, the text and the page all draw these. Kinds: ``pending``, ``run``, ``wait``,
    ``stop`` (asked to end, cleaning up), ``thread``, and ``life`` where the steps were not
    recorded.
    """
    until = end if row["ended"] is None else row["ended"]
    started = until if row["started"] is None else row["started"]
    found = [("pending", row["created"], started)]
    if row["kind"] == "thread" or not row["recorded"]:
        found.append(("thread" if row["kind"] == "thread" else "life", started, until))
    else:
        at = started
        for run_start, run_end in row["runs"]:
            found += _waiting(at, run_start, row["marks"])
            found.append(("run", run_start, run_end))
            at = max(at, run_end)
        found += _waiting(at, until, row["marks"])
    return [(kind, start, stop) for kind, start, stop in found if stop > start or kind == "run"]


def _waiting(start: float, end: float, marks: list[Any]) -> list[tuple[str, float, float]]:
    """Return a wait as what it was: of a task on its way out from a cancellation on."""
    found, stopping = [], False
    for when, what, _ in marks:
        if start < when < end:
            found.append(("stop" if stopping else "wait", start, when))
            start = when
        if when < end:
            stopping = what != "on"
    return [*found, ("stop" if stopping else "wait", start, end)] if end > start else found


def struck(row: dict[str, Any]) -> list[tuple[float, str]]:
    """Return when a cancellation or timeout reached the task's code, and which."""
    return [(when, what) for when, what, _ in row["marks"] if what != "on"]


def ticks(end: float, most: int) -> list[float]:
    """Return round times from 0 to ``end``, at most about ``most``."""
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
    """Return a time for the axis, in seconds without needless digits."""
    return f"{when:.9f}".rstrip("0").rstrip(".") if end < 10 else f"{when:g}"


def notes(data: dict[str, Any]) -> list[str]:
    """Return what a reader has to know besides the picture."""
    if data["dropped"]:
        return [f"{data['dropped']:,} older steps are not kept: a recording is bounded."]
    if not data["recorded"]:
        return ["Steps and waits were not recorded: %%atask --trace, launch(..., trace=True)."]
    return []
