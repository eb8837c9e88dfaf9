"""The summary: a kernel in a few numbers, for a page that shows no rows."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import asyncnb
from asyncnb import embedded_loop
from asyncnb._core.introspection.info import ENDED, CellRef
from asyncnb._core.launched import commands
from asyncnb._core.launched.record import Origin
from asyncnb._core.launched.registry import registry
from asyncnb._core.listing.rows import FORMAT
from asyncnb._core.loop.current import shutdown
from asyncnb.testing import clear_ended
from asyncnb.widgets import _summaries
from asyncnb.widgets._commands import Commands
from asyncnb.widgets._feed import Feed
from asyncnb.widgets._subscription import MAX_UNACKNOWLEDGED
from asyncnb.widgets._summary import Summary
from tests.widgets.test_feed import Time, ended, settled, watching


class Page:
    """A page with a hidden panel: what it was sent."""

    def __init__(self, feed: Feed, **options: Any) -> None:
        self.feed = feed
        self.messages: list[dict[str, Any]] = []
        self.subscription = feed.subscribe(self.receive, show="summary", **options)

    def receive(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        assert not buffers
        self.messages.append(message)

    def say(self, verb: str, **arguments: Any) -> None:
        self.feed.take(self.subscription, {"c": verb, **arguments})

    @property
    def newest(self) -> dict[str, Any]:
        return self.messages[-1]

    def cell(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = dict(self.newest["cells"])[id]
        return found


class Kernel:
    """What the summary has besides the tasks."""

    awaiting: str | None = None
    blocked: dict[str, Any] | None = None

    def __call__(self, before: dict[str, Any]) -> dict[str, Any]:
        return {"awaiting": self.awaiting, "blocked": self.blocked}


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def feed(kernel: Kernel) -> Iterator[Feed]:
    clear_ended()
    feed = Feed(registry, Commands(), summary_facts=kernel, clock=Time())
    yield feed
    feed.close()
    for record in registry.living():
        record.task.cancel()
    shutdown()
    clear_ended()
    assert not watching()


def tick(feed: Feed) -> None:
    """Let a second pass, and do what is due for pages with rows and without."""
    feed._clock.now += 1  # type: ignore[attr-defined]
    feed.tick()
    feed._summaries.tick()


class Gate:
    """What the tasks of a test wait for, until it is opened for one of them."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}

    async def __call__(self, name: str = "", result: Any = None) -> Any:
        await self._events.setdefault(name, asyncio.Event()).wait()
        if isinstance(result, BaseException):
            raise result
        return result


def launch(what: Any, cell: str | None = "c", number: int = 1, **options: Any) -> asyncnb.Task[Any]:
    """Launch a task as the cell with this id does."""
    task = asyncnb.launch(what, **options)
    task._record.origin = Origin(CellRef(number, cell))  # type: ignore[union-attr]
    return task


async def forever() -> None:
    await asyncio.Event().wait()


async def wait(number: int) -> None:
    await forever()


async def fail() -> None:
    raise ValueError


async def nothing() -> None:
    pass


def test_a_summary_has_counts_and_the_cells_with_living_tasks(feed: Feed) -> None:
    page = Page(feed)
    page.say("sync")
    assert page.messages == [
        {
            "k": "summary",
            "counts": {"running": 0, "done": 0, "failed": 0, "cancelled": 0},
            "failures": registry.failures,
            "cells": [],
            "awaiting": None,
            "blocked": None,
        }
    ]
    failures = registry.failures
    crawl = launch(forever(), "c1", name="crawl")
    launch(forever(), None, name="in a console")
    failed, done = launch(fail(), "c2"), launch(nothing(), "c3")
    ended(failed, done)
    tick(feed)
    assert list(page.newest["counts"]) == FORMAT["counts"]
    assert page.newest["counts"] == {"running": 2, "done": 1, "failed": 1, "cancelled": 0}
    assert page.newest["failures"] == failures + 1
    assert page.cell("c1") == {
        "running": 1,
        "failed": 0,
        "name": "crawl",
        "done": 0,
        "total": None,
        "state": "running",
        "kind": "background",
    }
    # Two that came and went between two summaries, once each.
    assert page.cell("c2")["state"] == "failed" and page.cell("c2")["failed"] == 1
    assert page.cell("c3")["state"] == "done" and page.cell("c3")["running"] == 0
    tick(feed)
    assert len(page.messages) == 2
    crawl.cancel()
    ended(crawl)
    tick(feed)
    assert [id for id, _ in page.newest["cells"]] == ["c1"]
    assert page.cell("c1")["state"] == "cancelled"
    clear_ended()
    tick(feed)
    assert page.newest["cells"] == []
    assert page.newest["counts"] == {"running": 1, "done": 0, "failed": 0, "cancelled": 0}
    assert page.newest["failures"] == failures + 1  # never falls


