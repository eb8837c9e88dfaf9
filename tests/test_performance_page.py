"""The page on performance: made of the committed results alone, which are made of reports."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import tests.benchmarks
from tests.benchmarks import chart, check, page, results
from tests.benchmarks.__main__ import TOOLS

ROOT = Path(__file__).resolve().parent.parent
WRITTEN = ROOT / page.PAGE


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of reports, and no results yet."""
    folder = tmp_path / "bench"
    folder.mkdir()
    monkeypatch.setattr(results, "REPORTS", folder)
    monkeypatch.setattr(results, "FILE", tmp_path / "results.json")
    return folder


def row(name: str, ratio: float | None = 0.5, **facts: Any) -> dict[str, Any]:
    medians = {"asyncio": (4.0, 1.0), "asyncnb": (2.0, ratio)}
    contenders = {who: {"median": m, "ratio": r} for who, (m, r) in medians.items()}
    return {
        "row": name,
        "unit": "us",
        "goal": "",
        "reached": None,
        "contenders": contenders,
    } | facts


def report(
    reports: Path, topic: str, *rows: dict[str, Any], only: str = "", python: str = "3.14.1"
) -> None:
    version = python.rpartition(".")[0]
    number = len(list(reports.iterdir()))
    facts = {
        "python": python,
        "when": "20260101T000000Z",
        "rounds": 7,
        "system": "Linux",
        "cpus": 2,
    }
    text = json.dumps({"topic": topic, "only": only, "rows": rows, "versions": {}, **facts})
    (reports / f"{topic}-{version}-20260101T00000{number}Z.json").write_text(text)


def names(version: str, topic: str) -> list[str]:
    return list(results.load()[version][topic]["rows"])


def test_the_page_and_its_charts_are_what_the_committed_results_make() -> None:
    text, charts = page.page()
    assert text == WRITTEN.read_text(encoding="utf-8"), "make bench-page writes it"
    images = {path.name: path for path in (WRITTEN.parent / "images").glob("performance-*")}
    assert images.keys() == charts.keys()
    for name, picture in charts.items():
        assert images[name].read_text(encoding="utf-8") == picture


def test_the_committed_results_are_written_as_a_run_would_write_them() -> None:
    assert results._as_text(results.load()) == results.FILE.read_text(encoding="utf-8")


def test_the_page_opens_with_five_sentences_and_five_rows() -> None:
    texts = json.loads(page.TEXTS.read_text(encoding="utf-8"))
    known = results.load()
    assert len(texts["opening"]) == len(texts["best"]) == 5
    assert None not in [page.filled(each, known, texts["numbers"]) for each in texts["opening"]]
    assert len(page.opening(known, texts)) == 2 + 2 + 5


def test_a_sentence_whose_number_was_not_measured_is_left_out(reports: Path) -> None:
    report(reports, "kernel", row("there"))
    results.commit("3.14")
    numbers = {"a": ["kernel", "there", "asyncnb", "median"], "b": ["kernel", "gone", "x", "ratio"]}
    known = results.load()
    assert page.filled("It takes {a}.", known, numbers) == "It takes 2 us."
    assert page.filled("It takes {a} or {b}.", known, numbers) is None


def test_each_python_has_a_column_the_newest_first(reports: Path) -> None:
    report(reports, "kernel", row("both", 0.5), row("new", 2.25), python="3.14.1")
    report(reports, "kernel", row("both", 0.004), python="3.9.9")
    results.commit("3.9")
    results.commit("3.14")
    assert page.table(results.load(), "kernel") == [
        "| what | yardstick | contender | 3.14 | 3.9 |",
        "|---|---|---|---:|---:|",
        "| both | asyncio: 4 us | **asyncnb** | 0.50 | < 0.01 |",
        "| new | asyncio: 4 us | **asyncnb** | 2.25 |  |",
    ]


def test_a_price_with_a_goal_of_its_own_is_shown_besides_the_ratio(reports: Path) -> None:
    late = row("stop", 0.1, unit="ms", goal="< 100 ms", reached=True, gave_up=4.0)
    report(reports, "kernel", late, row("lines lost", unit="", goal="0"))
    results.commit("3.14")
    stop, lost = page.table(results.load(), "kernel")[2:]
    assert stop == "| stop | asyncio: not within 4 ms | **asyncnb** | 0.10 (2 ms) |"
    assert lost == "| lines lost | asyncio: 4 | **asyncnb** | 2 |"


