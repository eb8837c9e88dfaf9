"""One task as a row: its numbers and texts, and how rows are sent to a dashboard.

A row is split into what changes often, numbers, and what rarely changes, texts: a thousand changes
a second are a thousand times seven numbers.
"""

from __future__ import annotations

import array
import math
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from asyncnb._core.base.text import replace_surrogates, truncate
from asyncnb._core.introspection.info import ENDED, STATES, CallsInfo
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.repeating.local_time import clock_text

#: Names and notes are cut to this many characters, because a row is one line on the screen.
MAX_CHARS: Final = 300
#: With this many rows or more, numbers are sent as bytes: as text they take eight times as long.
BINARY_FROM: Final = 1000

_STATE_NUMBERS: Final = {state: number for number, state in enumerate(STATES)}


class Numbers(NamedTuple):
    """The columns of a row that change often. Times are those of ``time.time()``; None: unknown."""

    id: int
    state: int
    started: float | None
    ended: float | None
    done: int | None
    total: int | None
    deadline: float | None


class Texts(NamedTuple):
    """The columns of a row that rarely change."""

    id: int
    name: str
    group: str | None
    parent: int | None
    cell: int
    cell_id: str | None
    kind: str
    note: str
    #: Whether its end is notified.
    notify: bool


class Calls(NamedTuple):
    """What else is shown of a run of many calls. ``finish``: when it will end at its pace."""

    id: int
    failed: int
    retried: int
    saved: int
    per_second: float | None
    finish: float | None
    limit: int | None
    rate: str | None


class InnerTexts(NamedTuple):
    """The columns of a task inside a launched one, sent while its row is on the screen."""

    id: int
    name: str
    state: int
    waits_for: str
    note: str
    cell: int


#: What a page has to know to read rows; sent with each snapshot, so that JavaScript has no list of
#: states or columns to be kept equal to these. A row of texts ends with what the task waits for.
FORMAT: Final[dict[str, Any]] = {
    "states": list(STATES),
    "ended": [state for state in STATES if state in ENDED],
    "numbers": list(Numbers._fields),
    "texts": [*Texts._fields, "waits_for"],
    "inner": list(InnerTexts._fields),
    "calls": list(Calls._fields),
    "counts": ["running", "done", "failed", "cancelled"],
}


class Row(NamedTuple):
    """One row: what is shown of one task."""

    numbers: Numbers
    texts: Texts
    waits_for: str = ""
    calls: Calls | None = None


def row_of(record: TaskRecord, now: float, before: Row | None = None) -> Row:
    """Return the row of ``record``. ``now`` is ``time.time()``. Any thread.

    ``before`` is the row that was sent last: its ``waits_for``, sampled less often, is kept.
    """
    state = record.state()
    started = record.began(state)
    calls = record.calls()
    done, total = (record.progress if calls is None else calls.progress) or (None, None)
    deadline = None
    limit = record.task._timeout if record.ended is None else None
    if limit is not None:
        left = limit.remaining()
        deadline = None if left is None or math.isinf(left) else round(now + left, 2)
        was = before.numbers.deadline if before is not None else None
        if deadline is not None and was is not None and abs(deadline - was) < 0.3:
            deadline = was  # a difference of two clocks, which must not look like a change
    note = cut(_failure(record)) if state == "failed" else ""
    if record.rounds is not None and record.rounds.next_run is not None:
        note = f"next run {clock_text(record.rounds.next_run)}"
    cell = record.cell
    return Row(
        Numbers(record.id, _STATE_NUMBERS[state], started, record.ended, done, total, deadline),
        Texts(
            record.id,
            cut(record.name),
            None if record.group is None else cut(record.group),
            record.parent,
            cell.number if cell is not None else 0,
            cell.id if cell is not None else None,
            record.kind,
            note,
            record.notify,
        ),
        before.waits_for if before is not None and record.ended is None else "",
        None if calls is None else _calls_of(record.id, calls, now, before),
    )


def _failure(record: TaskRecord) -> str:
    line = (record.error() or "").partition("\n")[0]
    return line.removeprefix(f"NotRunError: {record.name} ")  # the row has the name


def _calls_of(id: int, info: CallsInfo, now: float, before: Row | None) -> Calls:
    """Return the counts of a run of calls, rounded so that they change only if they differ."""
    finish = None
    if info.eta is not None:
        finish = round(now + info.eta, 1)
        was = None if before is None or before.calls is None else before.calls.finish
        if was is not None and abs(was - finish) < max(1.0, 0.03 * info.eta):
            finish = was
    pace = None if info.per_second is None else float(f"{info.per_second:.2g}")
    rate = None if info.rate is None else cut(info.rate)
    return Calls(id, info.failed, info.retried, info.saved, pace, finish, info.limit, rate)


def state_number(state: str) -> int:
    """Return the number by which ``state`` is sent."""
    return _STATE_NUMBERS[state]


def cut(text: str) -> str:
    """Return ``text``, cut if it is too long for a row."""
    return truncate(text, MAX_CHARS)


def sendable(value: Any) -> Any:
    """Return ``value``, made of dicts, lists and texts, with lone surrogates replaced.

    UTF-8 cannot encode them, so a message cannot contain one, whether in a name or in output.
    """
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, dict):
        return {key: sendable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [sendable(each) for each in value]
    return value


def pack(rows: Iterable[Numbers]) -> tuple[list[Any] | None, list[bytes]]:
    """Return rows as one flat list, or if there are many, as one buffer of doubles (NaN: None).

    Flat, because one long list is parsed several times as fast as a thousand short ones.
    """
    flat = [value for row in rows for value in row]
    if len(flat) < BINARY_FROM * len(Numbers._fields):
        return flat, []
    nan = math.nan
    return None, [array.array("d", [nan if v is None else v for v in flat]).tobytes()]
