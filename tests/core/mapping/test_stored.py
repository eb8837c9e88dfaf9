"""What a save file holds comes back as it was, and no file can have code run."""

from __future__ import annotations

import collections
import enum
import json
import math
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncnb import RemoteError, SaveError
from asyncnb._core.mapping.json_values import UnfitForJsonError, dump_exactly
from asyncnb._core.mapping.stored import (
    decode_failure,
    decode_item,
    decode_result,
    encode_failure,
    encode_item,
    encode_result,
)

ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
EXACT = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Number(int):
    pass


class Level(enum.IntEnum):
    LOW = 1


class ServiceError(Exception):
    def __init__(self, status: int, *, url: str) -> None:
        super().__init__(status)
        self.url = url


class ShowsMore(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.reason = "busy"

    def __str__(self) -> str:
        return f"{self.args[0]} {self.reason}"


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def raised(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as caught:
        return caught


def kept(exc: BaseException) -> BaseException:
    return decode_failure(encode_failure(raised(exc)), "run.db")


@FEW
@given(EXACT)
def test_json_comes_back_with_the_same_types_and_values(value: Any) -> None:
    text = dump_exactly(value)
    assert repr(json.loads(text)) == repr(value)  # by repr: nan, -0.0, 1 and True and 1.0, order
    text.encode()  # SQLite can store it


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ((1, 2), "result is of type tuple"),
        ({"a": [0, {1, 2}]}, r"result\['a'\]\[1\] is of type set"),
        ({"a": {1: 2}}, r"result\['a'\] has a key of type int"),
        ([b"raw"], r"result\[0\] is of type bytes"),
        (Number(3), r"result is of type .*\.Number"),
        (Level.LOW, r"result is of type .*\.Level"),
        (collections.OrderedDict(), "result is of type collections.OrderedDict"),
        (collections.defaultdict(int, a=1), "result is of type collections.defaultdict"),
        ({"n": 10**5000}, r"result\['n'\] is an int of too many digits"),
        ("\ud83d\ude00", "surrogates"),
    ],
)
def test_what_would_come_back_different_is_refused_by_its_place(value: Any, sentence: str) -> None:
    with pytest.raises(UnfitForJsonError, match=sentence):
        dump_exactly(value)


def test_what_contains_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(UnfitForJsonError, match="contains itself"):
        dump_exactly(ring)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UnfitForJsonError, match="too deeply"):
        dump_exactly(deep)


def test_numpy_and_pandas_are_refused_by_name() -> None:
    import numpy as np

    for value in (np.float64(0.5), np.arange(3)):
        with pytest.raises(UnfitForJsonError, match=r"is of type numpy\."):
            dump_exactly({"a": value})


def test_other_results_are_pickled_only_if_that_is_allowed() -> None:
    with pytest.raises(SaveError, match=r"asyncnb\.Save\('run\.db', pickle=True\)"):
        encode_result((1, 2), False, "run.db")
    kind, data = encode_result((1, {2}), True, "run.db")
    assert decode_result(kind, data, True, "run.db") == (1, {2})
    with pytest.raises(SaveError, match="reading a pickle runs code that is in the file"):
        decode_result(kind, data, False, "run.db")
    assert encode_result([1], True, "run.db") == ("json", "[1]"), "JSON stays JSON"
    with pytest.raises(SaveError, match="pickle refuses it with"):
        encode_result(lambda: 1, True, "run.db")
    with pytest.raises(SaveError, match="cannot be unpickled"):
        decode_result("pickle", b"nonsense", True, "run.db")


def test_an_item_is_stored_once_and_read_again() -> None:
    assert encode_item("a", '"a"') == ("json", None)
    for item, key in (("a", '"a"'), ("a", '"a"#2'), ({"b": 1, "a": 2}, '{"a":2,"b":1}')):
        kind, text = encode_item(item, key)
        assert repr(decode_item(kind, text, key)) == repr(item)
    kind, text = encode_item(object, "7")
    assert decode_item(kind, text, "7") == "<class 'object'>"


def test_a_failure_comes_back_with_its_type_message_arguments_notes_and_traceback() -> None:
    noted = ValueError("no", 3)
    noted.add_note("while parsing")
    for exc in (noted, KeyError("x"), TimeoutError(), FileNotFoundError(2, "No such file")):
        again = kept(exc)
        assert (type(again), str(again), again.args) == (type(exc), str(exc), exc.args)
    again = kept(noted)
    assert again.__notes__[0] == "while parsing"
    assert "Saved in run.db" in again.__notes__[1]
    assert "in raised\n    raise exc" in again.__notes__[1]


def test_a_failure_of_another_type_is_rebuilt_without_its_init() -> None:
    again = kept(ServiceError(429, url="https://example.org"))
    assert type(again) is ServiceError
    assert (str(again), again.args) == ("429", (429,))
    assert not hasattr(again, "url")
    assert type(kept(Unreadable())) is Unreadable


def test_a_failure_that_cannot_be_rebuilt_says_what_it_was() -> None:
    class Local(Exception):
        pass

    for exc, text in (
        (ShowsMore(503), "ShowsMore: 503 busy"),
        (Local("x"), "Local: x"),
        (ValueError(object), "ValueError: <class 'object'>"),
        (ExceptionGroup("two", [ValueError(1)]), "ExceptionGroup: two (1 sub-exception)"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "UnicodeDecodeError: 'utf-8' codec"),
    ):
        again = kept(exc)
        assert type(again) is RemoteError, exc
        assert text in str(again)


def test_a_file_cannot_name_a_type_to_import_or_to_call() -> None:
    called = []

    class Trap(Exception):
        def __init__(self, *args: Any) -> None:
            called.append(args)

    module = sys.modules[__name__]
    vars(module)["Trap"] = Trap
    try:
        named = (
            f"{__name__}:Trap",
            "antigravity:Error",
            "os:system",
            "builtins:exec",
            "builtins:SystemExit",
            f"{__name__}:json.JSONDecodeError",
            "nowhere:",
        )
        for each in named:
            described = json.loads(encode_failure(ValueError("x")))
            described |= {"type": each, "arguments": ["x"]}
            again = decode_failure(json.dumps(described), "run.db")
            assert isinstance(again, Exception)
    finally:
        del vars(module)["Trap"]
    assert not called
    assert "antigravity" not in sys.modules


def test_a_long_traceback_loses_its_middle() -> None:
    def deeper(depth: int) -> None:
        if depth == 0:
            raise ValueError("the end" + "\ud800")
        [deeper, lambda depth: deeper(depth)][depth % 2](depth - 1)

    def fails() -> BaseException:
        try:
            deeper(400)
        except ValueError as exc:
            return exc
        raise AssertionError

    text = decode_failure(encode_failure(fails()), "run.db").__notes__[0]
    assert len(text) < 25_000
    assert "\n...\n" in text
    assert "the end" in text


def test_nan_is_a_result_like_any_other() -> None:
    kind, data = encode_result([math.nan, -math.inf], False, "run.db")
    again = decode_result(kind, data, False, "run.db")
    assert math.isnan(again[0])
    assert again[1] == -math.inf
