"""The page of the magics: complete, as the code has it, and its examples run."""

from __future__ import annotations

import re

import pytest

from tests.magics_page import MEANINGS, PAGE, SPECIAL_MEANINGS, page

TEXT = PAGE.read_text(encoding="utf-8")
#: The names of options that the rows have.
OTHER_NAMES = {"--group": "-g", "--timeout": "-t", "--message": "-m"}
#: What the examples use and do not make.
BEFORE = """
import asyncio, asyncnb, types
async def answer(*given): return "answer"
fetch = check = answer
async def tick_forever():
    while True: await asyncio.sleep(60)
urls = ["https://example.org/a", "https://example.org/b"]
client = types.SimpleNamespace(get=answer)
one_more, server = urls[0], "server"
def table(): "stands for a pandas.DataFrame"
table.dropna = lambda: "clean"
pandas = types.SimpleNamespace(read_csv=lambda path: table)
"""
PAGES = """
%%atask pages
async def page():
    await asyncio.wait([fetching])  # until the example has cancelled it
async with asyncio.TaskGroup() as group:
    group.create_task(page(), name="page 10")
"""


def test_the_page_is_what_the_code_says():
    assert page() == TEXT, "run: make magics-page"


def test_no_meaning_is_left_of_an_option_that_is_gone():
    options = set(re.findall(r"^\| (?:`-\w` )?`(--[\w-]+|NAME)`", TEXT, re.MULTILINE))
    assert options == {name.replace("name", "NAME") for name in MEANINGS}
    for magic, own in SPECIAL_MEANINGS.items():
        part = TEXT.partition(f"## {magic}\n")[2].partition("\n## ")[0]
        for text in own.values():
            assert text in part, (magic, text)


def test_every_verb_and_its_options_are_on_the_page(kernel):
    magics = "get_ipython().magics_manager.registry['AsyncMagics']"
    found = kernel.evaluate(
        f"{{name: verb.parser().options() for name, verb in {magics}.verbs.items()}}"
    )
    found[""] = kernel.evaluate(f"{magics}.table.parser().options()")
    part = TEXT.partition("## %tasks\n")[2].partition("\n## ")[0]
    for name, options in found.items():
        command = f"%tasks {name}" if name else "%tasks"
        rows = re.findall(rf"^\| `{command}(?![\w-])[^\n]*$", part, re.MULTILINE)
        assert rows, name
        for option in set(options) - {"--stop-clock"}:  # an old name
            assert any(OTHER_NAMES.get(option, option) in row for row in rows), (name, option)


@pytest.fixture(scope="module")
def examples():
    return re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_the_examples_run(fresh_kernel, examples):
    fresh_kernel.ok(BEFORE)
    for code in examples:
        if code.startswith("c."):
            continue  # a line of ipython_config.py; see test_settings
        if "cancel" in code:
            fresh_kernel.ok("fetching = %atask fetch-1 tick_forever()")
            fresh_kernel.ok(PAGES)
            fresh_kernel.ok("while not asyncnb.tasks('pages/*'): await asyncio.sleep(0)")
        fresh_kernel.ok(code)
    fresh_kernel.ok("asyncnb.cancel('*')")
