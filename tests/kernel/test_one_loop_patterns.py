"""One loop for every cell: what works on a plain kernel works with asyncnb, and shows the same.

Every pattern of `patterns.py` runs on both kernels of one run. As a script, `python -m
tests.kernel.test_one_loop_patterns`, this writes `notebooks/reference/one_loop.md`.
"""

from __future__ import annotations

import functools
import html
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.browser.lab import NoBrowserError, find_chromium
from tests.kernel.driver import Kernel
from tests.kernel.patterns import PATTERNS, Pattern

PAGE = Path("notebooks/reference/one_loop.md")
LIMIT = 30.0  # seconds for one cell, on a busy machine: longer is a hang
CLEAN = "%reset -f\nimport gc; gc.collect(); del gc"

#: What differs from one kernel to the next in any text.
MASKS = (r"\bIn\[\d+\]", r"0x[0-9a-f]+", r"ipython-input-\S+|\S*/ipykernel_\d+/\S*")


class Outcome(NamedTuple):
    """How far a pattern came: the cell that it ended in, how that ended, and what it showed."""

    cell: int
    status: str
    text: str

    @property
    def word(self) -> str:
        """For the table."""
        if self.status in ("ok", "hangs", "died"):
            return {"ok": "works"}.get(self.status, self.status)
        return f"refused: `{self.status}`"


class _Player:
    """Plays patterns on one kernel, and takes another one when a pattern spoilt it."""

    def __init__(self, python: str, extension: bool) -> None:
        self.python = python
        self.extension = extension
        self.kernel: Kernel | None = None

    def play(self, pattern: Pattern) -> Outcome:
        if pattern.own_kernel:
            self.close()
        if self.kernel is None:
            env = {"ASYNCNB_CHROMIUM": _browser() or ""}
            self.kernel = Kernel(self.python, extension=self.extension, env=env)
        try:
            outcome = self._play(pattern, self.kernel)
        except AssertionError as error:
            # The driver's: no answer within the limit, or a process that is no more.
            outcome = Outcome(-1, "hangs" if "no reply" in str(error) else "died", str(error))
        if outcome.status in ("hangs", "died") or pattern.own_kernel or not self._clean():
            self.close()
        return outcome

    def _play(self, pattern: Pattern, kernel: Kernel) -> Outcome:
        kernel.ok("import asyncio", LIMIT)
        for number, step in enumerate(pattern.steps):
            if step.kind == "to":
                comm, data = kernel.evaluate(f"{step.argument}.comm.comm_id"), eval(step.text)
                message = kernel._request("comm_msg", {"comm_id": comm, "data": data})
                message.wait_for(lambda c: c.idle, LIMIT)
                continue
            if step.kind == "until":
                deadline = time.monotonic() + LIMIT
                while not kernel.evaluate(f"bool({step.argument})"):
                    time.sleep(0.02)  # for the kernel: nothing tells of what no cell does
                    if time.monotonic() > deadline:
                        return Outcome(number, "hangs", f"not {step.argument}")
                continue
            cell = kernel.run(step.text, LIMIT)
            if cell.status != "ok":
                return Outcome(number, cell.error.ename, shown(pattern, cell.error.evalue))
        return Outcome(number, "ok", shown(pattern, cell.text))

    def _clean(self) -> bool:
        try:
            return self.kernel.run(CLEAN, LIMIT).status == "ok"
        except AssertionError:
            return False

    def close(self) -> None:
        if self.kernel is not None:
            kernel, self.kernel = self.kernel, None
            kernel.shutdown(now=True)


def shown(pattern: Pattern, text: str) -> str:
    """What a cell has shown, without what is allowed to differ."""
    for mask in MASKS:
        text = re.sub(mask, "…", text)
    for mask in pattern.masks:
        text = re.sub(mask, "", text)
    return text.strip()


class Pair:
    """The two kernels, which play the same pattern at the same time."""

    def __init__(self, python: str) -> None:
        self.players = [_Player(python, extension) for extension in (False, True)]
        self._threads = ThreadPoolExecutor(2)
        self._missing: dict[str, bool] = {}
        self.python = python

    def play(self, pattern: Pattern) -> list[Outcome]:
        """On the plain kernel, and on the one with asyncnb."""
        return list(self._threads.map(lambda player: player.play(pattern), self.players))

    def lacks(self, pattern: Pattern) -> str | None:
        """Why the pattern cannot be played here, or None."""
        if pattern.browser and not _browser():
            return "there is no Chromium; see .ci/browser"
        for module in pattern.imports:
            if module not in self._missing:
                self._missing[module] = not _importable(self.python, module)
            if self._missing[module]:
                return f"{module} is not installed for {self.python}"
        return None

    def close(self) -> None:
        for player in self.players:
            player.close()
        self._threads.shutdown()


