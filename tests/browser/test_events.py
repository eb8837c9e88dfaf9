"""Widgets that are awaited in JupyterLab: a user clicks and types while cells block and await."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser

LOAD = """
%load_ext asyncnb
import asyncio, asyncnb, ipywidgets, threading
from IPython.display import display

go, slider = ipywidgets.Button(description="Go on"), ipywidgets.IntSlider(description="Level")
clicked = threading.Event()
display(go, slider)
"""


def test_a_click_and_a_slider_are_awaited_while_a_cell_blocks_and_while_one_awaits(
    open_notebook: Callable[..., Notebook],
) -> None:
    notebook = open_notebook(
        LOAD,
        """
        %%atask waiter
        print("waits for", (await asyncnb.event(go)).value.description)
        clicked.set()
        """,
        'print("blocks")\nprint("clicked", clicked.wait(25))',
        """
        async for level in asyncnb.values(slider):
            print("level", level)
            if level == 3:
                break
        print((await asyncnb.event(go, timeout=25)).kind)
        """,
    )
    for cell in (0, 1):
        notebook.run(cell)
    notebook.submit(2)
    notebook.see(2, "blocks")
    notebook.button("Go on")
    notebook.wait(2)
    notebook.see(2, "clicked True")
    notebook.see(1, "waits for Go on")

    notebook.submit(3)
    notebook.see(3, "level 0")
    notebook.do(notebook.role("button", "Go on").focus())
    notebook.press("Tab", "ArrowRight", "ArrowRight", "ArrowRight")  # the slider's handle
    notebook.see(3, "level 3")
    notebook.screenshot("events")
    notebook.button("Go on")
    notebook.wait(3)
    notebook.see(3, "click")