def test_a_topic_that_the_texts_do_not_know_is_on_the_page(
    reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(reports, "one_loop", row("a row"))
    results.commit("3.14")
    texts = reports / "texts.json"
    texts.write_text(json.dumps({"opening": [], "best": [], "reading": [], "topics": {}}))
    monkeypatch.setattr(page, "TEXTS", texts)
    text, _ = page.page()
    assert "\n## One loop\n" in text
    assert "| a row | asyncio: 4 us | **asyncnb** | 0.50 |" in text


def test_a_run_of_a_part_leaves_the_other_rows_and_a_whole_one_does_not(reports: Path) -> None:
    report(reports, "kernel", row("old"), row("kept"))
    results.commit("3.14")
    report(reports, "kernel", row("new"), only="new")
    results.commit("3.14")
    assert names("3.14", "kernel") == ["old", "kept", "new"]
    report(reports, "kernel", row("kept"), row("newest"))
    results.commit("3.14")
    assert names("3.14", "kernel") == ["kept", "newest"]


def test_a_part_that_is_all_there_is_joins_what_was_committed(reports: Path) -> None:
    report(reports, "kernel", row("committed"))
    results.commit("3.14")
    for path in reports.iterdir():
        path.unlink()
    report(reports, "kernel", row("new"), only="new")
    results.commit("3.14")
    assert names("3.14", "kernel") == ["committed", "new"]


def test_a_topic_whose_module_is_gone_leaves_the_results(reports: Path) -> None:
    report(reports, "no_such_topic", row("a"))
    report(reports, "kernel", row("a"))
    results.commit("3.14")
    assert list(results.load()["3.14"]) == ["kernel"]


def test_a_row_that_a_python_lacks_is_compared_with_the_nearest_one(reports: Path) -> None:
    for python, rows in {
        "3.11.1": {"a": 1.1, "b": 1.1},
        "3.13.1": {"a": 1.3},
        "3.15.1": {"c": 1.5},
    }.items():
        report(
            reports, "kernel", *(row(name, ratio) for name, ratio in rows.items()), python=python
        )
        results.commit(python.rpartition(".")[0])

    def committed(version: str) -> dict[str, float]:
        return {name[-1]: ratio for name, ratio in check.committed(version).items()}

    assert committed("3.15") == {"a": 1.3, "b": 1.1, "c": 1.5}
    assert committed("3.12") == {"a": 1.3, "b": 1.1, "c": 1.5}
    assert committed("3.11") == {"a": 1.1, "b": 1.1, "c": 1.5}


def test_a_ratio_that_got_worse_is_a_regression(
    reports: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(reports, "kernel", row("a", 1.0), row("b", 1.0))
    results.commit("3.14")
    report(reports, "kernel", row("a", 1.1), row("b", 1.2))
    assert check.compare("3.14") == 1
    assert "kernel: b: 1.20, was 1.00" in capsys.readouterr().out


def test_a_chart_holds_all_of_its_text_and_its_dots() -> None:
    long = "cancel one by name, 100,000 living, and a name as long as no row has one"
    picture = chart.dots(
        {long: {"3.14": 0.0001}, "b": {"3.14": 900.0, "3.9": 1.0}}, ["3.14", "3.9"]
    )
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', picture).groups())
    for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', picture):
        assert 4 <= float(x) <= width - 4 and 4 <= float(y) <= height - 4
    for x, y, anchor, text in re.findall(
        r'<text x="([\d.]+)" y="([\d.]+)"([^>]*)>([^<]*)', picture
    ):
        length = chart.LETTER * len(text)
        start = float(x) - (length if "end" in anchor else length / 2 if "middle" in anchor else 0)
        assert start >= 0 and start + length <= width and float(y) <= height, text


def test_each_topic_can_be_measured_and_has_its_sentences_on_the_page() -> None:
    names = {module.name for module in pkgutil.iter_modules(tests.benchmarks.__path__)}
    topics = {name for name in names - TOOLS if name[0] != "_"}
    for name in topics:
        module = importlib.import_module(f"tests.benchmarks.{name}")
        assert hasattr(module, "run") != hasattr(module, "rows"), name
    known = json.loads(
        Path(tests.benchmarks.__file__).with_name("page.json").read_text(encoding="utf-8")
    )
    assert topics - {"gate"} <= known["topics"].keys()
