"""The dashboard in a real notebook."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser

Open = Callable[..., Notebook]

LOAD = """
%load_ext asyncnb
import asyncio, asyncnb, pathlib, time

gate = asyncio.Event()
"""


def test_a_task_is_watched_and_cancelled_while_a_cell_blocks_the_kernel(
    open_notebook: Open,
) -> None:
    notebook = open_notebook(
        LOAD,
        "%tasks live",
        "%%atask patient\nawait gate.wait()",
        """
        while not pathlib.Path("go-on").exists():
            time.sleep(0.01)
        print("over")
        """,
        """
        while not pathlib.Path("stop-spinning").exists():
            sum(range(1000))
        print("spun out")
        """,
        "%%atask another\nawait gate.wait()",
    )
    for cell in range(3):
        notebook.run(cell)
    notebook.see_row("patient", "waiting", "In[3]")
    notebook.submit(3)
    notebook.button("Cancel patient")
    notebook.see_row("patient", "cancelled")
    assert notebook.prompt(3) == "[*]:"
    (notebook.path.parent / "go-on").touch()
    notebook.wait(3)
    notebook.see(3, "over")

    notebook.run(5)
    notebook.see_row("another", "waiting")
    notebook.submit(4)
    notebook.button("Cancel another")
    notebook.see_row("another", "cancelled")
    assert notebook.prompt(4) == "[*]:"
    (notebook.path.parent / "stop-spinning").touch()
    notebook.wait(4)
    notebook.see(4, "spun out")
