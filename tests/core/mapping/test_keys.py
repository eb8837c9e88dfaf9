"""Keys of items: the same in the next session, different for different items."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncnb._core.mapping.keys import ItemKeys, Seen, check_key

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Page:
    url: str


def keys(*items: Any, key: Any = None) -> list[str]:
    made = ItemKeys(key)
    return [made.next(index, item) for index, item in enumerate(items)]


def test_a_key_is_the_item_as_json() -> None:
    assert keys("a", 1, 1.0, True, None, [1, "x"], {"b": 1, "a": [None]}) == [
        '"a"',
        "1",
        "1.0",
        "true",
        "null",
        '[1,"x"]',
        '{"a":[null],"b":1}',
    ]


def test_what_has_one_obvious_text_has_a_key_too() -> None:
    items = (
        (1, "x"),
        Path("a") / "b",
        datetime.date(2026, 5, 1),
        decimal.Decimal("1.10"),
        uuid.UUID(int=7),
        Colour.RED,
        np.int64(5),
        np.float64(0.5),
    )
    assert keys(*items) == [
        '[1,"x"]',
        '{"path":' + ('"a\\\\b"' if os.sep == "\\" else '"a/b"') + "}",
        '{"date":"2026-05-01"}',
        '{"Decimal":"1.10"}',
        '{"UUID":"00000000-0000-0000-0000-000000000007"}',
        '{"Colour":"RED"}',
        "5",
        "0.5",
    ]


def test_equal_items_have_keys_of_their_own() -> None:
    assert keys("a", "b", "a", "a", "b") == ['"a"', '"b"', '"a"#2', '"a"#3', '"b"#2']
    assert keys('"a"#2') == ['"\\"a\\"#2"'], "an item cannot have the key of a repeated one"


def test_a_long_item_has_a_short_key_that_differs_by_all_of_it() -> None:
    one, other = keys("x" * 10_000 + "1", "x" * 10_000 + "2")
    assert one != other
    assert one.startswith('"xxx')
    assert len(one) < 250


def test_a_key_is_the_same_in_another_process() -> None:
    items = [{"b": 1, "a": 2}, "é\ud800", "x" * 999]
    code = (
        "import sys; from asyncnb._core.mapping.keys import ItemKeys; make = ItemKeys().next; "
        f"made = [make(*each) for each in enumerate({items!r})]; "
        "sys.stdout.buffer.write('|'.join(made).encode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout.decode() == "|".join(keys(*items))


@FEW
@given(st.lists(JSON))
def test_different_items_have_different_keys_that_a_database_can_store(items: list[Any]) -> None:
    made = keys(*items)
    assert len(set(made)) == len(items)
    assert all(key.encode() for key in made)


def test_an_item_without_a_key_is_refused_with_what_to_write() -> None:
    for item in (Page("x"), {1: 2}, object(), {"a": {1, 2}}, b"raw", [Page("x")]):
        with pytest.raises(TypeError, match=r"key=lambda item: item\.id") as caught:
            keys("fine", item)
        assert "item 1" in str(caught.value)


def test_key_is_a_function_an_attribute_or_an_entry() -> None:
    assert keys(Page("u"), Page("v"), key="url") == ['"u"', '"v"']
    assert keys({"id": 3}, {"id": 4}, key="id") == ["3", "4"]
    assert keys(Page("u"), key=lambda page: page.url.upper()) == ['"U"']
    with pytest.raises(TypeError, match="has no attribute of that name"):
        keys(Page("u"), key="link")
    with pytest.raises(TypeError, match="has no entry of that name"):
        keys({"id": 3}, key="link")
    with pytest.raises(TypeError, match=r"key=<lambda> gives .*Page"):
        keys(Page("u"), key=lambda page: page)


def test_a_key_that_two_items_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"map\(key='id'\) gives 3 for item 2"):
        keys({"id": 3}, {"id": 4}, {"id": 3}, key="id")


@pytest.mark.parametrize("bad", [3, "", ["id"], True])
def test_key_refuses_what_is_neither(bad: Any) -> None:
    with pytest.raises(TypeError, match="a function of an item, or the name"):
        check_key(bad)


@FEW
@given(st.lists(st.text(max_size=2)))
def test_seen_counts_as_a_dict_does(texts: list[str]) -> None:
    seen, counts = Seen(), dict.fromkeys(texts, 0)
    for text in texts:
        counts[text] += 1
        assert seen.add(text) == counts[text]


def test_seen_finds_a_hash_only_where_one_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """All hashes in one of its parts, made of two byte values, so that most overlap others."""
    numbers = {
        str(n): int.from_bytes(bytes(1 + (n >> bit & 1) for bit in range(6)), "little") << 16
        for n in range(64)
    }
    monkeypatch.setattr("builtins.hash", numbers.__getitem__)
    try:
        seen = Seen()
        counts = [seen.add(text) for text in [*numbers, *numbers]]
    finally:
        monkeypatch.undo()
    assert counts == [1] * 64 + [2] * 64