@functools.cache
def _browser() -> str | None:
    try:
        return find_chromium()
    except NoBrowserError:
        return None


def _importable(python: str, module: str) -> bool:
    import subprocess

    code = f"import importlib.util as u; raise SystemExit(u.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", code]).returncode == 0


@pytest.fixture(scope="module")
def pair(python: str) -> Iterator[Pair]:
    pair = Pair(python)
    yield pair
    pair.close()


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: f"{p.library}: {p.name}")
def test_a_pattern_shows_the_same_with_and_without_asyncnb(pair: Pair, pattern: Pattern) -> None:
    reason = pair.lacks(pattern)
    if reason:
        pytest.skip(reason)
    plain, asyncnb = pair.play(pattern)
    last = len(list(pattern.steps)) - 1
    # A pattern that failed alike on both, in a cell too early, would prove nothing.
    assert (plain.cell, plain.status) == (last, pattern.plain), plain
    if pattern.asyncnb is None:
        assert asyncnb == plain
    else:
        assert (asyncnb.cell, asyncnb.status) == (last, pattern.asyncnb), asyncnb


def test_the_page_has_a_row_for_each_pattern() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| [")]
    assert len(rows) == len(PATTERNS)
    for row, pattern in zip(rows, ordered(PATTERNS), strict=True):
        assert row.startswith(f"| [{title(pattern)}]({pattern.page}) |")


# The page.


def ordered(patterns: list[Pattern]) -> list[Pattern]:
    """Those of a library together, the libraries in the order in which they first come."""
    libraries = list(dict.fromkeys(pattern.library for pattern in patterns))
    return sorted(patterns, key=lambda pattern: libraries.index(pattern.library))


def title(pattern: Pattern) -> str:
    return html.escape(pattern.name, quote=False).replace("|", "\\|").replace("_", "\\_")


def main() -> None:
    pair = Pair(sys.executable)
    rows: dict[str, list[str]] = {}
    try:
        for pattern in ordered(PATTERNS):
            reason = pair.lacks(pattern)
            if reason:
                raise SystemExit(f"{pattern.library}: {pattern.name}: {reason}")
            plain, asyncnb = pair.play(pattern)
            print(pattern.library, pattern.name, plain, asyncnb, sep=" | ", flush=True)
            word = asyncnb.word
            if plain.status == "ok" and pattern.asyncnb not in (None, "ok"):
                word = word.replace("refused", "fails")
            with_asyncnb = word + (f": {pattern.why}" if pattern.why else "")
            if pattern.asyncnb is None and asyncnb != plain:
                with_asyncnb = f"**differs: {asyncnb.word}**"
            rows.setdefault(pattern.library, []).append(
                f"| [{title(pattern)}]({pattern.page}) | {plain.word} | {with_asyncnb} |"
            )
    finally:
        pair.close()
    PAGE.write_text(page(rows))


def page(rows: dict[str, list[str]]) -> str:
    """The page as Markdown."""
    python, count = f"{sys.version_info[0]}.{sys.version_info[1]}", sum(map(len, rows.values()))
    text = [INTRODUCTION.format(count=count, python=python, ipykernel=version("ipykernel"))]
    for library, lines in rows.items():
        text += [f"## {library}", "", "| pattern | plain kernel | with asyncnb |", "|---|---|---|"]
        text += [*lines, ""]
    return "\n".join(text)


INTRODUCTION = """\
# Does my code work with asyncnb?

With asyncnb loaded, the embedded loop is the running loop of every cell, with and without \
`await`. Code that works in a notebook without asyncnb must work with it, too. This page lists \
what was tested: {count} patterns of a few cells each. The link of a pattern leads to the page of \
the library's documentation that it is modelled on; its cells are in `tests/kernel/patterns.py`.

The test suite runs every pattern on a plain kernel and on one with asyncnb, and compares how the \
last cell ended and what it showed. "Works" in both columns means that both showed the same. \
"Refused": the cell raises that exception, with the same message on both kernels. "Fails": it \
works only on a plain kernel. Where the two columns differ, the second one says why.

The table is from Python {python} and ipykernel {ipykernel}; `make one-loop-page` generates it.
"""


if __name__ == "__main__":
    main()
