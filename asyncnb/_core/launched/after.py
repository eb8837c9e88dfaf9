"""What a task waits for before it starts: other tasks and groups, by name, in their newest runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from asyncnb._core.base.errors import CommandError, NotRunError, TaskNotFoundError, did_you_mean
from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.text import brief_value, one_line
from asyncnb._core.introspection.info import ENDED
from asyncnb._core.launched.group_facts import GroupFacts
from asyncnb._core.launched.named_groups import find_group
from asyncnb._core.launched.record import TaskRecord, observers
from asyncnb._core.launched.registry import registry
from asyncnb._core.primitives.waiting import FIRST_COMPLETED, checkpoint, wait

__asyncnb_frames__ = "waits"

T = TypeVar("T")

#: What ``launch(after=...)`` takes.
Given: TypeAlias = "str | asyncio.Future[Any] | Iterable[str | asyncio.Future[Any]]"


class _NamedTask:
    """The runs under one name: shared by all that wait for it, or follow it."""

    __slots__ = ("__weakref__", "name", "runs")

    def __init__(self, name: str, runs: list[TaskRecord]) -> None:
        self.name = name
        #: The runs that have not ended, and the newest one, oldest first.
        self.runs = runs

    def note(self, run: TaskRecord) -> None:
        """Note that ``run`` was launched under this name."""
        self.runs = [each for each in self.runs if each.ended is None and each is not run] + [run]

    def left(self) -> list[asyncio.Future[Any]]:
        """Return what has to end first."""
        return [each.task for each in self.runs if each.ended is None]

    def failure(self) -> str | None:
        """Return how the newest run failed, in words; None if it is done."""
        return _failure_of(self.runs[-1], self.name)

    def next(self) -> list[str]:
        """Return the names of what the task itself waits for."""
        after: After | None = self.runs[-1].after
        return [] if after is None or not after.pending else list(after.names)


class _NamedGroup:
    """The tasks of a group; of several groups with the same name, the newest one."""

    __slots__ = ("_facts", "name")

    def __init__(self, name: str, facts: GroupFacts) -> None:
        self.name = name
        self._facts = facts

    def _newest(self) -> Any:
        group = find_group(self.name)
        if group is not None:
            self._facts = group.facts
        return self._facts.group()

    def left(self) -> list[Any]:
        group = self._newest()
        return [] if group is None else group.members()

    def failure(self) -> str | None:
        name = f"group {one_line(self.name)}"
        if self._facts.failed:
            return f"{name} failed: {'; '.join(self._facts.failed)}"
        if self._facts.timed_out:
            return f"{name} timed out"
        return f"{name} was cancelled" if self._facts.cancelled else None

    def next(self) -> list[str]:
        self._newest()
        living = (r for r in registry.living() if r.group_facts is self._facts)
        return list(dict.fromkeys(r.name for r in living))


class _OneTask:
    """One task, given as an object: no other run of its name counts."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future

    @property
    def name(self) -> str:
        get_name = getattr(self._future, "get_name", None)
        return type(self._future).__name__ if get_name is None else str(get_name())

    def left(self) -> list[asyncio.Future[Any]]:
        record: TaskRecord | None = getattr(self._future, "_record", None)
        ended = self._future.done() if record is None else record.ended is not None
        return [] if ended else [self._future]

    def failure(self) -> str | None:
        record: TaskRecord | None = getattr(self._future, "_record", None)
        if record is not None:
            return _failure_of(record, record.name)
        if self._future.cancelled():
            return f"{one_line(self.name)} was cancelled"
        error = self._future.exception()
        return None if error is None else f"{one_line(self.name)} failed: {_line(error)}"

    def next(self) -> list[str]:
        record: TaskRecord | None = getattr(self._future, "_record", None)
        after: After | None = None if record is None else record.after
        return [] if after is None or not after.pending else list(after.names)


_Target: TypeAlias = "_NamedTask | _NamedGroup | _OneTask"

#: The names that a task waits for, or that a cell follows.
_names: WeakValueDictionary[str, _NamedTask] = WeakValueDictionary()
#: Called with each task that is launched; see ``on_launch``.
_on_launch: list[Callable[[TaskRecord], object]] = []


def _forget() -> None:
    _names.clear()
    _on_launch.clear()


at_fork(_forget)


