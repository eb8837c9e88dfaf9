"""The tutorials under pytest-notebook, too: if nbval no longer runs, this takes its place.

It obeys the same tags and the same `sanitize.cfg`. Two tutorials are enough to see that it still
works; `make notebooks` runs all of them.
"""

from __future__ import annotations

import configparser
import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
EVERY = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
SHORT = [path for path in EVERY if path.stem[:2] in ("04", "18")]


def replacements() -> tuple[tuple[str, str, str], ...]:
    """Return what `sanitize.cfg` says, for the outputs of all cells."""
    config = configparser.RawConfigParser()
    config.read(ROOT / "notebooks" / "sanitize.cfg")
    return tuple(
        ("/cells/*/outputs", config[name]["regex"], config[name]["replace"])
        for name in config.sections()
    )


def ignored(notebook: Path) -> tuple[str, ...]:
    """Return the parts of a notebook that may differ from run to run."""
    everywhere = ("/metadata", "/cells/*/metadata", "/cells/*/execution_count")
    # The table of tasks as data, for front ends, has the times at which they started.
    parts = ("execution_count", "metadata", "data/application/vnd.asyncnb.tasks+json")
    outputs = tuple(f"/cells/*/outputs/*/{part}" for part in parts)
    tagged = tuple(
        f"/cells/{number}/outputs"
        for number, cell in enumerate(nbformat.read(notebook, as_version=4).cells)
        if "nbval-ignore-output" in cell.metadata.get("tags", ())
    )
    return everywhere + outputs + tagged


def check(notebook: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a notebook and raise the difference between its saved outputs and the new ones."""
    # As for nbval: what this would build takes seconds, and no notebook needs it.
    monkeypatch.setitem(sys.modules, "rfc3987_syntax", None)
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    monkeypatch.setenv("ASYNCNB_WATCHDOG", "30")
    runner: Any = pytest.importorskip("pytest_notebook.nb_regression")
    from pytest_notebook.post_processors import coalesce_streams

    # What a cell prints may arrive in one piece or in several. The runner joins those of the new
    # run, so those of the saved one are joined here.
    saved, _ = coalesce_streams(nbformat.read(notebook, as_version=4), {})
    nbformat.write(saved, folder / "saved.ipynb")
    runner.NBRegressionFixture(
        exec_cwd=str(folder),
        diff_replace=replacements(),
        diff_ignore=ignored(notebook),
        diff_use_color=False,
    ).check(str(folder / "saved.ipynb"))


@pytest.mark.parametrize(
    "notebook", EVERY if os.environ.get("ASYNCNB_EVERY_NOTEBOOK") else SHORT, ids=lambda p: p.stem
)
def test_a_tutorial_shows_the_same_under_another_runner(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(notebook, tmp_path, monkeypatch)


def test_the_other_runner_notices_an_output_that_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = nbformat.v4.new_notebook()
    output = nbformat.v4.new_output("stream", text="one\n")
    notebook.cells = [nbformat.v4.new_code_cell("print('two')", outputs=[output])]
    nbformat.write(notebook, tmp_path / "broken.ipynb")
    with pytest.raises(Exception, match=r"(?s)one.*two"):
        check(tmp_path / "broken.ipynb", tmp_path, monkeypatch)
