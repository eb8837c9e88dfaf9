"""Print what ran, as a table, when all has run."""

from __future__ import annotations

import platform
from typing import Any

COLUMNS = ("suite", "files of", "ran", "failed", "excluded", "ran", "failed")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
    ]
    rows = sorted(
        [str(cell) for cell in row]
        for report in reports
        for name, row in report.user_properties
        if name == "conformance"
    )
    if not rows:
        return
    width = max(len(row[0]) for row in rows)
    alone = len(max(rows, key=len)) == len(COLUMNS)
    terminalreporter.section(f"Python {platform.python_version()}", sep="-")
    head = f"{'':{width + 10}}{'with asyncnb':>24}"
    terminalreporter.line(head + (f"{'asyncio alone':>24}" if alone else ""))
    for row in [COLUMNS[: len(max(rows, key=len))], *rows]:
        cells = "".join(f"{cell:>{10 if n == 5 else 8}}" for n, cell in enumerate(row[2:], 2))
        terminalreporter.line(f"{row[0]:{width}}{row[1]:>10}{cells}")
