"""The timeline: its numbers, its picture, its text, its trace file."""

from __future__ import annotations

import asyncio
import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

import asyncnb
from asyncnb.testing import clear_ended, run_virtual

SVG = "{http://www.w3.org/2000/svg}"

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</text></svg><script>alert(1)</script>",
    "<![CDATA[ x ]]>",
    "&lt;b&gt; &#x3C;",
    "a\x00b\x1b[31m\x07\u2028\u202e",
    "\ud800 half a pair",
    "]]>\n<!-- -->",
    "𝔘𝔫𝔦 ✓ é 名前",
]


async def sleeper(seconds):
    await asyncio.sleep(seconds)


def recorded(main):
    with asyncnb.record() as recording:
        run_virtual(main)
    return recording


async def everything():
    async def fail():
        await asyncio.sleep(1)
        raise ValueError("<no>")

    async def clean():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)

    asyncnb.current_task().set_name("main")
    failing = asyncnb.create_task(fail(), name="failing")
    cancelled = asyncnb.create_task(clean(), name="cancelled")
    await asyncio.sleep(0.5)
    cancelled.cancel("enough")
    await asyncnb.gather(failing, cancelled, return_exceptions=True)
    try:
        async with asyncnb.timeout(1):
            await asyncnb.create_task(sleeper(60), name="too slow")
    except TimeoutError:
        pass


@pytest.fixture(scope="module")
def recording():
    return recorded(everything())


def by_name(data):
    return {row["name"]: row for row in data["rows"]}


def test_rows_tell_each_tasks_life(recording):
    data = asyncnb.timeline(recording).data
    rows = by_name(data)
    assert [row["name"] for row in data["rows"]] == ["main", "failing", "cancelled", "too slow"]
    assert [row["depth"] for row in data["rows"]] == [0, 1, 1, 1]
    assert [row["state"] for row in data["rows"]] == ["done", "failed", "cancelled", "cancelled"]
    assert rows["failing"]["waits"] == [[0, 1, "sleep", None]]
    assert rows["cancelled"]["events"] == [[0.5, "cancel", "enough"]]
    assert rows["main"]["events"] == [[2.5, "timeout", ""]]
    assert data["end"] == 2.5
    ids = {row["name"]: row["id"] for row in data["rows"]}
    assert data["edges"] == [
        [ids["failing"], ids["main"], 1],
        [ids["cancelled"], ids["main"], 1.5],
        [ids["too slow"], ids["main"], 2.5],
    ]
    json.dumps(data)


def test_the_same_program_draws_the_same_picture():
    one, two = (asyncnb.timeline(recorded(everything())) for _ in range(2))
    assert one.svg() == two.svg()
    assert one.text() == two.text()


def test_a_grid_rounds_every_time():
    async def main():
        await asyncio.sleep(0.1034)
        asyncio.get_running_loop().advance(0.0021)
        await asyncio.sleep(0.1967)

    data = asyncnb.timeline(recorded(main()), grid=0.1).data
    [row] = data["rows"]
    assert row["runs"] == [[0, 0], [0.1, 0.1], [0.3, 0.3]]
    assert [wait[:2] for wait in row["waits"]] == [[0, 0.1], [0.1, 0.3]]
    assert (data["end"], data["origin"], row["seconds"]) == (0.3, 0, 0)


@pytest.mark.parametrize("grid", [0, -1, "x"])
def test_a_grid_that_is_none_is_refused(grid):
    with pytest.raises(ValueError, match="grid must be seconds above 0"):
        asyncnb.timeline(grid=grid)


def test_the_text_is_a_chart(recording):
    assert asyncnb.timeline(recording).text(80).splitlines() == [
        "main         █──────█─────────────█────────────!✓ done, 2.50 s",
        "  failing    █─────────────✗                      failed: ValueError: <no>, 1.0…",
        "  cancelled  █──────!╌╌╌╌╌╌╌╌╌╌╌╌╌⊘               cancelled, 1.50 s",
        "  too slow                        █────────────!⊘ cancelled, 1.00 s",
        "             ┴─────────────┴─────────────┴───────",
        "             0             1             2 s",
        "─ waiting   ╌ cancelled, cleaning up   █ running   ✓ done   ✗ failed   ⊘ cancelled   "
        "! cancellation or timeout",
    ]


def test_the_picture_says_each_thing_by_shape_and_word(recording):
    root = ET.fromstring(asyncnb.timeline(recording).svg())
    words = [text.text or "" for text in root.iter(f"{SVG}text")]
    for word in ("running", "waiting", "cancelled, cleaning up", "done", "failed", "cancelled"):
        assert word in words
    for word in ("cancellation", "timeout", "failed: ValueError: <no>, 1.00 s"):
        assert word in words
    assert "2.5 s" in words
    assert root.find(f"{SVG}title").text == "Timeline of 4 tasks over 2.50 s"
    # Dashes and height show what a bar is, not its colour alone.
    looks = {
        (path.get("stroke-width"), path.get("stroke-dasharray"))
        for path in root.iter(f"{SVG}path")
        if "H" in (path.get("d") or "") and path.get("stroke-width")
    }
    assert len(looks) >= 3


