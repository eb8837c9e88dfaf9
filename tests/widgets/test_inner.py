"""The tasks inside launched tasks, as the feed sends them: folded, on request, of the screen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import asyncnb
from asyncnb._core.introspection.info import STATES
from asyncnb._core.launched import inside
from asyncnb._core.listing.rows import FORMAT
from asyncnb._core.timeline import sampled
from asyncnb._core.tracing.recording import recorder
from asyncnb.widgets import _feed, _inner
from asyncnb.widgets._feed import Feed
from tests.widgets.test_feed import Watcher, ended, feed, forever, settled, tick

__all__ = ["feed"]


class Page(Watcher):
    """A dashboard that keeps what is inside tasks, as the JavaScript does."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self.counts: dict[int, dict[str, int]] = {}
        self.children: dict[int, dict[int, str]] = {}
        self.inner: dict[int, dict[str, Any]] = {}

    def receive(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        super().receive(message, buffers)
        if message["k"] == "snapshot":
            self.counts, self.children, self.inner = {}, {}, {}
        news = message.get("inner", {})
        for id, *numbers in news.get("counts", ()):
            self.counts[id] = dict(zip(FORMAT["counts"], numbers, strict=True))
        for parent, gone, named in news.get("lists", ()):
            if gone is None:
                self.children[parent] = {}
            children = self.children[parent]
            for id in gone or ():
                del children[id]
                self.inner.pop(id, None)
            children |= zip(named[::2], named[1::2], strict=True)
        for values in news.get("rows", ()):
            row = dict(zip(FORMAT["inner"], values, strict=True))
            self.inner[row["id"]] = row | {"state": STATES[row["state"]]}

    def show(self, *ids: int, unfolded: tuple[int, ...] = ()) -> None:
        self.say("unfold", ids=list(unfolded))
        self.say("view", ids=list(ids))
        tick(self.feed)

    def id_of(self, name: str) -> int:
        known = {row["name"]: id for id, row in self.rows.items()}
        for children in self.children.values():
            known |= {name: id for id, name in children.items()}
        return known[name]


async def crawl(pages: int, name: str = "page") -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(pages):
            group.create_task(forever(), name=f"{name} {number}")


@pytest.fixture
def page(feed: Feed) -> Iterator[Page]:
    page = Page(feed)
    page.say("sync")
    yield page
    feed.unsubscribe(page.subscription)


def launched(coro: Any, name: str) -> asyncnb.Task[Any]:
    task = asyncnb.launch(coro, name=name)
    turn()  # its children have started, and theirs
    return task


def turn() -> None:
    """Let the loop go around a few times."""
    for _ in range(4):
        settled()


def test_a_folded_task_shows_how_many_are_inside_and_nothing_of_them(page: Page) -> None:
    launched(crawl(20), "crawl B")
    tick(page.feed)
    page.show(page.id_of("crawl B"))
    assert page.counts == {
        page.id_of("crawl B"): {"running": 20, "done": 0, "failed": 0, "cancelled": 0}
    }
    assert not page.children
    assert not page.inner


def test_names_of_all_children_are_sent_once_and_facts_of_those_on_the_screen(page: Page) -> None:
    launched(crawl(3), "crawl B")
    tick(page.feed)
    crawl_b = page.id_of("crawl B")
    page.show(crawl_b, unfolded=(crawl_b,))
    assert list(page.children[crawl_b].values()) == ["page 0", "page 1", "page 2"]
    seven = page.id_of("page 1")
    page.show(crawl_b, seven, unfolded=(crawl_b,))
    assert page.inner.keys() == {seven}
    assert page.inner[seven]["state"] == "waiting"
    assert page.inner[seven]["waits_for"] == "Event.wait"
    before = len(page.messages)
    for _ in range(5):
        tick(page.feed)
    assert len(page.messages) == before


def test_children_come_and_go_and_after_a_new_snapshot_all_are_sent_again(page: Page) -> None:
    gates = [asyncio.Event() for _ in range(2)]

    async def parent() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(gates[0].wait(), name="first")
            group.create_task(forever(), name="second")
            await gates[1].wait()
            group.create_task(forever(), name="third")

    launched(parent(), "parent")
    tick(page.feed)
    id = page.id_of("parent")
    page.show(id, unfolded=(id,))
    assert {*page.children[id].values()} == {"first", "second"}
    for gate in gates:
        asyncnb.embedded_loop().call_soon_threadsafe(gate.set)
        turn()
    tick(page.feed)
    assert {*page.children[id].values()} == {"second", "third"}
    page.say("sync")
    tick(page.feed)
    assert {*page.children[id].values()} == {"second", "third"}
    assert page.counts[id]["running"] == 2


def test_a_task_that_is_folded_and_unfolded_at_once_is_sent_whole(page: Page) -> None:
    launched(crawl(2), "crawl B")
    tick(page.feed)
    id = page.id_of("crawl B")
    page.show(id, unfolded=(id,))
    one = page.id_of("page 1")
    page.show(id, one, unfolded=(id,))
    page.children, page.inner = {}, {}
    page.say("unfold", ids=[])
    page.show(id, one, unfolded=(id,))
    assert {*page.children[id].values()} == {"page 0", "page 1"}
    assert page.inner.keys() == {one}


def test_of_a_gather_the_children_that_have_ended_are_counted(page: Page) -> None:
    async def fails() -> None:
        raise ValueError("no")

    async def gathers() -> None:
        children = forever(), asyncio.sleep(0), fails()
        await asyncio.gather(*children, return_exceptions=True)

    async def outer() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(gathers(), name="inner")

    launched(gathers(), "gathers")
    launched(outer(), "outer")
    tick(page.feed)
    gathering, above = page.id_of("gathers"), page.id_of("outer")
    page.show(gathering, above, unfolded=(above,))
    inner = page.id_of("inner")
    page.show(gathering, above, inner, unfolded=(above,))
    known = {"running": 1, "done": 1, "failed": 1, "cancelled": 0}
    assert page.counts[gathering] == page.counts[inner] == known


def test_children_that_outlive_their_task_stay_inside_it(page: Page) -> None:
    made = []

    async def leaves() -> None:
        made.append(asyncio.create_task(forever(), name="outlives"))

    ended(launched(leaves(), "short"))
    tick(page.feed)
    id = page.id_of("short")
    page.show(id, unfolded=(id,))
    assert page.states() == {"short": "done"}
    one = page.id_of("outlives")
    page.show(id, one, unfolded=(id,))
    assert page.inner[one]["state"] == "waiting"
    assert page.say("cancel_inner", n="1", id=one, name="outlives")["ok"]
    turn()
    tick(page.feed)
    assert page.children[id] == {}
    assert not page.counts[id]["running"]


def test_a_child_is_paused_and_resumed_whichever_its_class(page: Page) -> None:
    async def outer() -> None:
        async with asyncnb.TaskGroup() as group:
            group.create_task(forever(), name="ours")
            await asyncio.gather(asyncio.create_task(forever(), name="theirs"))

    launched(outer(), "outer")
    tick(page.feed)
    id = page.id_of("outer")
    page.show(id, unfolded=(id,))
    children = {name: page.id_of(name) for name in ("ours", "theirs")}
    page.show(id, *children.values(), unfolded=(id,))
    for name, child in children.items():
        assert page.say("pause_inner", n=f"1 {name}", id=child, name=name)["ok"]
        tick(page.feed)
        assert page.inner[child]["state"] == "paused"
        assert page.say("resume_inner", n=f"2 {name}", id=child, name=name)["ok"]
        tick(page.feed)
        assert page.inner[child]["state"] == "waiting"


def test_a_name_that_is_cut_for_the_page_still_cancels_its_task(page: Page) -> None:
    async def outer() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(forever(), name="long " * 100)

    launched(outer(), "outer")
    tick(page.feed)
    id = page.id_of("outer")
    page.show(id, unfolded=(id,))
    [(child, name)] = page.children[id].items()
    assert len(name) == 300
    assert page.say("cancel_inner", n="1", id=child, name=name)["ok"]


def test_children_of_children_are_unfolded_in_the_same_way(page: Page) -> None:
    async def outer() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(crawl(2), name="crawl")

    launched(outer(), "outer")
    tick(page.feed)
    id = page.id_of("outer")
    page.show(id, unfolded=(id,))
    inner = page.id_of("crawl")
    page.show(id, inner, unfolded=(id, inner))
    assert page.counts[inner]["running"] == 2
    assert {*page.children[inner].values()} == {"page 0", "page 1"}


def test_an_opened_row_of_a_child_shows_its_chain_until_the_child_ends(page: Page) -> None:
    async def outer() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(forever(), name="child")

    task = launched(outer(), "outer")
    tick(page.feed)
    id = page.id_of("outer")
    page.show(id, unfolded=(id,))
    found = page.say("detail", id=page.id_of("child"))["of"]
    names = [function.rpartition(".")[2] for _, _, function, _ in found["frames"]]
    assert names == ["forever()", "wait()"]
    assert found["waits"] == "Event.wait"
    assert found["awaited_by"] == ["outer"]
    task.cancel()
    ended(task)
    tick(page.feed)
    assert [m["of"] for m in page.messages if m["k"] == "detail"] == [found, None]


def test_a_child_is_cancelled_by_its_id_and_name_and_the_others_continue(page: Page) -> None:
    launched(crawl(3), "crawl B")
    tick(page.feed)
    id = page.id_of("crawl B")
    page.show(id, unfolded=(id,))
    one = page.id_of("page 1")
    refused = page.say("cancel_inner", n="1", id=one, name="page 2")
    assert (refused["ok"], refused["text"]) == (False, "'page 2' has ended.")
    assert page.say("cancel_inner", n="2", id=one, name="page 1")["ok"]
    turn()
    tick(page.feed)
    assert {*page.children[id].values()} == {"page 0", "page 2"}
    refused = page.say("cancel_inner", n="3", id=one, name="page 1")
    assert (refused["ok"], refused["text"]) == (False, "'page 1' has ended.")
    assert page.states() == {"crawl B": "waiting"}


def test_there_is_no_look_while_no_row_is_on_a_screen(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    look = inside.look_inside
    monkeypatch.setattr(inside, "look_inside", lambda: looks.append(1) or look())
    launched(crawl(3), "crawl B")
    tick(page.feed)
    assert not looks, "a page that never asked, such as that of chips"
    id = page.id_of("crawl B")
    page.show(id)
    tick(page.feed)
    assert len(looks) == 2
    page.show()
    tick(page.feed)
    assert len(looks) == 2


def test_of_many_it_looks_less_often_but_at_once_when_asked(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(crawl(3), "crawl B")
    tick(page.feed)
    id = page.id_of("crawl B")
    looks = []
    look = inside.look_inside
    monkeypatch.setattr(inside, "look_inside", lambda: looks.append(1) or look())
    monkeypatch.setattr(_feed, "MAX_LOOK_SHARE", 1e-9)
    page.show(id)
    for _ in range(5):
        tick(page.feed)
    assert len(looks) == 1
    page.show(id, unfolded=(id,))
    assert len(looks) == 2
    assert len(page.children[id]) == 3
    one = page.id_of("page 1")
    page.show(id, one, unfolded=(id,))  # its row is read without a look
    assert page.inner[one]["state"] == "waiting"
    assert len(looks) == 2


def test_of_too_many_children_the_first_are_sent_and_all_are_counted(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_inner, "MAX_CHILDREN", 5)
    launched(crawl(8), "crawl B")
    tick(page.feed)
    id = page.id_of("crawl B")
    page.show(id, unfolded=(id,))
    assert len(page.children[id]) == 5
    assert page.counts[id]["running"] == 8


def drawn(page: Page) -> dict[str, dict[str, Any]]:
    page.say("timeline")
    data = next(m["data"] for m in reversed(page.messages) if m["k"] == "timeline")
    return {row["name"]: row for row in data["rows"]}


def test_a_timeline_shows_what_was_seen_inside_tasks_while_it_was_open(page: Page) -> None:
    gate = asyncio.Event()

    async def outer() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(gate.wait(), name="short")
            group.create_task(crawl(1), name="crawl")

    launched(outer(), "outer")
    tick(page.feed)
    assert drawn(page).keys() == {"outer"}
    page.say("sample", on=True)
    rows = drawn(page)
    assert [(name, row["depth"]) for name, row in rows.items()] == [
        ("outer", 0), ("crawl", 1), ("page 0", 2), ("short", 1),
    ]  # fmt: skip
    seen = {name for name, row in rows.items() if row.get("sampled")}
    assert seen == {"crawl", "page 0", "short"}
    asyncnb.embedded_loop().call_soon_threadsafe(gate.set)
    turn()
    before = len(page.messages)
    tick(page.feed)
    assert page.messages[before:], "the page is asked to ask again"
    rows = drawn(page)
    assert rows["short"]["ended"] is not None
    assert rows["short"]["state"] in ("ended", "done")
    assert rows["page 0"]["ended"] is None
    page.say("sample", on=False)
    before = len(page.messages)
    tick(page.feed)
    assert len(page.messages) == before


def test_of_recorded_children_nothing_is_sampled(page: Page) -> None:
    task = asyncnb.launch(crawl(1), name="traced", trace=True)
    turn()
    tick(page.feed)
    page.say("sample", on=True)
    rows = drawn(page)
    assert rows["page 0"]["recorded"]
    assert rows["page 0"]["depth"] == 1
    assert len(rows) == 2
    task.cancel()
    ended(task)
    recorder.clear()


def test_of_too_many_samples_the_oldest_ended_ones_are_dropped(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampled, "MAX_SAMPLED", 4)
    first = launched(crawl(3, "old"), "first")
    tick(page.feed)
    page.say("sample", on=True)
    assert len(drawn(page)) == 4
    first.cancel()
    ended(first)
    launched(crawl(3), "second")
    tick(page.feed)
    assert drawn(page).keys() == {"first", "old 2", "second", "page 0", "page 1", "page 2"}
