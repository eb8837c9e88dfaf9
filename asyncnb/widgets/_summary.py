"""What a kernel is doing in a few numbers: counts of all tasks, and the cells whose tasks live.

For what shows no rows: a badge, the prompts of cells, a list of kernels. Each changed task costs a
few operations, however many tasks there are; nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from asyncnb._core.introspection.info import ENDED
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import TaskRegistry
from asyncnb._core.listing.rows import FORMAT, cut

if TYPE_CHECKING:
    from asyncnb._core.launched.group_facts import GroupFacts

Message = dict[str, Any]

#: The keys of ``counts``: living tasks are one of them, the states of ended tasks the others.
_COUNTED: tuple[str, ...] = tuple(FORMAT["counts"])
_LIVING = _COUNTED[0]


class _Cell:
    """The living tasks of one cell, and how the others of its latest run ended."""

    def __init__(self, number: int) -> None:
        self.living: dict[int, TaskRecord] = {}
        #: How many of ``living`` are in each state, as far as changes of it are marked.
        self.states: dict[str, int] = {}
        self.begin(number)

    def begin(self, number: int) -> None:
        """Count a new run of the cell."""
        self.number = number
        self.first: TaskRecord | None = None
        #: The groups of its tasks, None among them if one is in none.
        self.groups: set[GroupFacts | None] = set()
        #: Tasks that the cell launched itself, and those of them that have ended.
        self.launched = self.finished = 0
        self.ended = dict.fromkeys(_COUNTED[1:], 0)
        #: Of the tasks that report progress: how many, items done, items in all, totals unknown.
        self.reporting = self.items = self.total = self.endless = 0

    def add(self, record: TaskRecord) -> None:
        """Count a task of this run."""
        if self.first is None or record.id < self.first.id:
            self.first = record
        self.groups.add(record.group_facts)
        self.launched += record.parent is None

    def count_progress(self, progress: tuple[int, int | None] | None, sign: int) -> None:
        """Add what a task reports, or with ``sign`` -1 what it reported before."""
        if progress is None:
            return
        done, total = progress
        self.reporting += sign
        self.items += sign * done
        if total is None:
            self.endless += sign
        else:
            self.total += sign * total

    def facts(self) -> Message:
        """Return what is sent of the cell."""
        first = self.first
        if self.living:  # one that has ended does not name what is running
            first = self.living[min(self.living)]
        assert first is not None
        group = first.group if len(self.groups) == 1 else None
        if self.reporting:
            done, total = self.items, None if self.endless else self.total
        elif self.launched > 1:
            done, total = self.finished, self.launched
        else:
            done, total = 0, None
        return {
            "running": len(self.living),
            "failed": self.ended["failed"],
            "name": cut(first.name if group is None else group),
            "done": done,
            "total": total,
            "state": self._state(),
            "kind": _kind(first) if group is None else "group",
        }

    def _state(self) -> str:
        if not self.living:
            return next((s for s in ("failed", "done") if self.ended[s]), "cancelled")
        state = next(iter(self.states))
        return state if len(self.states) == 1 else "running"


class _Known:
    """The part of a task that the counts contain."""

    __slots__ = ("cell", "cell_id", "number", "progress", "state")

    def __init__(self, record: TaskRecord) -> None:
        self.state = ""
        self.progress: tuple[int, int | None] | None = None
        cell = record.cell
        self.cell_id = None if cell is None else cell.id
        #: The run of the cell that it is counted for.
        self.number = 0 if cell is None else cell.number
        #: What it is counted in: as long as it lives, that of its cell.
        self.cell: _Cell | None = None


class Summary:
    """The counts, kept up to date by ``update``. One thread."""

    def __init__(self, registry: TaskRegistry) -> None:
        self._registry = registry
        self.clear()

    def clear(self) -> None:
        """Forget everything; ``update`` with all records follows."""
        self.counts = dict.fromkeys(_COUNTED, 0)
        self._known: dict[int, _Known] = {}
        self._cells: dict[str, _Cell] = {}

    def cells(self) -> dict[str, Message]:
        """Return the facts of each cell that has living tasks, by its id."""
        return {id: cell.facts() for id, cell in self._cells.items()}

    def update(self, changed: Iterable[TaskRecord]) -> dict[str, Message]:
        """Look at the tasks that have changed; return the cells whose last task has ended."""
        touched: set[str] = set()
        for record in changed:
            known = self._known.get(record.id)
            if not self._registry.holds(record):
                self._forget(record, known, touched)
                continue
            state, progress = _state(record), record.progress
            if record.adjustable is not None and (calls := record.calls()) is not None:
                progress = calls.progress
            if known is not None and state == known.state:
                # The most frequent change by far, of many tasks at a time.
                if progress != known.progress:
                    cell = known.cell
                    if cell is not None and cell.number == known.number:
                        cell.count_progress(known.progress, -1)
                        cell.count_progress(progress, 1)
                    known.progress = progress
                continue
            if known is None:
                known = self._known[record.id] = _Known(record)
            else:
                self.counts[_counted(known.state)] -= 1
            self.counts[_counted(state)] += 1
            if known.cell_id is not None:
                touched.add(known.cell_id)
                self._count_in_cell(record, known, state, progress)
            known.state, known.progress = state, progress
        ended: dict[str, Message] = {}
        for id in touched:
            closed = self._cells.get(id)
            if closed is not None and not closed.living:
                del self._cells[id]
                ended[id] = closed.facts()
        return ended

    def _count_in_cell(
        self,
        record: TaskRecord,
        known: _Known,
        state: str,
        progress: tuple[int, int | None] | None,
    ) -> None:
        """Count a task that is new to the summary, or in another state than before."""
        assert known.cell_id is not None
        is_new, alive = not known.state, state not in ENDED
        cell = self._cells.get(known.cell_id) if is_new else known.cell
        if cell is None:
            cell = self._cells[known.cell_id] = _Cell(known.number)
        if known.number > cell.number:
            cell.begin(known.number)
        known.cell = cell
        if record.id in cell.living:
            _add(cell.states, known.state, -1)
        if alive:
            cell.living[record.id] = record
            _add(cell.states, state, 1)
        else:
            cell.living.pop(record.id, None)
        if known.number != cell.number:
            return  # of an earlier run: it counts only as long as it lives
        if is_new:
            cell.add(record)
        cell.count_progress(known.progress, -1)
        cell.count_progress(progress, 1)
        if not alive:
            cell.ended[state] += 1
            cell.finished += record.parent is None

    def _forget(self, record: TaskRecord, known: _Known | None, touched: set[str]) -> None:
        """Take a task that was cleared, or discarded, out of the counts."""
        if known is None:
            return
        del self._known[record.id]
        self.counts[_counted(known.state)] -= 1
        cell = known.cell
        if cell is not None and known.cell_id is not None and record.id in cell.living:
            del cell.living[record.id]  # dropped with its loop, or never started
            _add(cell.states, known.state, -1)
            touched.add(known.cell_id)


def _state(record: TaskRecord) -> str:
    """Return its state, as far as changes of it are marked: a living task waits as it runs."""
    task = record.held
    if record.ended is not None or task is None:
        return record.state()
    if record.cancel_asked or task.cancelling():
        return "cancelling"
    if task._pause is not None:
        return "paused"
    if record.after is not None and record.after.pending:
        return "pending"
    return "running"


def _counted(state: str) -> str:
    return state if state in ENDED else _LIVING


def _add(counts: dict[str, int], key: str, number: int) -> None:
    counts[key] = counts.get(key, 0) + number
    if not counts[key]:
        del counts[key]


def _kind(record: TaskRecord) -> str:
    if record.adjustable is not None:
        return "map"
    return "repeat" if record.repeats else "background"
