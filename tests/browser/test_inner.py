"""The tasks inside a task, in the dashboard of a real notebook."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser

Open = Callable[..., Notebook]

LOAD = """
%load_ext asyncnb
import asyncio, asyncnb

gate = asyncio.Event()
ended = []

async def page(number):
    try:
        await gate.wait()
    finally:
        ended.append(number)

async def crawl(pages):
    async with asyncio.TaskGroup() as group:
        for number in range(pages):
            group.create_task(page(number), name=f"page {number}")
"""


def test_a_task_is_unfolded_and_one_of_its_children_cancelled(open_notebook: Open) -> None:
    notebook = open_notebook(
        LOAD,
        "%tasks live",
        "%%atask 'crawl B'\nawait crawl(20)",
        "print(ended)",
        "gate.set()",
        "%tasks wait",
    )
    for cell in range(3):
        notebook.run(cell)
    notebook.see_row("crawl B", "20 running")
    assert notebook.row("crawl B/page 7") == "(no row)"
    notebook.button("Expand crawl B")
    notebook.see_row("crawl B/page 7", "waiting", "Event.wait", "In[3]")
    # its stack, as of any task
    notebook.do(notebook.role("row", "crawl B/page 7").click())
    notebook.see_on_page("In[1], line 9")
    notebook.see_on_page("Awaited bycrawl B")
    # both themes
    worst = {}
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        notebook.set_theme(theme)
        worst[theme] = notebook.worst_contrast(".asyncnb-dashboard")
        notebook.screenshot(f"inner-{theme.split()[-1].lower()}")
    assert min(ratio for _, ratio in worst.values()) >= 4.5, worst
    # it alone is cancelled
    notebook.button("Cancel crawl B/page 7")
    notebook.see_row("crawl B", "19 running")
    notebook.run(3)
    notebook.see(3, "[7]")
    # by the keyboard
    notebook.do(notebook.role("row", "crawl B/page 8").focus())
    notebook.press("Delete")
    notebook.see_row("crawl B", "18 running")
    focused = "() => document.activeElement.getAttribute('aria-label')"
    assert notebook.ask(focused) == "crawl B/page 9"
    notebook.press("ArrowLeft")
    notebook.press("ArrowLeft")
    notebook.see_row("crawl B/page 9", "(no row)")
    notebook.press("ArrowRight")
    notebook.see_row("crawl B/page 9", "waiting")
    # the timeline shows them, too, and says how it knows of them
    notebook.do(notebook.role("tab", "Timeline").click())
    notebook.see_on_page("page 9")
    notebook.see_on_page("are sampled")
    notebook.screenshot("inner-timeline")
    notebook.run(4)
    notebook.run(5)
    notebook.do(notebook._page.locator(".asyncnb-tab", has_text="Tasks").click())
    notebook.see_row("crawl B", "done")
    notebook.see_row("crawl B/page 9", "(no row)")


def test_ten_thousand_children_are_unfolded_and_scrolled(open_notebook: Open) -> None:
    notebook = open_notebook(LOAD, "%tasks live", "%%atask crawl\nawait crawl(10_000)")
    for cell in range(3):
        notebook.run(cell)
    notebook.see_row("crawl", "10,000 running")
    notebook.button("Expand crawl")
    notebook.see_row("crawl/page 1", "waiting")
    rows = "() => document.querySelectorAll('.asyncnb-dashboard [role=row]').length"
    assert notebook.ask(rows) <= 60
    longest = notebook.ask(
        """async () => {
            let longest = 0;
            let before = performance.now();
            const list = document.querySelector('.asyncnb-dashboard [role=rowgroup]');
            for (let top = 0; top <= 5000 * 28; top += 5000) {
                list.scrollTop = top;
                await new Promise(requestAnimationFrame);
                longest = Math.max(longest, performance.now() - before);
                before = performance.now();
            }
            return longest;
        }"""
    )
    notebook.see_row("crawl/page 5000", "waiting", "Event.wait")
    assert notebook.ask(rows) <= 60
    print(f"longest frame: {longest:.0f} ms")
    notebook.screenshot("inner-10000")
    notebook.button("Cancel crawl/page 5000")
    notebook.do(notebook.role("row", "crawl/page 4999").focus())
    notebook.press("Home")
    notebook.see_row("crawl", "9,999 running")
    notebook.button("Cancel all")
    notebook.see_row("crawl", "cancelled")
