"""The examples in public docstrings do what they say. They read as cells do: `await` at the top
level, on a clock that jumps over all waiting."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
from collections.abc import Iterator
from typing import Any

import pytest

import asyncnb
import asyncnb.testing

PARSER = doctest.DocTestParser()
CHECKER = doctest.OutputChecker()
TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def documented() -> Iterator[tuple[str, str]]:
    """Every public name with its docstring, methods of classes too."""
    modules = ((asyncnb, asyncnb.__all__), (asyncnb.testing, asyncnb.testing.__all__))
    for module, names in modules:
        yield module.__name__, inspect.getdoc(module) or ""
        for name in names:
            public = getattr(module, name)
            if not (inspect.isfunction(public) or inspect.isclass(public)):
                continue
            yield f"{module.__name__}.{name}", inspect.getdoc(public) or ""
            for part, member in vars(public).items() if inspect.isclass(public) else ():
                if not part.startswith("_") and getattr(member, "__doc__", None):
                    yield f"{module.__name__}.{name}.{part}", inspect.cleandoc(member.__doc__)


EXAMPLES = [(name, text) for name, text in documented() if ">>> " in text]


async def run_cell(source: str, names: dict[str, Any]) -> str:
    """Run ``source`` as a cell and return what it shows, its last expression included."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        for part, mode in ((tree, "exec"), (last and ast.Expression(last.value), "eval")):
            if part is None:
                continue
            value = eval(compile(part, "<example>", mode, flags=TOP_LEVEL_AWAIT), names)
            if inspect.iscoroutine(value):
                value = await value
            if mode == "eval" and value is not None:
                print(repr(value))
    return shown.getvalue()


async def check(text: str) -> None:
    names: dict[str, Any] = {"asyncio": asyncio, "asyncnb": asyncnb}
    for example in PARSER.get_examples(text):
        try:
            shown = await run_cell(example.source, names)
        except Exception as error:
            if example.exc_msg is None:
                raise
            raised = f"{type(error).__name__}: {error}\n"
            assert raised == example.exc_msg, example.source
            continue
        agrees = CHECKER.check_output(example.want, shown, doctest.ELLIPSIS)
        assert agrees, f"{example.source}shows\n{shown}and not\n{example.want}"


@pytest.mark.parametrize("text", [e[1] for e in EXAMPLES], ids=[e[0] for e in EXAMPLES])
def test_an_example_shows_what_it_says(text: str) -> None:
    asyncnb.testing.clear_ended()  # of other tests, whose names may be near to those here
    try:
        asyncnb.testing.run_virtual(check(text))
    finally:
        launched = [task for task in asyncnb.tasks() if task.cancel()]
        asyncnb.testing.run_virtual(wait_for_all(launched))


async def wait_for_all(tasks: list[Any]) -> None:
    if tasks:
        await asyncnb.wait(tasks)


@pytest.mark.parametrize("lie", [">>> 1 + 1\n3", ">>> 1 + 1", ">>> {}['a']\n1"])
def test_an_example_that_lies_is_found(lie: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        asyncnb.testing.run_virtual(check(lie))


def test_what_notebooks_use_most_has_an_example() -> None:
    names = "launch run task cancel open_group track gather as_completed wait wait_for timeout"
    wanted = {f"asyncnb.{name}" for name in [*names.split(), "TaskGroup", "shield", "timeline"]}
    assert wanted <= {name for name, _ in EXAMPLES}
