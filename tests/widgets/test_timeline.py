"""What a page gets of a timeline: small, and harmless; and the dashboard's answer to its tab."""

from __future__ import annotations

import asyncio
import json

import asyncnb
from asyncnb._core import _launch, _trace
from asyncnb.testing import run_virtual
from asyncnb.widgets import _timeline_facts
from asyncnb.widgets._commands import Commands
from asyncnb.widgets._feed import Feed
from asyncnb.widgets._timeline import TimelineWidget
from asyncnb.widgets._timeline_facts import compact


async def many(tasks, steps):
    async def busy():
        for _ in range(steps):
            await asyncio.sleep(0.01)

    async with asyncnb.TaskGroup() as group:
        for number in range(tasks):
            group.create_task(busy(), name=f"task {number}")


def recorded(main):
    with asyncnb.record() as recording:
        run_virtual(main)
    return asyncnb.timeline(recording).data


def test_facts_of_a_few_tasks_are_sent_as_they_are():
    data = recorded(many(3, 10))
    assert compact(data) is data


def test_many_steps_are_thinned_and_their_ends_kept(monkeypatch):
    monkeypatch.setattr(_timeline_facts, "MOST_RUNS", 500)
    data = recorded(many(10, 500))
    small = compact(data)
    assert sum(len(row["runs"]) for row in small["rows"]) < 1500
    for row, full in zip(small["rows"], data["rows"], strict=True):
        assert row["steps"] == full["steps"]
        assert row["runs"][0][0] == full["runs"][0][0]
        assert row["runs"][-1][1] == full["runs"][-1][1]
        assert len(row["waits"]) <= len(row["runs"])
    assert len(json.dumps(small)) < 150_000


def test_of_too_many_tasks_the_newest_are_sent(monkeypatch):
    monkeypatch.setattr(_timeline_facts, "MOST_ROWS", 10)
    small = compact(recorded(many(30, 1)))
    assert len(small["rows"]) == 10
    assert small["left_out"] == 21
    ids = {row["id"] for row in small["rows"]}
    assert all({source, to} <= ids for source, to, _ in small["edges"])


def test_the_dashboard_answers_with_the_timeline():
    said = []
    feed = Feed(_launch.registry, Commands(_launch.registry))
    subscription = feed.subscribe(lambda message, buffers: said.append(message))
    _launch.registry.forget_ended()
    _trace.recorder.clear()
    asyncnb.launch(asyncio.sleep(0), name="shown", trace=True).join(10)
    feed.take(subscription, {"c": "timeline"})
    [message] = said
    assert message["k"] == "timeline"
    assert [row["name"] for row in message["data"]["rows"]] == ["shown"]
    json.dumps(message)


def test_the_widget_looks_again_when_asked_and_at_nothing_else():
    looks = []

    def look():
        looks.append(1)
        return {"rows": [], "edges": [], "end": 2.0}

    widget = TimelineWidget({"rows": [], "edges": [], "end": 1.0}, look)
    contents: list[object] = [None, [], "timeline", {"c": "cancel"}, {}]
    for content in contents:
        widget._arrived(content)
    assert not looks
    widget._arrived({"c": "timeline"})
    assert widget.data["end"] == 2.0
    widget.close()
