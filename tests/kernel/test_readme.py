"""The session in the README is what a kernel really answers."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
CHECKER = doctest.OutputChecker()
LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


SESSIONS = re.findall(r"```pycon\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def session(text: str) -> list[tuple[str, str]]:
    """Return the cells of a session, each with what it shows."""
    cells: list[tuple[list[str], list[str]]] = []
    for line in text.splitlines():
        if line.startswith(">>> "):
            cells.append(([line[4:]], []))
        elif line.startswith("... ") and not cells[-1][1]:
            cells[-1][0].append(line[4:])
        else:
            cells[-1][1].append(line)
    return [("\n".join(code), "\n".join(shown)) for code, shown in cells]


@pytest.mark.parametrize("text", SESSIONS, ids=["first", "second"])
def test_the_session_shows_what_the_readme_says(start_kernel, text):
    kernel = start_kernel(extension=False)
    cells = session(text)
    assert len(cells) > 3
    for code, expected in cells:
        cell = kernel.run(code)
        if expected:
            lines = expected.count("\n")
            said = cell.wait_for(lambda c, lines=lines: c.text.count("\n") >= lines).text
            assert CHECKER.check_output(expected + "\n", said.rstrip() + "\n", LOOSELY), said
        else:
            assert cell.status == "ok", cell.text


def test_the_tour_runs(start_kernel):
    kernel = start_kernel(extension=False)
    cells = re.findall(
        r"^```python\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert len(cells) > 3
    for code in cells:
        # The reader shall see that it goes on meanwhile; nobody watches here.
        cell = kernel.run(code.replace("time.sleep(5)", "time.sleep(0.1)"))
        assert cell.status == "ok", cell.text
    for word in ("ticks", "report", "done"):
        assert word in cell.text
