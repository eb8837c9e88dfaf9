"""One profile that is being taken: which tasks it is about, and what was counted so far."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from asyncnb._core.introspection.handle import TaskHandle
from asyncnb._core.introspection.places import cell_of
from asyncnb._core.profiling.counts import RUNNING, WAITING, Sample
from asyncnb._core.profiling.seen import Codes, Key, shown

#: The task in which code was seen: its name, and the cell that launched it.
Who = tuple[str, str]
#: From another process: whether it ran, a stack of (file, function, line), what it awaited, seconds
#: and how often it was seen.
FarRow = tuple[bool, tuple[tuple[str, str, int], ...], str, float, int]


#: What a task waits for whose code runs elsewhere.
AT_WORK = "its worker"


class Session:
    """Counts what the sampler has seen of some tasks, or of all. Written by the sampler's thread.

    ``tasks`` are those it is about, with the tasks that they create; ``belongs`` says of other
    launched tasks whether it is about them, too. Without both it is about every task, and about
    callbacks of the loop.
    """

    def __init__(
        self,
        tasks: Collection[Any] = (),
        belongs: Callable[[Any], bool] | None = None,
        seconds: float | None = None,
    ) -> None:
        self._tasks = tuple(tasks)
        self._records = {task._record for task in tasks if getattr(task, "_record", None)}
        self._plain = {id(task) for task in tasks if getattr(task, "_record", None) is None}
        self._belongs = belongs
        self._all = not tasks and belongs is None
        self.began = time.monotonic()
        self.deadline = None if seconds is None else self.began + seconds
        #: When it ended; None while it is being taken.
        self.ended: float | None = None
        self._end = threading.Event()
        self.codes = Codes()
        self._running: dict[tuple[Who, Key], list[float]] = {}
        self._waiting: dict[tuple[Who, Key, str], list[float]] = {}
        self._far: dict[Sample, list[float]] = {}
        #: Looks at the loop's thread, and CPU seconds that it used between them.
        self.looks = 0
        self.cpu = 0.0
        #: Seconds for which tasks were looked at, in all; and how many there were at a time.
        self.watched = 0.0
        self.tasks = 0

    def wants(self, task: asyncio.Task[Any] | None, record: TaskHandle | None) -> bool:
        """Return whether it is about ``task``, which belongs to the launched one of ``record``."""
        if self._all:
            return True
        if record is not None and record in self._records:
            return True
        if task is not None and id(task) in self._plain:
            return True
        return record is not None and self._belongs is not None and self._belongs(record)

    def add_running(self, who: Who, key: Key, codes: Codes, seconds: float) -> None:
        """Count a look at running code, and the seconds since the look before it."""
        entry = self._running.get((who, key))
        if entry is None:
            self.codes.update((code, codes[code]) for code in key[::2])
            entry = self._running[who, key] = [0.0, 0]
        entry[0] += seconds
        entry[1] += 1

    def add_waiting(self, who: Who, key: Key, wait: str, codes: Codes, seconds: float) -> None:
        """Count a look at a suspended task, and the seconds since the look at it before that."""
        entry = self._waiting.get((who, key, wait))
        if entry is None:
            self.codes.update((code, codes[code]) for code in key[::2])
            entry = self._waiting[who, key, wait] = [0.0, 0]
        entry[0] += seconds
        entry[1] += 1

    def add_far(self, who: Who, rows: Iterable[FarRow]) -> None:
        """Add what was counted in another process."""
        for ran, stack, wait, seconds, times in rows:
            named = [
                (file, "" if _is_cells_own(file, name) else f"{name}()", line)
                for file, name, line in stack
            ]
            kind = RUNNING if ran else WAITING
            key = Sample(kind, *who, shown(named), wait, 0.0, 0)
            entry = self._far.setdefault(key, [0.0, 0])
            entry[0] += seconds
            entry[1] += times

    def is_due(self, now: float) -> bool:
        """Return whether its time is over, or all of the tasks that it is about have ended."""
        if self.deadline is not None and now >= self.deadline:
            return True
        if not self._tasks or self._belongs is not None:
            return False
        return all(task.done() for task in self._tasks)

    def finish(self) -> None:
        """End it; what was counted stays. Any thread."""
        if self.ended is None:
            self.ended = time.monotonic()
        self._end.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it has ended; return whether it has."""
        return self.ended is not None or self._end.wait(seconds)

    @property
    def seconds(self) -> float:
        """For how many seconds it ran, or has been running."""
        return (time.monotonic() if self.ended is None else self.ended) - self.began

    def samples(self) -> list[Sample]:
        """Return what was counted so far, the longest first. Any thread."""
        found = [
            key._replace(seconds=seconds, times=int(times))
            for key, (seconds, times) in list(self._far.items())
        ]
        for (who, key), (seconds, times) in list(self._running.items()):
            found.append(Sample(RUNNING, *who, self.codes.places(key), "", seconds, int(times)))
        elsewhere = {(sample.task, sample.cell) for sample in found}
        for (who, key, wait), (seconds, times) in list(self._waiting.items()):
            if wait == AT_WORK and who in elsewhere:
                continue  # what it did there was counted
            places = tuple(at for at in self.codes.places(key) if at.line)  # it names the call
            found.append(Sample(WAITING, *who, places, wait, seconds, int(times)))
        return sorted(found, key=lambda sample: -sample.seconds)


def _is_cells_own(file: str, name: str) -> bool:
    return name.startswith("<cell line") or (name == "<module>" and cell_of(file) is not None)
