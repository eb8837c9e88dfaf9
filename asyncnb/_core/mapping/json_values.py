"""Values that JSON holds exactly: what is read equals what was written, in type and value.

Those are None, bool, int, float (nan and the infinities too, as Python's ``json`` writes them),
str, and lists and dicts of them, whose keys are str. Tuples would come back as lists, other keys as
str, and instances of subclasses as their base; so they are refused, with the place where they are.
"""

from __future__ import annotations

import json
from typing import Any

#: One for all, as making one takes as long as a small value.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_ATOMS = frozenset({str, int, float, bool, type(None)})


class UnfitForJsonError(TypeError):
    """JSON does not hold a value exactly; the text says what it is, and where."""


def dump_exactly(value: Any, what: str = "result") -> str:
    """Return ``value`` as JSON text. Raises UnfitForJsonError for what would not come back equal.

    ``what`` is the name of the value in the error. Any thread.
    """
    try:
        text = _encode(value)
    except RecursionError:
        raise UnfitForJsonError(f"{what} is nested too deeply") from None
    except (TypeError, ValueError):
        text = ""  # a type, a circular reference, an int of more than 4300 digits
    if not text or (type(value) not in _ATOMS and _is_unfit(value)):
        raise UnfitForJsonError(_describe(value, what))
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # lone surrogates, which a database cannot store as they are
            text = json.dumps(value, separators=(",", ":"))
            if json.loads(text) != value:
                raise UnfitForJsonError(f"{what} holds surrogates that form pairs") from None
    return text


def _is_unfit(value: Any) -> bool:
    # No recursion, as a list may have a million parts; no cycle, as dumps() has returned.
    todo = [value]
    while todo:
        each = todo.pop()
        kind = type(each)
        if kind is list:
            todo += [part for part in each if type(part) not in _ATOMS]
        elif kind is dict:
            if any(type(key) is not str for key in each):
                return True
            todo += [part for part in each.values() if type(part) not in _ATOMS]
        elif kind not in _ATOMS:
            return True
    return False


def _describe(value: Any, what: str) -> str:
    """Return a sentence on the first part of ``value`` that does not fit."""
    seen: set[int] = set()
    todo: list[tuple[str, Any]] = [(what, value)]
    while todo:
        place, each = todo.pop()
        kind = type(each)
        if kind in (list, dict):
            if id(each) in seen:
                continue
            seen.add(id(each))
        if kind is list:
            todo += [(f"{place}[{n}]", part) for n, part in reversed(list(enumerate(each)))]
        elif kind is dict:
            for key in each:
                if type(key) is not str:
                    return f"{place} has a key of type {_type_name(type(key))}"
            todo += [(f"{place}[{key!r}]", part) for key, part in reversed(list(each.items()))]
        elif kind not in _ATOMS:
            return f"{place} is of type {_type_name(kind)}"
        elif kind is int:
            try:
                str(each)
            except ValueError:
                return f"{place} is an int of too many digits"
    return f"{what} contains itself"


def _type_name(kind: type) -> str:
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
