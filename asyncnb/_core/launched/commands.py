"""The commands on launched tasks, as used by ``%tasks``, the dashboard and the chips.

Each is implemented here and nowhere else, so that all front ends do and refuse the same. A command
checks everything before it changes anything. It raises CommandError, whose text is a sentence for
the user, or returns a short text for the user that says what it did. Any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from asyncnb._core.base.errors import CommandError, TaskNotFoundError, did_you_mean
from asyncnb._core.base.text import brief, count
from asyncnb._core.introspection.info import ENDED
from asyncnb._core.launched import launch, named_groups, time_limit
from asyncnb._core.launched.adjustable import calls_info
from asyncnb._core.launched.names import invalid_name_reason
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import matches, registry

if TYPE_CHECKING:
    from asyncnb._core.introspection.counts import Counts
    from asyncnb._core.launched.adjustable import Adjustable
    from asyncnb._core.launched.group_facts import GroupFacts
    from asyncnb._core.launched.inside import InnerTask
    from asyncnb._core.launched.open_group import OpenGroup
    from asyncnb._core.primitives.tasks import Task

    #: What a command is about: a launched task, or one inside it.
    Commanded: TypeAlias = TaskRecord | InnerTask

# Find the tasks that a command is about


def with_id(id: int) -> TaskRecord:
    """Return the task with this id; raise CommandError if it was cleared meanwhile."""
    record = registry.get(id)
    if record is None:
        raise CommandError("That task is no longer listed.")
    return record


def inner_with_id(id: int, name: str) -> InnerTask:
    """Return the unfinished task named ``name`` inside a launched one, by the id of its facts.

    Raises CommandError if it has ended: another task may have got its id then.
    """
    from asyncnb._core.launched.inside import find_by_id  # seldom needed

    found = find_by_id(id, name)
    if found is None:
        raise CommandError(f"{name!r} has ended.")
    return found


def named(patterns: Sequence[str]) -> list[TaskRecord | InnerTask]:
    """Return the tasks that match ``patterns``; raise TaskNotFoundError if one matches none.

    Of several tasks with the same name: the living ones, else the last one. A pattern that matches
    no launched task may be the path of tasks inside one, see ``find_inside``.
    """
    found: dict[int, TaskRecord | InnerTask] = {}
    for pattern in patterns:
        matching = list(registry.match(pattern))
        if not matching and "/" in pattern:
            from asyncnb._core.launched.inside import find_inside, no_match_message

            inside = find_inside(pattern)
            if not inside:
                raise TaskNotFoundError(no_match_message(pattern))
            found |= {each.id: each for each in inside}
            continue
        if not matching:
            raise TaskNotFoundError(registry.no_match_message(pattern))
        living = [r for r in matching if r.state() not in ENDED]
        found |= {r.id: r for r in living or matching[-1:]}
    return list(found.values())


def launched_named(name: str) -> TaskRecord:
    """Return the one launched task named ``name``; raise TaskNotFoundError if there is none.

    The error says so if the name is the path of a task inside a launched one.
    """
    if "/" not in name:
        return registry.find(name)
    from asyncnb._core.launched import inside  # seldom needed

    return inside.launched_named(name)


def chosen(patterns: Sequence[str], group: str | None = None) -> list[TaskRecord | InnerTask]:
    """Return the tasks that match ``patterns``, as ``named`` does, or those of a group that do.

    A number that names no task is the id of one. Raises CommandError and TaskNotFoundError.
    """
    if group is not None:
        return list(in_group(group, patterns))
    found: dict[int, TaskRecord | InnerTask] = {}
    for pattern in patterns:
        by_id = registry.get(int(pattern)) if _is_id(pattern) else None
        if by_id is None or any(registry.match(pattern)):
            found |= {each.id: each for each in named([pattern])}
        else:
            found[by_id.id] = by_id
    return list(found.values())


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 18


def in_group(name: str, patterns: Sequence[str] = ()) -> list[TaskRecord]:
    """Return the tasks of the group ``name``, or those of them that match ``patterns``.

    Of several groups with the same name, the last one counts. Raises CommandError if there was
    none, and TaskNotFoundError for a pattern that matches none of its tasks.
    """
    last = _last_group(name)
    found = [r for r in registry.records() if r.group_facts is last]
    for pattern in patterns:
        if not any(matches(r, pattern) for r in found):
            names = [r.name for r in found]
            raise TaskNotFoundError(registry.no_match_message(pattern, names))
    return [r for r in found if not patterns or any(matches(r, p) for p in patterns)]


def _last_group(name: str) -> GroupFacts:
    records = registry.records()
    last = next((r.group_facts for r in reversed(records) if r.group == name), None)
    if (open_group := named_groups.find_group(name)) is not None:
        last = open_group.facts
    if last is None:
        groups = list(dict.fromkeys(r.group for r in records if r.group is not None))
        hint = did_you_mean(name, groups)
        if not hint:
            known = f" Known names: {', '.join(groups[-8:])}."
            hint = known if groups else " No group has been opened yet."
        raise CommandError(f"No group named {name!r}.{hint}")
    return last


def group_counts(name: str) -> Counts:
    """Return how many tasks of the group ``name`` run and have ended, as far as they are listed.

    Of several groups with the same name, the last one counts. Raises CommandError as in_group does.
    """
    return named_groups.group_counts(_last_group(name))


def _living(records: Sequence[Commanded]) -> list[Commanded]:
    living = [r for r in records if r.state() not in ENDED]
    if not living:
        names = ", ".join(repr(r.name) for r in records)
        raise CommandError(f"{names} {'has' if len(records) == 1 else 'have'} ended.")
    return living


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


# The commands


def cancel(patterns: Sequence[str], msg: str | None = None) -> str:
    """Cancel the living tasks that match ``patterns``, as ``asyncnb.cancel`` does."""
    return _cancelled(len(launch.cancel(*patterns, msg=msg)))


def cancel_tasks(records: Sequence[Commanded], msg: str | None = None) -> str:
    """Cancel those of ``records`` that have not ended; ended ones need no cancellation."""
    living = [record for record in records if record.state() not in ENDED]
    launched = [record for record in living if isinstance(record, TaskRecord)]
    others = [each.task for each in living if not isinstance(each, TaskRecord)]
    if others:
        from asyncnb._core.launched import inside  # seldom needed

        inside.cancel(others, msg)
    return _cancelled(len(launch.cancel_records(launched, msg)) + len(others))


def cancel_group(name: str, patterns: Sequence[str] = (), msg: str | None = None) -> str:
    """Cancel the group ``name``, or only those of its tasks that match ``patterns``."""
    records = in_group(name, patterns)
    if patterns:
        return cancel_tasks(records, msg)
    return _cancelled(len(launch.cancel_group(name, msg)))


def cancel_all(msg: str | None = None) -> str:
    """Cancel every launched task."""
    return _cancelled(len(launch.cancel_all(msg)))


def cancel_cell(cell_id: str, msg: str | None = None) -> str:
    """Cancel the living tasks that the cell with this id of the front end launched, in any run."""
    found = [r for r in registry.records() if r.cell is not None and r.cell.id == cell_id]
    living = [record for record in found if record.ended is None]
    if not living:
        raise CommandError(
            f"{count(len(found), 'task')} of this cell {'has' if len(found) == 1 else 'have'} ended"
            "; nothing is left to stop."
            if found
            else "This cell is not running and has no background task; there is nothing to stop."
        )
    return cancel_tasks(living, msg)


def _cancelled(number: int) -> str:
    return f"cancellation requested for {count(number, 'task')}" if number else "no tasks to cancel"


def pause(records: Sequence[Commanded], *, pause_timeouts: bool = False) -> str:
    """Pause the living tasks of ``records``; refuse if one of them cannot be paused."""
    living = _living(records)
    launched = [record for record in living if isinstance(record, TaskRecord)]
    if refusal := next(filter(None, (record.pause_refusal() for record in launched)), None):
        raise CommandError(_sentence(refusal))
    done = []
    for record in living:
        name = record.name
        if not _pausable(record).pause(pause_timeouts=pause_timeouts):
            done.append(f"{name} is already shutting down")
        elif record.state() == "paused":
            done.append(f"{name} is paused")
        else:
            done.append(f"{name} is running; it will pause at its next await")
    return "\n".join(done)


def _pausable(record: Commanded) -> Task[Any] | InnerTask:
    """Return what can pause the task: one of asyncio's own class has no method for that."""
    return record.task if isinstance(record, TaskRecord) else record


