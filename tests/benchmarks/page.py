"""Write ``notebooks/reference/performance.md`` and its charts: ``python -m tests.benchmarks.page``.

All of it comes from the committed results, from ``page.json``, which has the sentences and the
order of the topics, and from ``floors.md``. No number is typed by hand: a sentence names it in
braces. A topic that ``page.json`` does not know follows after the others, without an explanation.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from tests.benchmarks.chart import dots
from tests.benchmarks.results import (
    Results,
    Row,
    is_ratio,
    load,
    newest_first,
    ours_of,
    ratio_of,
    yardstick_of,
)

PAGE = Path("notebooks/reference/performance.md")
TEXTS = Path(__file__).with_name("page.json")
FLOORS = Path(__file__).with_name("floors.md")
#: The Python whose numbers the opening names, if it has the row; otherwise the newest that has.
MAIN = "3.14"
#: With fewer comparisons a chart says no more than the table.
LEAST_DOTS = 3


def number(value: float, unit: str) -> str:
    """Return a value of a row as the page has it: three digits, in the unit that suits them."""
    if unit in ("us", "ms", "s"):
        seconds = value * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
        for unit, least in (("s", 1.0), ("ms", 1e-3), ("us", 0.0)):  # noqa: B007
            if seconds >= least:
                break
        value = seconds / {"us": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
    if unit in ("", "bytes") or abs(value) >= 100 or value == int(value):
        return f"{value:,.0f} {unit}".rstrip()
    return f"{value:.{1 if value >= 10 else 2}f} {unit}".rstrip()


def times(ratio: float) -> str:
    """Return a ratio as the page has it."""
    if ratio < 0.01:
        return "< 0.01"
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def cell(row: Row | None, who: str) -> str:
    """Return what the table has of one contender on one Python."""
    if row is None or who not in row["contenders"]:
        return ""
    ratio = row["contenders"][who][1]
    if who != yardstick_of(row) and ratio is not None and row["unit"]:
        # A price may be judged by itself: then it is there, too.
        return times(ratio) if is_ratio(row) else f"{times(ratio)} ({value(row, who)})"
    return value(row, who)


def value(row: Row, who: str) -> str:
    median = row["contenders"][who][0]
    if median >= row.get("gave_up", float("inf")):
        return f"not within {number(row['gave_up'], row['unit'])}"
    return number(median, row["unit"])


def names_of(known: dict[str, Results], topic: str) -> list[str]:
    """Return the rows that any Python has, in the order of the newest one."""
    found = [name for v in known for name in known[v].get(topic, {"rows": {}})["rows"]]
    return list(dict.fromkeys(found))


def rows_of(known: dict[str, Results], topic: str, name: str) -> dict[str, Row]:
    """Return one row on each Python that has it, that of MAIN first."""
    order = sorted(known, key=lambda version: version != MAIN)
    found = {v: known[v][topic]["rows"].get(name) for v in order if topic in known[v]}
    return {v: row for v, row in found.items() if row is not None}


def table(known: dict[str, Results], topic: str) -> list[str]:
    """Return a topic's table: each contender's ratio to the row's yardstick on each Python."""
    pythons = [version for version in known if topic in known[version]]
    lines = [
        f"| what | yardstick | contender | {' | '.join(pythons)} |",
        f"|---|---|---|{'---:|' * len(pythons)}",
    ]
    for name in names_of(known, topic):
        rows = rows_of(known, topic, name)
        newest = next(iter(rows.values()))
        first, ours = yardstick_of(newest), ours_of(newest)
        contenders = list(dict.fromkeys(who for row in rows.values() for who in row["contenders"]))
        yardstick = f"{first}: {value(newest, first)}"
        if ours == first:  # nothing to compare with
            yardstick = ""
        else:
            contenders.remove(first)
        contenders.sort(key=lambda who: who != ours)  # the others stay in their order
        for who in contenders:
            cells = (cell(rows.get(version), who) for version in pythons)
            start = (escaped(name), escaped(yardstick)) if who == contenders[0] else ("", "")
            shown = f"**{who}**" if who == ours else who
            lines.append(f"| {' | '.join((*start, shown, *cells))} |")
    return lines


def escaped(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "\\|").replace("*", "\\*")


def chart(known: dict[str, Results], topic: str) -> str | None:
    """Return an SVG of asyncnb's ratios, a dot for each Python, or None if there are too few."""
    ratios: dict[str, dict[str, float]] = {}
    for name in names_of(known, topic):
        for version, row in rows_of(known, topic, name).items():
            ratio = ratio_of(row)
            if ratio:
                ratios.setdefault(name, {})[version] = ratio
    if len(ratios) < LEAST_DOTS:
        return None
    return dots(ratios, newest_first({v for found in ratios.values() for v in found}))


