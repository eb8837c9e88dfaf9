"""The page on performance: made of the committed ratios, of new reports, and of what it said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks import check, page

ROOT = Path(__file__).resolve().parent.parent
WRITTEN = (ROOT / page.PAGE).read_text(encoding="utf-8")


@pytest.fixture
def reports(tmp_path, monkeypatch) -> Path:
    (tmp_path / page.PAGE.parent / "images").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / check.REPORTS
    folder.mkdir(parents=True)
    return folder


def write(reports: Path, topic: str, python: str) -> None:
    version = python.rpartition(".")[0]
    path = reports / f"{topic}-{version}-20260101T000000Z.json"
    path.write_text(json.dumps({**report(python, 0.5), "topic": topic}))


def report(python: str, ratio: float) -> dict[str, object]:
    contenders = {
        who: {"median": 1e-6, "lowest": 1e-6, "highest": 2e-6, "ratio": times}
        for who, times in (("asyncio", 1.0), ("asyncnb", ratio))
    }
    row = {"row": "shield, C task", "goal": 0.95, "unit": "s", "contenders": contenders}
    facts = {"system": "Linux", "cpus": 2, "load": 0.1, "versions": {"trio": "1"}}
    return {"when": "20260101T000000Z", "rounds": 7, "python": python,
            "rows": [row], **facts}  # fmt: skip


def test_without_a_new_report_it_stays_as_it_is(reports: Path) -> None:
    assert page.page(WRITTEN) == WRITTEN


def test_a_report_replaces_the_section_of_its_topic_on_its_python_alone(reports: Path) -> None:
    write(reports, "primitives", "3.13.9")
    before, after = page.sections(WRITTEN), page.sections(page.page(WRITTEN))
    title = "Tasks, groups, timeouts, waiting"
    assert after.pop((title, "3.13"))[0] == f"## {title}, Python 3.13.9"
    before.pop((title, "3.13"))
    assert after == before


def test_a_python_with_all_topics_gets_sections_and_the_explanations(reports: Path) -> None:
    for topic in ("primitives", "launched"):
        write(reports, topic, "3.99.1")
    title = "Tasks, groups, timeouts, waiting"
    after = page.sections(page.page(WRITTEN))
    newest = next(lines for (found, _), lines in after.items() if found == title)
    assert newest[0] == f"## {title}, Python 3.99.1"
    explained = [lines for lines in after.values() if lines[2].startswith("The building blocks")]
    assert explained == [newest]
    assert ("Launched tasks", "3.99") in after


def test_a_python_with_primitives_alone_is_a_column_without_a_section(reports: Path) -> None:
    write(reports, "primitives", "3.99.1")
    assert page.page(WRITTEN) == WRITTEN


def test_each_python_with_ratios_has_a_column() -> None:
    ratios = json.loads(check.RATIOS.read_text(encoding="utf-8"))
    (heading,) = [line for line in WRITTEN.splitlines() if line.startswith("| what | 3.")]
    assert heading == f"| what | {' | '.join(page.newest_first(ratios))} |"


def test_a_row_that_a_python_lacks_is_compared_with_the_nearest_one(tmp_path, monkeypatch) -> None:
    known = {"3.11": {"a": 1.1, "b": 1.1}, "3.13": {"a": 1.3}, "3.15": {"c": 1.5}}
    ratios = tmp_path / "ratios.json"
    ratios.write_text(json.dumps(known))
    monkeypatch.setattr(check, "RATIOS", ratios)
    assert check.committed("3.15") == {"a": 1.3, "b": 1.1, "c": 1.5}
    assert check.committed("3.12") == {"a": 1.3, "b": 1.1, "c": 1.5}
    assert check.committed("3.11") == {"a": 1.1, "b": 1.1, "c": 1.5}