def resume(records: Sequence[Commanded]) -> str:
    """Resume the paused tasks of ``records``; refuse if none of them is paused."""
    living = _living(records)
    paused = [each for each in living if getattr(each.task, "_pause", None) is not None]
    if not paused:
        states = ", ".join(f"{record.name} is {record.state()}" for record in living)
        raise CommandError(f"No task to resume: {states}.")
    for record in paused:
        _pausable(record).resume()
    return "\n".join(f"{record.name} resumed" for record in paused)


def notify(records: Sequence[Commanded], *, wanted: bool = True) -> str:
    """Notify the user when the living tasks of ``records`` end, or stop doing so."""
    living = _living(records)
    launched = [each for each in living if isinstance(each, TaskRecord)]
    if len(launched) < len(living):
        inside = next(each.name for each in living if not isinstance(each, TaskRecord))
        raise CommandError(
            f"{inside!r} is inside another task, and only the end of a launched one is notified."
        )
    for record in launched:
        record.notify = wanted
        record.changed()
    names = ", ".join(record.name for record in living[:5])
    if len(living) > 5:
        names += f" and {count(len(living) - 5, 'more task')}"
    if not wanted:
        return f"you will not be notified of the end of {names}"
    return f"you will be notified when {names} {'ends' if len(living) == 1 else 'end'}"