def test_a_page_that_opens_later_gets_what_lives_and_nothing_that_ended_before(feed: Feed) -> None:
    ended(launch(fail(), "old"), launch(nothing(), "c", name="first"))
    launch(forever(), "c", name="second")
    page = Page(feed)
    page.say("sync")
    assert [id for id, _ in page.newest["cells"]] == ["c"]
    assert (page.cell("c")["done"], page.cell("c")["total"]) == (1, 2)
    assert page.newest["counts"] == {"running": 1, "done": 1, "failed": 1, "cancelled": 0}
    later = Page(feed)
    later.say("sync")
    assert later.newest == page.newest and len(page.messages) == 1


def test_a_second_passes_between_two_summaries_and_a_change_settles_first(feed: Feed) -> None:
    clock: Any = feed._clock
    summaries = feed._summaries
    page = Page(feed)
    page.say("sync")
    clock.now = 50.0
    feed._do_what_is_due()
    launch(forever())
    settled()
    assert summaries.due() == 50.0 + _summaries.SETTLE  # after a quiet minute: soon
    clock.now = summaries.due()
    feed._do_what_is_due()
    assert len(page.messages) == 2
    sent = clock.now
    launch(forever())
    clock.now += 0.5
    assert summaries.due() == sent + _summaries.INTERVAL
    feed._do_what_is_due()
    assert len(page.messages) == 2
    clock.now = summaries.due()
    feed._do_what_is_due()
    assert page.cell("c")["running"] == 2 and len(page.messages) == 3


def test_nothing_is_sent_without_a_difference_and_nothing_is_observed_without_a_page(
    feed: Feed, kernel: Kernel
) -> None:
    assert not watching() and feed._patience() is None
    page = Page(feed)
    page.say("sync")
    assert len(watching()) == 1
    for _ in range(5):
        tick(feed)
    assert len(page.messages) == 1
    kernel.awaiting = "c7"
    tick(feed)
    assert page.newest["awaiting"] == "c7"
    kernel.blocked = {"since": 1.0, "id": 3, "name": "crawl", "where": "In[3]", "call": "sum()"}
    tick(feed)
    assert page.newest["blocked"] == kernel.blocked
    assert len(page.messages) == 3
    page.say("close")
    tick(feed)
    assert not watching() and feed._patience() is None
    launch(forever())
    assert not feed._summaries._marked
    page.say("sync")
    assert page.cell("c")["running"] == 1


