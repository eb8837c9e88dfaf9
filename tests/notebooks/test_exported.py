"""The tutorials run by papermill and exported to HTML: all that a reader without a kernel sees."""

from __future__ import annotations

import base64
import functools
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
TUTORIALS = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"
SVG = re.compile(r'src="data:image/svg\+xml;base64,([^"]+)"')


@pytest.fixture(autouse=True)
def _without_the_slow_checker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep jsonschema from a grammar of addresses that takes three seconds to build."""
    if "jsonschema" not in sys.modules:
        monkeypatch.setitem(sys.modules, "rfc3987_syntax", None)


@functools.cache
def exporter() -> Any:
    from nbconvert import HTMLExporter

    return HTMLExporter()  # its templates take longer to read than a notebook to export


def run_by_papermill(notebook: Path, out: Path) -> nbformat.NotebookNode:
    import papermill

    papermill.execute_notebook(
        notebook, out, cwd=NOTEBOOKS, progress_bar=False, log_output=False, start_timeout=110
    )
    return nbformat.read(out, as_version=4)


def export(notebook: Path) -> str:
    page: str = exporter().from_filename(str(notebook))[0]
    return page


def pictures(page: str) -> list[str]:
    """The SVG pictures of an exported page."""
    return [base64.b64decode(data).decode() for data in SVG.findall(page)]


def shown(notebook: nbformat.NotebookNode) -> Counter[str]:
    """What a notebook shows besides text: how many tables, pictures and tracebacks."""
    found: Counter[str] = Counter()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            text = str(data.get("text/plain", ""))
            text += "".join(output.get("traceback", ()))  # of one that was not late
            found["pictures"] += "image/svg+xml" in data
            found["tables"] += "asyncnb-table" in data.get("text/html", "")
            found["tracebacks"] += "Traceback (most recent call last)" in text
            found["widgets"] += WIDGET in data
    return found


@pytest.mark.parametrize("notebook", TUTORIALS, ids=lambda path: path.stem)
def test_papermill_runs_a_tutorial_whose_page_then_shows_what_the_saved_one_does(
    tmp_path: Path, notebook: Path
) -> None:
    saved = nbformat.read(notebook, as_version=4)
    ran = shown(run_by_papermill(notebook, tmp_path / "ran.ipynb"))
    # The dashboard is a table here. The slider and the button of 14 are saved as text: their views
    # need a kernel.
    assert ran.pop("widgets", 0) == (2 if notebook.stem.startswith("14") else 0)
    assert not shown(saved)["widgets"]
    assert ran == shown(saved)  # a Counter: what is missing is 0

    for page in (export(tmp_path / "ran.ipynb"), export(notebook)):
        assert "could not be displayed" not in page
        assert "Error displaying widget" not in page
        assert len(pictures(page)) == shown(saved)["pictures"]
        assert page.count('class="asyncnb-table"') == shown(saved)["tables"]
        assert page.count("Traceback (most recent call last)") == shown(saved)["tracebacks"]


def test_papermill_stops_at_a_cell_that_fails(tmp_path: Path) -> None:
    import papermill

    kernel = {"name": "python3", "display_name": "Python 3"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    cells = ["%load_ext asyncnb", "%%atask broken\nawait missing", "%tasks wait", "print('on')"]
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    nbformat.write(notebook, tmp_path / "broken.ipynb")
    with pytest.raises(papermill.PapermillExecutionError, match="missing"):
        run_by_papermill(tmp_path / "broken.ipynb", tmp_path / "out.ipynb")


def test_an_exported_timeline_names_its_tasks() -> None:
    first, _ = pictures(export(NOTEBOOKS / "07_timeouts.ipynb"))
    assert ">work<" in first
