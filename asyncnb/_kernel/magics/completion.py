"""Tab completion in the line of a magic: verbs, options, tasks, groups and executors."""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import pathlib
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from IPython.core.completer import CompletionContext, SimpleCompletion

from asyncnb._core.launched.named_groups import open_groups
from asyncnb._core.launched.registry import registry
from asyncnb._kernel.arguments import (
    TARGETS,
    Parser,
    agroup_parser,
    atask_parser,
    comment_start,
)
from asyncnb._kernel.magics.verbs import Verb

#: Names offered at most: IPython shows no more than that, and takes a while to sort 10,000.
MAX_NAMES = 500

#: Verbs that take living tasks only.
_FOR_THE_LIVING = {"cancel", "wait", "pause", "resume", "timeout", "limit", "rate", "notify"}
#: Verbs that take the paths of tasks inside launched ones.
_TAKE_PATHS = {"cancel", "wait", "pause", "resume", "stack"}
#: Tasks inside one that are offered at most: a screenful, since one may have 10,000.
MAX_INSIDE = 50

_MAGIC = re.compile(
    r"^\s*(?:[\w.]+\s*=\s*)?(?P<magic>%%(?:atask|agroup|amap)|%(?:atask|tasks|asyncnb))\s(?P<rest>.*)$"
)
_ELSEWHERE = ("distributed", "ipyparallel")


class Offer(NamedTuple):
    """What can replace ``fragment``; ``alone`` if no other completion makes sense there."""

    fragment: str
    texts: list[str]
    alone: bool = True


class MagicCompletion:
    """Completes the lines of this shell's magics."""

    def __init__(
        self,
        ip: Any,
        *,
        table: Verb,
        verbs: Mapping[str, Verb],
        commands: Mapping[str, Callable[[Sequence[str]], Iterable[str]]],
    ) -> None:
        self.ip = ip
        self._table = table
        self._verbs = verbs
        #: The words of ``%asyncnb``, and what each takes after the words given.
        self._commands = commands

    def match(self, context: CompletionContext) -> Any:
        """Return completions in the form of IPython's matcher API, version 2."""
        before = context.line_with_cursor[: context.cursor_position]
        above = context.full_text.split("\n")[: context.cursor_line]
        offer = None if any(map(str.strip, above)) and "%%" in before[:10] else self.offer(before)
        if offer is None:
            return {"completions": [], "suppress": False}
        return {
            "completions": [SimpleCompletion(text, type="magic") for text in offer.texts],
            "matched_fragment": offer.fragment,
            "suppress": offer.alone,
            "ordered": True,
        }

    def offer(self, line: str) -> Offer | None:
        """Return what can follow ``line``, which ends at the cursor; None for another line."""
        found = _MAGIC.match(line)
        if found is None:
            return None
        given, fragment = split(found["rest"])
        if given is None:
            return None
        match found["magic"]:
            case "%tasks":
                texts = self._of_tasks(given, fragment)
            case "%asyncnb":
                texts = self._of_asyncnb(given)
            case "%%agroup":
                # Its name is that of a group.
                names = group_names() if not given else []
                texts = [*names, *self._arguments(agroup_parser(), given or [""], fragment)]
            case "%%amap":
                from asyncnb._kernel.map_arguments import map_parser

                parser = map_parser()
                texts = self._arguments(parser, given, fragment)
                takes_value = bool(given) and _takes_value(parser, given[-1])
                # The item and what gives the items are Python, which IPython completes.
                alone = takes_value or fragment.startswith("-")
                return Offer(fragment, _fitting(texts, fragment), alone=alone)
            case magic:
                parser = atask_parser(magic)
                texts = self._arguments(parser, given, fragment)
                takes_value = bool(given) and _takes_value(parser, given[-1])
                if magic == "%atask" and not takes_value and not fragment.startswith("-"):
                    # An expression is possible here as well; IPython completes that.
                    return Offer(fragment, _fitting(texts, fragment), alone=False)
        return Offer(fragment, _fitting(texts, fragment))

    def _of_tasks(self, given: list[str], fragment: str) -> Iterable[str]:
        if not given:
            yield from self._verbs
            yield from self._arguments(self._table.parser(), given, fragment)
            yield from _paths(self._table.parser(), given, fragment)
        elif given[0] in self._verbs:
            verb = self._verbs[given[0]]
            living = given[0] in _FOR_THE_LIVING
            yield from self._arguments(verb.parser(), given[1:], fragment, living=living)
            if given[0] in _TAKE_PATHS:
                yield from _paths(verb.parser(), given, fragment)
        else:
            yield from self._arguments(self._table.parser(), given, fragment)
            yield from _paths(self._table.parser(), given, fragment)

    def _of_asyncnb(self, given: list[str]) -> Iterable[str]:
        if not given:
            return list(self._commands)
        following = self._commands.get(given[0])
        return [] if following is None else following(given[1:])

    def _arguments(
        self, parser: Parser, given: list[str], fragment: str, *, living: bool = False
    ) -> Iterable[str]:
        """Yield what can follow the words ``given`` in an option line."""
        options = {o: action for action in parser._actions for o in action.option_strings}
        places = [action for action in parser._actions if not action.option_strings]
        asked: argparse.Action | None = None
        used = set()
        for word in given:
            if asked is not None:
                asked = None
            elif word.startswith("-") and word != "-":
                action = options.get(word.partition("=")[0])
                if action is not None:
                    used.add(action)
                    asked = action if action.nargs != 0 and "=" not in word else None
            elif places and places[0].nargs not in ("*", "+"):
                places.pop(0)
        if asked is not None:
            yield from self._values(asked, living, fragment.lstrip("'\""))
            return
        option, equals, started = fragment.partition("=")
        if equals and option in options:
            values = self._values(options[option], living, started)
            yield from (f"{option}={value}" for value in values)
            return
        if places and not fragment.startswith("-"):
            yield from self._values(places[0], living)
        yield from (option for option, action in options.items() if action not in used)

    def _values(self, action: argparse.Action, living: bool, started: str = "") -> Iterable[str]:
        """Return the values that an argument takes, as far as they can be listed.

        ``started`` is how a value begins: of names with commas between them, the last one is open.
        """
        choices = getattr(action.type, "choices", action.choices)
        if choices:
            return list(choices)
        match action.dest:
            case "name" | "old" | "pattern" | "patterns":
                return task_names(living)
            case "failed":
                return (r.name for r in reversed(registry.records()) if r.state() == "failed")
            case "group":
                return group_names()
            case "after" | "after_any":
                before = started[: started.rfind(",") + 1]
                return (before + name for name in (*task_names(living), *group_names()))
            case "followers":
                records = reversed(registry.records())
                return (r.name for r in records if r.after is not None and r.after.follows)
            case "on":
                return [*TARGETS, *executors(self.ip.user_ns)]
            case "sent":
                return sorted(n for n in list(self.ip.user_ns) if not n.startswith("_"))
            case "limit" | "rate":
                return ["none"]
            case "save":
                return sorted(str(path) for path in pathlib.Path().glob("*.db"))
            case "out":
                return sorted(n for n in list(self.ip.user_ns) if not n.startswith("_"))
        return []


