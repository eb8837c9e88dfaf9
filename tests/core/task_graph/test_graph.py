"""The graph of tasks: which nodes and edges it has, how it is laid out, drawn and written."""

from __future__ import annotations

import asyncio
import itertools
import random
import xml.etree.ElementTree as ET

import pytest

import asyncnb
from asyncnb._core.base.errors import CommandError, TaskNotFoundError
from asyncnb._core.task_graph import data
from asyncnb._core.task_graph.graph import TaskGraph
from asyncnb._core.task_graph.layout import layout


@pytest.fixture(autouse=True)
def _no_tasks():
    from asyncnb._core.launched.registry import registry

    registry.clear_ended()
    yield
    for task in asyncnb.cancel("*"):
        asyncnb.run(asyncnb.wait([task]))
    registry.clear_ended()


async def for_ever() -> None:
    await asyncio.Event().wait()


async def at_once() -> int:
    return 1


def test_edges_are_what_starts_after_what_and_what_waits_now():
    asyncnb.launch(for_ever(), name="load")
    asyncnb.launch(at_once(), name="page", group="pages").join(5)
    asyncnb.launch(at_once(), name="clean", after=["load", "pages"])
    asyncnb.launch(at_once(), name="alone").join(5)
    begun = asyncio.Event()

    async def watch() -> None:
        begun.set()
        await asyncnb.task("clean")

    asyncnb.launch(watch(), name="watcher")
    asyncnb.run(begun.wait())
    graph = TaskGraph()
    assert set(graph.data.edges) == {
        ("load", "clean", "after"),
        ("pages", "clean", "after"),
        ("clean", "watcher", "await"),
    }
    assert graph.data.nodes["pages"] == ("pages", "done", "group, 1 task")
    assert graph.data.nodes["clean"].state == "pending"
    assert graph.data.alone == 2
    text = graph.text()
    assert "clean    pending  starts after load, pages" in text
    assert "watcher  waiting  waits for it now clean" in text
    assert "Not drawn: 2 tasks without such a link." in text
    asyncnb.open_group("pages").cancel()


def test_a_pattern_draws_what_is_connected_with_it():
    for names in ("ab", "xy"):
        asyncnb.launch(for_ever(), name=names[0])
        asyncnb.launch(at_once(), name=names[1], after=names[0])
    assert list(TaskGraph("a").data.nodes) == ["a", "b"]
    assert list(TaskGraph("y").data.nodes) == ["x", "y"]
    with pytest.raises(TaskNotFoundError, match="No task named 'z'"):
        TaskGraph("z")


def test_many_tasks_with_the_same_neighbours_are_one_node():
    asyncnb.launch(for_ever(), name="load")
    for number in range(data.FOLD_ABOVE):
        asyncnb.launch(at_once(), name=f"page {number}", after="load")
    graph = TaskGraph()
    assert len(graph.data.nodes) == 2
    assert graph.data.nodes["page 0"].name == "page 0 and 199 more"
    assert graph.data.nodes["page 0"].note == "200 pending"
    assert "page 0 and 199 more" in graph.svg()


def test_more_than_can_be_drawn_is_refused_with_advice(monkeypatch):
    monkeypatch.setattr(data, "FOLD_ABOVE", 10)
    monkeypatch.setattr(data, "MAX_NODES", 10)
    for number in range(6):
        asyncnb.launch(for_ever(), name=f"load {number}")
        asyncnb.launch(at_once(), name=f"clean {number}", after=f"load {number}")
    with pytest.raises(CommandError, match="has 12 nodes; 10 are drawn at most"):
        TaskGraph()
    assert len(TaskGraph("load 1").data.nodes) == 2


def test_no_links_are_said():
    assert TaskGraph().text() == "No task starts after another one."
    assert "No task starts after another one." in TaskGraph().svg()


def test_layers_follow_the_edges_and_no_two_nodes_overlap():
    chance = random.Random(5)
    nodes = list(range(200))
    edges = [(chance.randrange(n), n) for n in nodes[1:] for _ in range(2)]
    found = layout(nodes, edges)
    assert all(found.layer[a] < found.layer[b] for a, b in edges)
    for number in set(found.layer.values()):
        places = sorted(found.place[n] for n in nodes if found.layer[n] == number)
        assert all(b - a > 0.999 for a, b in itertools.pairwise(places))
    for a, b in edges:
        way = [layer for layer, _ in found.ways[a, b]]
        assert way == list(range(found.layer[a], found.layer[b] + 1))


def test_a_ring_of_tasks_that_wait_for_each_other_is_laid_out_too():
    found = layout("abc", [("a", "b"), ("b", "c"), ("c", "a"), ("c", "c")])
    assert [found.layer[n] for n in "abc"] == [0, 1, 2]
    assert [layer for layer, _ in found.ways["c", "a"]] == [2, 1, 0]


def test_the_picture_has_a_word_and_a_sign_for_each_state_and_a_line_for_each_kind():
    asyncnb.launch(for_ever(), name="load")
    asyncnb.launch(at_once(), name="clean", after="load")
    root = ET.fromstring(TaskGraph().svg())
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"load", "clean", "pending", "○", "starts after"} <= set(texts)
    assert "follows: runs again with it" not in texts
