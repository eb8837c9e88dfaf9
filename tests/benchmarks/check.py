"""Compare a run of the benchmarks with the committed ratios: ``python -m tests.benchmarks.check``.

Without options it takes the newest report of each topic in ``.artifacts/bench/`` made with this
Python, lists each row of asyncnb's whose ratio to its yardstick is more than 15 % above the one in
``ratios.json``, and fails if there is any. ``--write`` commits the reports' ratios instead.

``--short`` measures for itself, for at most a minute, a few rows that need no kernel and whose
ratios hold on a loaded machine: both contenders' CPU time, in neighbouring rounds. Its bound is
half as much again as the committed ratio, and a row over it is measured twice more.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks import Row, measure, primitives

RATIOS = Path(__file__).with_name("ratios.json")
REPORTS = Path(".artifacts/bench")
WORSE = 1.15
GENEROUS = 1.5
SHORT = (
    "create_task, as is",
    "gather, C tasks",
    "wait for all, C tasks",
    "as_completed, C tasks",
    "TaskGroup of 100, C tasks",
    "timeout, empty block",
    "wait_for a coroutine",
    "shield, C task",
    "memory of a waiting task",
)
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def newest_reports(version: str) -> dict[str, dict[str, Any]]:
    """Return the newest report of each topic by its name; files are named by their time."""
    found: dict[str, Any] = {}
    for path in sorted(REPORTS.glob(f"*-{version}-*.json"), key=lambda p: p.stem[-16:]):
        report = json.loads(path.read_text(encoding="utf-8"))
        rows = found.get(report["topic"], {}).get("rows", [])
        # A run of a part of a topic brings those rows up to date and leaves the others.
        names = {row["row"] for row in report["rows"]}
        report["rows"] = [row for row in rows if row["row"] not in names] + report["rows"]
        found[report["topic"]] = report
    return found


def reported_pythons() -> set[str]:
    """Return the Pythons, as 3.14, of which there is any report."""
    found = (re.search(r"-(3\.\d+)-", path.name) for path in REPORTS.glob("*.json"))
    return {match[1] for match in found if match}


def is_ratio(row: dict[str, Any]) -> bool:
    """Return whether a row compares two ways of doing the same, not milliseconds with a limit."""
    goal = row["goal"]
    return not isinstance(goal, str) or re.fullmatch(r"<= \d\.\d\d( of plain)?", goal) is not None


def ratios_of(reports: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return asyncnb's ratio of each row that has a yardstick, by "topic: row"."""
    found: dict[str, Any] = {}
    for topic, report in sorted(reports.items()):
        for row in filter(is_ratio, report["rows"]):
            first, *others = row["contenders"]
            who = "asyncnb" if "asyncnb" in others else (others or [first])[0]
            ratio = row["contenders"][who]["ratio"]
            if who != first and ratio is not None:
                found[f"{topic}: {row['row']}"] = round(ratio, 3)
    return found


def committed(version: str) -> dict[str, float]:
    """Return the committed ratios of this Python; for rows that it lacks, of the nearest one."""
    known: dict[str, dict[str, float]] = json.loads(RATIOS.read_text(encoding="utf-8"))
    here = int(version.partition(".")[2])

    def distance(other: str) -> tuple[int, int]:
        # Of two as near the newer: asyncio's own wait_for() got five times as fast in 3.12.
        minor = int(other.partition(".")[2])
        return abs(minor - here), -minor

    found: dict[str, float] = {}
    for other in sorted(known, key=distance, reverse=True):
        found |= known[other]
    return found


def write(version: str) -> None:
    known = json.loads(RATIOS.read_text(encoding="utf-8")) if RATIOS.exists() else {}
    known[version] = {**known.get(version, {}), **ratios_of(newest_reports(version))}
    RATIOS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def compare(version: str) -> int:
    """Print the regressions and return how many there are."""
    expected, found = committed(version), ratios_of(newest_reports(version))
    shared = expected.keys() & found.keys()
    worse = sorted(name for name in shared if found[name] > WORSE * expected[name])
    for name in worse:
        print(f"{name}: {found[name]:.2f}, was {expected[name]:.2f}")
    print(f"{len(shared)} rows compared, {len(worse)} regressions over {WORSE - 1:.0%}")
    return len(worse)


def short() -> int:
    """Measure a few rows and return how many are far over their committed ratio."""
    expected = committed(VERSION)
    bad = 0
    for row in primitives.rows():
        name = f"primitives: {row.name}"
        if row.name not in SHORT or name not in expected:
            continue
        bound = GENEROUS * expected[name]
        taken = [_ratio(row)]
        while taken[-1] > bound and len(taken) < 3:
            taken.append(_ratio(row))
        ratio = min(taken)  # what disturbs a measurement makes it slower, never faster
        verdict = "too slow" if ratio > bound else "ok"
        print(f"{row.name:<34} {ratio:6.2f}  bound {bound:.2f}  {verdict}", flush=True)
        bad += ratio > bound
    return bad


def _ratio(row: Row) -> float:
    pair = dict(list(row.contenders.items())[:2])
    few = Row(row.name, pair, row.count, row.goal, row.wall, row.rounds, row.unit)
    return statistics.median(measure(few, 15).ratios["asyncnb"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.check")
    parser.add_argument("--write", action="store_true", help="commit the newest reports' ratios")
    parser.add_argument("--short", action="store_true", help="measure a few rows, bounds generous")
    options = parser.parse_args()
    if options.write:
        write(VERSION)
    elif short() if options.short else compare(VERSION):
        sys.exit(1)


if __name__ == "__main__":
    main()
