"""Write ``notebooks/reference/performance.md`` and its plots from the newest reports.

``python -m tests.benchmarks.page`` after ``make bench`` or ``make bench-pythons``: no number of the
page is typed by hand. What has no report stays as it is.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.benchmarks.check import RATIOS, is_ratio, newest_reports, reported_pythons

PAGE = Path("notebooks/reference/performance.md")
TEXTS = Path(__file__).with_name("page.json")
WIDTH, BAR, LEFT = 640, 18, 250


def verdict(row: dict[str, Any]) -> str:
    """Return the goal of a row and whether it is reached, for the last column."""
    goal, who = row["goal"], "asyncnb"
    if goal in (None, ""):
        return ""
    if isinstance(goal, str):
        return f"{goal}: {'yes' if row['reached'] else '**no**'}"
    others = list(row["contenders"])[1:]
    who = who if who in others else others[0]
    reached = row["contenders"][who]["ratio"] <= goal
    return f"<= {goal:.2f}: {'yes' if reached else '**no**'}"


def number(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value * 1e6:,.2f} us"
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.2f} {unit}".rstrip()


def table(report: dict[str, Any]) -> list[str]:
    lines = ["| what | contender | median | range | ratio | goal |", "|---|---|---:|---:|---:|---|"]
    for row in report["rows"]:
        unit = row["unit"]
        for i, (who, got) in enumerate(row["contenders"].items()):
            ratio = "" if got["ratio"] is None or i == 0 else f"{got['ratio']:.2f}"
            span = f"{number(got['lowest'], unit)} .. {number(got['highest'], unit)}"
            shown = (row["row"], verdict(row)) if i == 0 else ("", "")
            lines.append(
                f"| {shown[0]} | {who} | {number(got['median'], unit)} | {span} | {ratio} "
                f"| {shown[1]} |"
            )
    return lines


def plot(reports: dict[str, dict[str, Any]], topic: str) -> str | None:
    """Return an SVG of asyncnb's ratio of each row, with a line at 1 and a mark at the goal."""
    bars = []
    for row in filter(is_ratio, reports[topic]["rows"]):
        got = row["contenders"].get("asyncnb")
        first = next(iter(row["contenders"]))
        if got is not None and got["ratio"] is not None and first != "asyncnb":
            goal = row["goal"]
            if isinstance(goal, str):
                goal = float(goal.split()[1])
            bars.append((row["row"], got["ratio"], goal))
    if not bars:
        return None
    most = max(1.2, *(min(ratio, 8.0) for _, ratio, _ in bars))
    scale = (WIDTH - LEFT - 50) / most
    height = BAR * len(bars) + 26
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for i, (name, ratio, goal) in enumerate(bars):
        y, length = 4 + i * BAR, min(ratio, most) * scale
        colour = "#2e7d32" if ratio <= 1 else "#b26a00"
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 12}" text-anchor="end">{html.escape(name)}</text>'
            f'<rect x="{LEFT}" y="{y + 2}" width="{length:.1f}" height="{BAR - 5}" '
            f'fill="{colour}"/><text x="{LEFT + length + 4:.1f}" y="{y + 12}">{ratio:.2f}</text>'
        )
        if goal is not None:
            x = LEFT + goal * scale
            parts.append(f'<path d="M{x:.1f} {y}v{BAR - 1}" stroke="#000" stroke-width="2"/>')
    x = LEFT + scale
    parts.append(
        f'<path d="M{x:.1f} 0v{height - 20}" stroke="#888" stroke-dasharray="3 3"/>'
        f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle">1.00 = the yardstick; a black '
        "mark is the goal</text></svg>"
    )
    return "\n".join(parts) + "\n"


HEADING = re.compile(r"## (?P<title>.+), Python (?P<version>3\.\d+)\.\d+")


