"""What a browser may ask for: known verbs, checked arguments, and what each does to a task.

Everything that arrives is somebody's message, not ours: a verb that is not in the table, an
argument of another type or an id that is no task's is refused with a sentence, and nothing is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from asyncnb._core.base.seconds import check_timeout
from asyncnb._core.introspection.info import ENDED
from asyncnb._core.launched import launch as _launch
from asyncnb._core.launched import names as _names
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import TaskRegistry
from asyncnb._core.launched.time_limit import set_limit


class Refused(Exception):
    """A command that cannot be done; the sentence is for the person who gave it."""


def _id(value: object) -> int:
    if type(value) is not int or value < 1:
        raise Refused(f"{_brief(value)} is no task's id.")
    return value


def _id_or_none(value: object) -> int | None:
    return None if value is None else _id(value)


def _ids(value: object) -> list[int]:
    if not isinstance(value, list) or len(value) > 10_000:
        raise Refused(f"{_brief(value)} is no list of ids.")
    return [_id(each) for each in value]


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 1000:
        raise Refused(f"{_brief(value)} is no text.")
    return value


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise Refused(f"{_brief(value)} is no number of messages.")
    return value


def _seconds_or_none(value: object) -> float | None:
    try:
        return check_timeout(value, what="A time limit")
    except (TypeError, ValueError) as exc:
        raise Refused(str(exc)) from None


def _brief(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"  # however deep
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number that long"  # Python refuses to write out the longest
    text = repr(value[:40] if isinstance(value, str) else value)
    return text if len(text) <= 40 else text[:39] + "…"


#: The arguments of each verb, and what checks them.
VERBS: Final[Mapping[str, Mapping[str, Callable[[object], Any]]]] = {
    # of the feed
    "sync": {},
    "seen": {"messages": _count},
    "close": {},
    "view": {"ids": _ids},
    "detail": {"id": _id_or_none},
    "watch": {"ids": _ids},
    "timeline": {},
    # of tasks
    "cancel": {"id": _id},
    "cancel_group": {"group": _text},
    "cancel_all": {},
    "pause": {"id": _id},
    "resume": {"id": _id},
    "rename": {"id": _id, "name": _text},
    "timeout": {"id": _id, "seconds": _seconds_or_none},
    "clear": {},
    # of the cell that awaits
    "background": {},
}


class Commands:
    """Does what the verbs say, in whatever thread calls."""

    def __init__(self, registry: TaskRegistry, let_go: Callable[[], str] = str) -> None:
        self._registry = registry
        self._let_go = let_go

    def can(self) -> list[str]:
        """Return what this kernel can, besides what every one could."""
        return ["pause"]

    def parse(self, content: object) -> tuple[str, str | None, dict[str, Any]]:
        """Return verb, the browser's own number for the command, arguments; raise Refused."""
        if not isinstance(content, dict):
            raise Refused("A command is an object.")
        verb = content.get("c")
        checks = VERBS.get(verb) if isinstance(verb, str) else None
        if checks is None or not isinstance(verb, str):
            raise Refused(f"There is no command {_brief(verb)}.")
        number = content.get("n")
        if number is not None and (not isinstance(number, str) or len(number) > 100):
            raise Refused(f"{_brief(number)} is no number of a command.")
        missing = [name for name in checks if name not in content]
        if missing:
            raise Refused(f"{verb!r} takes {', '.join(checks)}; there is no {missing[0]}.")
        return verb, number, {name: check(content[name]) for name, check in checks.items()}

    def execute(self, verb: str, arguments: Mapping[str, Any]) -> str:
        """Do it, and return what was done, as a sentence or nothing; raise Refused."""
        said: str | None = getattr(self, f"_{verb}")(**arguments)
        return said or ""

    def _record(self, id: int) -> TaskRecord:
        record = self._registry.get(id)
        if record is None:
            raise Refused("That task is not known any more.")
        return record

    def _living(self, id: int) -> TaskRecord:
        record = self._record(id)
        if record.state() in ENDED:
            raise Refused(f"{record.name} has ended.")
        return record

    def _cancel(self, id: int) -> None:
        # One that has ended meanwhile is where the person wants it to be.
        _launch.cancel_records([self._record(id)], "cancelled in the dashboard")

    def _cancel_group(self, group: str) -> None:
        _launch.cancel_group(group, "cancelled in the dashboard")

    def _cancel_all(self) -> str:
        asked = _launch.cancel_all("cancelled in the dashboard")
        return f"{len(asked)} task{'' if len(asked) == 1 else 's'} asked to cancel"

    def _pause(self, id: int) -> None:
        try:
            self._living(id).task.pause()
        except RuntimeError as exc:  # a task that does not run on the loop
            raise Refused(f"{exc}.") from None

    def _resume(self, id: int) -> None:
        self._living(id).task.resume()

    def _rename(self, id: int, name: str) -> None:
        try:
            _names.rename(self._registry, self._record(id), name)
        except ValueError as exc:
            sentence = str(exc)
            raise Refused(sentence[:1].upper() + sentence[1:]) from None

    def _timeout(self, id: int, seconds: float | None) -> None:
        record = self._living(id)
        try:
            set_limit(record, seconds)
        except ValueError as exc:
            raise Refused(f"{exc}.") from None

    def _background(self) -> str:
        try:
            return self._let_go()
        except ValueError as exc:
            raise Refused(str(exc)) from None

    def _clear(self) -> str:
        gone = _launch.clear_ended()
        return f"{gone} ended task{'' if gone == 1 else 's'} forgotten"
