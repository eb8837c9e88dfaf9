"""The facts beside a table: JupyterLab shows the table, and saves both."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asyncnb._core.listing.facts import MIME_TYPE
from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser


def test_the_table_is_shown_and_its_facts_are_saved_with_it(
    open_notebook: Callable[..., Notebook],
) -> None:
    notebook = open_notebook(
        "%load_ext asyncnb\nimport asyncio, asyncnb",
        "%%atask poll\nawait asyncio.Event().wait()",
        "%tasks",
        "%tasks --json",
    )
    for cell in range(4):
        notebook.run(cell)
    [[_, row]] = notebook.tables(2)
    assert row[:2] == ["poll", "waiting"]
    notebook.screenshot("table-with-facts")
    notebook.save()
    notebook.reload()
    assert len(notebook.tables(2)) == 1
    [output] = notebook.outputs(2)
    assert [task["name"] for task in output["data"][MIME_TYPE]["tasks"]] == ["poll"]
    assert notebook.text(3).startswith('{"version": 1, ')
