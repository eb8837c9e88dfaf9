"""The dashboard's JavaScript without a kernel: what it shows, asks for and survives."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from asyncnb._core.timeline.svg import svg
from asyncnb._kernel.tables.table import TaskTable
from asyncnb.widgets._static import dashboard_css, dashboard_js
from tests.browser.fake import FakeKernel, as_bytes, encode, task
from tests.browser.lab import Lab
from tests.widgets.test_xss import CLEAN, data, infos
from tests.widgets.xss import CORPUS

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def _page(lab: Lab) -> Iterator[FakeKernel]:
    page = FakeKernel(lab)
    yield page
    page.close()


@pytest.fixture
def page(_page: FakeKernel) -> FakeKernel:
    """An empty page with the module and no view yet."""
    _page.open(dashboard_js(), dashboard_css())
    return _page


def test_it_asks_for_a_snapshot_and_shows_it(page: FakeKernel) -> None:
    page.view()
    assert [m["c"] for m in page.sent("sync")] == ["sync"]
    page.snapshot(
        [
            task(1, "fetch", cell=3, done=4, total=10, waits_for="socket"),
            task(2, "broken", "failed", note="ValueError: no"),
            task(3, "later", "pending", started=None),
        ]
    )
    assert page.rows() == ["fetch", "later", "broken"]  # the living first
    assert page.row("fetch").startswith("fetch | waiting | ")
    assert page.row("fetch").endswith("| 4/10 | socket | In[3] |")
    assert "ValueError: no" in page.row("broken")
    assert "1 waiting" in page.text()
    assert "1 failed" in page.text()
    bar = page.role("progressbar", "Progress of fetch")
    assert page.do(bar.get_attribute("aria-valuenow")) == "4"
    assert page.do(page.role("grid", "Tasks").get_attribute("aria-rowcount")) == "4"


def test_states_and_columns_are_those_that_the_kernel_names(page: FakeKernel) -> None:
    page.view()
    form = {
        "states": ["resting", "over", "pending"],
        "ended": ["over"],
        "numbers": ["state", "total", "done", "id", "deadline", "ended", "started"],
        "texts": ["waits_for", "kind", "note", "cell", "name", "id", "group", "parent"],
        "acknowledge": 20,
    }
    page.tell(
        {
            "k": "snapshot", "seq": 0, "now": 100.0, "groups": [], "loop": {}, "can": [],
            "format": form,
            "numbers": [0, 10, 4, 1, None, None, 90.0, 1, None, None, 2, None, 95.0, 92.0],
            "texts": [["a nap", "loop", "", 3, "bear", 1, None, None],
                      ["", "loop", "", 4, "mayfly", 2, None, None]],
        }
    )  # fmt: skip
    assert page.rows() == ["bear", "mayfly"]
    assert page.row("bear").startswith("bear | resting | ")
    assert page.row("bear").endswith("| 4/10 | a nap | In[3] |")
    assert page.row("mayfly").startswith("mayfly | over | 3.0 s")
    assert "1 resting" in page.text()
    assert page.do(page.role("button", "Cancel bear").count()) == 1
    assert page.do(page.role("button", "Cancel mayfly").count()) == 0


def test_changes_move_a_row_to_where_it_belongs(page: FakeKernel) -> None:
    page.view()
    page.snapshot([task(1, "a"), task(2, "b")])
    page.delta([task(1, "a", "done"), task(3, "c", "pending")])
    assert page.rows() == ["b", "c", "a"]
    page.delta(gone=[2])
    assert page.rows() == ["c", "a"]


def test_a_lost_message_is_noticed_and_all_is_asked_for_again(page: FakeKernel) -> None:
    page.view()
    page.snapshot([task(1, "a")])
    page.seq += 1  # lost on the way
    page.delta([task(2, "built on sand")])
    page.delta([task(3, "and on")])
    assert len(page.sent("sync")) == 2
    assert page.rows() == ["a"]
    page.snapshot([task(1, "a"), task(2, "b", "done")])
    assert page.rows() == ["a", "b"]


def test_many_rows_arrive_as_bytes_at_any_offset(page: FakeKernel) -> None:
    page.view()
    rows = [task(i, state="running") for i in range(1, 1201)]
    packed = encode(rows)
    page.snapshot()
    page.seq += 1
    page.ask(
        """async ([texts, packed, seq]) => {
            const bytes = Uint8Array.from('xyz' + atob(packed), c => c.charCodeAt(0));
            const view = new DataView(bytes.buffer, 3, bytes.length - 3);
            tell({k: 'delta', seq, now: Date.now() / 1000, numbers: null, texts}, [view]);
            await painted();
        }""",
        [packed["texts"], as_bytes(packed["numbers"]), page.seq],
    )
    assert "1,200 running" in page.text()


def test_the_tree_folds_and_a_group_tells_how_far_it_is(page: FakeKernel) -> None:
    page.view()
    members = [
        task(i, f"page {i}", "done" if i < 3 else "waiting", group="pages") for i in (1, 2, 3)
    ]
    page.snapshot(
        [*members, task(4, "parent"), task(5, "child", parent=4)],
        groups=[["pages", "open", 3], ["empty", "open", 0]],
    )
    assert page.rows() == [
        "Group pages", "page 3", "page 2", "page 1", "parent", "child", "Group empty",
    ]  # fmt: skip
    assert "2/3" in page.row("Group pages")
    assert "1 running, 2 done" in page.row("Group pages")
    page.click("button", "Collapse group pages")
    page.click("button", "Collapse parent")
    assert page.rows() == ["Group pages", "parent", "Group empty"]
    page.click("button", "Cancel group pages")
    assert page.sent()[-1]["c"] == "cancel_group"
    assert page.sent()[-1]["group"] == "pages"
    page.click("button", "Expand parent")
    assert page.rows()[1:3] == ["parent", "child"]


def test_the_filter_finds_names_groups_cells_and_states(page: FakeKernel) -> None:
    page.view()
    page.snapshot(
        [
            task(1, "fetch 1", group="pages", cell=7),
            task(2, "fetch 2", "failed", group="pages"),
            task(3, "parse", cell=7),
        ]
    )

    def filtered(text: str) -> list[str]:
        page.do(page.role("searchbox", "Filter tasks").fill(text))
        page.ask("async () => { await painted(); }")
        return page.rows()

    assert filtered("FETCH") == ["Group pages", "fetch 1", "fetch 2"]
    assert filtered("pages 2") == ["Group pages", "fetch 2"]
    assert filtered("in[7]") == ["Group pages", "fetch 1", "parse"]
    assert filtered("nobody") == []
    assert "No task matches." in page.text()
    filtered("")
    page.do(page.page.get_by_text("1 failed").first.click())
    page.ask("async () => { await painted(); }")
    assert page.rows() == ["Group pages", "fetch 2"]


def test_buttons_give_commands_and_answers_are_told(page: FakeKernel) -> None:
    page.view()
    page.snapshot(
        [task(1, "job"), task(2, "still", "paused"), task(3, "crunch", "running", kind="thread")]
    )
    page.click("button", "Cancel job")
    page.click("button", "Pause job")
    page.click("button", "Resume still")
    page.click("button", "Cancel all")
    given = [(m["c"], m.get("id")) for m in page.sent()]
    assert given == [("cancel", 1), ("pause", 1), ("resume", 2), ("cancel_all", None)]
    assert len({m["n"] for m in page.sent()}) == 4
    assert page.do(page.role("button", "Pause crunch").count()) == 0
    page.answer(text="cancellation requested for 2 tasks")
    assert "cancellation requested for 2 tasks" in page.text()


def test_a_name_and_a_time_limit_are_edited_in_place(page: FakeKernel) -> None:
    page.view()
    page.snapshot([task(1, "job")])
    page.click("button", "Rename job")
    assert page.focused() == "New name of job"
    page.press("Control+a")
    page.do(page.page.keyboard.type("better"))
    page.delta([task(1, "job", done=1, total=2)])  # updates must not disturb a user who is typing
    assert page.focused() == "New name of job"
    page.press("Enter")
    assert {"c": "rename", "id": 1, "name": "better"}.items() <= page.sent()[-1].items()
    assert page.focused() == "job"
    page.answer(ok=False, text="Another living task is named 'better'.")
    assert "Another living task" in page.text()

    page.click("button", "Set time limit of job")
    page.do(page.page.keyboard.type("soon"))
    page.press("Enter")
    assert page.sent()[-1]["seconds"] == "soon"  # the kernel says what is wrong with it
    page.click("button", "Set time limit of job")
    page.do(page.page.keyboard.type("2.5"))
    page.press("Enter")
    assert {"c": "timeout", "id": 1, "seconds": 2.5}.items() <= page.sent()[-1].items()
    page.press("t", "Enter")
    assert page.sent()[-1]["seconds"] is None
    page.press("F2", "Escape")
    assert page.sent()[-1]["c"] == "timeout"
    assert page.focused() == "job"


def test_everything_can_be_done_by_keyboard(page: FakeKernel) -> None:
    page.view()
    rows = [task(i) for i in range(1, 101)]
    page.snapshot([*rows, task(101, "member", group="crew")])
    page.do(page.page.keyboard.press("Tab"))
    page.ask("() => document.querySelector('[aria-label=\"Filter tasks\"]').focus()")
    page.press("ArrowDown")
    assert page.focused() == "task 1"
    page.press("ArrowDown", "ArrowDown", "ArrowUp")
    assert page.focused() == "task 2"
    page.press("Delete")
    assert {"c": "cancel", "id": 2}.items() <= page.sent()[-1].items()
    page.press("p")
    assert {"c": "pause", "id": 2}.items() <= page.sent()[-1].items()
    page.press("End")
    assert page.focused() == "member"
    page.press("ArrowLeft")
    assert page.focused() == "Group crew"
    page.press("ArrowLeft")
    assert page.rows()[-1] == "Group crew"
    page.press("ArrowRight", "ArrowRight")
    assert page.focused() == "member"
    page.press("Home", "PageDown")
    assert page.focused() == "task 11"
    page.press("Tab")
    assert page.focused() == "Pause task 11"
    page.press("Shift+Tab", "Enter")
    assert page.sent()[-1] == {"c": "detail", "id": 11}
    page.press("Escape")
    assert page.sent()[-1] == {"c": "detail", "id": None}
    page.press("/")
    assert page.focused() == "Filter tasks"
    page.do(page.role("tab", "Tasks").focus())
    page.press("ArrowRight")
    assert page.do(page.role("tab", "Timeline").get_attribute("aria-selected")) == "true"


def test_the_focus_follows_its_task_and_not_its_place(page: FakeKernel) -> None:
    page.view()
    page.snapshot([task(i) for i in range(1, 40)])
    page.ask("() => document.querySelector('[aria-label=\"Filter tasks\"]').focus()")
    page.press("ArrowDown", "ArrowDown", "ArrowDown")
    assert page.focused() == "task 3"
    page.delta([task(1, state="done"), task(2, state="done")])
    assert page.rows()[0] == "task 3"
    assert page.focused() == "task 3"


def test_rows_do_not_move_below_the_pointer(page: FakeKernel) -> None:
    page.view()
    page.snapshot([task(1, "a"), task(2, "b"), task(3, "c")])
    page.do(page.role("row", "b").hover())
    page.delta([task(1, "a", "done")])
    assert page.rows() == ["a", "b", "c"]
    page.do(page.page.mouse.move(0, 0))
    page.do(page.page.mouse.move(600, 600))
    page.ask("async () => { await painted(); }")
    assert page.rows() == ["b", "c", "a"]


def test_ten_thousand_rows_are_at_most_sixty_elements(page: FakeKernel) -> None:
    page.view()
    page.snapshot([task(i) for i in range(1, 10_001)])
    count = "() => document.querySelectorAll('#one [role=row]').length"
    most = page.ask(count)
    for top in (0, 5000, 140_000, 10_000 * 28):
        page.ask(
            """async top => {
                document.querySelector('#one [role=rowgroup]').scrollTop = top;
                await painted();
            }""",
            top,
        )
        most = max(most, page.ask(count))
    assert most <= 60
    assert page.rows()[-1] == "task 10000"
    page.press("Tab")
    page.ask("() => document.querySelector('[aria-label=\"Filter tasks\"]').focus()")
    page.press("ArrowDown", "Home")
    assert page.focused() == "task 1"
    page.press("End")
    assert page.focused() == "task 10000"


def test_a_list_that_was_hidden_comes_back_where_it_was(page: FakeKernel) -> None:
    page.view()
    page.snapshot([task(i) for i in range(1, 1001)])
    page.ask("async () => { document.querySelector('#one [role=rowgroup]').scrollTop = 14000; }")
    page.ask("async () => { await painted(); }")
    before = page.rows()
    assert "task 505" in before
    places = "() => [...document.querySelectorAll('#one .asyncnb-row')].map(r => r.style.transform)"
    stood = page.ask(places)
    hide = "async on => { document.querySelector('#one').style.display = on ? 'none' : ''; }"
    page.ask(hide, True)
    page.delta([task(1)])
    page.ask("async () => { await painted(); }")
    assert page.ask(places) == stood, "a hidden list says that it is scrolled to its top"
    page.ask(hide, False)
    page.ask("async () => { await painted(); }")
    assert page.rows() == before


def test_details_show_chain_output_and_traceback_as_text(page: FakeKernel) -> None:
    page.view()
    page.snapshot([task(1, "job", cell=2)])
    page.click("row", "job")
    assert page.sent()[-1] == {"c": "detail", "id": 1}
    page.tell(
        {
            "k": "detail",
            "id": 1,
            "of": {
                "frames": [["In[2]", 4, "fetch()", "await get(url)"]],
                "waits": "socket",
                "awaited_by": ["main"],
                "output": "10%\r50%\r100%\n\x1b[31mred\x1b[0m plain\x1b[5;9Hodd",
                "traceback": "ValueError: <b>",
            },
        }
    )
    text = page.text("section[aria-label='Details of job']")
    for part in ("In[2], line 4", "fetch()", "await get(url)", "socket", "main", "ValueError: <b>"):
        assert part in text
    assert "100%\nred plainodd" in text
    assert "50%" not in text
    page.click("button", "Close details")
    assert page.sent()[-1] == {"c": "detail", "id": None}


BONES = """inside => [...new Set([...document.querySelectorAll(`${inside} *`)].map(
    node => [node.tagName, ...[...node.attributes].map(a => a.name)].sort().join(' ')))].sort()"""


def test_whatever_tasks_say_is_text(_page: FakeKernel) -> None:
    page = _page
    found: list[tuple[int, bool, list[str]]] = []
    for texts in ([f"name {i}" for i in range(len(CORPUS))], CORPUS):
        page.open(dashboard_js(), dashboard_css(), height=4000)
        page.view()
        for start in range(0, len(texts), 20):  # as many as a page has rows for
            some = texts[start : start + 20]
            rows = [
                task(
                    i, text, "failed" if i % 2 else "waiting", group=f"{i} {text}", note=text,
                    waits_for=text, cell=i, done=1, total=4, cell_id=text,
                )
                for i, text in enumerate(some, 1)
            ]  # fmt: skip
            groups = [[f"{i} {text}", "open", 1] for i, text in enumerate(some, 1)]
            whole = " ".join(some)
            loop = {"blocked": {"since": 0, "name": whole, "where": whole}}
            page.snapshot(rows, groups=groups, loop=loop)
            names = [name for name in page.rows() if not name.startswith("Group ")]
            assert sorted(names) == sorted(some)
            assert whole in page.text()
            found.append((start, texts is CORPUS, page.ask(BONES, "#one")))
        page.ask("() => document.querySelector('[aria-label=\"Filter tasks\"]').focus()")
        page.press("ArrowDown", "ArrowDown", "Enter")
        said = "\n".join(text for text in texts if text.isprintable())
        page.tell({"k": "detail", "id": page.sent()[-1]["id"], "of": {
            "frames": [[t, 1, t, t] for t in texts], "waits": said, "awaited_by": texts,
            "output": "\n".join([said, *texts]), "traceback": "\n".join([said, *texts]),
        }})  # fmt: skip
        page.tell({"k": "ack", "n": None, "ok": False, "text": said})
        assert page.text().count(said) >= 4  # and also between the others
        page.ask("() => new Promise(done => setTimeout(done, 50))")
        assert page.ask("() => window.hacked") is None
        found.append((-1, texts is CORPUS, page.ask(BONES, "#one")))
    clean, hostile = ({b for _, h, bones in found if h == which for b in bones} for which in (0, 1))
    assert not hostile - clean


def test_a_table_and_a_picture_set_into_a_page_run_nothing(_page: FakeKernel) -> None:
    _page.open(dashboard_js(), "")
    whole = [TaskTable(infos(text))._repr_html_() + svg(data(text)) for text in CORPUS]
    plain = TaskTable(infos(CLEAN))._repr_html_() + svg(data(CLEAN))
    counts = _page.ask(
        """async ([whole, plain]) => {
            const div = document.body.appendChild(document.createElement('div'));
            div.innerHTML = plain;
            const expected = div.querySelectorAll(':not(path)').length;
            const wrong = [];
            for (const [i, text] of whole.entries()) {
                div.innerHTML = text;
                if (div.querySelectorAll(':not(path)').length !== expected) wrong.push(i);
            }
            await new Promise(done => setTimeout(done, 50));
            return wrong;
        }""",
        [whole, plain],
    )
    assert [CORPUS[i] for i in counts] == []
    assert _page.ask("() => window.hacked") is None


def test_two_views_show_the_same_and_close_one_by_one(page: FakeKernel) -> None:
    page.view("one")
    page.snapshot([task(1, "a")])
    page.view("two")
    page.ask("async () => { await painted(); }")
    assert page.rows("#two") == ["a"]
    assert len(page.sent("sync")) == 1
    page.delta([task(2, "b")])
    assert page.rows("#one") == page.rows("#two") == ["a", "b"]
    page.click("button", "Cancel b", "#two")
    page.ask("() => closers.one()")
    assert not page.sent("close")
    page.delta([task(2, "b", "cancelled")])
    assert "cancelled" in page.row("b", "#two")
    page.ask("() => closers.two()")
    assert page.sent("close") == [{"c": "close"}]


@pytest.mark.parametrize(
    "lose",
    [
        lambda page: page.tell({"k": "bye"}),
        lambda page: page.ask(
            """async () => {
                document.querySelector('#one').classList.add('jupyter-widgets-disconnected');
                fire('comm_live_update');
                await new Promise(done => setTimeout(done, 10));
                await painted();
            }"""
        ),
        lambda page: (page.ask("() => { window.isGone = true; }"), page.press("Delete")),
    ],
    ids=["unloaded", "restarted", "comm closed"],
)
def test_a_kernel_that_is_gone_is_plainly_said_to_be(
    page: FakeKernel, lose: Callable[[FakeKernel], object]
) -> None:
    page.view()
    page.snapshot([task(1, "job")])
    page.ask("() => document.querySelector('[aria-label=\"Filter tasks\"]').focus()")
    page.press("ArrowDown")
    lose(page)
    assert "Not connected" in page.text()
    assert page.do(page.role("button", "Cancel job").is_disabled())
    before = page.row("job")
    page.ask("() => new Promise(done => setTimeout(done, 250))")
    assert page.row("job") == before, "its time must stand still"


def test_nothing_is_sent_while_nothing_happens(page: FakeKernel) -> None:
    page.view()
    page.snapshot([task(1, "job")])
    page.ask("() => new Promise(done => setTimeout(done, 400))")
    before = page.ask("() => sent.length")
    page.ask("() => new Promise(done => setTimeout(done, 1200))")
    assert page.ask("() => sent.length") == before


def test_the_loop_that_is_blocked_is_told_with_its_frame(page: FakeKernel) -> None:
    page.view()
    page.snapshot([task(1, "greedy")])
    page.delta(loop={"blocked": {"since": 0, "id": 1, "name": "greedy", "where": "In[2], line 3"}})
    assert "greedy has blocked the loop" in page.text()
    assert "In[2], line 3" in page.text()
    page.delta(loop={})
    assert "blocked" not in page.text()


def test_the_lag_of_now_and_the_highest_of_the_minute_are_two_things(page: FakeKernel) -> None:
    page.view()
    page.snapshot([task(1, "crawl")])
    page.delta(loop={"lag": 64})
    assert "loop lag now 64 ms" in page.text()
    assert "highest" not in page.text()
    place = {"name": "crawl", "where": "In[4], line 7", "call": "time.sleep(<3>)"}
    loop = {"lag": 0, "highest": {"seconds": 2.31} | place, "longest": ["2.31 s, crawl: <b>"]}
    page.delta(loop=loop)
    assert (
        "loop lag now 0 ms, highest in the last minute 2.3 s: crawl, In[4], line 7" in page.text()
    )
    title = page.ask("() => document.querySelector('.asyncnb-loop').title")
    assert title.endswith("In[4], line 7: time.sleep(<3>)\nLongest steps:\n2.31 s, crawl: <b>")
    page.delta(loop={"lag": 0, "longest": loop["longest"]})
    assert "lag" not in page.text()
    page.delta(loop=loop | {"blocked": {"since": 0, "name": "crawl"} | place})
    assert "at In[4], line 7: time.sleep(<3>)" in page.text()
    assert "lag now" not in page.text()


def test_a_deadlock_is_shown_while_it_lasts(page: FakeKernel) -> None:
    page.view()
    page.snapshot([task(1, "a")])
    page.delta(loop={"deadlocks": ["Deadlock: 2 tasks wait for each other: a and b."]})
    assert "Deadlock: 2 tasks wait for each other: a and b." in page.text()
    page.delta(loop={"deadlocks": []})
    assert "Deadlock" not in page.text()


def test_the_cell_that_awaits_can_be_sent_to_the_background(page: FakeKernel) -> None:
    page.view()
    page.snapshot()
    assert page.do(page.role("button", "Background").count()) == 0
    page.delta(loop={"awaiting": True})
    page.click("button", "Background")
    assert page.sent()[-1]["c"] == "background"
