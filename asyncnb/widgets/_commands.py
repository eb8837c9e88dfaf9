"""The commands a browser may send: known verbs with checked arguments.

A message can contain anything. An unknown verb, an argument of the wrong type and an id that no
task has are refused with a sentence, and nothing is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from asyncnb._core.base.errors import CommandError
from asyncnb._core.base.seconds import check_timeout
from asyncnb._core.base.text import brief
from asyncnb._core.introspection.info import STATES
from asyncnb._core.launched import commands

if TYPE_CHECKING:
    from asyncnb._core.launched.inside import InnerTask


def _id(value: object) -> int:
    if type(value) is not int or value < 1:
        raise CommandError(f"{brief_of(value)} is not a task id.")
    return value


def _inner_id(value: object) -> int:
    """A task that was not launched has a negative id."""
    if type(value) is not int or not -(2**63) < value < 0:
        raise CommandError(f"{brief_of(value)} is not the id of a task inside another one.")
    return value


def _any_id(value: object) -> int:
    return _inner_id(value) if type(value) is int and value < 0 else _id(value)


def _id_or_none(value: object) -> int | None:
    return None if value is None else _any_id(value)


def _ids(value: object, check: Callable[[object], int] = _id) -> list[int]:
    if not isinstance(value, list) or len(value) > 10_000:
        raise CommandError(f"{brief_of(value)} is not a list of task ids.")
    return [check(each) for each in value]


def _any_ids(value: object) -> list[int]:
    return _ids(value, _any_id)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 1000:
        raise CommandError(f"{brief_of(value)} is not a text of at most 1,000 characters.")
    return value


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise CommandError(f"{brief_of(value)} is not a number of messages.")
    return value


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise CommandError(f"{brief_of(value)} is neither true nor false.")
    return value


def _seconds_or_none(value: object) -> float | None:
    try:
        return check_timeout(value, what="A time limit")
    except (TypeError, ValueError) as exc:
        raise CommandError(str(exc)) from None


def _number_or_text(value: object) -> float | str | None:
    """The command itself knows which of them make sense."""
    if value is None or type(value) in (int, float):
        return value  # type: ignore[return-value]
    return _text(value)


def brief_of(value: object) -> str:
    """Return what arrived, for a sentence that refuses it."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"  # however deep
    return brief(value, 40)


def _task(value: object) -> int | str:
    """A question may name a launched task."""
    return _text(value) if isinstance(value, str) else _id(value)


def _task_or_none(value: object) -> int | str | None:
    return None if value is None else _task(value)


def _patterns(value: object) -> list[str]:
    if not isinstance(value, list) or len(value) > 100:
        raise CommandError(f"{brief_of(value)} is not a list of at most 100 patterns.")
    return [_text(each) for each in value]


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _order(value: object) -> str:
    if not isinstance(value, str) or value not in ORDERS:
        raise CommandError(f"{brief_of(value)} is not an order: {', '.join(ORDERS)} are.")
    return value


def _tasks(value: object) -> list[int | str]:
    if not isinstance(value, list) or not 0 < len(value) <= 10_000:
        raise CommandError(f"{brief_of(value)} is not a list of ids or names of tasks.")
    return [_task(each) for each in value]


