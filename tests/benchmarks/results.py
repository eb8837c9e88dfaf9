"""What was measured on each Python, committed: ``results.json``, read by the page and by the check.

A result has its topics by name, each with the machine's facts and its rows; a row has the medians
of its contenders in its unit, and their ratios to the first one, the yardstick.
"""

from __future__ import annotations

import json
import pkgutil
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("results.json")
REPORTS = Path(".artifacts/bench")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
FACTS = ("python", "when", "rounds", "system", "cpus", "versions")

#: One row of a topic as it is committed, and those of all topics of one Python.
Row = dict[str, Any]
Results = dict[str, dict[str, Any]]


def load() -> dict[str, Results]:
    """Return the committed results by Python, as 3.14, the newest first."""
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    return {version: known[version] for version in newest_first(known)}


def newest_first(versions: Iterable[str]) -> list[str]:
    return sorted(versions, key=lambda v: int(v.partition(".")[2]), reverse=True)


def reported(version: str = VERSION) -> Results:
    """Return the newest reports of one Python in the form in which they are committed.

    A run of a part of a topic brings its rows up to date and leaves the others; a whole run
    replaces them all, so that a row that is gone from the code is gone from here.
    """
    found: Results = {}
    # Files are named by their time.
    for path in sorted(REPORTS.glob(f"*-{version}-*.json"), key=lambda p: p.stem[-16:]):
        report = json.loads(path.read_text(encoding="utf-8"))
        before = found.get(report["topic"], {"rows": {}, "whole": False})
        rows = {row["row"]: _shortened(row) for row in report["rows"]}
        if report["only"]:
            rows = before["rows"] | rows
        whole = before["whole"] or not report["only"]
        facts = {fact: report[fact] for fact in FACTS}
        found[report["topic"]] = {**facts, "rows": rows, "whole": whole}
    return found


def commit(version: str = VERSION) -> list[str]:
    """Add the newest reports of one Python to the committed results; return their topics."""
    known = load()
    results = known.setdefault(version, {})
    new = reported(version)
    for topic, result in new.items():
        if not result.pop("whole"):
            result["rows"] = results.get(topic, {}).get("rows", {}) | result["rows"]
        results[topic] = result
    modules = {module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])}
    for topic in set(results) - modules:
        del results[topic]
    FILE.write_text(_as_text(known), encoding="utf-8")
    return sorted(new)


def _shortened(row: Row) -> Row:
    short: Row = {"unit": row["unit"]}
    for key in ("goal", "reached", "gave_up"):
        if row.get(key) not in (None, ""):
            short[key] = row[key]
    short["contenders"] = {
        who: [_rounded(got["median"]), _rounded(got["ratio"])]
        for who, got in row["contenders"].items()
    }
    return short


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _as_text(known: dict[str, Results]) -> str:
    """JSON with a line for each row, so that a diff shows what has changed."""
    return _block("", {version: _topics(known[version]) for version in newest_first(known)}) + "\n"


def _topics(results: Results) -> str:
    return _block(" ", {topic: _rows(result) for topic, result in sorted(results.items())})


def _rows(result: dict[str, Any]) -> str:
    rows = _block("   ", {name: json.dumps(row) for name, row in result["rows"].items()})
    facts = {fact: json.dumps(result[fact]) for fact in FACTS}
    return _block("  ", facts | {"rows": rows})


def _block(indent: str, texts: dict[str, str]) -> str:
    lines = (f"{indent} {json.dumps(name)}: {text}" for name, text in texts.items())
    return "{\n" + ",\n".join(lines) + "\n" + indent + "}"


def yardstick_of(row: Row) -> str:
    """Return the contender that the others of the row are compared with: the first one."""
    return str(next(iter(row["contenders"])))


def ours_of(row: Row) -> str:
    """Return the contender of a row that asyncnb answers for."""
    first, *others = row["contenders"]
    return "asyncnb" if "asyncnb" in row["contenders"] else str((others or [first])[0])


def ratio_of(row: Row) -> float | None:
    """Return asyncnb's ratio to the yardstick, or None where there is nothing to compare with."""
    if ours_of(row) == yardstick_of(row) or not row["unit"]:  # a count is no price
        return None
    ratio: float | None = row["contenders"][ours_of(row)][1]
    return ratio


def is_ratio(row: Row) -> bool:
    """Return whether what counts is the ratio, not a number of milliseconds or of bytes."""
    goal = row.get("goal", "")
    return bool(row["unit"]) and (
        not goal or re.fullmatch(r"<= \d\.\d\d( of plain)?", goal) is not None
    )
