"""JupyterLab's panel of the tasks of all notebooks, with real kernels."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import nbformat
import pytest

from tests.browser.lab import DEADLINE, Lab, Notebook

# Each takes half a minute where nothing else runs.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

Open = Callable[..., Notebook]

XSS = "<img src=x onerror=window.hacked=1>"

LOAD = """
%load_ext asyncnb
import asyncio, asyncnb, pathlib, time

gate = asyncio.Event()
"""

BLOCK = """
while not pathlib.Path('go').exists(): time.sleep(0.01)
print('over')
"""

#: What the panel shows of one task, of one notebook, and at its icon.
ROW = """name => {
    const row = [...document.querySelectorAll('#asyncnb-panel .asyncnb-viewport [role=row]')]
        .find(row => row.getAttribute('aria-label') === name);
    return row ? [...row.children].map(cell => cell.textContent.trim()).join(' | ') : '(no row)';
}"""
ROWS = """() => [...document.querySelectorAll('#asyncnb-panel .asyncnb-viewport [role=row]')]
    .map(row => row.getAttribute('aria-label')).sort()"""
SECTIONS = """() => [...document.querySelectorAll('#asyncnb-panel .asyncnb-notebook-toggle')]
    .map(button => button.getAttribute('aria-label'))"""
BADGE = """() => {
    const tab = document.querySelector('.jp-SideBar [data-id="asyncnb-panel"]');
    return [tab.dataset.asyncnbRunning ?? '', tab.dataset.asyncnbFailed ?? '', tab.title];
}"""
CURRENT = "() => jupyterapp.shell.currentWidget.context.path"
FLASHED = "() => document.querySelector('.asyncnb-pointed-at')?.textContent ?? ''"
FOCUSED = """() => {
    const { activeElement: node } = document;
    return node.getAttribute('aria-label') ?? node.textContent;
}"""
SHOW = "() => { void jupyterapp.commands.execute('asyncnb:show-panel'); }"
HIDE = "() => { jupyterapp.shell.collapseLeft(); }"
SHOW_TASK = """cell => {
    jupyterapp.shell.currentWidget.content.activeCellIndex = cell;
    void jupyterapp.commands.execute('asyncnb:show-task');
}"""
RESTART = "async () => { await jupyterapp.shell.currentWidget.sessionContext.restartKernel(); }"
OPEN = """async path => {
    const notebook = await jupyterapp.commands.execute('docmanager:open', { path });
    await notebook.context.ready;
    await notebook.sessionContext.ready;
    await notebook.sessionContext.session.kernel.info;
}"""


class Panel:
    """The panel on the page of a notebook, and other notebooks of the same page."""

    def __init__(self, lab: Lab, notebook: Notebook) -> None:
        self.lab = lab
        self.notebook = notebook
        self._others: list[str] = []

    def open_beside(self, name: str, *cells: str) -> None:
        """Open one more notebook in the same JupyterLab; it is then the one in front."""
        made = [nbformat.v4.new_code_cell(textwrap.dedent(cell).strip()) for cell in cells]
        spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        file = nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": spec})
        nbformat.write(file, self.lab.folder / name)
        self._others.append(name)
        self.notebook.ask(OPEN, name)

    def bring_forward(self, name: str) -> None:
        self.notebook.ask(OPEN, name)

    def show(self) -> None:
        self.notebook.ask(SHOW)
        self.until("() => document.querySelector('#asyncnb-panel h2') !== null", True)

    def until(self, script: str, expected: Any, argument: Any = None) -> None:
        """Wait until the page answers so; AssertionError with what it answers instead."""
        answer = f"JSON.stringify(await ({script})(argument))"
        same = f"async ([argument, wanted]) => {answer} === wanted"
        wanted = self.notebook.ask("value => JSON.stringify(value)", expected)
        page = self.notebook._page
        shown = page.wait_for_function(same, arg=[argument, wanted], timeout=1000 * DEADLINE)
        try:
            self.lab.call(shown, DEADLINE + 1)
        except self.lab.timeouts:
            raise AssertionError(
                f"{expected!r}, but {self.notebook.ask(script, argument)!r}"
            ) from None

    def see(self, name: str, *texts: str) -> None:
        """Wait until the row of this task shows all these texts."""
        self.until(
            f"([name, texts]) => texts.filter(text => !({ROW})(name).includes(text))",
            [],
            [name, texts],
        )

    def click(self, role: Any, name: str) -> None:
        found = self.notebook._page.locator("#asyncnb-panel").get_by_role(role, name=name)
        self.notebook.do(found.first.click(timeout=1000 * DEADLINE))

    def point_at(self, name: str) -> None:
        """Point at a row, where its buttons then are."""
        found = self.notebook._page.locator("#asyncnb-panel").get_by_role("row", name=name)
        self.notebook.do(found.first.hover(timeout=1000 * DEADLINE))

    def open_details(self, name: str) -> None:
        """Click on the name of a task."""
        found = self.notebook._page.locator("#asyncnb-panel").get_by_role("row", name=name)
        self.notebook.do(found.first.locator(".asyncnb-name-text").click(timeout=1000 * DEADLINE))

    def act(self, verb: str, name: str) -> None:
        self.point_at(name)
        self.click("button", f"{verb} {name}")

    def close(self) -> None:
        for session in self.lab.request("GET", "sessions"):
            if session["path"] in self._others:
                self.lab.request("DELETE", f"sessions/{session['id']}")


@pytest.fixture
def open_panel(lab: Lab, open_notebook: Open) -> Iterator[Callable[..., Panel]]:
    panels: list[Panel] = []

    def open_(*cells: str, **options: Any) -> Panel:
        panels.append(Panel(lab, open_notebook(*cells, **options)))
        return panels[-1]

    yield open_
    for panel in panels:
        panel.close()


def test_the_tasks_of_two_notebooks_are_watched_and_steered_in_the_panel(
    open_panel: Callable[..., Panel],
) -> None:
    panel = open_panel(
        LOAD,
        "%%atask patient\nprint('here')\nawait gate.wait()",
        f"%%atask broken\nraise ValueError({XSS!r})",
    )
    notebook = panel.notebook
    first = notebook.path.name
    for cell in range(3):
        notebook.run(cell)
    # the icon says what is running and what has failed, until the panel is shown
    panel.until(BADGE, ["1", "1", "Tasks: 1 running, 1 failed"])
    notebook.screenshot("lab-panel-badge")
    panel.show()
    panel.until(BADGE, ["1", "", "Tasks: 1 running"])
    panel.see("patient", "waiting", "In[2]")
    panel.see("broken", "failed", f"ValueError: {XSS}")
    panel.until(SECTIONS, [f"{first}, 1 running, 1 failed"])
    # a second notebook, whose kernel has not loaded asyncnb
    second = f"{XSS[:8]}'{first}"
    panel.open_beside(second, LOAD, "%%atask other\nawait gate.wait()")
    panel.until(f"() => ({SECTIONS})().includes({f'{second}, asyncnb is not loaded'!r})", True)
    notebook.screenshot("lab-panel-not-loaded")
    panel.click("button", f"Load asyncnb in {second}")
    panel.until(f"() => ({SECTIONS})().includes({second!r})", True)
    notebook.run(0)
    notebook.run(1)
    panel.see("other", "waiting", "In[")
    panel.until(BADGE, ["2", "", "Tasks: 2 running"])
    # rename, pause, limit, its details
    panel.open_details("other")
    panel.click("button", "Rename other")
    notebook.press("Control+a")
    notebook.type("better")
    notebook.press("Enter")
    panel.see("better", "waiting")
    panel.act("Pause", "better")
    panel.see("better", "paused")
    panel.act("Resume", "better")
    panel.see("better", "waiting")
    panel.click("button", "Set time limit of better")
    notebook.type("3600")
    notebook.press("Enter")
    panel.see("better", "left")
    panel.click("button", "Close details")
    panel.open_details("patient")
    panel.until(
        "() => document.querySelector('#asyncnb-panel .asyncnb-output')?.textContent", "here\n"
    )
    notebook.screenshot("lab-panel-details")
    panel.click("button", "Close details")
    # to the cell, in the notebook that is not in front
    assert notebook.ask(CURRENT) == second
    panel.click("button", "Go to the cell of patient")
    panel.until(CURRENT, first)
    panel.until(f"() => ({FLASHED})().includes('%%atask patient')", True)
    # the filter is for all of them
    notebook.do(notebook.role("searchbox", "Filter tasks of all notebooks").fill("pat"))
    panel.until(ROWS, ["patient"])
    # and for their names
    name = first.removesuffix(".ipynb")
    notebook.do(notebook.role("searchbox", "Filter tasks of all notebooks").fill(f"{name} pat"))
    panel.until(ROWS, ["patient"])
    notebook.do(notebook.role("searchbox", "Filter tasks of all notebooks").fill(name))
    panel.until(ROWS, ["broken", "patient"])
    notebook.press("Escape")
    panel.until(ROWS, ["better", "broken", "patient"])
    # a restarted kernel has no tasks, and no asyncnb
    panel.bring_forward(second)
    notebook.ask(RESTART)
    panel.until(f"() => ({SECTIONS})().includes({f'{second}, asyncnb is not loaded'!r})", True)
    panel.until(ROWS, ["broken", "patient"])


def test_the_panel_works_while_a_cell_blocks_is_read_in_both_themes_and_outlives_its_notebook(
    open_panel: Callable[..., Panel],
) -> None:
    panel = open_panel(
        LOAD,
        "%%atask patient\nawait gate.wait()",
        BLOCK,
        f"asyncnb.launch(gate.wait(), name={XSS!r});",
        f"%%atask broken\nraise ValueError({XSS!r})",
    )
    notebook = panel.notebook
    name = notebook.path.name
    go = notebook.path.parent / "go"
    notebook.run(0)
    notebook.run(1)
    panel.show()
    panel.see("patient", "waiting")
    notebook.submit(2)
    panel.act("Cancel", "patient")
    panel.see("patient", "cancelled")
    assert notebook.prompt(2) == "[*]:"
    go.touch()
    notebook.wait(2)
    go.unlink()
    # text stays text
    notebook.run(3)
    notebook.run(4)
    panel.see(XSS, "waiting")
    panel.open_details("broken")
    panel.until("() => document.querySelector('#asyncnb-panel .asyncnb-traceback') !== null", True)
    assert notebook.ask("() => window.hacked") is None
    # and can be read, in both themes
    worst = {}
    for theme in ("JupyterLab Dark", "JupyterLab Light"):  # the last one stays
        notebook.set_theme(theme)
        worst[theme] = notebook.worst_contrast("#asyncnb-panel")
        notebook.screenshot(f"lab-panel-{theme.split()[-1].lower()}")
    assert min(ratio for _, ratio in worst.values()) >= 4.5, worst  # what WCAG asks for text
    # hidden, it counts; shown again, it knows what has happened meanwhile
    notebook.ask(HIDE)
    notebook.run(4)
    panel.until(BADGE, ["1", "1", "Tasks: 1 running, 1 failed"])
    panel.show()
    panel.until(f"() => ({ROWS})().filter(name => name === 'broken').length", 2)
    # the kernel of a closed notebook keeps its tasks
    notebook.save()
    notebook.ask("() => { jupyterapp.shell.currentWidget.close(); }")
    panel.act("Cancel", XSS)
    panel.see(XSS, "cancelled")
    panel.bring_forward(name)
    panel.see(XSS, "cancelled")


def test_the_panel_by_keyboard_alone(open_panel: Callable[..., Panel]) -> None:
    panel = open_panel(
        LOAD,
        "for i in range(3):\n    asyncnb.launch(gate.wait(), name=f'task {i}')",
    )
    notebook = panel.notebook
    heading = f"{notebook.path.name}, 3 running"
    notebook.run(0)
    notebook.run(1)
    panel.show()
    panel.see("task 2", "waiting")
    panel.until(SECTIONS, [heading])
    panel.until(FOCUSED, "Filter tasks of all notebooks")

    def goes_to(key: str, name: str) -> None:
        notebook.press(key)
        panel.until(FOCUSED, name)

    goes_to("ArrowDown", heading)
    goes_to("ArrowDown", "task 0")
    goes_to("End", "task 2")
    goes_to("ArrowUp", "task 1")
    notebook.press("Delete")
    panel.see("task 1", "cancelled")
    notebook.press("Home", "F2", "Control+a")
    notebook.type("first")
    goes_to("Enter", "first")
    goes_to("ArrowUp", f"{notebook.path.name}, 2 running")
    notebook.press("ArrowLeft")
    panel.until(ROWS, [])
    notebook.press("ArrowRight")
    panel.see("first", "waiting")
    goes_to("ArrowRight", "first")
    notebook.press("Enter")
    panel.until("() => document.querySelector('#asyncnb-panel .asyncnb-detail').hidden", False)
    goes_to("Escape", "first")
    panel.until("() => document.querySelector('#asyncnb-panel .asyncnb-detail').hidden", True)
    goes_to("/", "Filter tasks of all notebooks")
    notebook.press("Escape")
    inside = "() => jupyterapp.shell.currentWidget.node.contains(document.activeElement)"
    panel.until(inside, True)
    # from a cell to its newest task that lives
    notebook.ask(HIDE)
    notebook.ask(SHOW_TASK, 1)
    panel.until(FOCUSED, "task 2")


def test_the_panel_in_notebook_7(open_panel: Callable[..., Panel]) -> None:
    panel = open_panel(LOAD, "%%atask patient\nawait gate.wait()", BLOCK, app="notebook")
    notebook = panel.notebook
    notebook.run(0)
    notebook.run(1)
    panel.show()
    panel.see("patient", "waiting")
    notebook.submit(2)
    panel.act("Cancel", "patient")
    panel.see("patient", "cancelled")
    assert notebook.prompt(2) == "[*]:"
    (notebook.path.parent / "go").touch()
    notebook.wait(2)
    (notebook.path.parent / "go").unlink()
    panel.click("button", "Go to the cell of patient")
    panel.until(f"() => ({FLASHED})().includes('%%atask patient')", True)
    notebook.screenshot("lab-panel-notebook")
