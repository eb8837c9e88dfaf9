"""The table of tasks: what it says as text and as HTML, and how long it gets."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from asyncnb import CellRef, TaskInfo
from asyncnb._core.base.text import escape_control_chars, width
from asyncnb._kernel.tables.rows import choose
from asyncnb._kernel.tables.table import TaskTable

HOSTILE = '<img src=x onerror="alert(1)">\x1b[2J\u202egnp.exe'


def info(number: int, name: str, state: str = "waiting", **facts) -> TaskInfo:
    known = dict.fromkeys(TaskInfo._fields[4:13]) | {"cell": CellRef(number), "created": 0.0}
    return TaskInfo(number, name, state, "loop", **(known | facts))


class Page(HTMLParser):
    """The tags of a page, their attributes, and the text of each table cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: set[str] = set()
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.names.update(name for name, _ in attributes)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells and self.tags[-1] != "style":
            self.cells[-1] += data


def test_columns_stand_below_each_other_whatever_the_signs():
    names = ["plain", "日本語のタスク", "cafe\u0301", "rocket 🚀", "family 👩‍👩‍👧", "heart ❤\ufe0f"]
    table = TaskTable([info(n, name) for n, name in enumerate(names, 1)])
    lines = repr(table).splitlines()
    assert {width(line[: line.index("waiting")]) for line in lines[1:]} == {16}
    assert [width(name) for name in names] == [5, 14, 4, 9, 9, 8]


def test_a_child_stands_below_its_parent():
    infos = [info(1, "mother"), info(2, "other"), info(3, "child", parent=1)]
    infos += [info(4, "grandchild", parent=3), info(5, "younger", parent=1)]
    names = [
        line.partition("  waiting")[0].rstrip() for line in repr(TaskTable(infos)).splitlines()
    ]
    assert names[1:] == ["mother", "├─ child", "│  └─ grandchild", "└─ younger", "other"]


def test_a_table_is_cut_to_the_room_that_a_terminal_has():
    infos = [
        info(1, "日本語のタスク" * 4, waiting_on="Event.wait, and more words of it", group="crawl"),
        info(2, "short", "failed", error="ValueError: " + "a sentence " * 9),
    ]
    table = TaskTable(infos)
    assert max(map(width, table.text().splitlines())) > 120
    lines = table.text(80).splitlines()
    assert max(map(width, lines)) == 80
    assert len({width(line[: line.index("In[")]) for line in lines[1:]}) == 1
    assert "日本語の" in lines[1]
    assert "ValueError:" in lines[2]
    assert table.text(10) == table.text(1), "what is needed to know a task is never cut"


def test_a_column_that_would_be_empty_is_left_out():
    assert "group" not in repr(TaskTable([info(1, "a")])).splitlines()[0]
    head = repr(TaskTable([info(1, "a", group="g", waiting_on="Event.wait")])).splitlines()[0]
    assert head.split() == ["task", "state", "time", "group", "cell", "on", "waits", "for"]


@pytest.mark.parametrize("place", ["name", "group", "error", "waiting_on"])
def test_nothing_that_a_task_says_is_markup_or_moves_the_cursor(place):
    facts = {"name": "a", "state": "failed" if place == "error" else "waiting"} | {place: HOSTILE}
    table = TaskTable([info(1, **facts)])
    page = Page(table._repr_html_())
    assert not {"img", "script"} & set(page.tags)
    assert not {name for name in page.names if name.startswith("on")}
    for text in (repr(table), *page.cells):
        assert "\x1b" not in text and "\u202e" not in text
    assert any("<img src=x" in text for text in page.cells)
    assert "</style>" not in table._repr_html_().partition("</style>")[2]


def test_a_state_is_told_by_its_word_and_a_shape():
    states = [
        "pending",
        "running",
        "waiting",
        "paused",
        "cancelling",
        "done",
        "failed",
        "cancelled",
    ]
    html = TaskTable([info(n, "a", state) for n, state in enumerate(states)])._repr_html_()
    assert [text for text in Page(html).cells if text in states] == states
    shapes = [re.search(rf'asyncnb-{s}::before{{content:"(.+?)"', html) for s in states]
    assert len({shape[1] for shape in shapes if shape}) == len(states)
    assert all(f'class="asyncnb-state asyncnb-{state}"' in html for state in states)


def test_progress_and_the_time_left_are_shown():
    table = TaskTable([info(1, "a", progress=(3, 12), timeout=90.0)])
    assert "3/12, 1 min 30 s left" in repr(table)
    assert "width:25%" in table._repr_html_()


class Record:
    def __init__(self, number: int, state: str) -> None:
        self.id = number
        self.ended = None if state == "waiting" else 1.0
        self._state = state

    def state(self) -> str:
        return self._state


def test_failures_and_the_living_come_first_when_there_are_too_many():
    states = ["failed"] * 10 + ["done"] * 30 + ["waiting"] * 20 + ["failed"] * 2
    records = [Record(n, state) for n, state in enumerate(states)]
    shown, said = choose(records, 20)  # type: ignore[arg-type]
    kept = [r.state() for r in shown]
    assert (kept.count("failed"), kept.count("waiting")) == (10, 10)
    assert [r.id for r in shown] == sorted(r.id for r in shown) and shown[-1].id == 61
    assert said.startswith("Not shown: 10 living and 32 ended.")
    shown, said = choose(records, 50)  # type: ignore[arg-type]
    kept = [r.state() for r in shown]
    assert (kept.count("failed"), kept.count("waiting"), kept.count("done")) == (12, 20, 18)
    assert said.startswith("Not shown: 12 ended.")
    shown, said = choose(records, 62)  # type: ignore[arg-type]
    assert len(shown) == 62 and said == ""


def test_long_and_odd_names_are_cut_and_shown():
    assert escape_control_chars("x" * 50, 40) == "x" * 39 + "…"
    assert escape_control_chars("two\nlines\t here", 40) == "two lines here"
    assert escape_control_chars("👩‍👩‍👧", 40) == "👩‍👩‍👧"


def test_a_kernel_shows_at_most_a_hundred_and_says_so(kernel):
    kernel.ok("for n in range(150): asyncnb.launch(asyncio.Event().wait(), name=f'n{n}')")
    cell = kernel.ok("%tasks")
    assert len(cell.result.splitlines()) == 102
    assert "Not shown: 50 living." in cell.result
    (data,) = (c["data"] for c in cell.of_type("execute_result"))
    assert data["text/html"].count("<tr>") == 101 and "Not shown: 50" in data["text/html"]
    assert len(kernel.ok("%tasks n14*").result.splitlines()) == 12
