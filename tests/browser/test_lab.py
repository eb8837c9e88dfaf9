"""asyncnb in JupyterLab, as its user sees it: what the page shows, and the buttons."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser

Open = Callable[..., Notebook]

LOAD = """
%load_ext asyncnb
import asyncio, asyncnb, pathlib, time

gate = asyncio.Event()
loop = asyncnb.embedded_loop()
"""


def test_late_output_lands_in_its_own_cell_while_another_cell_runs(open_notebook: Open) -> None:
    notebook = open_notebook(
        LOAD,
        """
        %%atask late
        print("before the gate")
        await gate.wait()
        print("behind the gate")
        "the result"
        """,
        """
        loop.call_soon_threadsafe(gate.set)
        while not pathlib.Path("go").exists():
            time.sleep(0.01)
        print("busy until now")
        """,
    )
    notebook.run(0)
    notebook.run(1)  # which returns, although its task waits for the next cell
    notebook.see(1, "before the gate")
    notebook.submit(2)
    notebook.see(1, "behind the gate")
    notebook.see(1, "the result")
    assert notebook.prompt(2) == "[*]:"
    (notebook.path.parent / "go").touch()
    notebook.wait(2)
    notebook.see(2, "busy until now")
    assert "gate" not in notebook.text(2)
    assert "busy" not in notebook.text(1)


def test_tasks_shows_a_table_with_each_task_and_its_state(open_notebook: Open) -> None:
    notebook = open_notebook(
        LOAD,
        "%%atask patient\nawait gate.wait()",
        "%%atask quick\nawait asyncio.sleep(0)",
        "asyncnb.task('quick').join()\n%tasks",
    )
    for cell in range(4):
        notebook.run(cell)
    [[header, *rows]] = notebook.tables(3)
    found = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(row["task"], row["state"], row["cell"]) for row in found] == [
        ("patient", "waiting", "In[2]"),
        ("quick", "done", "In[3]"),
    ]


def test_the_stop_button_ends_an_await_and_no_background_task(open_notebook: Open) -> None:
    notebook = open_notebook(
        LOAD,
        """
        %%atask ticks
        n = 0
        while True:
            n += 1
            print("tick", n)
            await asyncio.sleep(0.05)
        """,
        "print('asleep')\nawait asyncio.sleep(60)",
    )
    notebook.run(0)
    notebook.run(1)
    notebook.submit(2)
    notebook.see(2, "asleep")
    notebook.press_stop()
    notebook.wait(2)
    notebook.see(2, "KeyboardInterrupt")
    last = int(re.findall(r"tick (\d+)", notebook.text(1))[-1])
    notebook.see(1, f"tick {last + 5}\n")
    assert "KeyboardInterrupt" not in notebook.text(1)


def test_running_a_cell_again_replaces_its_task(open_notebook: Open) -> None:
    notebook = open_notebook(
        LOAD + "ended = []",
        """
        %%atask job
        run = len(ended) + 1
        print("this is run", run)
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("its finally ran")
        """,
        "print(ended, [task.done() for task in asyncnb.tasks('job')])",
    )
    notebook.run(0)
    notebook.run(1)
    notebook.see(1, "this is run 1")
    notebook.run(1)
    notebook.see(1, "this is run 2")
    notebook.run(2)
    notebook.see(2, "['its finally ran'] [True, False]")
    assert "this is run 1" not in notebook.text(1)


def test_a_failure_shows_its_traceback_once_below_its_own_cell(open_notebook: Open) -> None:
    notebook = open_notebook(
        LOAD,
        "%%atask broken\nawait gate.wait()\n1 / 0",
        "loop.call_soon_threadsafe(gate.set)\nprint('opened')",
    )
    for cell in range(3):
        notebook.run(cell)
    notebook.see(1, "ZeroDivisionError: division by zero")
    notebook.see(2, "opened")
    assert [output["output_type"] for output in notebook.outputs(1)] == ["error"]
    assert [output["output_type"] for output in notebook.outputs(2)] == ["stream"]
    assert "----> 3" in notebook.text(1)
    assert "asyncnb/" not in notebook.text(1), "frames of asyncnb's own"


def test_a_restarted_kernel_has_no_tasks(open_notebook: Open) -> None:
    notebook = open_notebook(LOAD, "%%atask job\nawait asyncio.sleep(3600)", "%tasks")
    for cell in range(3):
        notebook.run(cell)
    assert [row[0] for row in notebook.tables(2)[0]] == ["task", "job"]
    notebook.press_restart()
    notebook.run(0)
    notebook.run(2)
    assert notebook.prompt(2) == "[2]:"
    assert "job" not in notebook.text(2)
    assert not notebook.tables(2)


def test_the_table_can_be_read_in_a_light_and_in_a_dark_theme(open_notebook: Open) -> None:
    notebook = open_notebook(
        LOAD,
        "for n in range(3): asyncnb.launch(gate.wait(), name=f'<b>task {n}</b>', timeout=600)",
        "%tasks",
    )
    for cell in range(3):
        notebook.run(cell)
    assert notebook.tables(2)[0][1][0] == "<b>task 0</b>"
    found = {}
    for theme in ("JupyterLab Dark", "JupyterLab Light"):  # the last one stays
        notebook.set_theme(theme)
        found[theme] = notebook.worst_contrast(".asyncnb-tasks")[1]
    assert min(found.values()) > 4.5, found  # what WCAG asks for text
