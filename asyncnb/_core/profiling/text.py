"""A profile as text: what ran and what was waited for, by task, cell and line."""

from __future__ import annotations

from asyncnb._core.base.text import (
    count,
    duration,
    escape_control_chars,
    truncate_columns,
    width,
)
from asyncnb._core.profiling.counts import (
    BLOCKING,
    RUNNING,
    WAITING,
    Facts,
    Sample,
    TopLine,
    seconds_of,
    top_lines,
)

#: Lines of each kind that are shown.
MAX_LINES = 10
#: The share of the time from which work of the loop's thread that no look has hit gets a line.
UNSEEN_SHARE = 0.1

_PLACE_COLUMNS, _COLUMNS = 14, 46


def text(profile: Facts) -> str:
    """Return the summary of ``profile``: a title, the top lines, and what was not seen."""
    samples = profile.samples
    lines = [title(profile)]
    for kind in (RUNNING, WAITING):
        lines += _section(samples, kind, whole(profile, kind))
    lines += notes(profile)
    return "\n".join(lines)


def title(profile: Facts) -> str:
    """Return one line: what was profiled, for how long, in how many looks."""
    ending = "" if profile.ended else ", so far"
    looks = f"{profile.looks:,} look{'' if profile.looks == 1 else 's'}"
    return f"profile of {profile.about}: {duration(profile.seconds)}{ending}, {looks}"


def notes(profile: Facts) -> list[str]:
    """Return sentences about what the samples do not show."""
    found = []
    if not profile.samples:
        found.append("Nothing ran and nothing waited in this time.")
    seen = len({sample.task for sample in profile.samples})
    if profile.about_all and seen < profile.tasks / 2:
        found.append(
            f"{seen:,} of {profile.tasks:,} tasks were looked at; a longer profile sees more."
        )
    missed = profile.cpu - seconds_of(profile.samples, RUNNING)
    if profile.about_all and profile.seconds and missed / profile.seconds >= UNSEEN_SHARE:
        found.append(
            f"{share(missed, profile.seconds)} more: the loop's thread in steps too short to be "
            "seen."
        )
    return found


def share(seconds: float, total: float) -> str:
    """Return ``62 %``; of very little ``<1 %``."""
    percent = 100 * seconds / total if total else 0.0
    return f"{percent:.0f} %" if percent >= 1 or not seconds else "<1 %"


def whole(profile: Facts, kind: str) -> float:
    """Return the seconds that the shares of ``kind`` are of: of waits, those of all tasks."""
    return profile.seconds if kind == RUNNING else profile.watched


def _section(samples: list[Sample], kind: str, total: float) -> list[str]:
    found = top_lines(samples, kind)
    if not found:
        return []
    all_of = sum(line.seconds for line in found)
    if kind == RUNNING:
        head = f"running: {share(all_of, total)} of the time"
    else:
        tasks = len({sample.task for sample in samples if sample.kind == WAITING})
        each = f" of the time of {count(tasks, 'task')}" if tasks > 1 else " of the time"
        head = f"waiting: {share(all_of, total)}{each}"
    top = found[:MAX_LINES]
    places = max(_PLACE_COLUMNS, *(width(place_of(line)) for line in top))
    lines = [head] + [_line(line, total, min(places, _COLUMNS)) for line in top]
    if len(found) > MAX_LINES:
        rest = sum(line.seconds for line in found[MAX_LINES:])
        lines.append(f"{share(rest, total):>6}  in {len(found) - MAX_LINES:,} other lines")
    return lines


def _line(line: TopLine, total: float, columns: int) -> str:
    parts = [f"{share(line.seconds, total):>6}", _padded(place_of(line), columns)]
    what = source_of(line) if line.waits_for in ("", BLOCKING) else line.waits_for
    if line.waits_for:
        what = f"waiting: {what}"
    parts.append(_padded(what, _COLUMNS))
    parts.append(escape_control_chars(line.who, 40))
    return "  ".join(parts).rstrip()


def place_of(line: TopLine) -> str:
    """Return ``In[7] line 4`` or the like; an empty string for a wait outside of any code."""
    at = line.at
    if at is None:
        return ""
    return f"{at.where} line {at.line}" if at.line else at.where


def source_of(line: TopLine) -> str:
    """Return the text of the line of code, or else the name of its function."""
    return "(asyncio)" if line.at is None else line.at.source or line.at.function


def _padded(words: str, columns: int) -> str:
    words = truncate_columns(escape_control_chars(words), columns)
    return words + " " * max(0, columns - width(words))