def rename(record: TaskRecord, new: str) -> str:
    """Rename a task; refuse an invalid name, and the name of another living task."""
    if problem := invalid_name_reason(new):
        raise CommandError(_sentence(problem))
    if any(other is not record and other.name == new for other in registry.living()):
        raise CommandError(f"Another living task is named {new!r}.")
    record.task.set_name(new)
    return ""  # the user sees the new name already


def set_limit(record: TaskRecord, seconds: float | None, *, more: bool = False) -> str:
    """Set a task's limit to ``seconds`` from now, ``seconds`` more than left, or none (None)."""
    try:
        left = time_limit.set_limit(record, seconds, more=more)
    except ValueError as exc:
        raise CommandError(_sentence(str(exc))) from None
    return f"{record.name}: " + ("no time limit" if left is None else f"{left:.4g} s left")


def set_call_limit(record: TaskRecord, limit: object) -> str:
    """Set how many calls a run of ``asyncnb.map`` makes at a time: a whole number, or its text."""
    _adjustable(record)
    if isinstance(limit, str):
        try:
            limit = int(limit)
        except ValueError:
            raise CommandError(
                f"A limit takes a whole number of calls at a time, 1 or more, not {brief(limit)}."
            ) from None
    if type(limit) is not int or limit < 1:
        raise CommandError(
            f"A limit takes a whole number of calls at a time, 1 or more, not {brief(limit)}."
        )
    _set(record, "limit", limit)
    return f"{record.name}: at most {count(limit, 'call')} at a time"


def set_rate(record: TaskRecord, rate: object) -> str:
    """Set how many calls a run of ``asyncnb.map`` starts per time, as ``map(rate=...)`` takes it.

    None, and the texts ``none`` and ``""``, remove the rate.
    """
    calls = _adjustable(record)
    if isinstance(rate, str):
        rate = None if rate.strip().lower() in ("", "none") else _number_or_text(rate.strip())
    _set(record, "rate", rate)
    now = calls.rate
    return f"{record.name}: " + ("no rate" if now is None else f"at most {now}")


def retry(record: TaskRecord) -> str:
    """Run the failed items of a run of ``asyncnb.map`` again, which has ended."""
    calls = record.adjustable
    if calls is None or record.state() not in ENDED:
        _adjustable(record)
        raise CommandError(f"{record.name!r} is still running; its failed items can be run later.")
    run, failed = calls.run(), calls_info(calls).failed
    if not failed:
        raise CommandError(f"No item of {record.name!r} has failed.")
    if run is None:
        raise CommandError(
            f"The run of {record.name!r} is no longer kept: keep what asyncnb.map() returns in a "
            "variable."
        )
    failed = len(run.failed)
    if not failed:
        raise CommandError(f"The failed items of {record.name!r} were run again, and none failed.")
    try:
        run.retry()
    except (RuntimeError, TypeError, ValueError) as exc:
        raise CommandError(_sentence(str(exc))) from None
    return f"{record.name}: running {count(failed, 'failed item')} again"


def _adjustable(record: TaskRecord) -> Adjustable:
    """Return what a living run can change; raise CommandError if it is none, or has ended."""
    if record.adjustable is None:
        raise CommandError(
            f"{record.name!r} is not a run of asyncnb.map(), so it has no limit and no rate of "
            "calls."
        )
    if record.state() in ENDED:
        raise CommandError(f"{record.name!r} has ended.")
    return cast("Adjustable", record.adjustable)


def _set(record: TaskRecord, name: str, value: object) -> None:
    try:
        setattr(_adjustable(record), name, value)
    except (TypeError, ValueError, RuntimeError) as exc:
        raise CommandError(_sentence(str(exc))) from None
    record.changed()


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def clear() -> str:
    """Forget the tasks that have ended."""
    number = launch.clear_ended()
    return f"{count(number, 'ended task')} cleared" if number else "no ended tasks to clear"


class WaitTargets(NamedTuple):
    """What to wait for: tasks, and the group, if any, to which more may be added meanwhile."""

    records: Sequence[Commanded]
    group: OpenGroup | None
    facts: GroupFacts | None
    group_name: str | None

    def check(self) -> None:
        """Raise TimeoutError if the group was cancelled because it had timed out."""
        if self.facts is not None and self.facts.timed_out:
            raise TimeoutError(f"Group {self.group_name!r} timed out; its tasks were cancelled.")


def wait_targets(patterns: Sequence[str], group: str | None = None) -> WaitTargets:
    """Return what to wait for: ``patterns``, those in ``group``, or everything.

    Everything means the living tasks, and the failed tasks whose exception no code has seen yet.
    """
    if group is None:
        found: Sequence[Commanded] = registry.failed_unseen() + registry.living()
        if patterns:
            found = named(patterns)
        return WaitTargets(found, None, None, None)
    records = in_group(group, patterns)
    facts: GroupFacts | None = None
    if records:
        facts = records[0].group_facts
    elif (open_group := named_groups.find_group(group)) is not None:
        facts = open_group.facts
    # With patterns, wait only for those of its tasks that match.
    whole = None if patterns or facts is None else facts.group()
    return WaitTargets(records, whole, facts, group)
