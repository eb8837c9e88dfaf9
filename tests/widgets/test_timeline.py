"""What a page gets of a timeline: small, and harmless; and the dashboard's answer to its tab."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import re
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import asyncnb
from asyncnb._core.launched.registry import registry
from asyncnb._core.timeline.chrome_trace import trace_events
from asyncnb._core.timeline.rows import BARS, ENDS, SIGNS, spans
from asyncnb._core.timeline.svg import svg
from asyncnb._core.timeline.text import text
from asyncnb._core.tracing import recording as _trace
from asyncnb.testing import clear_ended, run_virtual
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


def test_facts_of_a_few_tasks_are_sent_as_they_are_with_bars_for_steps():
    data = recorded(many(3, 10))
    sent = compact(data)
    for row, whole in zip(sent["rows"], data["rows"], strict=True):
        steps = [bar[1:] for bar in row["bars"] if bar[0] == "run"]
        assert steps == whole["runs"] and len(steps) == len(whole["runs"]) > 0
        assert row["end"] == "done"
        assert {key: row[key] for key in row if key not in ("bars", "end")} == {
            key: whole[key] for key in whole if key != "runs"
        }
    assert {key: sent[key] for key in sent if key not in ("rows", "notes", "legend")} == {
        key: data[key] for key in data if key != "rows"
    }
    assert sent["notes"] == []


KINDS = ["loop", "kernel", "thread", "process", "executor"]
ROW: dict[str, Any] = {
    "id": 1, "name": "task", "group": None, "parent": None, "state": "done", "cell": "",
    "created": 0.0, "started": 0.5, "ended": 3.0, "error": "", "steps": 0, "runs": [], "waits": [],
    "events": [], "depth": 0, "recorded": False, "seconds": 0.0, "dropped": 0,
}  # fmt: skip
HOW: dict[str, dict[str, Any]] = {
    "not recorded": {},
    "not started": {"started": None, "ended": None, "state": "pending"},
    "living": {"ended": None, "state": "paused"},
    "sampled, and gone before a look saw how it ended": {"sampled": True, "state": "ended"},
    "recorded": {"recorded": True, "runs": [[0.5, 0.6], [2.0, 3.0]], "events": [[1, "cancel", ""]]},
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", KINDS)
def test_page_picture_and_text_draw_the_same_bars(kind, how):
    row = ROW | {"kind": kind} | HOW[how]
    data = {
        "origin": 0.0, "end": 4.0, "live": True, "recorded": row["recorded"], "dropped": 0,
        "rows": [row], "edges": [],
    }  # fmt: skip
    [sent] = compact(data)["rows"]
    assert sent["bars"] == [list(span) for span in spans(row, 4.0)]
    drawn = {BARS[bar[0]].word for bar in sent["bars"] if bar[2] > bar[1]}
    assert ("in a thread" in drawn) == (kind == "thread" and how != "not started")
    in_worker = kind in ("process", "executor") and how != "not started"
    assert ("in a worker" in drawn) == in_worker
    words = [each.text for each in ET.fromstring(svg(data)).iter() if each.tag.endswith("}text")]
    legend = re.split(r"   |\n", text(data))
    for bar in BARS.values():
        assert (bar.word in words) == (bar.word in drawn)
        assert (f"{bar.char} {bar.word}" in legend) == (bar.word in drawn)
    for end, sign in ENDS.items():
        assert (sign.word in words) == (sent["end"] == end)
        assert (f"{SIGNS[end]} {sign.word}" in legend) == (sent["end"] == end)


def test_of_work_elsewhere_all_draw_how_it_waited_for_a_worker_and_ran_there():
    """A process pool with one worker: one task in it, one queued, one ended; recorded or not."""
    gate = threading.Event()
    with ProcessPoolExecutor(1) as pool, multiprocessing.Manager() as manager:
        release = manager.Event()
        tasks: list[Any] = [asyncnb.launch(str, on=pool, name="ended", trace=True)]
        tasks[0].join(30)
        for name, trace in (("inside", True), ("queued", True), ("queued plainly", False)):
            tasks.append(asyncnb.launch(release.wait, on=pool, name=name, trace=trace))
        tasks.append(asyncnb.launch(asyncio.to_thread(gate.wait, 30), name="loop", trace=True))
        while (tasks[1].info().state, tasks[-1].info().state) != ("running", "waiting"):
            time.sleep(0.001)
        # An executor takes one call ahead, which it reports as begun when a worker has it.
        data = asyncnb.timeline(tasks).data
        release.set()
        gate.set()
        for task in tasks:
            task.join(30)
        after = asyncnb.timeline(tasks).data
    kinds = {row["name"]: [bar[0] for bar in row["bars"]] for row in compact(data)["rows"]}
    assert kinds["ended"] == kinds["inside"] == ["pending", "worker"]
    assert kinds["queued"] == kinds["queued plainly"] == ["pending"]
    assert set(kinds["loop"]) <= {"pending", "run", "wait"}
    ends = {row["name"]: row["end"] for row in compact(data)["rows"]}
    assert (ends["ended"], ends["inside"], ends["queued"]) == ("done", "alive", "pending")
    drawn = text(data)
    inside, queued = (
        next(line for line in drawn.splitlines() if line.startswith(name))
        for name in ("inside", "queued ")
    )
    assert BARS["worker"].char in inside
    assert not {BARS[kind].char for kind in ("worker", "wait", "run")} & set(queued)
    words = [each.text for each in ET.fromstring(svg(data)).iter() if each.tag.endswith("}text")]
    assert {"in a worker", "not started yet", "still running"} <= set(words)
    slices = [event for event in trace_events(data) if event["name"] == "in a worker"]
    assert len(slices) == 2
    for row in compact(after)["rows"]:
        if row["kind"] == "executor":
            assert [bar[0] for bar in row["bars"]] == ["pending", "worker"]


def test_many_steps_are_thinned_and_their_ends_kept(monkeypatch):
    monkeypatch.setattr(_timeline_facts, "MAX_RUNS", 500)
    data = recorded(many(10, 500))
    small = compact(data)
    runs = [[bar[1:] for bar in row["bars"] if bar[0] == "run"] for row in small["rows"]]
    assert sum(map(len, runs)) < 1500
    for row, steps, full in zip(small["rows"], runs, data["rows"], strict=True):
        assert row["steps"] == full["steps"]
        assert steps[0][0] == full["runs"][0][0]
        assert steps[-1][1] == full["runs"][-1][1]
        assert len(row["waits"]) <= len(steps)
    assert len(json.dumps(small)) < 150_000


def test_of_too_many_tasks_the_newest_are_sent(monkeypatch):
    monkeypatch.setattr(_timeline_facts, "MAX_ROWS", 10)
    small = compact(recorded(many(30, 1)))
    assert len(small["rows"]) == 10
    assert small["notes"] == ["21 older tasks are not shown."]
    ids = {row["id"] for row in small["rows"]}
    assert all({source, to} <= ids for source, to, _ in small["edges"])


def test_the_dashboard_answers_with_the_timeline():
    said = []
    feed = Feed(registry, Commands())
    subscription = feed.subscribe(lambda message, buffers: said.append(message))
    clear_ended()
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
