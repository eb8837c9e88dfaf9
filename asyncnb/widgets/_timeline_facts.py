"""The facts of a timeline, reduced to a size that can be sent to a page. Knows no widgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncnb._core.timeline.data import timeline_data
from asyncnb._core.timeline.rows import ARROW, BARS, ENDS, MARKS, end_of, notes, spans

#: The most that a page gets to draw; it has room for a thousand bars of one pixel at most.
MAX_ROWS = 2000
MAX_RUNS = 8000

#: How a page draws them, sent with the facts, so that it looks like the picture and the text.
LEGEND: dict[str, Any] = {
    "bars": {kind: bar._asdict() for kind, bar in BARS.items()},
    "ends": {end: sign._asdict() for end, sign in ENDS.items()},
    "marks": MARKS,
    "arrow": ARROW,
}


def facts(tasks: Any = None, sampled: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Return what ``mountTimeline`` of timeline.js draws, as of now.

    ``tasks`` as for ``asyncnb.timeline``, with its errors; ``sampled`` are rows of tasks that were
    seen by looks. Any thread.
    """
    return compact(timeline_data(tasks, sampled=sampled))


def compact(data: dict[str, Any]) -> dict[str, Any]:
    """Return ``data`` of ``timeline_data`` for a page to draw: the newest tasks, with fewer steps.

    Each row has ``bars`` instead of ``runs``: ``[kind, start, end]`` as ``spans`` returns them, and
    ``end``, as ``end_of`` does, so that a page draws what the picture and the text draw. Steps so
    close to each other that even a wide screen shows them as one are merged, without the waits
    between them; everything else stays.
    ``notes`` are sentences to show below, ``legend`` says how to draw it and what each shape means.
    """
    rows = data["rows"]
    left_out = max(0, len(rows) - MAX_ROWS)
    if left_out:
        newest = {row["id"] for row in sorted(rows, key=lambda row: row["created"])[left_out:]}
        rows = [row for row in rows if row["id"] in newest]
        edges = [edge for edge in data["edges"] if {*edge[:2]} <= newest]
        data = data | {"edges": edges}
    if sum(len(row["runs"]) for row in rows) > MAX_RUNS:
        # A few tasks may have most of the steps; this gives every task its share.
        share = max(20, MAX_RUNS // max(1, sum(1 for row in rows if row["runs"])))
        rows = [_thinned(row, share) for row in rows]
    return data | {
        "rows": [_with_bars(row, data["end"]) for row in rows],
        "notes": _notes(data, left_out),
        "legend": LEGEND,
    }


def _notes(data: dict[str, Any], left_out: int) -> list[str]:
    found = notes(data) if data["rows"] else ["No tasks."]
    return [*found, f"{left_out:,} older tasks are not shown."] if left_out else found


def _with_bars(row: dict[str, Any], end: float) -> dict[str, Any]:
    sent = row | {"bars": [list(span) for span in spans(row, end)], "end": end_of(row)}
    del sent["runs"]
    return sent


def _thinned(row: dict[str, Any], most: int) -> dict[str, Any]:
    runs = row["runs"]
    if len(runs) <= most:
        return row
    gap = (runs[-1][1] - runs[0][0]) / most
    merged = [list(runs[0])]
    for start, end in runs[1:]:
        if start - merged[-1][1] < gap and end - merged[-1][0] < gap:
            merged[-1][1] = end
        else:
            merged.append([start, end])
    starts = {run[0] for run in merged[1:]}
    waits = [wait for wait in row["waits"] if wait[1] in starts]
    if row["waits"] and row["waits"][-1] not in waits:
        waits.append(row["waits"][-1])
    return row | {"runs": merged, "waits": waits}
