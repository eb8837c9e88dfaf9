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
    shown = COLUMNS[: max(map(len, rows))]
    terminalreporter.section(f"Python {platform.python_version()}", sep="-")
    alone = f"{'standard library alone':>24}" if len(shown) == len(COLUMNS) else ""
    terminalreporter.line(f"{'':{width + 10}}{'asyncnb':>30}{alone}")
    for row in [list(shown), *rows]:
        cells = "".join(f"{cell:>{14 if n == 5 else 10}}" for n, cell in enumerate(row[1:], 1))
        terminalreporter.line(f"{row[0]:{width}}{cells}")