def test_a_summary_computes_no_rows_and_rows_and_summaries_do_not_disturb_each_other(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.widgets.test_feed import Watcher

    page = Page(feed)
    page.say("sync")
    with monkeypatch.context() as patched:
        patched.setattr("asyncnb.widgets._feed.row_of", None)
        patched.setattr("asyncnb.widgets._feed.Feed._sample", None)
        launch(forever(), name="one")
        tick(feed)
    dashboard = Watcher(feed)
    dashboard.say("sync")
    launch(forever(), name="two")
    tick(feed)
    assert dashboard.states().keys() == {"one", "two"}
    assert page.cell("c")["running"] == 2
    page.say("close")
    feed.unsubscribe(page.subscription)
    launch(forever(), name="three")
    tick(feed)
    assert dashboard.states().keys() == {"one", "two", "three"}


def test_what_is_about_rows_is_refused_and_commands_are_done(feed: Feed) -> None:
    page = Page(feed)
    page.say("sync")
    task = launch(forever(), name="crawl")
    for verb, arguments in (
        ("detail", {"id": 1}),
        ("view", {"ids": []}),
        ("watch", {"ids": []}),
        ("unfold", {"ids": []}),
        ("timeline", {}),
        ("sample", {"on": True}),
    ):
        page.say(verb, n=verb, **arguments)
        assert page.newest == {
            "k": "ack",
            "n": verb,
            "ok": False,
            "text": f"{verb!r} is about rows, and this subscription has a summary.",
        }
    page.say("stop_cell", cell_id="c", n="1")
    assert page.newest["text"] == "cancellation requested for 1 task"
    ended(task)
    page.say("stop_cell", cell_id="c", n="2")
    assert page.newest["text"] == "1 task of this cell has ended; nothing is left to stop."
    page.say("stop_cell", cell_id="d", n="3")
    assert not page.newest["ok"] and "there is nothing to stop" in page.newest["text"]
    page.say("stop_cell", cell_id=["c"], n="4")
    assert "not a text" in page.newest["text"]


def test_a_page_that_is_gone_costs_nothing_and_may_come_back(feed: Feed) -> None:
    page = Page(feed, answers=True)
    page.say("sync")
    for _ in range(MAX_UNACKNOWLEDGED + 10):
        ended(launch(nothing()))
        tick(feed)
    assert len(page.messages) == MAX_UNACKNOWLEDGED + 1
    assert not watching()
    page.say("sync")
    page.say("seen", messages=1)
    ended(launch(nothing()))
    tick(feed)
    assert page.cell("c")["state"] == "done"


def test_progress_of_a_cell_is_that_of_its_task_else_the_sum_else_its_tasks(feed: Feed) -> None:
    page = Page(feed)
    page.say("sync")

    def progress() -> tuple[int, int | None]:
        tick(feed)
        return page.cell("c")["done"], page.cell("c")["total"]

    def report(task: asyncnb.Task[Any], done: int, total: int | None) -> None:
        task._record.progress = (done, total)  # type: ignore[union-attr]
        task._record.changed()  # type: ignore[union-attr]

    one = launch(forever())
    assert progress() == (0, None)
    report(one, 3, 10)
    assert progress() == (3, 10)
    two = launch(forever())
    assert progress() == (3, 10)
    report(two, 5, 20)
    report(one, 4, 10)
    assert progress() == (9, 30)
    report(one, 10, 10)
    one.cancel()
    ended(one)
    assert progress() == (15, 30)  # a bar never runs backwards because a task is done
    report(two, 6, None)
    assert progress() == (16, None)
    two.cancel()
    ended(two)
    tick(feed)
    several = [launch(forever(), number=2) for _ in range(3)]
    assert progress() == (0, 3)
    several[0].cancel()
    ended(several[0])
    assert progress() == (1, 3)


def test_kinds_names_and_states_of_cells(feed: Feed) -> None:
    page = Page(feed)
    page.say("sync")
    group = asyncnb.open_group("pages")
    launch(forever(), "group", group=group, name="p1")
    launch(forever(), "group", group=group, name="p2")
    paused = launch(forever(), "paused", name="slow")
    settled()
    paused.pause()
    first = launch(forever(), "many", name="first")
    launch(forever(), "many", name="second")
    waits = launch(forever(), "later", after=first, name="waits")
    run = asyncnb.map(wait, range(5), name="run").start()
    run._task._record.origin = Origin(CellRef(4, "map"))  # type: ignore[union-attr]
    tick(feed)
    facts = dict(page.newest["cells"])
    assert {id: (each["kind"], each["name"], each["state"]) for id, each in facts.items()} == {
        "group": ("group", "pages", "running"),
        "paused": ("background", "slow", "paused"),
        "many": ("background", "first", "running"),
        "later": ("background", "waits", "pending"),
        "map": ("map", "run", "running"),
    }
    assert (facts["map"]["done"], facts["map"]["total"]) == (0, 5)
    assert (facts["many"]["done"], facts["many"]["total"]) == (0, 2)
    paused.resume()
    waits.set_name("renamed")
    tick(feed)
    launch(forever(), "group", name="beside")
    paused.pause()
    tick(feed)
    assert page.cell("paused")["state"] == "paused"
    assert (page.cell("group")["kind"], page.cell("group")["name"]) == ("background", "p1")
    paused.resume()
    tick(feed)
    assert page.cell("paused")["state"] == "running" and page.cell("later")["name"] == "renamed"


def test_a_new_run_of_a_cell_is_counted_anew_while_tasks_of_the_old_one_live(feed: Feed) -> None:
    page = Page(feed)
    page.say("sync")
    old = [launch(forever(), number=1, name=f"old{i}") for i in range(3)]
    ended(launch(fail(), number=1))
    tick(feed)
    assert (page.cell("c")["failed"], page.cell("c")["running"]) == (1, 3)
    assert (page.cell("c")["done"], page.cell("c")["total"]) == (1, 4)
    launch(forever(), number=2)
    launch(forever(), number=2)
    tick(feed)
    assert (page.cell("c")["failed"], page.cell("c")["running"]) == (0, 5)
    assert (page.cell("c")["done"], page.cell("c")["total"]) == (0, 2)
    old[0]._record.progress = (1, 7)  # type: ignore[union-attr]
    old[0]._record.changed()  # type: ignore[union-attr]
    tick(feed)
    assert (page.cell("c")["done"], page.cell("c")["total"]) == (0, 2)
    for task in old:
        task.cancel()
    ended(*old)
    tick(feed)
    assert page.cell("c")["running"] == 2
    assert (page.cell("c")["done"], page.cell("c")["total"]) == (0, 2)


STEPS = ["launch", "launch", "end", "end", "cancel", "pause", "resume", "clear", "rerun", "tick"]


def test_the_incremental_counts_are_those_of_a_walk_over_all_tasks(feed: Feed) -> None:
    """After anything: launches, ends, cancels, pauses, clears, re-runs, ticks in between."""
    page = Page(feed)
    page.say("sync")
    chance = random.Random(21)
    gate, living, number = Gate(), [], 0
    for step in range(400):
        match chance.choice(
            [
                "launch",
                "launch",
                "end",
                "fail",
                "cancel",
                "pause",
                "resume",
                "clear",
                "rerun",
                "tick",
            ]
        ):
            case "launch":
                result = chance.choice([None, ValueError(), object()])
                living.append(launch(gate(str(step), result), chance.choice("abc"), number))
                living[-1].set_name(str(step))
            case "end" if living:
                task = living.pop(chance.randrange(len(living)))
                task.resume()
                event = gate._events
                settled()
                embedded_loop().call_soon_threadsafe(event[task.get_name()].set)
                ended(task)
            case "cancel" if living:
                task = living.pop(chance.randrange(len(living)))
                task.cancel()
                ended(task)
            case "pause" if living:
                settled()
                chance.choice(living).pause()
            case "resume" if living:
                chance.choice(living).resume()
            case "clear":
                commands.clear()
            case "rerun":
                number += 1
            case "tick":
                tick(feed)
    settled()
    tick(feed)
    anew = Summary(registry)
    anew.update(registry.records())
    assert page.newest["counts"] == anew.counts
    counts = dict.fromkeys(FORMAT["counts"], 0)
    for record in registry.records():
        state = record.state()
        counts[state if state in ENDED else "running"] += 1
    assert counts == anew.counts

    def shown(summary: Summary) -> dict[str, list[Any]]:
        keys = ("running", "state", "name", "kind")
        return {id: [each[key] for key in keys] for id, each in summary.cells().items()}

    assert shown(feed._summaries._summary) == shown(anew)
    assert sum(each["running"] for each in anew.cells().values()) == len(living)


def test_a_change_wakes_the_thread_of_the_feed_and_the_page_gets_it() -> None:
    """With the real clock and the real thread."""
    arrived: list[dict[str, Any]] = []
    news = threading.Event()

    def receive(message: dict[str, Any], buffers: list[bytes]) -> None:
        arrived.append(message)
        news.set()

    feed = Feed(registry, Commands())
    try:
        subscription = feed.subscribe(receive, show="summary")
        feed.submit(subscription, {"c": "sync"})
        assert news.wait(10)
        news.clear()
        task = launch(forever(), "c", name="crawl")
        assert news.wait(10)
        assert dict(arrived[-1]["cells"])["c"]["name"] == "crawl"
        task.cancel()
    finally:
        feed.close()
    assert arrived[-1] == {"k": "bye"}
    assert not watching()
