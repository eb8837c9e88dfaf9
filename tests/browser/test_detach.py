"""A cell that awaits is detached from a subshell console, in JupyterLab."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser


def test_a_cell_that_awaits_is_detached_from_a_subshell_console(
    open_notebook: Callable[..., Notebook],
) -> None:
    notebook = open_notebook(
        "%load_ext asyncnb\nimport asyncio, asyncnb\ngate = asyncio.Event()",
        "print('waits')\nawait gate.wait()\nprint('goes on')\n'the result'",
        "asyncnb.embedded_loop().call_soon_threadsafe(gate.set)\n'the next cell'",
    )
    notebook.run(0)
    notebook.open_subshell_console()
    notebook.submit(1)
    notebook.see(1, "waits")
    notebook.submit_aside("%tasks background")
    notebook.wait(1)  # its reply is there, and so the next cell can run
    notebook.run(2)
    notebook.see(2, "the next cell")
    notebook.see(1, "goes on")
    notebook.see(1, "'the result'")
    assert "goes on" not in notebook.text(2)