class After:
    """What one task waits for before it starts; see ``wait``.

    ``first`` says that one of ``names`` is enough, ``even_if_failed`` that it need not be done but
    only have ended. ``follows``: whether a new run of one of them runs the task again, too.
    """

    __slots__ = ("_reason", "_targets", "even_if_failed", "first", "follows", "names", "pending")

    def __init__(
        self,
        targets: Sequence[_Target],
        *,
        first: bool = False,
        even_if_failed: bool = False,
        follows: bool = False,
    ) -> None:
        self._targets = targets
        self.names: tuple[str, ...] = tuple(target.name for target in targets)
        self.first = first
        self.even_if_failed = even_if_failed
        self.follows = follows
        #: Whether the task still waits; its code has not started then.
        self.pending = True
        #: Why the task did not run: what failed first.
        self._reason: str | None = None

    def __str__(self) -> str:
        """What a table says that the task waits for: ``after load, fetch``."""
        if not self.first or len(self.names) == 1:
            return f"after {', '.join(map(one_line, self.names))}"
        return f"after the first of {', '.join(map(one_line, self.names))}"

    async def wait(self, record: TaskRecord) -> None:
        """Wait until the task of ``record`` may start. The loop of that task.

        Raises NotRunError if what it waits for has failed or was cancelled.
        """
        try:
            while left := self._left(record):
                await self._wait(left)
        finally:
            self.pending = False
            # It would keep their records alive, and these what they waited for.
            self._targets = ()
            record.changed()

    async def _wait(self, left: Sequence[asyncio.Future[Any]]) -> None:
        if all(future.done() for future in left):
            await checkpoint()  # the end of the last one is being handled: its result gets bound
        else:
            await wait(left, return_when=FIRST_COMPLETED)

    def _left(self, record: TaskRecord) -> list[asyncio.Future[Any]]:
        """Return what the task waits for next, nothing if it may start, or raise NotRunError."""
        left: list[asyncio.Future[Any]] = []
        reasons: list[str] = []
        for target in self._targets:
            unfinished = target.left()
            if unfinished:
                # One is enough, as all of them have to end: with ten thousand in a group, waiting
                # for each would take minutes.
                left.append(unfinished[-1])
                continue
            reason = None if self.even_if_failed else target.failure()
            if self.first and reason is None:
                return []
            if reason is not None:
                reasons.append(reason)
        if reasons and (not self.first or not left):
            reason = "; ".join(reasons) if self.first else reasons[0]
            self._reason = reason
            raise NotRunError(f"{one_line(record.name)} did not run: {reason}.")
        return left

    @property
    def reason(self) -> str | None:
        """Why the task did not run; None if it did, or still waits."""
        return self._reason


def _failure_of(record: TaskRecord, name: str) -> str | None:
    state, name = record.state(), one_line(name)
    if state == "cancelled":
        return f"{name} was cancelled"
    if state != "failed":
        return None
    if record.after is not None and record.after.reason is not None:
        # The reason of the reason: with ten tasks in a row, the last one names the first.
        return f"{name} did not run, because {record.after.reason.rpartition(' because ')[2]}"
    return f"{name} failed: {(record.error() or '').partition(chr(10))[0].rstrip('.')}"


def _line(error: BaseException) -> str:
    from asyncnb._core.introspection.leaves import format_failure

    return format_failure(error).partition("\n")[0].rstrip(".")


# What is given, found and checked before anything starts


def prerequisites(
    given: Given,
    *,
    name: str | None,
    group: str | None = None,
    first: bool = False,
    even_if_failed: bool = False,
    follows: bool = False,
    further: Callable[[str], Iterable[str]] = lambda name: (),
) -> After:
    """Return what a task called ``name`` that joins ``group`` will wait for. Any thread.

    ``further(name)`` returns the names that a cell follows besides, for the check of rings.

    Raises TaskNotFoundError for a name that neither a task nor a group has, CommandError if the
    task would wait for itself, and TypeError for anything but names and tasks.
    """
    if isinstance(given, str) or asyncio.isfuture(given):
        given = [given]
    try:
        each = list(dict.fromkeys(given))
    except TypeError:
        raise TypeError(
            f"after takes names of tasks and groups, tasks, or a list of these, not "
            f"{brief_value(given)}."
        ) from None
    if not each:
        raise TypeError("after takes at least one name or task, not an empty list.")
    after = After(
        [_target(one) for one in each],
        first=first,
        even_if_failed=even_if_failed,
        follows=follows,
    )
    if name is not None:
        refuse_ring(name, after.names, group, further)
    return after