def _seconds(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value <= MAX_SECONDS:  # type: ignore[operator]
        raise CommandError(f"{brief_of(value)} is not a number of seconds from 0 to {MAX_SECONDS}.")
    return value  # type: ignore[return-value]


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise CommandError(f"{brief_of(value)} is not a whole number from 0 on.")
    return value


def _time_or_none(value: object) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not -1e12 < value < 1e12:  # type: ignore[operator]
        raise CommandError(f"{brief_of(value)} is not a time in seconds since 1970.")
    return value  # type: ignore[return-value]


def _state_or_none(value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or value not in STATES):
        raise CommandError(f"{brief_of(value)} is not a state: {', '.join(STATES)} are.")
    return value


#: The orders of ``overview``.
ORDERS: Final = ("living", "newest", "name", "time")

#: The most seconds for which a question may be held.
MAX_SECONDS: Final = 60

#: The message of a CancelledError that a click caused.
_MESSAGE: Final = "cancelled in the dashboard"

#: The same, for a request that names tasks: from a terminal or a program.
_ASKED: Final = "cancelled from outside the notebook"

#: The arguments of each verb, and what checks them.
VERBS: Final[Mapping[str, Mapping[str, Callable[[object], Any]]]] = {
    # of the feed
    "sync": {},
    "seen": {"messages": _count},
    "close": {},
    "view": {"ids": _any_ids},
    "unfold": {"ids": _any_ids},
    "detail": {"id": _id_or_none},
    "watch": {"ids": _ids},
    "timeline": {},
    "sample": {"on": _flag},
    # of tasks
    "cancel": {"id": _id},
    "cancel_group": {"group": _text},
    "cancel_all": {},
    "pause": {"id": _id},
    "resume": {"id": _id},
    # of all tasks that patterns name, as a command line takes them
    "cancel_named": {"patterns": _patterns, "group": _text_or_none},
    "pause_named": {"patterns": _patterns, "group": _text_or_none},
    "resume_named": {"patterns": _patterns, "group": _text_or_none},
    # of tasks inside others: the name, because a later task may have the same id
    "cancel_inner": {"id": _inner_id, "name": _text},
    "pause_inner": {"id": _inner_id, "name": _text},
    "resume_inner": {"id": _inner_id, "name": _text},
    "rename": {"id": _id, "name": _text},
    "timeout": {"id": _id, "seconds": _seconds_or_none},
    "limit": {"id": _id, "calls": _number_or_text},
    "rate": {"id": _id, "rate": _number_or_text},
    "retry": {"id": _id},
    "notify": {"id": _id, "on": _flag},
    "clear": {},
    # of the cell that awaits
    "background": {},
    # of a cell: the one in the foreground, else its background tasks
    "stop_cell": {"cell_id": _text},
    # questions, answered once
    "list": {
        "limit": _number,
        "offset": _number,
        "since": _time_or_none,
        "state": _state_or_none,
        "cell_id": _text_or_none,
    },
    "find": {"patterns": _patterns, "group": _text_or_none, "limit": _number},
    "overview": {"limit": _number, "offset": _number, "match": _text, "order": _order},
    "describe": {"task": _task},
    "stack": {"task": _task_or_none},
    "output": {"task": _task, "cursor": _number},
    "variables": {"pattern": _text, "limit": _number},
}

#: Questions that are answered when something has happened; on the control channel alone.
HELD: Final[Mapping[str, Mapping[str, Callable[[object], Any]]]] = {
    "wait": {"tasks": _tasks, "seconds": _seconds, "any": _flag},
    "follow": {"task": _task, "cursor": _number, "seconds": _seconds},
}

#: The verbs that are answered with what they ask for.
QUESTIONS: Final = frozenset(
    {"list", "overview", "find", "describe", "stack", "output", "variables"}
)
#: The arguments that may be missing.
DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "list": {"limit": 100, "offset": 0, "since": None, "state": None, "cell_id": None},
    "find": {"group": None, "limit": 100},
    "stack": {"task": None},
    "overview": {"limit": 100, "offset": 0, "match": "", "order": "living"},
    "output": {"cursor": 0},
    "variables": {"pattern": "*", "limit": 100},
    "wait": {"seconds": 0, "any": False},
    "follow": {"cursor": 0, "seconds": 0},
    "cancel_named": {"group": None},
    "pause_named": {"group": None},
    "resume_named": {"group": None},
}


