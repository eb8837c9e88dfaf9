"""The page of the API: complete, as the code has it, with nothing internal."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re

import asyncnb
from tests.api_page import INHERITED, INTERNAL, NAMES, PAGE, of_asyncio, page, public

TEXT = PAGE.read_text(encoding="utf-8")
PARTS = re.findall(r"^###+ (?:class )?([\w.]+)$", TEXT, re.MULTILINE)


def test_the_page_is_what_the_code_says():
    assert page() == TEXT, "run: make api-page"


def test_it_has_every_public_name_once():
    assert sorted(PARTS) == sorted(set(PARTS))
    assert set(NAMES) <= set(PARTS)
    others = {"eager_task_factory"}
    assert set(NAMES) | set(of_asyncio()) | others == {*asyncnb.__all__, "OpenGroup"}
    for name in of_asyncio():
        assert getattr(asyncnb, name) is getattr(asyncio, name), name
        assert f"`{name}`" in TEXT.partition("\n## ")[0]


def test_it_has_all_of_a_task_and_of_a_group():
    for name in ("Task", "Future", "TaskGroup", "OpenGroup"):
        has = {part.partition(".")[2] for part in PARTS if part.startswith(f"{name}.")}
        there = {member for member in dir(public(name)) if not member.startswith("_")}
        assert has == there - INTERNAL.get(name, set()), name


def test_what_it_leaves_out_exists_and_what_asyncio_has_is_called_so():
    for name, members in INTERNAL.items():
        cls = getattr(asyncnb.testing, name[8:]) if name.startswith("testing.") else public(name)
        for member in members:
            assert hasattr(cls, member), (name, member)
            assert f"{name}.{member}" not in PARTS
    for call in INHERITED:
        name, _, arguments = call.partition("(")
        cls, _, member = name.partition(".")
        value = inspect.getattr_static(public(cls), member)
        if isinstance(value, property):
            assert not arguments, call
            continue
        [function] = ast.parse(f"def f({arguments}: ...").body
        taken = getattr(value, "__text_signature__", None)
        names = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        for each in names:
            signature = taken or str(inspect.signature(value))
            assert re.search(rf"\b{each.arg}\b", signature), (call, signature)


def test_no_private_name_and_no_address_is_on_it():
    for code in re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL):
        assert not re.search(r"(?<![\w_])_[a-z]|0x[0-9a-f]{6}| at 0x", code), code