def assert_harmless(svg):
    """Valid XML of elements that draw, with no way to run or load anything."""
    root = ET.fromstring(svg)
    assert {element.tag for element in root.iter()} <= {
        f"{SVG}{name}" for name in ("svg", "title", "rect", "path", "text")
    }
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on") and "href" not in name, name
            assert "javascript:" not in value and "url(" not in value


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_tasks_is_text_in_the_picture(text):
    async def fail():
        await asyncio.sleep(1)
        raise ValueError(text)

    async def main():
        task = asyncnb.create_task(fail(), name=text)
        await asyncnb.gather(task, return_exceptions=True)

    picture = asyncnb.timeline(recorded(main()))
    svg = picture.svg()
    assert_harmless(svg)
    svg.encode()
    shown = [t.text for t in ET.fromstring(svg).iter(f"{SVG}text")]
    assert any(text[:5].strip("\x00\x1b\ud800 ")[:1] in (line or "") for line in shown)
    assert "\x1b" not in picture.text()
    assert all(line.isprintable() for line in picture.text().splitlines())


def test_a_thousand_tasks_are_a_small_picture():
    async def worker(number):
        for _ in range(3):
            await asyncio.sleep(0.1 * (number % 7 + 1))
            asyncio.get_running_loop().advance(0.001)

    async def main():
        async with asyncnb.TaskGroup() as group:
            for number in range(1000):
                group.create_task(worker(number), name=f"fetch page {number}")
            group.create_task(sleeper(3), name="the odd one")

    picture = asyncnb.timeline(recorded(main()))
    svg = picture.svg()
    assert len(svg) < 100_000
    assert_harmless(svg)
    words = [text.text for text in ET.fromstring(svg).iter(f"{SVG}text")]
    assert "fetch page # × 1000" in words
    assert "1000 done" in words
    assert "the odd one" in words
    assert len(picture.text().splitlines()) < 50


def test_many_steps_of_few_tasks_are_a_small_picture():
    async def busy():
        for _ in range(500):
            await asyncio.sleep(0.01)

    async def main():
        async with asyncnb.TaskGroup() as group:
            for number in range(20):
                group.create_task(busy(), name=f"task {number}")

    assert len(asyncnb.timeline(recorded(main())).svg()) < 100_000


def test_tasks_that_were_not_recorded_are_bars_of_their_lives():
    clear_ended()
    tasks = [asyncnb.launch(sleeper(0.01), name=f"plain {i}") for i in range(3)]
    for task in tasks:
        task.join(10)
    asyncnb.run(asyncio.sleep(0))
    picture = asyncnb.timeline("plain *")
    assert not picture.data["recorded"]
    assert all(row["ended"] >= row["started"] for row in picture.data["rows"])
    assert "alive" in picture.svg()
    assert "Steps and waits were not recorded" in picture.text()
    assert "Steps and waits were not recorded" in picture.svg()
    assert len(asyncnb.timeline(tasks[0]).data["rows"]) == 1
    assert len(asyncnb.timeline(tasks[:2]).data["rows"]) == 2


def test_living_tasks_and_who_waits_for_them_are_shown_as_they_are_now():
    clear_ended()
    gate = asyncnb.launch(asyncio.sleep(60), name="gate")

    async def behind():
        await gate

    waiting = asyncnb.launch(behind(), name="behind", trace=True)
    while not waiting._record.trace.steps:
        asyncnb.run(asyncio.sleep(0))
    data = asyncnb.timeline().data
    rows = by_name(data)
    assert data["live"]
    assert rows["gate"]["ended"] is None
    assert [rows["gate"]["id"], rows["behind"]["id"], None] in data["edges"]
    assert rows["behind"]["waits"][-1][1] == data["end"]
    gate.cancel()
    with pytest.raises(asyncio.CancelledError):
        waiting.join(10)


def test_what_is_no_task_is_refused():
    with pytest.raises(asyncnb.TaskNotFoundError, match="No task named 'nobody'"):
        asyncnb.timeline("nobody")
    with pytest.raises(TypeError, match="42 is not a task"):
        asyncnb.timeline(42)
    with pytest.raises(TypeError, match="neither launched nor recorded"):
        asyncnb.timeline(run_virtual(_a_plain_task()))


async def _a_plain_task():
    task = asyncio.create_task(sleeper(0))
    await task
    return task


def test_no_tasks_draw_an_empty_picture():
    picture = asyncnb.timeline(asyncnb.record())
    assert picture.text() == "No tasks."
    assert "No tasks." in picture.svg()
    assert_harmless(picture.svg())


# The trace file


