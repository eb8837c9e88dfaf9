"""What tasks say, put into tables, pictures and files: text that stays text."""

from __future__ import annotations

import json
import re
import time
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import pytest

from asyncnb import CellRef, TaskInfo
from asyncnb._core.base.text import escape_control_chars
from asyncnb._core.task_graph.data import Edge, Graph, Node
from asyncnb._core.task_graph.svg import svg as graph_svg
from asyncnb._core.timeline.chrome_trace import trace_events
from asyncnb._core.timeline.svg import svg
from asyncnb._kernel.tables.table import TaskTable, as_one_line
from tests.widgets.xss import CORPUS

CLEAN = "a clean name"


class Skeleton(HTMLParser):
    """The elements of a piece of HTML, with the names of their attributes, and its texts."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Any] = []
        self.texts: list[str] = []
        self.titles: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        title = found.pop("title", None)  # a tooltip for names that are cut or hold odd signs
        if title is not None:
            assert tag == "th"
            self.titles.append(title)
        self.elements.append((tag, *found.items()))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append(("/", tag))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment", data))

    def handle_decl(self, decl: str) -> None:
        self.elements.append(("declaration", decl))

    def unknown_decl(self, data: str) -> None:
        self.elements.append(("declaration", data))

    def handle_pi(self, data: str) -> None:
        self.elements.append(("instruction", data))


def infos(text: str) -> list[TaskInfo]:
    """Tasks with ``text`` wherever a task can have one."""
    now = time.time()
    living = TaskInfo(
        1, text, "waiting", "loop", text, None, CellRef(3), now - 2, now - 1, None, None,
        (1, 4), None, text,
    )  # fmt: skip
    failed = living._replace(
        id=2, state="failed", ended=now, parent=1, waiting_on=None, error=f"ValueError: {text}",
        worker=text,
    )  # fmt: skip
    return [living, failed]


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(CORPUS) >= 200


@pytest.mark.parametrize("text", CORPUS)
def test_a_table_gets_no_element_from_a_text(text: str) -> None:
    clean = Skeleton(TaskTable(infos(CLEAN))._repr_html_())
    found = Skeleton(TaskTable(infos(text))._repr_html_())
    assert found.elements == clean.elements
    assert escape_control_chars(text, 40) in found.texts
    assert found.titles in ([], [escape_control_chars(text, 1000)] * 2)
    for info in infos(text):
        line = Skeleton(as_one_line(info)["text/html"])
        assert line.elements == [("span",), ("/", "span")]
        assert line.texts == [as_one_line(info)["text/plain"]]


def data(text: str) -> dict[str, Any]:
    """A timeline with ``text`` wherever it can have one."""
    row = {
        "id": 1, "name": text, "group": text, "parent": None, "state": "failed", "kind": "loop",
        "cell": text, "created": 0.0, "started": 0.1, "ended": 2.0, "error": f"Error: {text}",
        "steps": 2, "runs": [[0.1, 0.2], [1.0, 1.1]], "waits": [[0.2, 1.0, text, 2]],
        "events": [[0.5, "cancel", text], [0.6, "timeout", text]], "depth": 0,
        "recorded": True, "seconds": 0.2, "dropped": 0,
    }  # fmt: skip
    other = row | {"id": 2, "parent": 1, "depth": 1, "waits": [[0.2, 1.0, text, None]]}
    return {
        "origin": 0.0, "end": 2.0, "live": False, "recorded": True, "dropped": 0,
        "rows": [row, other], "edges": [[2, 1, 1.0]],
    }  # fmt: skip


@pytest.mark.parametrize("text", CORPUS)
def test_a_picture_gets_no_element_from_a_text(text: str) -> None:
    clean = ET.fromstring(svg(data(CLEAN)))
    found = ET.fromstring(svg(data(text)))  # strict: one sign not escaped, and it is no XML

    def bones(root: ET.Element) -> list[Any]:
        return [(e.tag, sorted(e.attrib)) for e in root.iter() if not e.tag.endswith("}path")]

    assert bones(found) == bones(clean)
    said = [e.text or "" for e in found.iter() if e.tag.endswith("}text")]
    plain = re.sub(r"\s+", "", escape_control_chars(text))[:8]
    assert any(re.sub(r"\s+", "", each).startswith(plain) for each in said)


def graph(text: str) -> Graph:
    """A graph with ``text`` wherever it can have one."""
    nodes = {text: Node(text, "failed", text), "other": Node(text, "pending")}
    return Graph(nodes, [Edge(text, "other", "follow"), Edge("other", text, "await")], 1)


@pytest.mark.parametrize("text", CORPUS)
def test_a_graph_gets_no_element_from_a_text(text: str) -> None:
    clean = ET.fromstring(graph_svg(graph(CLEAN)))
    found = ET.fromstring(graph_svg(graph(text)))

    def bones(root: ET.Element) -> list[Any]:
        return [(e.tag, sorted(e.attrib)) for e in root.iter()]

    assert bones(found) == bones(clean)


@pytest.mark.parametrize("text", CORPUS)
def test_a_trace_holds_a_text_as_it_is(text: str) -> None:
    clean = trace_events(data(CLEAN))
    found = json.loads(json.dumps(trace_events(data(text))))
    assert [sorted(event) for event in found] == [sorted(event) for event in clean]
    assert sum(event["name"] == text for event in found) == 2
    assert {"name": f"group {text}"} in [event.get("args") for event in found]
