"""The counting, on samples made by hand: lines, shares, the tree, the picture and the file."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest

from asyncnb._core.introspection.places import Place
from asyncnb._core.profiling import flame, seen
from asyncnb._core.profiling.counts import BLOCKING, RUNNING, WAITING, Sample, top_lines, tree
from asyncnb._core.profiling.profile import Profile
from asyncnb._core.profiling.session import Session
from asyncnb._core.profiling.speedscope import speedscope
from tests.widgets.xss import CORPUS

SVG = "{http://www.w3.org/2000/svg}"

CALL = Place("In[7]", 9, "", "go()")
IN_F = Place("In[7]", 4, "f()", "parse(html)")
IN_G = Place("In[7]", 6, "g()", "write(row)")
LIBRARY = Place("json/decoder.py", 353, "JSONDecoder.raw_decode()", "obj, end = scan(s, idx)")
SOCKET = "connection to example.org:443"


def sample(kind, task, stack, seconds, wait="", times=1):
    return Sample(kind, task, "In[7]", tuple(stack), wait, seconds, times)


SAMPLES = [
    sample(RUNNING, "crawl", [CALL, IN_F], 3.0, times=300),
    sample(RUNNING, "crawl", [CALL, IN_F, LIBRARY], 1.0, times=100),
    sample(RUNNING, "crawl", [CALL, IN_G], 1.0, times=100),
    sample(WAITING, "crawl", [CALL], 5.0, SOCKET),
]


class Counted(Profile):
    """A profile of given samples over ten seconds."""

    def __init__(self, samples, seconds=10.0, cpu=0.0, watched=10.0, tasks=1):
        super().__init__("'crawl'")
        session = self._session = Session()
        session.began, session.ended = 0.0, seconds
        session.looks, session.cpu = 1000, cpu
        session.watched, session.tasks = watched, tasks
        self._samples = samples


def test_time_in_a_library_counts_for_the_line_of_the_cell_that_called_it():
    first, second = top_lines(SAMPLES, RUNNING)
    assert (first.seconds, first.at, first.tasks) == (4.0, IN_F, ("crawl",))
    assert (second.seconds, second.at) == (1.0, IN_G)


def test_the_text_has_the_share_the_cell_the_line_the_source_and_the_task():
    assert Counted(SAMPLES).text().splitlines() == [
        "profile of 'crawl': 10.0 s, 1,000 looks",
        "running: 50 % of the time",
        "  40 %  In[7] line 4    parse(html)                                     crawl",
        "  10 %  In[7] line 6    write(row)                                      crawl",
        "waiting: 50 % of the time",
        "  50 %  In[7] line 9    waiting: connection to example.org:443          crawl",
    ]


def test_the_waits_of_many_tasks_are_a_share_of_the_time_of_all_of_them():
    samples = [sample(WAITING, f"page {n}", [CALL], 9.0, SOCKET) for n in range(20)]
    text = Counted(samples, watched=200.0).text()
    assert "waiting: 90 % of the time of 20 tasks" in text
    assert re.search(
        r"90 %  In\[7\] line 9 +waiting: connection to example\.org:443 +20 tasks", text
    )


def test_lines_that_are_not_shown_are_counted():
    stacks = [Place("In[1]", n, "", f"f{n}()") for n in range(1, 31)]
    text = Counted([sample(RUNNING, "t", [at], 0.1) for at in stacks]).text()
    assert "  20 %  in 20 other lines" in text


def test_cpu_time_of_the_loop_that_no_look_has_seen_is_named():
    profile = Counted([sample(RUNNING, "t", [CALL], 1.0)], cpu=4.0)
    assert "30 % more: the loop's thread in steps too short to be seen." in profile.text()


def test_tasks_that_were_not_looked_at_are_counted():
    profile = Counted([sample(WAITING, "t", [CALL], 1.0, "sleep")], tasks=10_000)
    profile.is_about_all = True
    assert "1 of 10,000 tasks were looked at" in profile.text()


def test_a_blocking_call_of_a_thread_is_named_by_its_line():
    text = Counted([sample(WAITING, "t", [IN_F], 5.0, BLOCKING)]).text()
    assert "  50 %  In[7] line 4    waiting: parse(html) " in text


def test_a_profile_in_which_nothing_happened_says_so():
    assert "Nothing ran and nothing waited" in Counted([]).text()


def test_the_tree_adds_up_at_each_level():
    root = tree(SAMPLES, RUNNING)
    assert root.seconds == 5.0
    [task] = root.sorted()
    assert (task.name, task.kind, task.seconds) == ("crawl", "task", 5.0)
    [call] = task.sorted()
    assert [(node.at, node.seconds) for node in call.sorted()] == [(IN_F, 4.0), (IN_G, 1.0)]


def test_the_tree_of_waits_ends_in_what_was_awaited():
    node = tree(SAMPLES, WAITING)
    while node.children:
        [node] = node.sorted()
    assert (node.kind, node.name, node.seconds) == ("wait", SOCKET, 5.0)


def test_ten_thousand_tasks_are_thirty_and_the_others():
    samples = [sample(RUNNING, f"t{n}", [CALL], 1.0 + n) for n in range(10_000)]
    names = [node.name for node in tree(samples, RUNNING).sorted()]
    assert len(names) == 31 and names[0] == "9,970 other tasks" and names[1] == "t9999"
    assert len(Counted(samples).html()) < 50_000


def test_titles_in_the_picture_have_the_exact_numbers():
    root = ET.fromstring(Counted(SAMPLES).svg())
    titles = [each.text for each in root.iter(f"{SVG}title")]
    assert "f(), In[7] line 4: 40.0 %, 4.00 s\nparse(html)" in titles
    widths = {
        group.find(f"{SVG}title").text.partition(":")[0]: float(
            group.find(f"{SVG}rect").get("width")
        )
        for group in root.iter(f"{SVG}g")
    }
    assert widths["all"] == pytest.approx(flame.WIDTH, abs=1)
    assert widths["f(), In[7] line 4"] == pytest.approx(0.8 * flame.WIDTH, abs=1)


@pytest.mark.parametrize("text", CORPUS)
def test_no_text_becomes_markup(text):
    at = Place(text, 1, text, text)
    profile = Counted([sample(RUNNING, text, [at], 1.0), sample(WAITING, text, [at], 1.0, text)])
    html = profile.html()
    root = ET.fromstring(html)  # well-formed, so no text has opened or closed anything
    plain = {"div", "pre", "svg", "g", "rect", "title", "text"}
    assert {node.tag.removeprefix(SVG) for node in root.iter()} == plain
    assert not {name for node in root.iter() for name in node.attrib if name.startswith("on")}


def test_the_file_for_speedscope_keeps_the_rules_of_its_schema(tmp_path):
    Counted(SAMPLES).save(tmp_path / "x.speedscope.json")
    found = json.loads((tmp_path / "x.speedscope.json").read_text())
    assert found["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    frames = found["shared"]["frames"]
    for frame in frames:
        assert isinstance(frame["name"], str)
        assert set(frame) <= {"name", "file", "line", "col"}
        assert isinstance(frame.get("line", 1), int)
    assert [profile["name"] for profile in found["profiles"]] == [RUNNING, WAITING]
    for profile in found["profiles"]:
        assert set(profile) == {
            "type", "name", "unit", "startValue", "endValue", "samples", "weights",
        }  # fmt: skip
        assert profile["type"] == "sampled" and profile["unit"] == "seconds"
        assert len(profile["samples"]) == len(profile["weights"])
        assert profile["endValue"] - profile["startValue"] == sum(profile["weights"])
        assert all(0 <= index < len(frames) for stack in profile["samples"] for index in stack)
    assert 0 <= found["activeProfileIndex"] < len(found["profiles"])
    first = [frames[index]["name"] for index in found["profiles"][0]["samples"][0]]
    assert first == ["crawl (In[7])", "In[7]", "f()"]


def test_a_profile_of_nothing_can_be_saved_and_shown():
    assert speedscope([], "x")["profiles"] == []
    ET.fromstring(Counted([]).html())


@pytest.mark.parametrize(
    ("described", "kept"),
    [
        ("sleep, 3.2 s left", "sleep"),
        ("sleep, 3 min 05 s left", "sleep"),
        ("Queue.get (0 of 10)", "Queue.get"),
        ("Queue.put (3 in it)", "Queue.put"),
        ("Lock.acquire (3 waiting)", "Lock.acquire"),
        ("gather, 3 of 10 done", "gather"),
        ("TaskGroup (20 tasks)", "TaskGroup"),
        ("group 'pages' (1 task)", "group 'pages'"),
        ("connection to example.org:443", "connection to example.org:443"),
        ("task 'dl'", "task 'dl'"),
        ("subprocess 12: sleep 5", "subprocess 12: sleep 5"),
    ],
)
def test_what_changes_in_the_description_of_a_wait_is_left_out(described, kept):
    assert seen.lasting(described) == kept


def test_frames_of_asyncio_are_folded_to_one_that_names_the_call():
    asyncio_file = seen.ASYNCIO + "queues.py"
    stack = [
        (seen.ASYNCIO + "events.py", "Handle._run()", 80),
        ("/x/mine.py", "go()", 3),
        (asyncio_file, "Queue.get()", 150),
        ("/x/mine.py", "inner()", 5),
        (asyncio_file, "Queue.get()", 158),
        (seen.ASYNCIO + "mixins.py", "_get_loop()", 10),
    ]
    named = [(at.where.rpartition("/")[2], at.line, at.function) for at in seen.shown(stack)]
    assert named == [
        ("mine.py", 3, "go()"),
        ("mine.py", 5, "inner()"),
        ("asyncio", 0, "Queue.get()"),
    ]
