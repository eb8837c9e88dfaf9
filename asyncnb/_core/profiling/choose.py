"""Which tasks a profile is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from asyncnb._core.base.errors import CommandError, TaskNotFoundError
from asyncnb._core.introspection.info import ENDED
from asyncnb._core.launched import commands, named_groups
from asyncnb._core.launched.launch import plain_tasks_named
from asyncnb._core.profiling.profile import Profile

if TYPE_CHECKING:
    from asyncnb._core.launched.commands import Commanded

_Found = TypeVar("_Found", bound="Commanded")


def profile(pattern: str | None = None, *, group: str | None = None) -> Profile:
    """Return a profile for ``with profile() as it:``, which shows where tasks spend their time.

    ``pattern`` is the name of a launched task or a glob pattern; the tasks that it creates count as
    part of it. ``group`` is the name of an open group, whose later tasks count, too. Without
    either, the profile covers all tasks. A thread samples the running code a hundred times a
    second, and what suspended tasks wait for ten times a second; the tasks themselves are not
    instrumented. The block may contain ``await``.

    A notebook shows it as text and as a flame graph. ``.samples`` has the numbers, ``.save(path)``
    writes a file for https://www.speedscope.app. Raises TaskNotFoundError for a name that matches
    no living task, and CommandError for a group that does not exist. Any thread.

    >>> with asyncnb.profile() as where:
    ...     await asyncio.sleep(1)
    >>> where.ended
    True
    """
    return chosen([] if pattern is None else [pattern], group)


def chosen(patterns: Sequence[str], group: str | None = None) -> Profile:
    """Return a profile, not started yet, of the living tasks that match; of all without a name.

    Raises TaskNotFoundError for a pattern that matches none, CommandError if those that match have
    ended, and for a group that does not exist or has ended.
    """
    if group is not None:
        return _of_group(group, patterns)
    if not patterns:
        return Profile("all tasks")
    tasks: dict[int, object] = {}
    for pattern in patterns:
        try:
            records = commands.named([pattern])
        except TaskNotFoundError:
            plain = plain_tasks_named(pattern)
            if not plain:
                raise
            tasks |= {id(task): task for task in plain}
        else:
            tasks |= {id(r.task): r.task for r in _living(records)}
    return Profile(", ".join(map(repr, patterns)), list(tasks.values()))


def _living(records: Sequence[_Found]) -> list[_Found]:
    living = [record for record in records if record.state() not in ENDED]
    if not living:
        names = ", ".join(repr(record.name) for record in records)
        has = "has" if len(records) == 1 else "have"
        raise CommandError(
            f"{names} {has} ended, and a profile is taken while a task runs. `%%atask --profile` "
            "profiles a cell from its start."
        )
    return living


def _of_group(name: str, patterns: Sequence[str]) -> Profile:
    records = commands.in_group(name, patterns)
    group = named_groups.find_group(name)
    if patterns:
        living = _living(records)
        return Profile(
            f"{', '.join(map(repr, patterns))} in group {name!r}", [r.task for r in living]
        )
    if group is None:
        _living(records)
    facts = records[0].group_facts if group is None else group.facts
    return Profile(f"group {name!r}", belongs=lambda record: record.group_facts is facts)
