"""Keys of the items of a ``map``: by its key, an item finds its saved outcome again.

The key of an item is the item itself as JSON with sorted keys, cut and hashed if it is long. So
it is the same in the next session, and does not depend on the order of the items. The second equal
item of a run gets ``#2`` after its key, the third ``#3``; a tuple equals the list of its parts.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from typing import Any

from asyncnb._core.base.text import brief

#: Longer keys are cut here and get a hash. A key should be readable in an error and a table.
_MAX_LENGTH = 200
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
#: What is not JSON and has one obvious text.
_TEXTUAL = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID)


def check_key(key: Any) -> None:
    """Raise TypeError unless ``key`` is None, a function, or the name of an attribute."""
    if key is not None and not callable(key) and not (isinstance(key, str) and key):
        raise TypeError(
            "map(key=...) takes a function of an item, or the name of its attribute or entry, "
            f"such as key='id', not {brief(key)} ({type(key).__name__})"
        )


class ItemKeys:
    """Returns the keys of the items of one run, one after the other."""

    def __init__(self, key: Any = None) -> None:
        check_key(key)
        self._key = key
        self._seen = Seen()
        #: The last item that has got a key. It is asked for again if its outcome cannot be read.
        self._last: tuple[int, str] | None = None

    def next(self, index: int, item: Any) -> str:
        """Return the key of the next item, which is number ``index``.

        Raises TypeError for an item that has no key, ValueError if ``key=`` gives the key of an
        earlier item, and what the function ``key=`` raises.
        """
        if self._last is not None and self._last[0] == index:
            return self._last[1]
        text = self.text(index, item)
        times = self._seen.add(text)
        if times > 1 and self._key is not None:
            raise ValueError(
                f"map(key={_key_name(self._key)}) gives {text} for item {index}, and for an "
                "earlier one, too: with save=, each item needs a key of its own"
            )
        found = text if times == 1 else f"{text}#{times}"
        self._last = index, found
        return found

    def text(self, index: int, item: Any) -> str:
        """Return the key of ``item`` alone. Raises TypeError if it has none; nothing is counted."""
        if self._key is None:
            chosen = item
        elif isinstance(self._key, str):
            chosen = _part(self._key, index, item)
        else:
            chosen = self._key(item)
        try:
            text = _canonical(chosen)
        except (TypeError, ValueError, RecursionError):
            what = f"item {index}, {brief(item)},"
            if self._key is not None:
                what = f"key={_key_name(self._key)} gives {brief(chosen)} for item {index}, which"
            raise TypeError(
                f"map(save=...) finds an outcome again by the key of its item, and {what} has no "
                f"text that stays the same (its type is {_type_name(chosen)}): add a function that "
                "returns a str or an int for each item, such as key=lambda item: item.id"
            ) from None
        if len(text) > _MAX_LENGTH:
            digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
            text = f"{text[: _MAX_LENGTH - 80]}… sha256:{digest}"
        return text


def _key_name(key: Any) -> str:
    return repr(key) if isinstance(key, str) else getattr(key, "__name__", type(key).__name__)


def _type_name(value: Any) -> str:
    kind = type(value)
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _part(name: str, index: int, item: Any) -> Any:
    try:
        return item[name] if isinstance(item, Mapping) else getattr(item, name)
    except (KeyError, AttributeError):
        raise TypeError(
            f"map(key={name!r}): item {index}, {brief(item)}, has no "
            f"{'entry' if isinstance(item, Mapping) else 'attribute'} of that name"
        ) from None


def _canonical(value: Any) -> str:
    text = str(value) if type(value) is int else _encode(_plain(value))
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # a lone surrogate, which a database cannot store
            return text.encode("utf-8", "backslashreplace").decode()
    return text


def _plain(value: Any) -> Any:
    """Return ``value`` made of what JSON knows. Raises TypeError if that would be ambiguous."""
    kind = type(value)
    if kind in (str, int, float, bool, type(None)):
        return value
    if kind in (list, tuple):
        return [_plain(part) for part in value]
    if kind is dict:
        if any(type(name) is not str for name in value):
            raise TypeError("keys")
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, enum.Enum):
        return {kind.__qualname__: value.name}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {kind.__qualname__: [_plain(part) for part in value]}
    if isinstance(value, _TEXTUAL):
        return {kind.__name__: str(value)}
    if kind.__module__ == "numpy" and getattr(value, "shape", None) == ():
        return _plain(value.item())  # what iterating an array or a column gives
    if isinstance(value, os.PathLike):
        return {"path": os.fsdecode(value)}
    raise TypeError(kind)


class Seen:
    """Counts how often each text was added, in ten bytes for each different one.

    A set of a million hashes takes 88 MB, which is most of what a run of a million items may. Here
    the hashes are the contents of 65536 ``bytes`` objects. Two texts with the same 64-bit hash
    count as one: with a million items, that happens in one of forty million runs, and the second
    text gets ``#2`` although it is the first.
    """

    def __init__(self) -> None:
        self._shards: list[bytes] = [b""] * 65536
        self._repeated: dict[str, int] = {}

    def add(self, text: str) -> int:
        """Count ``text``; return how often it has been added, this time included."""
        number = hash(text) & 0xFFFFFFFFFFFFFFFF
        part = (number >> 16).to_bytes(6, "little")
        shard = self._shards[number & 0xFFFF]
        place = shard.find(part)
        while place % 6 > 0 and place > 0:  # not -1; the end of one hash and the start of the next
            place = shard.find(part, place + 1)
        if place < 0:
            self._shards[number & 0xFFFF] = shard + part
            return 1
        times = self._repeated[text] = self._repeated.get(text, 1) + 1
        return times
