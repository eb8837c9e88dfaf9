"""What is known of a task that makes many calls, and can be changed while it runs."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from asyncnb._core.base.text import duration
from asyncnb._core.introspection.info import CallsInfo
from asyncnb._core.introspection.leaves import format_failure

#: The failures that are shown of one run, the last ones.
MAX_FAILURES: Final = 20


class Counts(Protocol):
    """The counts that this file reads: those of ``asyncnb.MapCounts``."""

    total: int | None
    started: int
    running: int
    done: int
    failed: int
    retried: int
    saved: int
    per_second: float | None
    eta: float | None


class Run(Protocol):
    """A run of many calls: ``asyncnb.MapRun``. Any thread may use it."""

    @property
    def failed(self) -> Sequence[Any]:
        """The outcomes of the items that have failed."""
        ...

    def _last_failures(self, most: int) -> Sequence[Any]:
        """Return the outcomes of the items that failed last, the newest first."""
        ...

    def retry(self) -> Any:
        """Run the failed items again."""
        ...


class Adjustable(Protocol):
    """The counts and settings of a run. They keep no results alive. Any thread may use them."""

    #: The most calls at a time. Setting it raises TypeError or ValueError with a sentence.
    limit: Any
    #: The most calls per time, None without one. Setting it raises as ``limit`` does.
    rate: Any

    def counts(self) -> Any:
        """Return the counts of now."""
        ...

    def run(self) -> Run | None:
        """Return the run; None once no code holds it."""
        ...


class EndedCalls:
    """The facts about a run at the end of its task: if it is run again, that is another task."""

    __slots__ = ("failures", "info", "run")

    def __init__(self, calls: Adjustable | EndedCalls) -> None:
        self.failures = failures_of(calls)
        self.info = calls_info(calls)._replace(running=0, eta=None)
        #: Returns the run; None once no code holds it.
        self.run: Callable[[], Run | None] = calls.run


def calls_info(calls: Adjustable | EndedCalls) -> CallsInfo:
    """Return the facts of now, or those of the end. Any thread."""
    if isinstance(calls, EndedCalls):
        return calls.info
    counts: Counts = calls.counts()
    rate = calls.rate
    return CallsInfo(
        counts.total,
        counts.started,
        counts.running,
        counts.done,
        counts.failed,
        counts.retried,
        counts.saved,
        counts.per_second,
        counts.eta,
        calls.limit,
        None if rate is None else str(rate),
    )


def failures_of(calls: Adjustable | EndedCalls) -> list[tuple[str, str]]:
    """Return item and error of the items that failed last, the newest first. Any thread."""
    if isinstance(calls, EndedCalls):
        return calls.failures
    found = []
    run = calls.run()
    for outcome in () if run is None else run._last_failures(MAX_FAILURES):
        error = outcome.exception()
        if error is not None:
            found.append((item_text(outcome.item), format_failure(error).partition("\n")[0]))
    return found


def calls_line(info: CallsInfo, *, with_items: bool = True) -> str:
    """Return the counts in one line: ``120/1,000, 3 failed, 5 retried, 4.2/s, 3 min 29 s left``."""
    ended = info.done + info.failed
    parts = []
    if with_items:
        parts.append(f"{ended:,}" + ("" if info.total is None else f"/{info.total:,}"))
    parts += [
        f"{number:,} {word}"
        for number, word in (
            (info.failed, "failed"),
            (info.retried, "retried"),
            (info.saved, "from the file"),
        )
        if number
    ]
    if info.per_second:
        parts.append(pace(info.per_second))
    if info.eta is not None:
        left = round(info.eta)
        parts.append(f"{left} s left" if left < 60 else f"{duration(left)} left")
    return ", ".join(parts)


def pace(per_second: float) -> str:
    """Return a pace in the most readable unit: ``120/s``, ``4.2/s``, ``30/min``."""
    for seconds, unit in ((1, "s"), (60, "min"), (3600, "h")):
        number = per_second * seconds
        if number >= 0.995 or unit == "h":
            return f"{number:,.0f}/{unit}" if number >= 9.95 else f"{number:.2g}/{unit}"
    raise AssertionError


class _Short(reprlib.Repr):
    """Shows the beginning of an item: the whole of a large one would take long."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60


def item_text(item: object) -> str:
    """Return an item in a few characters, however it is written; never raises."""
    try:
        return item if isinstance(item, str) and len(item) <= 60 else _Short().repr(item)
    except Exception as broken:  # code of the user's
        return f"<its __repr__ raised {type(broken).__name__}>"
