"""The verbs of ``%tasks``: one usage line, its arguments, what it does."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from IPython.core.error import UsageError

from asyncnb._core.base.errors import TaskNotFoundError, did_you_mean
from asyncnb._core.introspection.info import ENDED
from asyncnb._core.launched import named_groups as _named_groups
from asyncnb._core.launched import registry as _registry
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import matches
from asyncnb._kernel.arguments import Parser


class Verb(NamedTuple):
    """One verb; its parser is made when it is used, for argparse is slow to set up.

    The names of its arguments say what they take: ``name``, ``old`` and ``patterns`` name tasks,
    ``group`` a group. Completion goes by that.
    """

    usage: str
    arguments: Callable[[Parser], object]
    run: Callable[[argparse.Namespace], Any]

    @property
    def name(self) -> str:
        """What the user types, ``%tasks cancel``."""
        return " ".join(word for word in self.usage.split()[:2] if word[0] not in "[<")

    def parser(self) -> Parser:
        """Return a new parser of its option line."""
        parser = Parser(self.name, self.usage)
        self.arguments(parser)
        return parser

    def __call__(self, given: Sequence[str]) -> Any:
        """Parse ``given`` and do it; raise UsageError for what it does not know."""
        with as_usage_error():
            return self.run(self.parser().parse(given))

    def refuse(self, message: str) -> UsageError:
        """Return the error for arguments that are known but do not go together."""
        return UsageError(f"{self.name}: {message}.\nUsage: {self.usage}")


class as_usage_error:
    """Turns a name that matches nothing into the one-line error of a magic."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: BaseException | None, tb: object) -> None:
        if isinstance(exc, TaskNotFoundError):
            raise UsageError(str(exc)) from None


def named_records(patterns: Sequence[str]) -> list[TaskRecord]:
    """Return the tasks that ``patterns`` mean; raise TaskNotFoundError if one means none.

    A name that was used before means the task that has it now.
    """
    found: dict[int, TaskRecord] = {}
    for pattern in patterns:
        matching = list(_registry.registry.match(pattern))
        if not matching:
            raise TaskNotFoundError(_registry.registry.no_match_message(pattern))
        living = [r for r in matching if r.state() not in ENDED]
        found |= {r.id: r for r in living or matching[-1:]}
    return list(found.values())


def living_records(patterns: Sequence[str], magic: str) -> list[TaskRecord]:
    """Return the tasks that ``patterns`` mean and that have not ended; UsageError for none."""
    records = named_records(patterns)
    living = [r for r in records if r.state() not in ENDED]
    if not living:
        names = ", ".join(repr(r.name) for r in records)
        raise UsageError(f"{magic}: {names} {'has' if len(records) == 1 else 'have'} ended.")
    return living


def group_records(name: str, patterns: Sequence[str] = ()) -> list[TaskRecord]:
    """Return the tasks of the group ``name``, or those of them that ``patterns`` mean.

    Of several groups that had the name, the last. Raises UsageError if there was none, and
    TaskNotFoundError for a pattern that means none of its tasks.
    """
    registry = _registry.registry
    records = registry.records()
    last = next((r.group_facts for r in reversed(records) if r.group == name), None)
    if (open_group := _named_groups.find_group(name)) is not None:
        last = open_group.facts
    if last is None:
        groups = list(dict.fromkeys(r.group for r in records if r.group is not None))
        hint = did_you_mean(name, groups)
        if not hint:
            hint = f" There are: {', '.join(groups[-8:])}." if groups else " There is none yet."
        raise UsageError(f"No group is called {name!r}.{hint}")
    found = [r for r in records if r.group_facts is last]
    for pattern in patterns:
        if not any(matches(r, pattern) for r in found):
            raise TaskNotFoundError(registry.no_match_message(pattern, [r.name for r in found]))
    return [r for r in found if not patterns or any(matches(r, p) for p in patterns)]


def count(number: int, noun: str) -> str:
    """Return ``3 tasks``, ``1 task``, ``no tasks``."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
