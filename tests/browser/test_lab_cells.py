"""Cells in the background by JupyterLab's buttons and keys, and the marks of living ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.lab import DEADLINE, Notebook

# Each takes half a minute where nothing else runs.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

Open = Callable[..., Notebook]

CELL = "index => jupyterapp.shell.currentWidget.content.widgets[index]"
SELECT = """([first, last]) => {
    const notebook = jupyterapp.shell.currentWidget.content;
    notebook.mode = 'command';
    notebook.deselectAll();
    notebook.activeCellIndex = first;
    if (last !== first) notebook.extendContiguousSelectionTo(last);
    notebook.activate();
}"""
EXECUTE = """([command, args]) => jupyterapp.commands.execute(command, args ?? {})"""
STATE = f"""index => {{
    const cell = ({CELL})(index);
    const found = cell.node.querySelector('[role=progressbar]');
    // One that can be seen: it has its style sheet.
    const bar = found?.getBoundingClientRect().height ? found : null;
    return {{
        prompt: cell.node.querySelector('.jp-InputPrompt').textContent,
        bar: bar?.getAttribute('aria-label') ?? null,
        share: bar?.getAttribute('aria-valuenow') ?? null,
        failed: cell.hasClass('asyncnb-cell-failed'),
    }};
}}"""
SHOWS = f"""([index, wanted]) => {{
    const state = ({STATE})(index);
    return Object.entries(wanted).every(([key, value]) => state[key] === value);
}}"""
TEXT = f"index => ({CELL})(index).model.sharedModel.getSource()"
CAN_UNDO = "() => jupyterapp.shell.currentWidget.content.model.sharedModel.canUndo()"
ENABLED = "command => jupyterapp.commands.isEnabled(command)"
BUTTON = '.jp-cell-toolbar [data-jp-item-name="asyncnb-{}"]'
RUN, STOP, SHOW = "asyncnb:run-in-background", "asyncnb:stop-cell", "asyncnb:show-task"


def select(notebook: Notebook, first: int, last: int | None = None) -> None:
    notebook.ask(SELECT, [first, first if last is None else last])


def execute(notebook: Notebook, command: str, args: dict[str, Any] | None = None) -> None:
    notebook.ask(EXECUTE, [command, args])


def wait_for(notebook: Notebook, index: int, **wanted: Any) -> None:
    """Wait until a cell looks like this, by the keys of STATE."""
    shown = notebook._page.wait_for_function(SHOWS, arg=[index, wanted], timeout=1000 * DEADLINE)
    try:
        notebook._lab.call(shown, DEADLINE + 1)
    except notebook._lab.timeouts:
        state = notebook.ask(STATE, index)
        raise AssertionError(
            f"cell {index}: {state}, not {wanted}; {notebook.text(index)}"
        ) from None


def click(notebook: Notebook, button: str) -> None:
    """Click a button of the active cell's toolbar."""
    notebook._click(BUTTON.format(button))


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_cell_runs_in_the_background_by_its_button_and_is_stopped_alone(
    open_notebook: Open, app: str
) -> None:
    crawl = "# crawl the site\nprint('crawling')\nawait asyncio.Event().wait()"
    notebook = open_notebook(
        "import asyncio, pathlib, time",
        crawl,
        "print('blocks', flush=True)\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)",
        "await asyncio.Event().wait()",
        "# other\nawait asyncio.Event().wait()",
        "print('the next cell')",
        app=app,
    )
    (notebook.path.parent / "go").unlink(missing_ok=True)
    notebook.run(0)  # asyncnb is not loaded
    select(notebook, 1)
    assert not notebook.ask(ENABLED, STOP)
    click(notebook, "run-in-background")
    notebook.see(1, "crawling")
    wait_for(notebook, 1, prompt="[~]:", bar="crawl the site: running", share=None)
    assert notebook.ask(TEXT, 1) == crawl
    assert notebook.ask(f"index => ({CELL})(index).model.executionCount", 1) == 2
    assert not notebook.ask(
        "() => jupyterapp.shell.currentWidget.content.model.sharedModel.canUndo()"
    )
    select(notebook, 4)
    notebook.press("Control+Alt+Enter")
    wait_for(notebook, 4, prompt="[~]:", bar="other: running")

    # Again: the earlier task is replaced.
    select(notebook, 1)
    click(notebook, "run-in-background")
    wait_for(notebook, 1, prompt="[~]:")
    assert notebook.text(1).count("crawling") == 1

    # Stopped while another cell blocks the kernel, and nothing else is.
    notebook.submit(2)
    notebook.see(2, "blocks")
    notebook.submit(5)
    select(notebook, 1)
    click(notebook, "stop-cell")
    wait_for(notebook, 1, prompt="[4]:", bar=None)
    assert notebook.ask(STATE, 4)["prompt"] == "[~]:"
    assert notebook.ask(STATE, 2)["prompt"] == "[*]:"
    (notebook.path.parent / "go").touch()
    notebook.wait(2)
    notebook.wait(5)
    assert "the next cell" in notebook.text(5)

    # A cell that awaits in the foreground ends with the same button.
    notebook.submit(3)
    wait_for(notebook, 3, prompt="[*]:")
    select(notebook, 3)
    click(notebook, "stop-cell")
    notebook.wait(3)
    notebook.see(3, "KeyboardInterrupt")
    assert notebook.ask(STATE, 4)["prompt"] == "[~]:"

    notebook.screenshot(f"cells-{app}")
    notebook.press_restart()
    wait_for(notebook, 4, prompt="[3]:", bar=None)


