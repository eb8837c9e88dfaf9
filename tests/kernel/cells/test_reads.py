"""What a cell needs from outside, so that a name it binds first is not sent along with it."""

from __future__ import annotations

import ast
import textwrap

import pytest

from asyncnb._kernel.cells.free_names import names_needed


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        ("x = 1\nprint(x)", {"print"}),
        ("print(x)\nx = 1", {"print", "x"}),
        ("x += 1", {"x"}),
        ("x: int = y\nz: int\nx, z", {"y", "int", "z"}),
        ("a[0] = b", {"a", "b"}),
        ("a.b, c = d\nc", {"a", "d"}),
        ("import x.y, z as w\nx, w, z", {"z"}),
        ("with f() as x:\n    y = x\n    y\ny", {"f", "y"}),
        ("for x in x:\n    y = 1\n    y\ny", {"x", "y"}),
        ("for x in xs:\n    x\nx", {"xs", "x"}),
        ("if c:\n    x = 1\nelse:\n    x = 2\nx", {"c"}),
        ("if c:\n    x = 1\nx", {"c", "x"}),
        ("try:\n    x = f()\nexcept E as e:\n    e\nx, e", {"f", "E", "x", "e"}),
        ("try:\n    pass\nfinally:\n    x = 1\nx", set()),
        ("while t:\n    x = 1\nx", {"t", "x"}),
        ("def f(): return g\ng = 1\nf()", {"g"}),
        ("g = 1\ndef f(): return g\nf()", set()),
        ("class A(B): pass\nA", {"B"}),
        ("x = await y\nasync with z as w: w", {"y", "z"}),
        ("[x for x in y]", {"x", "y"}),  # x is no global: whoever asks knows
        ("match v:\n    case x:\n        pass\nx", {"v", "x"}),
        ("del x\nx", {"x"}),
    ],
)
def test_names_needed_are_those_that_may_be_read_before_they_are_bound(code, needed):
    assert names_needed(ast.parse(textwrap.dedent(code)).body) == needed