def filled(sentence: str, known: dict[str, Results], numbers: dict[str, list[str]]) -> str | None:
    """Return a sentence with its numbers, or None if one of them has not been measured."""
    found: dict[str, str] = {}
    for key, (topic, name, who, what) in numbers.items():
        rows = rows_of(known, topic, name) if name else {}
        if f"{{{key}}}" not in sentence:
            continue
        if not name:  # the least and the most of a topic
            ratios = [
                ratio_of(row) for row in known[MAIN].get(topic, {"rows": {}})["rows"].values()
            ]
            counted = [ratio for ratio in ratios if ratio is not None]
            if not counted:
                return None
            found[key] = times(min(counted) if what == "least" else max(counted))
            continue
        row = next(iter(rows.values()), None)
        if row is None:
            return None
        found[key] = value(row, who) if what == "median" else times(row["contenders"][who][1])
    return sentence.format(**found)


def opening(known: dict[str, Results], texts: dict[str, Any]) -> list[str]:
    """Return the sentences and the rows that the page opens with."""
    sentences = (filled(each, known, texts["numbers"]) for each in texts["opening"])
    lines = [" ".join(each for each in sentences if each is not None), ""]
    lines += ["| what | yardstick | it takes | asyncnb takes | ratio |", "|---|---|---:|---:|---:|"]
    for what, topic, name in texts["best"]:
        for row in list(rows_of(known, topic, name).values())[:1]:
            first, ours = yardstick_of(row), ours_of(row)
            ratio = times(row["contenders"][ours][1])
            cells = (what, first, value(row, first), value(row, ours), ratio)
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def measured(known: dict[str, Results], topic: str) -> str:
    """Return on what a topic was measured, and when."""
    found = {v: known[v][topic] for v in known if topic in known[v]}
    newest = next(iter(found.values()))
    days = sorted({each["when"][:8] for each in found.values()})
    when = " and ".join(
        f"{day[:4]}-{day[4:6]}-{day[6:]}" for day in dict.fromkeys((days[0], days[-1]))
    )
    rounds = " and ".join(str(n) for n in sorted({each["rounds"] for each in found.values()}))
    pythons = ", ".join(each["python"] for each in found.values())
    return f"{when}, {rounds} rounds, {newest['system']}, {newest['cpus']} CPUs, Python {pythons}"


def releases(known: dict[str, Results]) -> str:
    """Return the packages that were compared, with their releases on the main Python."""
    results = known.get(MAIN) or next(iter(known.values()))
    found: dict[str, str] = {}
    for result in sorted(results.values(), key=lambda result: result["when"]):
        found |= result["versions"]
    found.pop("asyncnb", None)
    return "Compared with " + ", ".join(f"{name} {number}" for name, number in found.items()) + "."


def page() -> tuple[str, dict[str, str]]:
    """Return the page, and its charts by their file names."""
    texts = json.loads(TEXTS.read_text(encoding="utf-8"))
    known = load()
    lines = [
        "# Performance",
        "",
        *opening(known, texts),
        "",
        *texts["reading"],
        "",
        releases(known),
    ]
    measured_topics = {topic for results in known.values() for topic in results}
    order = [*texts["topics"], *sorted(measured_topics - set(texts["topics"]) - {"gate"})]
    charts = {}
    for topic in order:
        if topic not in measured_topics:
            continue
        about = texts["topics"].get(topic, {})
        title = about.get("title", topic.replace("_", " ").capitalize())
        lines += ["", f"## {title}", ""]
        if about:
            lines += [about["text"], ""]
        picture = chart(known, topic)
        if picture is not None:
            name = f"performance-{topic}.svg"
            charts[name] = picture
            lines += [
                f"![{title}: asyncnb's time as a multiple of the yardstick's](images/{name})",
                "",
            ]
        lines += [*table(known, topic), "", f"Measured {measured(known, topic)}."]
    lines += ["", *FLOORS.read_text(encoding="utf-8").splitlines()]
    return "\n".join(lines) + "\n", charts


def write(text: str, charts: dict[str, str]) -> None:
    PAGE.write_text(text, encoding="utf-8")
    images = PAGE.parent / "images"
    for old in images.glob("performance-*.svg"):
        if old.name not in charts:
            old.unlink()
    for name, picture in charts.items():
        (images / name).write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    write(*page())
    print(f"written to {PAGE}")