def test_several_cells_failures_reloads_and_cells_that_cannot_run(open_notebook: Open) -> None:
    notebook = open_notebook(
        "import asyncio\ngate = asyncio.Event()",
        "%%bash\necho from bash",
        "# fails\nx = 1\nx / 0",
        "%%atask mine\nprint('before')\nawait gate.wait()\nprint('after the reload')\n'the result'",
        "gate.set()",
        "",
        "import asyncnb\nasync for n in asyncnb.track(range(4), 4): await gate.wait()",
    )
    notebook.run(0)
    select(notebook, 1, 3)
    execute(notebook, RUN)
    notebook.see(1, "from bash")
    notebook.see(2, "----> 3 x / 0")  # the line of the cell as it is shown
    assert "%%atask" not in notebook.text(2)
    wait_for(notebook, 2, failed=True, bar="fails: failed")
    wait_for(notebook, 3, prompt="[~]:", bar="mine: running")
    select(notebook, 6)
    execute(notebook, RUN)
    wait_for(notebook, 6, share="0")

    # A cell moved, one deleted and brought back by undo.
    select(notebook, 3)
    execute(notebook, "notebook:move-cell-down")
    wait_for(notebook, 4, prompt="[~]:", bar="mine: running")
    execute(notebook, "notebook:move-cell-up")
    execute(notebook, "notebook:delete-cell")
    wait_for(notebook, 3, bar=None)
    execute(notebook, "notebook:undo-cell-action")
    wait_for(notebook, 3, prompt="[~]:", bar="mine: running")
    # What failed is marked until it runs again.
    select(notebook, 2)
    execute(notebook, "notebook:run-cell")
    wait_for(notebook, 2, failed=False, bar=None)

    # Nothing to run.
    select(notebook, 5)
    execute(notebook, RUN)
    assert notebook.outputs(5) == []
    execute(notebook, "notebook:change-cell-to-markdown")
    assert not notebook.ask(ENABLED, RUN)
    assert not notebook.ask(ENABLED, STOP)

    # The page is loaded anew: the marks come back, and so does what the tasks print from then on.
    notebook.save()
    notebook.reload()
    wait_for(notebook, 3, prompt="[~]:", bar="mine: running")
    notebook.run(4)
    notebook.see(3, "after the reload")
    notebook.see(3, "'the result'")
    assert "before" in notebook.text(3)
    wait_for(notebook, 3, bar=None)
    wait_for(notebook, 6, bar=None)
    notebook.screenshot("cells-reloaded")