def _takes_value(parser: Parser, word: str) -> bool:
    return any(word in a.option_strings and a.nargs != 0 for a in parser._actions)


def _paths(parser: Parser, given: list[str], fragment: str) -> Iterable[str]:
    """Yield the paths of tasks inside the launched one that ``fragment`` begins with."""
    if "/" not in fragment or (given and _takes_value(parser, given[-1])):
        return
    from asyncnb._core.launched.inside import paths_inside  # seldom needed

    plain = fragment.lstrip("'\"")
    fitting = (path for path in paths_inside(plain) if path.startswith(plain))
    yield from itertools.islice(fitting, MAX_INSIDE)


def split(text: str) -> tuple[list[str] | None, str]:
    """Split a line that ends at the cursor into complete words and the raw text of the last one.

    The words are None if they cannot be determined, and in a comment.
    """
    if comment_start(text) is not None:
        return None, ""
    start = 0
    open_quote = ""
    for at, char in enumerate(text):
        if open_quote:
            open_quote = "" if char == open_quote else open_quote
        elif char in "'\"":
            open_quote = char
        elif char.isspace():
            start = at + 1
    try:
        return shlex.split(text[:start]), text[start:]
    except ValueError:
        return None, ""


def _fitting(texts: Iterable[str], fragment: str) -> list[str]:
    """Return those of ``texts`` that begin with ``fragment``, quoted where a line needs it."""
    plain = fragment.lstrip("'\"")
    found: dict[str, None] = {}
    for text in texts:
        if text.startswith(plain):
            found[shlex.quote(text)] = None
            if len(found) == MAX_NAMES:
                break
    return list(found)


def task_names(living: bool = False) -> Iterable[str]:
    """Yield the names of tasks, the newest first, living ones before ended ones."""
    records = registry.records()
    for alive in (True,) if living else (True, False):
        for record in reversed(records):
            if (record.ended is None) is alive:
                yield record.name


def group_names() -> list[str]:
    """Return the names of groups, open ones first."""
    names = [group.name for group in open_groups()]
    names += [r.group for r in reversed(registry.records()) if r.group is not None]
    return list(dict.fromkeys(names))


def executors(namespace: Mapping[str, Any]) -> list[str]:
    """Return the variables that ``--on`` takes: executors, dask clients, ipyparallel views."""
    return [
        name
        for name, value in list(namespace.items())
        if not name.startswith("_")
        and (
            isinstance(value, concurrent.futures.Executor)
            or (type(value).__module__.partition(".")[0] in _ELSEWHERE and hasattr(value, "apply"))
            or (type(value).__module__.startswith("distributed") and hasattr(value, "submit"))
        )
    ]