def check_trace(document):
    """Hold a document to the rules of the trace event format, as Perfetto's importer reads it."""
    assert isinstance(document["traceEvents"], list)
    assert document["displayTimeUnit"] in ("ms", "ns")
    tracks: dict[tuple[int, int], list[tuple[float, float]]] = {}
    flows: dict[int, list[dict[str, Any]]] = {}
    named = set()
    times = [event["ts"] for event in document["traceEvents"]]
    assert times == sorted(times)
    for event in document["traceEvents"]:
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int)
        assert isinstance(event["ts"], int | float) and event["ts"] >= 0
        place = event["pid"], event["tid"]
        match event["ph"]:
            case "M":
                named.add((event["name"], *place))
                assert isinstance(event["args"], dict)
            case "X":
                assert event["dur"] >= 0
                tracks.setdefault(place, []).append((event["ts"], event["ts"] + event["dur"]))
            case "i":
                assert event["s"] in "gpt"
            case "s" | "f":
                flows.setdefault(event["id"], []).append(event)
            case other:
                raise AssertionError(f"an event of an unknown kind {other!r}")
    for place, slices in tracks.items():
        assert ("thread_name", *place) in named
        assert ("process_name", place[0], 0) in named
        open_: list[float] = []
        for start, end in slices:  # in the file's order, which is that of time
            while open_ and open_[-1] <= start + 1e-6:
                open_.pop()
            assert not open_ or end <= open_[-1] + 2e-3, "slices of a track overlap"
            open_.append(end)
    for tail, head in flows.values():
        assert (tail["ph"], head["ph"], head["bp"]) == ("s", "f", "e")
        assert tail["ts"] <= head["ts"]
        for event in (tail, head):  # an arrow is bound to the slice it lies in
            slices = tracks[event["pid"], event["tid"]]
            assert any(a - 1e-3 <= event["ts"] <= b + 1e-3 for a, b in slices)


def test_the_trace_file_keeps_the_rules_of_trace_events(recording, tmp_path):
    path = tmp_path / "trace.json"
    count = asyncnb.export_trace(path, recording)
    document = json.loads(path.read_text(encoding="utf-8"))
    assert len(document["traceEvents"]) == count
    check_trace(document)
    events = document["traceEvents"]
    threads = [e["args"]["name"] for e in events if e["name"] == "thread_name"]
    assert threads == ["main", "failing", "cancelled", "too slow"]
    assert [e["ts"] for e in events if e["name"] == "cancel"] == [500_000, 2_500_000]
    assert [e["ts"] for e in events if e["name"] == "timeout"] == [2_500_000]
    assert [e["ts"] for e in events if e["ph"] == "f"] == [1_500_000, 1_500_000, 2_500_000]
    assert any(e["name"] == "wait for too slow" for e in events)
    assert any(e["name"] == "wait in sleep" for e in events)


def test_the_trace_file_of_a_live_notebook_keeps_them_too(tmp_path):
    clear_ended()
    group = asyncnb.open_group("crew")
    for number in range(3):
        group.create_task(sleeper(0.01 * number), name=f"member {number}")
    traced = asyncnb.launch(everything(), name="program", trace=True)
    forever = asyncnb.launch(sleeper(60), name="forever", trace=True)
    traced.join(20)
    group.join(10)
    asyncnb.export_trace(tmp_path / "trace.json")
    document = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    check_trace(document)
    processes = [e["args"]["name"] for e in document["traceEvents"] if e["name"] == "process_name"]
    assert processes == ["asyncnb tasks", "group crew"]
    forever.cancel()
    svg = asyncnb.timeline().svg()
    assert re.search(r">group crew<", svg)
    assert_harmless(svg)
    asyncnb._core.tracing.recording.recorder.clear()


def test_tasks_inside_a_traced_one_are_drawn_below_it():
    clear_ended()

    async def crawl(pages):
        async with asyncio.TaskGroup() as group:  # the standard one
            for number in range(pages):
                group.create_task(asyncio.sleep(0.01), name=f"page {number}")

    async def outer():
        await asyncio.gather(asyncio.create_task(crawl(2), name="crawl"))

    asyncnb.launch(outer(), name="outer", trace=True).join(20)
    picture = asyncnb.timeline("outer")
    names = ["outer", "crawl", "page 0", "page 1"]
    assert [(row["name"], row["depth"]) for row in picture.data["rows"]] == [
        *zip(names, (0, 1, 2, 2), strict=True)
    ]
    places = re.findall(r'<text x="(\d+)"[^>]*>(outer|crawl|page \d)<', picture.svg())
    assert [name for _, name in places] == names
    assert [int(x) - int(places[0][0]) for x, _ in places] == [0, 14, 28, 28]
    lines = [line for line in picture.text().splitlines() if line.strip().startswith(tuple(names))]
    assert [len(line) - len(line.lstrip()) for line in lines] == [0, 2, 4, 4]
    asyncnb._core.tracing.recording.recorder.clear()
    clear_ended()
