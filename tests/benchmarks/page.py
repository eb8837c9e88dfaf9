"""Write ``notebooks/reference/performance.md`` and its plots from the newest reports.

``python -m tests.benchmarks.page`` after ``make bench``: no number of the page is typed by hand.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from tests.benchmarks.check import is_ratio, newest_reports

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
    lines = ["| what | who | median | range | ratio | goal |", "|---|---|---:|---:|---:|---|"]
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


def main() -> None:
    texts = json.loads(TEXTS.read_text(encoding="utf-8"))
    lines = ["# Performance", "", *texts["head"]]
    explained = set()
    for version in ("3.13", "3.11"):
        reports = newest_reports(version)
        for topic in (t for t in texts["topics"] if t in reports):
            report = reports[topic]
            versions = ", ".join(f"{n} {v}" for n, v in report["versions"].items())
            lines += ["", f"## {texts['topics'][topic]['title']}, Python {report['python']}", ""]
            if topic not in explained:
                lines += [*texts["topics"][topic]["text"], ""]
                explained.add(topic)
            lines += [
                f"Measured {report['when'][:8]} on {report['system']}, {report['cpus']} CPUs, "
                f"load {report['load']:.1f}, {report['rounds']} rounds; {versions}.",
                "",
            ]
            picture = plot(reports, topic)
            if picture is not None:
                name = f"images/performance-{topic}-{version}.svg"
                (PAGE.parent / name).write_text(picture, encoding="utf-8")
                alt = f"asyncnb's time as a multiple of the yardstick's: {topic}"
                lines += [f"![{alt}]({name})", ""]
            lines += table(report)
    lines += ["", *texts["limits"]]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"written to {PAGE}")


if __name__ == "__main__":
    main()