def sections(page: str) -> dict[tuple[str, str], list[str]]:
    """Return the lines of each section of a page, by its title and Python (3.14)."""
    found: dict[tuple[str, str], list[str]] = {}
    lines: list[str] = []
    for line in page.splitlines():
        if line.startswith("## "):
            lines = []
            if match := HEADING.fullmatch(line):
                lines = found[match["title"], match["version"]] = []
        lines.append(line)
    return found


def section(topic: str, report: dict[str, Any], picture: str | None, title: str) -> list[str]:
    """Return the lines of one topic on one Python, without its explanation."""
    versions = ", ".join(f"{n} {v}" for n, v in report["versions"].items())
    lines = [
        f"## {title}, Python {report['python']}",
        "",
        f"Measured {report['when'][:8]} on {report['system']}, {report['cpus']} CPUs, "
        f"load {report['load']:.1f}, {report['rounds']} rounds; {versions}.",
        "",
    ]
    if picture is not None:
        lines += [f"![asyncnb's time as a multiple of the yardstick's: {topic}]({picture})", ""]
    return [*lines, *table(report)]


def by_python(ratios: dict[str, dict[str, float]], topic: str) -> list[str]:
    """Return a table of asyncnb's ratios in each row of ``topic``, a column for each Python."""
    prefix = f"{topic}: "
    pythons = [
        v for v in newest_first(ratios) if any(name.startswith(prefix) for name in ratios[v])
    ]
    names = [name for v in pythons for name in ratios[v] if name.startswith(prefix)]
    lines = [f"| what | {' | '.join(pythons)} |", f"|---|{'---:|' * len(pythons)}"]
    for name in dict.fromkeys(names):
        found = (ratios[v].get(name) for v in pythons)
        cells = " | ".join("" if ratio is None else f"{ratio:.2f}" for ratio in found)
        lines.append(f"| {name.removeprefix(prefix)} | {cells} |")
    return lines


def newest_first(versions: Iterable[str]) -> list[str]:
    return sorted(versions, key=lambda v: int(v.partition(".")[2]), reverse=True)


def page(before: str) -> str:
    """Return the page: what has a report anew, all else as it was before."""
    texts = json.loads(TEXTS.read_text(encoding="utf-8"))
    # What is not measured anew stays as it is: no one machine has reports of all of it at hand.
    known = sections(before)
    ratios = json.loads(RATIOS.read_text(encoding="utf-8"))
    pythons = {version for _, version in known} | reported_pythons()
    lines = ["# Performance", "", *texts["head"], "", f"## {texts['by_python']['title']}", ""]
    lines += [*texts["by_python"]["text"], "", *by_python(ratios, "primitives")]
    explained = set()
    for version in newest_first(pythons):
        reports = newest_reports(version)
        if set(reports) == {"primitives"} and version not in {v for _, v in known}:
            continue  # of `make bench-pythons`: its ratios are a column above
        for topic, about in texts["topics"].items():
            found = known.get((about["title"], version))
            if topic in reports:
                picture = plot(reports, topic)
                name = None
                if picture is not None:
                    name = f"images/performance-{topic}-{version}.svg"
                    (PAGE.parent / name).write_text(picture, encoding="utf-8")
                found = section(topic, reports[topic], name, about["title"])
            elif found is not None:
                found = without(found, about["text"])
            if found is None:
                continue
            if topic not in explained:
                found = [*found[:2], *about["text"], "", *found[2:]]
                explained.add(topic)
            lines += ["", *found]
    lines += ["", *texts["limits"]]
    return "\n".join(lines) + "\n"


def without(lines: list[str], explanation: list[str]) -> list[str]:
    """Return a section of the page as it was, without trailing blanks and its explanation."""
    while lines and not lines[-1]:
        lines = lines[:-1]
    size = len(explanation) + 1
    if lines[2 : 2 + size] == [*explanation, ""]:
        return lines[:2] + lines[2 + size :]
    return lines


def main() -> None:
    text = page(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(text, encoding="utf-8")
    print(f"written to {PAGE}")


if __name__ == "__main__":
    main()
