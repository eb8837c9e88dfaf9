"""A timeline as text, for terminals and other front ends without pictures."""

from __future__ import annotations

from typing import Any

from asyncnb._core.base.text import escape_control_chars, truncate_columns
from asyncnb._core.base.text import width as columns_of
from asyncnb._core.timeline.rows import (
    BARS,
    ENDS,
    MARKS,
    SIGNS,
    Line,
    deliveries,
    end_of,
    lines,
    notes,
    spans,
    tick_label,
    ticks,
    verdict,
)

_RANK = list(BARS)
_MAX_LINES = 40


def text(data: dict[str, Any], width: int = 100) -> str:
    """Return ``data`` of :func:`timeline_data` drawn with characters."""
    if not data["rows"]:
        return "No tasks."
    shown = lines(data, _MAX_LINES)
    names = [_fitted("  " * line.depth, line.label, 28) for line in shown]
    left = max(map(columns_of, names))
    words = [_fitted("", verdict(line), 30) if line.rows else "" for line in shown]
    columns = max(20, width - left - 3 - max(map(columns_of, words)))
    used: set[str] = set()
    out = []
    for line, name, word in zip(shown, names, words, strict=True):
        bar = _bar(line, data["end"], columns, used) if line.rows else ""
        name += " " * (left - columns_of(name))
        out.append(f"{name}  {bar:<{columns}} {word}".rstrip())
    out += _axis(data["end"], left + 2, columns)
    legend = [f"{bar.char} {bar.word}" for kind, bar in BARS.items() if kind in used]
    legend += [f"{sign} {word}" for word, sign in _ends(shown).items()]
    out.append("   ".join(legend))
    return "\n".join([*out, *notes(data)])


def _fitted(before: str, text: str, most: int) -> str:
    return truncate_columns(before + escape_control_chars(text, 100), most)


def _ends(shown: list[Line]) -> dict[str, str]:
    found = {}
    for line in shown:
        if len(line.rows) == 1 and (end := end_of(line.rows[0])):
            found[ENDS[end].word] = SIGNS[end]
    if any(deliveries(row) for line in shown for row in line.rows if len(line.rows) == 1):
        found[" or ".join(MARKS.values())] = "!"
    return found


def _bar(line: Line, end: float, columns: int, used: set[str]) -> str:
    scale = (columns - 1) / end if end > 0 else 0.0
    if len(line.rows) > 1:
        return _crowd(line, scale, columns, end)
    row = line.rows[0]
    cells = [" "] * columns
    ranks = [-1] * columns
    for kind, start, stop in spans(row, end):
        rank = _RANK.index(kind)
        first = int(start * scale)
        for column in range(first, max(first + 1, round(stop * scale))):
            if rank > ranks[column]:
                ranks[column], cells[column] = rank, BARS[kind].char
                used.add(kind)
    until = end if row["ended"] is None else row["ended"]
    last = min(columns - 1, round(until * scale))
    for when, _ in deliveries(row):
        cells[max(0, min(last - 1, int(when * scale)))] = "!"
    if sign := end_of(row):
        cells[last] = SIGNS[sign]
    return "".join(cells)


def _crowd(line: Line, scale: float, columns: int, end: float) -> str:
    """Draw how many of the line's tasks were alive, in eighths of the maximum."""
    counts = [0] * (columns + 1)
    for row in line.rows:
        until = end if row["ended"] is None else row["ended"]
        first = int(row["created"] * scale)
        counts[first] += 1
        counts[min(columns, max(first + 1, round(until * scale)))] -= 1
    alive, levels = 0, []
    for change in counts[:columns]:
        alive += change
        levels.append(alive)
    most = max(levels)
    return "".join(" ▁▂▃▄▅▆▇█"[-(-8 * level // most)] for level in levels)


def _axis(end: float, left: int, columns: int) -> list[str]:
    scale = (columns - 1) / end if end > 0 else 0.0
    rule, labels = ["─"] * columns, [" "] * (columns + 8)
    for when in ticks(end, max(2, columns // 10)):
        column = round(when * scale)
        rule[column] = "┴"
        for number, char in enumerate(tick_label(when, end)):
            labels[column + number] = char
    return [" " * left + "".join(rule), (" " * left + "".join(labels)).rstrip() + " s"]
