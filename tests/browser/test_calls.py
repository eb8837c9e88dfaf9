"""A run of many calls in a real notebook: its row, its details, its limit, its failed items."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser

LOAD = """
%load_ext asyncnb
import asyncio, asyncnb

gate, works = asyncio.Event(), False
"""
RUN = """
%%amap pages n in range(10_000) --limit 20 -o texts
if n >= 120:
    await gate.wait()
assert works or n % 50, f"page {n} is missing"
n
"""


def test_a_run_is_one_row_whose_limit_is_set_and_whose_failed_items_run_again(
    open_notebook: Callable[..., Notebook],
) -> None:
    notebook = open_notebook(
        LOAD, "%tasks live", RUN, "print(pages.limit, pages.rate)", "gate.set(); works = True"
    )
    for cell in range(3):
        notebook.run(cell)
    notebook.see_row("pages", "120/10K", "3 failed")
    notebook.do(notebook.role("row", "pages").click())
    notebook.see_on_page("page 100 is missing")
    notebook.do(notebook.role("textbox", "Limit of pages").fill("30"))
    notebook.press("Enter")
    notebook.see_on_page("pages: at most 30 calls at a time")
    notebook.do(notebook.role("textbox", "Rate of pages").fill("often"))
    notebook.press("Enter")
    notebook.see_on_page("often")
    notebook.run(3)
    notebook.see(3, "30 None")
    notebook.screenshot("calls")
    notebook.run(4)
    notebook.see(2, "10000/10000, 3 failed")
    notebook.button("Retry failed items")
    notebook.see_on_page("pages: running 3 failed items again")
    notebook.see(2, "10000/10000 done")
