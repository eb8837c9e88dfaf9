"""One JupyterLab and one browser for all tests here; a notebook and a kernel for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import Lab, NoBrowserError, Notebook


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(400))


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """JupyterLab and a browser; without a browser the test fails, and says what to install."""
    missing = None
    try:
        lab = Lab()
    except NoBrowserError as error:
        missing = str(error)
    if missing:  # not inside `except`, where pytest would tell it twice
        pytest.fail(missing, pytrace=False)
    yield lab
    lab.close()


@pytest.fixture
def open_notebook(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Callable[..., Notebook]]:
    """Open notebooks: `open_notebook("first cell", "second cell")`.

    How each looked at the end of its test is left in .artifacts/browser, under the test's name.
    """
    opened: list[Notebook] = []

    def open_(*cells: str, **options: Any) -> Notebook:
        opened.append(lab.open(*cells, **options))
        return opened[-1]

    yield open_
    for number, notebook in enumerate(opened):
        notebook.close(request.node.name + (f"-{number}" if number else ""))
