"""Write ``notebooks/reference/reliability.md`` and its plot from the newest reports.

``python -m tests.faults.page`` after ``make faults`` and ``make soak``: no row and no number of the
page is typed by hand. What a kernel does not survive is in ``page.json``, as it cannot be measured.
"""

from __future__ import annotations

import html
import json
import re
import statistics
from pathlib import Path
from typing import Any

from tests.faults.soak import REPORT as SOAK

PAGE = Path("notebooks/reference/reliability.md")
TEXTS = Path(__file__).with_name("page.json")
FAULTS = Path(".artifacts/faults.json")
PICTURE = "images/reliability-soak.svg"
WIDTH, HEIGHT, LEFT, BOTTOM = 640, 220, 46, 30


class Row:
    """One promise, and its result in each of its variants on each kernel."""

    def __init__(self, first: dict[str, Any]) -> None:
        self.file: str = first["file"]
        self.fault: str = first["fault"]
        self.promise: str = first["promise"]
        self.cases: list[dict[str, Any]] = []

    def variants(self) -> str:
        """Return the names of the variants, each once."""
        return ", ".join(sorted({c["variant"] for c in self.cases if c["variant"]}))

    def outcome(self) -> str:
        """Return in how many of the cases the promise held, and why the others say nothing."""
        held = sum(c["outcome"] == "held" for c in self.cases)
        broken = sum(c["outcome"] == "BROKEN" for c in self.cases)
        reasons = sorted({c["reason"].removeprefix("Skipped: ") for c in self.cases if c["reason"]})
        text = f"**broken in {broken}**, held in {held}" if broken else f"held, {held} of {held}"
        skipped = len(self.cases) - held - broken
        return text + (f"; {skipped} not tried: {'; '.join(reasons)}" if skipped else "")

    def answered(self) -> str:
        """Return the longest time in which the kernel answered ``1+1`` after the fault."""
        times = [c["answered"] for c in self.cases if c["answered"] is not None]
        return f"{1000 * max(times):.0f} ms" if times else ""


def gather(cases: list[dict[str, Any]]) -> list[Row]:
    rows: dict[tuple[str, str], Row] = {}
    for case in cases:
        rows.setdefault((case["file"], case["fault"]), Row(case)).cases.append(case)
    return list(rows.values())


def cell(text: str) -> str:
    """Return ``text`` escaped for a cell of a Markdown table."""
    return re.sub(r"([|<>*_\[\]])", r"\\\1", text).replace("\n", " ")


def table(rows: list[Row]) -> list[str]:
    lines = ["| fault | variants | promise | result | `1+1` |"]
    lines.append("|---|---|---|---|---:|")
    for row in rows:
        outcome = re.sub(r"\\\*\\\*", "**", cell(row.outcome()))
        lines.append(
            f"| {cell(row.fault)} | {cell(row.variants())} | {cell(row.promise)} | {outcome} "
            f"| {row.answered()} |"
        )
    return lines


def summary(cases: list[dict[str, Any]]) -> list[str]:
    """Return the sentence above all tables."""
    held = sum(c["outcome"] == "held" for c in cases)
    broken = sum(c["outcome"] == "BROKEN" for c in cases)
    skipped = len(cases) - held - broken
    kernels = sorted({c["kernel"] for c in cases if c["kernel"]})
    times = sorted(c["answered"] for c in cases if c["answered"] is not None)
    late = sum(took > 1 for took in times)
    return [
        f"{len(gather(cases))} faults in {len(cases)} cases, on {' and '.join(kernels)}: {held} "
        f"cases passed, {broken or 'none'} failed, and {skipped or 'none'} could not be tried. "
        f"After {len(times)} of them, a kernel was asked for `1+1`: the median answer took "
        f"{1000 * statistics.median(times):.0f} ms, the longest {1000 * times[-1]:.0f} ms, and "
        f"{late or 'none'} took longer than a second."
    ]


