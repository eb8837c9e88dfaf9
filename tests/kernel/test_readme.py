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


#: What shows the error text of a heading in the FAQ.
CAUSES = {
    "asyncio.run() cannot be called from a running event loop": "asyncio.run(asyncio.sleep(0))",
    "attached to a different loop": "await asyncio.new_event_loop().create_future()",
    "signal only works in main thread of the main interpreter": (
        "await asyncio.sleep(0)\nsignal.signal(signal.SIGUSR1, signal.SIG_DFL)"
    ),
    "SQLite objects created in a thread can only be used in that same thread": (
        "await asyncio.sleep(0)\ndatabase.execute('select 1')"
    ),
    "asyncnb: ... has blocked the loop": (
        "async def greedy(): time.sleep(2)\nasyncnb.launch(greedy())"
    ),
}


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
        # The reader sees that it keeps running meanwhile; no user watches here.
        cell = kernel.run(code.replace("time.sleep(5)", "time.sleep(0.1)"))
        assert cell.status == "ok", cell.text
    for word in ("ticks", "report", "done"):
        assert word in cell.text


def test_the_error_texts_in_the_faq_are_what_a_kernel_says(start_kernel):
    faq = README.read_text("utf-8").partition("\n## FAQ\n")[2].partition("\n## ")[0]
    assert re.findall(r'^### "(.*)"$', faq, re.MULTILINE) == list(CAUSES)
    kernel = start_kernel(reports_blocks=True)
    kernel.ok(
        "import asyncio, asyncnb, signal, sqlite3, time\ndatabase = sqlite3.connect(':memory:')"
    )
    for text, cause in CAUSES.items():
        pattern = ".+?".join(map(re.escape, text.split("...")))
        kernel.run(cause).wait_for(lambda cell, p=pattern: re.search(p, cell.text, re.DOTALL))
