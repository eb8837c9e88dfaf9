"""Cells that follow others, in JupyterLab: where their output appears, and the picture of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser


def test_a_follower_shows_its_new_output_in_place_of_the_former_one(
    open_notebook: Callable[..., Notebook],
) -> None:
    notebook = open_notebook(
        "%load_ext asyncnb\nimport asyncio, asyncnb\nn = 0\ngate = asyncio.Event()\ngate.set()",
        "%%atask load -o table\nn += 1\nawait gate.wait()\nn",
        "%%atask clean --after load --follow\nprint('cleaned', table)\ntable",
        "gate.clear()",
        "%tasks graph",
        "gate.set()",
    )
    notebook.run(0)
    notebook.run(1)
    notebook.run(2)
    notebook.see(2, "cleaned 1")
    notebook.run(3)
    notebook.run(1)
    # As with a cell that is run again by hand, the former output is gone at once.
    assert notebook.outputs(2) == []
    notebook.run(4)
    [picture] = notebook.outputs(4)
    assert "image/svg+xml" in picture["data"]
    notebook.run(5)
    notebook.see(2, "cleaned 2")
    assert "cleaned 1" not in notebook.text(2)
    notebook.save()
    notebook.reload()
    assert notebook.text(2).startswith("cleaned 2")
