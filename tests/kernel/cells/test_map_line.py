"""The line of %%amap: what it takes apart, and what it refuses with which words."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from IPython.core.error import UsageError

from asyncnb._kernel.map_arguments import map_parser, parse_line

LINES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "url in urls": ("url", "urls", {}),
    "pages url in urls --limit 20 --rate 60/min --retry 3 -t 30 -o texts --save 'my run.db'": (
        "url",
        "urls",
        {
            "name": "pages",
            "calls": 20,
            "pace": "60/min",
            "retry": 3,
            "timeout": 30.0,
            "out": "texts",
            "save": "my run.db",
        },
    ),
    "-t 5 fetch k, v in d.items()": ("k, v", "d.items()", {"timeout": 5.0, "name": "fetch"}),
    "'my run' (k, *v) in rows # a comment --wait": ("k, *v", "rows", {"name": "my run"}),
    "--wait n in range(10) - k --on pool": ("n", "range(10) - k", {"wait": True, "on": "pool"}),
    "n in [x for x in y if x -t > 5]": ("n", "[x for x in y if x -t > 5]", {}),
    "n in ['in', \"b in c\", ' -o x'] --limit=3": (
        "n",
        "['in', \"b in c\", ' -o x']",
        {"calls": 3},
    ),
    "n in(1,2)": ("n", "(1,2)", {}),
    "n in {1: 2} --retry policy": ("n", "{1: 2}", {"retry": "policy"}),
    "half n in found --after load,fetch --follow --notify --even-if-failed": (
        "n",
        "found",
        {
            "name": "half",
            "after": ["load", "fetch"],
            "follow": True,
            "notify": True,
            "even_if_failed": True,
        },
    ),
    "n in {1: 2} --rate $pace": ("n", "{1: 2}", {"pace": "9/s"}),
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_a_name_an_item_an_expression_and_options(line: str) -> None:
    target, expression, options = LINES[line]
    parsed = parse_line(line, lambda text: text.replace("$pace", "9/s"))
    assert ast.dump(parsed.target) == ast.dump(ast.parse(f"for {target} in _: 0").body[0].target)  # type: ignore[attr-defined]
    assert parsed.expression == expression
    assert vars(parsed.options) == vars(map_parser().parse([])) | options


REFUSED = {
    "": "expected ITEM in EXPRESSION, as in `%%amap url in urls`",
    "url of urls": "expected ITEM in EXPRESSION",
    "url in": "expected ITEM in EXPRESSION",
    "url in  --wait": "after `in` comes what gives the items",
    "self.url in urls": "the variable for an item, or several with commas, not 'self.url'",
    "1 in urls": "not '1'",
    "url in urls --limt 5": "there is no option '--limt'. Did you mean '--limit'",
    "url in urls --limit 0": "--limit: takes a whole number of calls at a time, 1 or more, not '0'",
    "url in urls --retry -1": "--retry",
    "url in urls --retry 1.5": "takes a number of times, or a variable",
    "url in urls -t 0": "takes seconds above 0",
    "url in urls -t soon": "takes seconds, such as 2.5 or 60, not 'soon'",
    "url in urls -o 'a b'": "takes the name of a variable, not 'a b'",
    "url in urls --on-error stop": "takes continue or cancel, not 'stop'",
    "url in urls more": "'urls more' is not an expression",
    "url in (urls": "'(urls' is not an expression",
    "url in await urls()": "Await it in a cell above",
    "a b url in urls": "unexpected argument 'b'",
    "url in urls --every 5": "`%%atask NAME --every ...`",
    "--cron=@daily url in urls": "no --cron for many items",
    "url in urls --at 09:00": "no --at for many items",
    "url in urls --after a,": "names of tasks or groups with commas between them",
    "url in urls --limit": "--limit: expected one argument",
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_line_that_makes_no_sense_is_refused_with_what_to_write(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_line(line, str)
    assert REFUSED[line] in str(caught.value)
    assert "Usage: %%amap [NAME] ITEM in EXPRESSION" in str(caught.value)
