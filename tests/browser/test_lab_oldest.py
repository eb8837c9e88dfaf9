"""The oldest JupyterLab and Notebook supported, with asyncnb installed from its wheel."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.browser.lab import Lab, Notebook
from tests.browser.test_lab_cells import click, select, wait_for
from tests.browser.test_lab_packaging import STANDS
from tests.browser.test_lab_panel import BADGE, ROWS, SECTIONS, Panel

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        "ASYNCNB_OLDEST_LAB" not in os.environ,
        reason="needs the environment that .ci/test makes: .ci/environments py311-jupyterlab4.2.0",
    ),
]

BLOCK = """
import pathlib, time
print("blocks", flush=True)
while not pathlib.Path("go").exists(): time.sleep(0.01)
"""
VERSION = "() => jupyterapp.version"


@pytest.fixture(scope="module")
def oldest() -> Iterator[Lab]:
    lab = Lab(os.environ["ASYNCNB_OLDEST_LAB"])
    yield lab
    lab.close()


@pytest.fixture
def notebook(oldest: Lab, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    opened = oldest.open(
        "# crawl\nimport asyncio\nprint('crawling')\nawait asyncio.Event().wait()",
        "# other\nawait asyncio.Event().wait()",
        BLOCK,
        "import asyncnb\nprint(asyncnb.__file__)\nasyncnb.dashboard()",
        "%%atask broken\nraise ValueError('broken')",
        "print('a new', 'kernel')",
        app=request.param,
    )
    yield opened
    opened.close(request.node.name)


def test_jupyter_lists_the_extension_as_usable() -> None:
    command = [os.environ["ASYNCNB_OLDEST_LAB"], "-m", "jupyter", "labextension", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    [line] = [line for line in (done.stdout + done.stderr).splitlines() if " asyncnb v" in line]
    words = re.sub(r"\x1b\[\d*m", "", line).split()  # without colours
    assert words[2:] == ["enabled", "OK", "(python,", "asyncnb)"]


@pytest.mark.parametrize("notebook", ["lab", "notebook"], indirect=True)
def test_the_extension_works_from_the_wheel(oldest: Lab, notebook: Notebook) -> None:
    assert notebook.ask(VERSION)[:3] in ("4.2", "7.2")
    assert notebook.ask(STANDS) == {"known": True, "active": True, "command": True, "panels": 1}
    for cell in (0, 1):
        select(notebook, cell)
        click(notebook, "run-in-background")  # the first one loads asyncnb
        wait_for(notebook, cell, prompt="[~]:")
    notebook.see(0, "crawling")
    panel = Panel(oldest, notebook)
    if notebook.ask(VERSION).startswith("4."):
        panel.until(f"() => ({BADGE})()[0]", "2")
    notebook.run(3)
    assert "site-packages" in notebook.text(3)  # not this clone
    notebook.see_row("crawl")
    notebook.run(4)
    notebook.see(4, "ValueError: broken")

    # The panel, while a cell blocks the kernel.
    (notebook.path.parent / "go").unlink(missing_ok=True)
    notebook.submit(2)
    notebook.see(2, "blocks")
    panel.show()
    panel.until(ROWS, ["broken", "crawl", "other"])
    panel.act("Cancel", "crawl")
    wait_for(notebook, 0, bar=None)
    panel.see("crawl", "cancelled")
    select(notebook, 1)
    click(notebook, "stop-cell")
    wait_for(notebook, 1, bar=None)
    assert notebook.prompt(2) == "[*]:"
    (notebook.path.parent / "go").touch()
    notebook.wait(2)

    # A new kernel has nothing of it, and the panel says so.
    notebook.press_restart()
    unloaded = f"{notebook.path.name}, asyncnb is not loaded"
    panel.until(f"() => ({SECTIONS})().includes({unloaded!r})", True)
    notebook.run(5)
    assert (notebook.text(5), notebook.prompt(5)) == ("a new kernel\n", "[1]:")