def _target(given: Any) -> _Target:
    if asyncio.isfuture(given):
        return _OneTask(given)
    if not isinstance(given, str):
        raise TypeError(
            f"after takes names of tasks and groups, or tasks, not {brief_value(given)}."
        )
    _observe()
    known = _names.get(given)
    if known is not None:
        return known
    records = registry._named(given)
    if records:
        living = [record for record in records if record.ended is None]
        if records[-1] not in living:
            living.append(records[-1])
        return _names.setdefault(given, _NamedTask(given, living))
    group = find_group(given)
    facts = group.facts if group is not None else None
    if facts is None:
        every = reversed(registry.records())
        facts = next((r.group_facts for r in every if r.group == given), None)
    if facts is None:
        raise TaskNotFoundError(_unknown(given))
    return _NamedGroup(given, facts)


def _unknown(name: str) -> str:
    records = registry.records()
    names = dict.fromkeys(r.name for r in records)
    groups = dict.fromkeys(r.group for r in records if r.group is not None)
    hint = did_you_mean(name, (*names, *groups))
    if hint or not names:
        hint = hint or " No task has been launched yet."
        return f"No task and no group is named {name!r}.{hint} Run the cell that starts it first."
    known = ", ".join(map(one_line, [*names, *groups][-8:]))
    return (
        f"No task and no group is named {name!r}. Known names: {known}. "
        "Run the cell that starts it first."
    )


def refuse_ring(
    name: str,
    names: Iterable[str],
    group: str | None,
    further: Callable[[str], Iterable[str]],
) -> None:
    """Raise CommandError if a task called ``name`` that waits for ``names`` would wait for itself.

    It is also in ``group``.
    """
    path = _path(names, {name} if group is None else {name, group}, further)
    if path is None:
        return
    ring = " → ".join(map(one_line, (name, *path)))
    if path[-1] != name:
        raise CommandError(
            f"{name!r} would wait for itself: {ring}, and {name!r} is a task of the group "
            f"{path[-1]!r}."
        )
    raise CommandError(f"{name!r} would wait for itself: {ring}.")


def _path(
    names: Iterable[str], wanted: set[str], further: Callable[[str], Iterable[str]]
) -> list[str] | None:
    """Return the names from one of ``names`` to one of ``wanted``, each waiting for the next."""
    came_from: dict[str, str | None] = dict.fromkeys(names)
    todo = list(came_from)
    while todo:
        name = todo.pop()
        if name in wanted:
            found = [name]
            while (before := came_from[found[-1]]) is not None:
                found.append(before)
            return found[::-1]
        for other in (*_waited_for_by(name), *further(name)):
            if other not in came_from:
                came_from[other] = name
                todo.append(other)
    return None


def _waited_for_by(name: str) -> list[str]:
    try:
        return _target(name).next()
    except TaskNotFoundError:
        return []  # it was cleared


# New runs


def _observe() -> None:
    if _note not in observers.each:
        observers.add(_note)


def _note(record: TaskRecord) -> None:
    """Observe a task: if it has just been launched, it is the newest run of its name."""
    if record.started is not None or record.ended is not None or record.cancel_asked:
        return
    if is_waiting(record) and record.name in record.after.names:
        return  # renamed to what it waits for: it would wait for itself
    named = _names.get(record.name)
    if named is not None and record not in named.runs:
        named.note(record)
    for launched in _on_launch:
        launched(record)


def on_launch(call: Callable[[TaskRecord], object]) -> Callable[[], None]:
    """Call ``call`` with the record of each task that is launched; return what ends that.

    It may be called twice with the same record, in the thread that launches it.
    """
    _observe()
    _on_launch.append(call)

    def end() -> None:
        if call in _on_launch:
            _on_launch.remove(call)

    return end


def is_waiting(record: TaskRecord) -> bool:
    """Return whether the task has not started because it waits for others. Any thread."""
    return (
        record.after is not None
        and record.after.pending
        and record.state() not in ENDED
        and not record.cancel_asked
    )


def waiting_tasks() -> Iterator[TaskRecord]:
    """Yield the tasks that wait for others before they start."""
    return (record for record in registry.living() if is_waiting(record))