def meanwhile(report: dict[str, Any]) -> str:
    """Return what was done to the kernel in between; earlier reports do not say it."""
    did = [f"{n:,} {what}" for what, n in sorted(report.get("did", {}).items())]
    return f" In between there were {', '.join(did[:-1])} and {did[-1]}." if did[1:] else ""


def soaked(report: dict[str, Any]) -> list[str]:
    """Return what the soak found, as text and two small tables."""
    books, figures = report["books"], report["figures"]
    verdict = "All promises were kept." if not report["broken"] else "**Broken:**"
    lines = [
        f"{report['minutes']:g} minutes on {report['when']}, Python {report['python']}, "
        f"ipykernel {report['ipykernel']}, {report['system']}, {report['cpus']} CPUs: "
        f"{report['rate']} launches a second and {report['turns']} rounds in the foreground, each "
        f"with a dashboard opened and closed; the slowest `1+1` took "
        f"{1000 * report['slowest']:.0f} ms.{meanwhile(report)} {verdict}",
        *(f"- {sentence}" for sentence in report["broken"]),
        "",
        f"![Memory of the kernel over the soak]({PICTURE})",
        "",
        f"| at rest | after {report['warm']:g} min | after {report['minutes']:g} min |",
        "|---|---:|---:|",
    ]
    for what in figures[0]:
        lines.append(f"| {what} | {figures[0][what]:,.1f} | {figures[1][what]:,.1f} |")
    counts = [("launched", books["launched"]), *sorted(books["ended"].items())]
    counts.append(("living at the end", books["living"]))
    lines += ["", "| tasks | |", "|---|---:|", *(f"| {name} | {n:,} |" for name, n in counts)]
    return lines


def plot(samples: list[list[float]]) -> str:
    """Return an SVG of the kernel's memory, in MB, over the minutes of the soak."""
    most = 10 * (1 + max(memory for _, memory, *_ in samples) // 10)
    end = samples[-1][0] or 1.0
    across, up = (WIDTH - LEFT - 12) / end, (HEIGHT - BOTTOM - 12) / most
    points = " ".join(
        f"{LEFT + seconds * across:.1f},{HEIGHT - BOTTOM - memory * up:.1f}"
        for seconds, memory, *_ in samples
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for mark in range(0, int(most) + 1, 20 if most > 60 else 10):
        y = HEIGHT - BOTTOM - mark * up
        parts.append(
            f'<path d="M{LEFT} {y:.1f}H{WIDTH - 12}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{mark} MB</text>'
        )
    step = max(1, round(end / 60 / 6))
    for minute in range(0, int(end / 60) + 1, step):
        x = LEFT + 60 * minute * across
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{minute} min</text>'
        )
    title = html.escape("Memory of the kernel, under load")
    parts.append(f'<polyline points="{points}" fill="none" stroke="#2e7d32" stroke-width="2"/>')
    return "\n".join([*parts, f"<title>{title}</title></svg>"]) + "\n"


def main() -> None:
    texts = json.loads(TEXTS.read_text(encoding="utf-8"))
    cases = json.loads(FAULTS.read_text(encoding="utf-8"))
    rows = gather(cases)
    unknown = {row.file for row in rows} - set(texts["topics"])
    if unknown:
        raise SystemExit(f"{TEXTS} says nothing of {', '.join(sorted(unknown))}")
    lines = ["# Reliability", "", *texts["head"], "", *summary(cases)]
    for file, topic in texts["topics"].items():
        found = [row for row in rows if row.file == file]
        if found:
            lines += ["", f"## {topic['title']}", "", *topic["text"], "", *table(found)]
    lines += ["", "## Half an hour of a busy notebook", "", *texts["soak"], ""]
    if SOAK.exists():
        report = json.loads(SOAK.read_text(encoding="utf-8"))
        (PAGE.parent / PICTURE).write_text(plot(report["samples"]), encoding="utf-8")
        lines += soaked(report)
    lines += ["", *texts["limits"]]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"written to {PAGE}")


if __name__ == "__main__":
    main()
