"""The dashboard in a real notebook."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.lab import Lab, Notebook

pytestmark = pytest.mark.browser

Open = Callable[..., Notebook]

LOAD = """
%load_ext asyncnb
import asyncio, asyncnb, pathlib, time

gate = asyncio.Event()
"""


HEADER = """() => [...document.querySelectorAll('.asyncnb-toolbar, .asyncnb-banner:not([hidden])')]
    .map(node => node.textContent).join()"""

#: The texts of the column of cells, the width that each needs, and the width that it has.
CELLS_SHOWN = """() => [...document.querySelectorAll('.asyncnb-viewport .asyncnb-ref')].map(
    cell => [cell.textContent, cell.scrollWidth, cell.clientWidth])"""

BLOCKERS = {
    "sleeps": "while not pathlib.Path('go').exists(): time.sleep(0.01)",
    "spins": "while not pathlib.Path('go').exists(): sum(range(1000))",
}


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_task_is_watched_and_cancelled_while_a_cell_blocks_the_kernel(
    open_notebook: Open, app: str
) -> None:
    notebook = open_notebook(
        LOAD,
        "%tasks live",
        "%%atask patient\nawait gate.wait()",
        *(f"{code}\nprint('over')" for code in BLOCKERS.values()),
        app=app,
    )
    go = notebook.path.parent / "go"
    notebook.run(0)
    notebook.run(1)
    for subshells in (True, False):  # the front end's choice; it must not matter
        notebook.use_subshells(subshells)
        for blocking in range(3, 3 + len(BLOCKERS)):
            notebook.run(2)
            notebook.see_row("patient", "waiting", "In[")
            notebook.submit(blocking)
            notebook.button("Cancel patient")
            notebook.see_row("patient", "cancelled")
            assert notebook.prompt(blocking) == "[*]:"
            notebook.see_on_page("Clear ended")
            go.touch()
            notebook.wait(blocking)
            notebook.see(blocking, "over")
            go.unlink()
            notebook.button("Clear ended")
            notebook.see_on_page("No tasks yet.")


def test_clicks_need_no_subshell_when_the_setting_for_them_is_off(
    lab: Lab, open_notebook: Open
) -> None:
    setting = "apputils-extension/kernels-settings"
    lab.set_settings(setting, {"commsOverSubshells": "disabled"})
    try:
        notebook = open_notebook(
            LOAD,
            "%tasks live",
            "%%atask patient\nawait gate.wait()",
            f"{BLOCKERS['sleeps']}\nprint('over')",
        )
    finally:
        lab.set_settings(setting, None)
    go = notebook.path.parent / "go"
    notebook.run(0)
    assert notebook.subshells() == "disabled"  # before there is a widget that could have one
    notebook.run(1)
    notebook.run(2)
    notebook.submit(3)
    notebook.button("Cancel patient")
    notebook.see_row("patient", "cancelled")
    assert notebook.prompt(3) == "[*]:"
    go.touch()
    notebook.wait(3)
    go.unlink()
    notebook.see(3, "over")


def test_tasks_are_renamed_limited_grouped_opened_and_cancelled(open_notebook: Open) -> None:
    xss = "<img src=x onerror=window.hacked=1>"
    notebook = open_notebook(
        LOAD + "async def page(i):\n    print('page', i)\n    await gate.wait()",
        "dashboard = asyncnb.dashboard()\ndashboard",
        f"%%atask job\nprint({xss!r})\nawait gate.wait()",
        "group = asyncnb.open_group('pages', on_error='continue')\n"
        "for i in range(3):\n    group.create_task(page(i), name=f'page {i}')",
        f"%%atask broken\nraise ValueError({xss!r})",
        f"asyncnb.launch(page(9), name={xss!r});",
        "print(asyncnb.task('better').timeout.remaining() is not None)",
        "dashboard",
    )
    for cell in range(6):
        notebook.run(cell)
    # rename, in place
    notebook.button("Rename job")
    notebook.press("Control+a")
    notebook.type("better")
    notebook.press("Enter")
    notebook.see_row("better", "waiting", "Event.wait")
    # a time limit, by the keyboard; it strikes
    notebook.button("Set time limit of better")
    notebook.type("3600")
    notebook.press("Enter")
    notebook.see_row("better", "left")
    notebook.run(6)
    notebook.see(6, "True")
    # pause, and continue
    notebook.button("Pause better")
    notebook.see_row("better", "paused")
    notebook.button("Resume better")
    notebook.see_row("better", "waiting")
    # its details, with what it printed
    notebook.do(notebook.role("row", "better").click())
    notebook.see_on_page(f"Output{xss}")
    notebook.see_on_page("In[3], line 3")
    notebook.press("t")
    notebook.press("Control+a")
    notebook.type("0")
    notebook.press("Enter")
    notebook.see_row("better", "failed", "TimeoutError")
    # the group, folded and cancelled
    notebook.see_row("Group pages", "3 living")
    notebook.button("Cancel group pages")
    notebook.see_row("Group pages", "3/3")
    notebook.see_row("page 1", "cancelled")
    # text stays text
    notebook.see_row("broken", "failed", f"ValueError: {xss}")
    notebook.see_row(xss, "waiting")
    assert notebook.ask("() => window.hacked") is None
    # all of it can be read, in both themes
    notebook.do(notebook.role("row", "broken").click())
    notebook.see_on_page("Traceback")
    worst = {}
    for theme in ("JupyterLab Dark", "JupyterLab Light"):  # the last one stays
        notebook.set_theme(theme)
        worst[theme] = notebook.worst_contrast(".asyncnb-dashboard, .asyncnb-chip")
        notebook.screenshot(f"dashboard-{theme.split()[-1].lower()}")
    assert min(ratio for _, ratio in worst.values()) >= 4.5, worst  # what WCAG asks for text
    # two views of it
    notebook.run(7)
    grids = "() => document.querySelectorAll('[role=grid][aria-label=Tasks]').length"
    notebook.see(7, "better")
    assert notebook.ask(grids) == 2
    notebook.do(notebook.role("button", "Cancel all").first.click())
    notebook.see_row(xss, "cancelled")
    # the cell of a task is found
    notebook.do(notebook.role("button", "Go to the cell of broken, In[5]").first.click())
    pointed_at = "() => document.querySelector('.asyncnb-pointed-at').textContent"
    assert "%%atask broken" in notebook.ask(pointed_at)


def test_after_a_reload_all_is_there_and_after_a_restart_it_says_so(open_notebook: Open) -> None:
    notebook = open_notebook(
        LOAD,
        "%tasks live",
        """
        %%atask talker
        print('before')
        await gate.wait()
        print('meanwhile')
        await asyncio.sleep(3600)
        """,
        "loop = asyncnb.embedded_loop()\nloop.call_soon_threadsafe(gate.set)",
        "asyncnb.task('talker')",
    )
    for cell in range(3):
        notebook.run(cell)
    notebook.run(4)
    notebook.see_row("talker", "waiting")
    notebook.save()
    notebook.reload()
    notebook.see_row("talker", "waiting")
    notebook.run(3)  # what it prints now, no output area of the page will get
    notebook.do(notebook.role("row", "talker").click())
    notebook.see_on_page("before\nmeanwhile")
    notebook.press_restart()
    notebook.see_on_page("Not connected: the kernel was restarted.")
    assert notebook.do(notebook.role("button", "Cancel talker").first.is_disabled())
    notebook.run(0)
    notebook.run(1)
    notebook.see_on_page("No tasks yet.")


def test_ten_thousand_tasks_and_the_dark_theme(open_notebook: Open) -> None:
    notebook = open_notebook(
        LOAD,
        "%tasks live",
        "tasks = [asyncnb.launch(gate.wait(), name=f'task {i}') for i in range(10_000)]",
        "asyncnb.cancel('*');",
    )
    for cell in range(3):
        notebook.run(cell)
    notebook.see_on_page("10,000 waiting")
    notebook.see_row("task 0", "waiting")
    rows = "() => document.querySelectorAll('.asyncnb-dashboard [role=row]').length"
    assert notebook.ask(rows) <= 60
    notebook.do(notebook.role("row", "task 0").focus())
    notebook.press("End")
    notebook.see_row("task 9999", "waiting")
    assert notebook.ask(rows) <= 60
    theme = "name => jupyterapp.commands.execute('apputils:change-theme', { theme: name })"
    notebook.ask(theme, "JupyterLab Dark")
    back = "() => getComputedStyle(document.querySelector('.asyncnb-dashboard')).backgroundColor"
    dark = f"() => ({back})().match(/\\d+/g).slice(0, 3).every(part => part < 80)"
    try:
        notebook.do(notebook._page.wait_for_function(dark))
        notebook.screenshot("dashboard-10000-dark")
    finally:
        notebook.ask(theme, "JupyterLab Light")
    notebook.run(3)
    notebook.see_on_page("1,000 cancelled")


def test_the_column_of_cells_shows_whole_numbers_at_every_width(open_notebook: Open) -> None:
    notebook = open_notebook(
        f"{LOAD}\nIn.extend([''] * (11 - len(In)))",
        "%%atask eleven\nawait gate.wait()",
        "In.extend([''] * (1234 - len(In)))",
        "%%atask thousands\nawait gate.wait()",
        "%tasks live",
    )
    for cell in range(5):
        notebook.run(cell)
    notebook.see_row("thousands", "waiting", "In[1234]")
    for width in (1100, 800, 720):
        notebook.do(notebook._page.set_viewport_size({"width": width, "height": 1000}))
        shown = notebook.ask(CELLS_SHOWN)
        assert [text for text, *_ in shown] == ["In[11]", "In[1234]"], width
        assert all(needed <= has for _, needed, has in shown), (width, shown)
        notebook.screenshot(f"dashboard-cells-{width}")


def test_a_block_is_shown_while_it_lasts_and_as_the_highest_lag_after_it(
    open_notebook: Open,
) -> None:
    notebook = open_notebook(
        LOAD,
        "%tasks live",
        "go = pathlib.Path('free the loop')\ncalm = asyncnb._core.loop.slow_steps",
        "def until(path):\n    while not path.exists(): time.sleep(0.01)",
        "%%atask crawl\nawait asyncio.sleep(0)\nuntil(go)",
        "calm.LAG_SECONDS = 0",  # a minute later
    )
    for cell in range(5):
        notebook.run(cell)
    notebook.see_on_page("crawl has blocked the loop for")
    notebook.see_on_page("at In[4], line 2: time.sleep(0.01). All other")
    notebook.screenshot("dashboard-block-during")
    (notebook.path.parent / "free the loop").touch()
    notebook.see_on_page("loop lag now 0 ms, highest in the last minute")
    notebook.see_on_page("s: crawl, In[4], line 2")
    assert "has blocked the loop for" not in notebook.ask(HEADER)
    notebook.screenshot("dashboard-block-after")
    notebook.run(5)
    notebook.do(notebook._page.wait_for_function(f"() => !({HEADER})().includes('lag')"))
    assert "Longest steps" in notebook.ask("() => document.querySelector('.asyncnb-loop').title")
    notebook.screenshot("dashboard-block-minute-after")


def test_a_chip_is_live_and_a_saved_notebook_shows_the_state(open_notebook: Open) -> None:
    notebook = open_notebook(
        LOAD,
        "asyncnb.launch(gate.wait(), name='chip')",
        "%%atask quick --show\n1 + 1;",
        "for i in range(100):\n    display(asyncnb.task('chip'))",
        "while not pathlib.Path('done-here').exists():\n    time.sleep(0.01)",
    )
    for cell in range(4):
        notebook.run(cell)
    notebook.see(1, "waiting")
    notebook.see(2, "done")
    notebook.submit(4)
    notebook.do(
        notebook._page.locator(".jp-Cell").nth(1).get_by_role("button", name="Cancel chip").click()
    )
    notebook.see(1, "cancelled")
    assert notebook.prompt(4) == "[*]:"
    (notebook.path.parent / "done-here").touch()
    notebook.wait(4)
    [saved] = notebook.outputs(1)
    assert saved["data"]["text/plain"].startswith("Task 'chip': ")
    assert saved["data"]["text/html"].startswith("<span>Task ")