def check_arguments(
    verb: str, checks: Mapping[str, Callable[[object], Any]], content: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of ``verb`` in a message; raise CommandError if one is wrong."""
    defaults = DEFAULTS.get(verb, {})
    missing = [name for name in checks if name not in content and name not in defaults]
    if missing:
        raise CommandError(f"{verb!r} takes {', '.join(checks)}; {missing[0]} is missing.")
    given = {name: content.get(name, defaults.get(name)) for name in checks}
    return {name: check(given[name]) for name, check in checks.items()}


class Commands:
    """Runs the commands, on the calling thread.

    ``detach`` moves the awaiting cell to the background and returns what to show; it raises
    CommandError with the reason if it cannot. ``stop_cell`` stops the foreground cell with an id,
    in the same way; it returns an empty text if another cell, or none, is in the foreground.
    """

    def __init__(
        self, detach: Callable[[], str] = str, stop_cell: Callable[[str], str] = lambda _: ""
    ) -> None:
        self._detach = detach
        self._stop_foreground = stop_cell

    def can(self) -> list[str]:
        """Return what this kernel can do besides what every kernel could."""
        return ["pause", "notify", "stop_cell"]

    @staticmethod
    def parse(content: object) -> tuple[str, str | None, dict[str, Any]]:
        """Return the verb, the browser's id of the request, the arguments; raise CommandError."""
        if not isinstance(content, dict):
            raise CommandError("A command must be an object.")
        verb = content.get("c")
        checks = VERBS.get(verb) if isinstance(verb, str) else None
        if checks is None or not isinstance(verb, str):
            raise CommandError(f"Unknown command {brief_of(verb)}.")
        number = content.get("n")
        if number is not None and (not isinstance(number, str) or len(number) > 100):
            raise CommandError(f"Invalid request id {brief_of(number)}.")
        return verb, number, check_arguments(verb, checks, content)

    def execute(self, verb: str, arguments: Mapping[str, Any]) -> str:
        """Run a command; return what was done in a few words, or nothing. Raises CommandError."""
        done: str = getattr(self, f"_{verb}")(**arguments)
        return done

    def _cancel(self, id: int) -> str:
        return commands.cancel_tasks([commands.with_id(id)], _MESSAGE)

    def _cancel_group(self, group: str) -> str:
        return commands.cancel_group(group, msg=_MESSAGE)

    def _cancel_all(self) -> str:
        return commands.cancel_all(_MESSAGE)

    def _pause(self, id: int) -> str:
        return commands.pause([commands.with_id(id)])

    def _resume(self, id: int) -> str:
        return commands.resume([commands.with_id(id)])

    def _cancel_named(self, patterns: list[str], group: str | None) -> str:
        if group is not None:
            return commands.cancel_group(group, patterns, _ASKED)
        return commands.cancel_tasks(commands.chosen(patterns), _ASKED)

    def _pause_named(self, patterns: list[str], group: str | None) -> str:
        return commands.pause(commands.chosen(patterns, group))

    def _resume_named(self, patterns: list[str], group: str | None) -> str:
        return commands.resume(commands.chosen(patterns, group))

    def _cancel_inner(self, id: int, name: str) -> str:
        return commands.cancel_tasks([_inner_task(id, name)], _MESSAGE)

    def _pause_inner(self, id: int, name: str) -> str:
        return commands.pause([_inner_task(id, name)])

    def _resume_inner(self, id: int, name: str) -> str:
        return commands.resume([_inner_task(id, name)])

    def _rename(self, id: int, name: str) -> str:
        return commands.rename(commands.with_id(id), name)

    def _timeout(self, id: int, seconds: float | None) -> str:
        return commands.set_limit(commands.with_id(id), seconds)

    def _limit(self, id: int, calls: float | str | None) -> str:
        return commands.set_call_limit(commands.with_id(id), calls)

    def _rate(self, id: int, rate: float | str | None) -> str:
        return commands.set_rate(commands.with_id(id), rate)

    def _retry(self, id: int) -> str:
        record = commands.with_id(id)
        # In the context of the run: what it prints belongs in its own cell.
        context = record.task.get_context().copy()
        return str(context.run(commands.retry, record))

    def _notify(self, id: int, on: bool) -> str:
        return commands.notify([commands.with_id(id)], wanted=on)

    def _background(self) -> str:
        return self._detach()

    def _stop_cell(self, cell_id: str) -> str:
        return self._stop_foreground(cell_id) or commands.cancel_cell(cell_id, _MESSAGE)

    def _clear(self) -> str:
        return commands.clear()


def _inner_task(id: int, name: str) -> InnerTask:
    from asyncnb.widgets._inner import inner_task  # only of an unfolded task

    return inner_task(id, name)
