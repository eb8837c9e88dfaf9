"""The code on the start page, of how-tos and of debugging does in a kernel what the page says."""

from __future__ import annotations

import doctest
import functools
import re
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
#: The pages whose code is run, and how many blocks each has at least.
PAGES = {
    "index.md": 4,
    "reference/how_to.md": 40,
    "reference/debugging.md": 13,
    "reference/states.md": 12,
}
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
CHECKER = doctest.OutputChecker()
LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(page: str) -> list[tuple[str, str]]:
    """The cells of the page, each with what it is to show."""
    return BLOCK.findall((NOTEBOOKS / page).read_text(encoding="utf-8"))


def _is_as_long(expected: str, cell: Any) -> bool:
    """Whether a cell shows as many lines as the page; the last may come when it has ended."""
    text: str = cell.text
    return text.rstrip().count("\n") >= expected.rstrip().count("\n")


@pytest.mark.skipif(sys.platform == "win32", reason="the driver of kernels is POSIX's")
@pytest.mark.parametrize("page", PAGES)
def test_the_code_on_a_page_does_what_the_page_says(page: str) -> None:
    from tests.kernel.driver import Kernel

    kernel = Kernel(sys.executable, extension=False)
    try:
        assert len(blocks(page)) >= PAGES[page]
        for code, expected in blocks(page):
            if ".click()" in code:  # a person clicks later than the next cell runs
                kernel.ok("import time\nwhile answer.info().state != 'waiting': time.sleep(0.01)")
            cell = kernel.run(code)
            assert cell.status == "ok", f"{code}\n{cell.text}"
            if expected:
                said = cell.wait_for(functools.partial(_is_as_long, expected))
                agrees = CHECKER.check_output(expected, said.text.rstrip() + "\n", LOOSELY)
                assert agrees, f"{code}\n{said.text}"
    finally:
        kernel.shutdown(now=True)
