"""The feed and its protocol, without a browser and without its thread."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import asyncnb
from asyncnb import embedded_loop
from asyncnb._core.introspection.info import STATES
from asyncnb._core.launched import after
from asyncnb._core.launched import registry as _registry
from asyncnb._core.launched.record import observers
from asyncnb._core.launched.registry import TaskRegistry
from asyncnb._core.listing.rows import Numbers, Texts
from asyncnb._core.loop.current import shutdown
from asyncnb._core.repeating.local_time import clock_text
from asyncnb._core.repeating.repeat import RunCounts
from asyncnb.testing import clear_ended
from asyncnb.widgets._commands import QUESTIONS, VERBS, Commands
from asyncnb.widgets._feed import Feed
from asyncnb.widgets._subscription import MAX_UNACKNOWLEDGED, Subscription


class Watcher:
    """A browser: keeps rows as the JavaScript does, and what it was sent."""

    def __init__(self, feed: Feed, **options: Any) -> None:
        self.feed = feed
        self.messages: list[dict[str, Any]] = []
        self.rows: dict[int, dict[str, Any]] = {}
        self.seq = -1
        self.subscription: Subscription = feed.subscribe(self.receive, **options)

    def say(self, verb: Any, **arguments: Any) -> Any:
        """Send a command; return the answer, if there was one."""
        before = len(self.messages)
        self.feed.take(self.subscription, {"c": verb, **arguments})
        answers = [m for m in self.messages[before:] if m["k"] in ("ack", "detail")]
        return answers[-1] if answers else None

    def receive(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        self.messages.append(message)
        if message["k"] not in ("snapshot", "delta"):
            return
        if message["k"] == "snapshot":
            self.rows.clear()
        else:
            assert message["seq"] == self.seq + 1
        self.seq = message["seq"]
        for text in message["texts"]:
            names = (*Texts._fields, "waits_for")
            self.rows.setdefault(text[0], {}).update(zip(names, text, strict=True))
        numbers = message["numbers"]
        if numbers is None:
            [buffer] = buffers
            numbers = [None if v != v else v for v in memoryview(buffer).cast("d")]
        width = len(Numbers._fields)
        for i in range(0, len(numbers), width):
            row = dict(zip(Numbers._fields, numbers[i : i + width], strict=True))
            row["state"] = STATES[int(row["state"])]
            self.rows[row["id"]].update(row)
        for id in message.get("gone", ()):
            del self.rows[id]

    def states(self) -> dict[str, str]:
        return {row["name"]: row["state"] for row in self.rows.values()}


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def watching() -> list[Any]:
    """Return what is called at each change of a task, but for what a named task waits for."""
    return [each for each in observers.each if each is not after._note]


@pytest.fixture
def feed() -> Iterator[Feed]:
    clear_ended()
    feed = Feed(_registry.registry, Commands(), clock=Time())
    yield feed
    feed.close()
    for record in _registry.registry.living():
        record.task.cancel()
    shutdown()
    clear_ended()
    assert not watching()


def tick(feed: Feed) -> None:
    """Let the time of one look pass, and do what is due."""
    feed._clock.now += 1  # type: ignore[attr-defined]
    feed.tick()


def ended(*tasks: asyncnb.Task[Any]) -> None:
    for task in tasks:
        try:
            task.join(10)
        except BaseException:
            pass
    settled()


def settled() -> None:
    """Wait until the loop has done all that it was asked for until now."""
    turned = threading.Event()
    embedded_loop().call_soon_threadsafe(turned.set)
    assert turned.wait(10)


def test_a_run_of_ten_thousand_items_is_one_row_of_few_bytes(feed: Feed) -> None:
    gate = asyncio.Event()

    async def call(number: int) -> None:
        if number == 9_000:
            await gate.wait()
        assert number % 100

    watcher = Watcher(feed)
    watcher.say("sync")
    run = asyncnb.map(call, range(10_000), limit=1, name="pages").start()
    while run.counts().done + run.counts().failed < 9_000:
        settled()
    tick(feed)
    [row] = watcher.rows.values()
    assert (row["name"], row["done"], row["total"]) == ("pages", 9_000, 10_000)
    message = watcher.messages[-1]
    assert len(json.dumps(message)) < 1_000
    [calls] = message["calls"]
    assert calls[:3] == (row["id"], 90, 0)
    assert watcher.say("limit", id=row["id"], calls="x")["ok"] is False
    assert watcher.say("limit", id=row["id"], calls="7")["text"].endswith("7 calls at a time")
    tick(feed)
    assert watcher.messages[-1]["calls"][0].limit == run.limit == 7
    before = len(watcher.messages)
    tick(feed)
    assert len(watcher.messages) == before  # nothing is sent again
    embedded_loop().call_soon_threadsafe(gate.set)
    assert run.task is not None
    ended(run.task)
    detail = watcher.say("detail", id=row["id"])["of"]
    assert detail["failures"][0] == ["9900", "AssertionError: assert (9900 % 100)"]
    assert len(detail["failures"]) == 20


async def forever() -> None:
    await asyncio.Event().wait()


def test_a_snapshot_tells_all_and_deltas_tell_what_changed(feed: Feed) -> None:
    first = asyncnb.launch(asyncio.sleep(0), name="first")
    ended(first)
    watcher = Watcher(feed)
    watcher.say("sync")
    assert watcher.states() == {"first": "done"}
    second = asyncnb.launch(forever(), name="second")
    tick(feed)
    assert watcher.messages[-1]["k"] == "delta"
    assert [text[1] for text in watcher.messages[-1]["texts"]] == ["second"]
    second.set_name("renamed")
    second.cancel()
    ended(second)
    tick(feed)
    assert watcher.states() == {"first": "done", "renamed": "cancelled"}


def test_nothing_is_sent_while_nothing_changes(feed: Feed) -> None:
    asyncnb.launch(forever(), name="patient", timeout=3600)
    settled()
    watcher = Watcher(feed)
    watcher.say("sync")
    tick(feed)
    tick(feed)
    before = len(watcher.messages)
    for _ in range(20):
        tick(feed)
    assert len(watcher.messages) == before


def test_many_changes_of_one_task_are_one_row_of_one_message(feed: Feed) -> None:
    task = asyncnb.launch(forever(), name="busy")
    watcher = Watcher(feed)
    settled()
    watcher.say("sync")
    before = len(watcher.messages)
    for number in range(100):
        task.set_name(f"busy {number}")
    tick(feed)
    assert len(watcher.messages) == before + 1
    assert watcher.states() == {"busy 99": "waiting"}


def test_a_task_that_waits_for_its_time_shows_its_next_run(feed: Feed) -> None:
    task = asyncnb.launch(forever(), name="nightly")
    [record] = _registry.registry.living()
    record.rounds = RunCounts(repeats=True)
    watcher = Watcher(feed)
    settled()
    watcher.say("sync")
    record.rounds.next_run = moment = time.time() + 3600
    record.changed()
    tick(feed)
    [row] = watcher.rows.values()
    assert row["note"] == f"next run {clock_text(moment)}"
    record.rounds.next_run, record.rounds.running = None, True
    record.changed()
    tick(feed)
    assert row["note"] == ""
    task.cancel()
    ended(task)


def test_more_than_a_thousand_rows_travel_as_bytes(feed: Feed) -> None:
    tasks = [asyncnb.launch(forever(), name=f"t{i}") for i in range(1100)]
    settled()
    watcher = Watcher(feed)
    watcher.say("sync")
    tick(feed)
    assert watcher.messages[0]["numbers"] is None
    assert watcher.states() == {f"t{i}": "waiting" for i in range(1100)}
    for task in tasks:
        task.cancel()
    ended(*tasks)
    tick(feed)
    assert watcher.messages[-1]["numbers"] is None
    # The history is bounded, and so is what is shown.
    assert set(watcher.states().values()) == {"cancelled"}
    assert len(watcher.rows) == 1000


@pytest.mark.parametrize(
    "message",
    [
        None, 7, "cancel", [], {}, {"c": None}, {"c": "__init__"}, {"c": ["cancel"]},
        {"c": "parse"},
        {"c": "cancel"}, {"c": "cancel", "id": None}, {"c": "cancel", "id": "1"},
        {"c": "cancel", "id": True}, {"c": "cancel", "id": -1}, {"c": "cancel", "id": 10**30},
        {"c": "cancel", "id": 1.5}, {"c": "rename", "id": 1}, {"c": "rename", "id": 1, "name": 3},
        {"c": "timeout", "id": 1, "seconds": "3"}, {"c": "timeout", "id": 1, "seconds": -1},
        {"c": "timeout", "id": 1, "seconds": float("nan")}, {"c": "view", "ids": "1"},
        {"c": "view", "ids": [[]]}, {"c": "cancel_group", "group": {}}, {"c": "seen"},
        {"c": "cancel_all", "n": {}}, {"c": "cancel_all", "n": "x" * 1000},
    ],
)  # fmt: skip
def test_a_bad_message_is_answered_and_does_nothing(feed: Feed, message: object) -> None:
    task = asyncnb.launch(forever(), name="untouched")
    watcher = Watcher(feed)
    feed.take(watcher.subscription, message)
    [answer] = watcher.messages
    assert answer["ok"] is False
    assert answer["text"].endswith(".")
    assert task.get_name() == "untouched"
    assert not task.cancelling()


def test_each_command_does_its_work_once_and_is_answered_again(feed: Feed) -> None:
    task = asyncnb.launch(forever(), name="patient", timeout=60)
    settled()
    watcher = Watcher(feed)
    watcher.say("sync")
    [id] = watcher.rows
    assert watcher.say("rename", n="a:1", id=id, name="other") == {
        "k": "ack", "n": "a:1", "ok": True, "text": "",
    }  # fmt: skip
    task.set_name("mine")
    assert watcher.say("rename", n="a:1", id=id, name="other")["ok"]
    assert task.get_name() == "mine"
    assert watcher.say("timeout", n="a:2", id=id, seconds=None)["ok"]
    assert task.timeout.when() is None
    assert watcher.say("timeout", n="a:3", id=id, seconds=100)["ok"]
    assert 99 < (task.timeout.remaining() or 0) <= 100
    assert watcher.say("cancel", n="a:4", id=id)["ok"]
    ended(task)
    assert watcher.say("cancel", n="a:5", id=id)["ok"]
    assert not watcher.say("rename", n="a:6", id=id + 1, name="x")["ok"]
    assert not watcher.say("timeout", n="a:7", id=id, seconds=1)["ok"]
    tick(feed)
    assert watcher.states() == {"mine": "cancelled"}
    assert watcher.say("clear", n="a:8")["text"] == "1 ended task cleared"
    tick(feed)
    assert not watcher.rows


def test_a_name_is_refused_that_is_a_pattern_or_another_ones(feed: Feed) -> None:
    asyncnb.launch(forever(), name="one")
    asyncnb.launch(forever(), name="two")
    watcher = Watcher(feed)
    watcher.say("sync")
    [one, _] = watcher.rows
    for name in ("", " x", "a*", "two", "a\nb"):
        answer = watcher.say("rename", n="1" + name, id=one, name=name)
        assert not answer["ok"]
    assert answer["text"]
    assert watcher.states().keys() == {"one", "two"}


def test_cancel_reaches_a_group_and_all(feed: Feed) -> None:
    group = asyncnb.open_group("pages", on_error="continue")
    members = [group.create_task(forever(), name=f"page {i}") for i in range(3)]
    loner = asyncnb.launch(forever(), name="loner")
    watcher = Watcher(feed)
    watcher.say("sync")
    assert watcher.messages[0]["groups"] == [["pages", "open", 3]]
    watcher.say("cancel_group", group="pages")
    ended(*members)
    assert all(task.cancelled() for task in members)
    assert not loner.done()
    watcher.say("cancel_all")
    ended(loner)
    tick(feed)
    assert set(watcher.states().values()) == {"cancelled"}


def test_who_shows_no_sign_of_life_gets_nothing_more_until_it_asks(feed: Feed) -> None:
    task = asyncnb.launch(forever(), name="busy")
    settled()  # it waits, and is not pending any more
    gone, listens = Watcher(feed, answers=True), Watcher(feed, answers=True)
    gone.say("sync")
    listens.say("sync")
    for number in range(2 * MAX_UNACKNOWLEDGED):
        task.set_name(f"busy {number}")
        tick(feed)
        listens.say("seen", messages=len(listens.messages))
    assert len(gone.messages) == MAX_UNACKNOWLEDGED + 1
    assert listens.states() == {f"busy {2 * MAX_UNACKNOWLEDGED - 1}": "waiting"}
    gone.say("sync")
    assert gone.states() == listens.states()


def test_tasks_are_not_observed_while_nobody_watches(feed: Feed) -> None:
    watcher = Watcher(feed)
    assert not watching()
    watcher.say("sync")
    assert len(watching()) == 1
    watcher.say("close")
    tick(feed)
    assert not watching()
    asyncnb.launch(forever(), name="meanwhile")
    watcher.say("sync")
    assert "meanwhile" in watcher.states()


def test_one_that_cannot_be_reached_does_not_keep_the_others_waiting(feed: Feed) -> None:
    def closed(message: object, buffers: object) -> None:
        raise RuntimeError("closed")

    feed.take(feed.subscribe(closed), {"c": "sync"})
    watcher = Watcher(feed)
    watcher.say("sync")
    asyncnb.launch(forever(), name="new")
    tick(feed)
    assert "new" in watcher.states()


def test_details_tell_chain_output_and_traceback_and_only_when_they_change(feed: Feed) -> None:
    async def inner() -> None:
        await asyncio.Event().wait()

    async def outer() -> None:
        await inner()

    asyncnb.launch(outer(), name="deep")
    settled()
    watcher = Watcher(feed)
    watcher.say("sync")
    tick(feed)
    [id] = watcher.rows
    watcher.say("view", ids=[id])
    tick(feed)
    found = watcher.say("detail", id=id)
    names = [function.rpartition(".")[2] for _, _, function, _ in found["of"]["frames"]]
    assert names == ["outer()", "inner()", "wait()"]
    assert found["of"]["waits"] == "Event.wait"
    assert watcher.rows[id]["waits_for"] == "Event.wait"
    before = len(watcher.messages)
    tick(feed)
    assert len(watcher.messages) == before
    assert watcher.say("detail", id=id + 1000)["of"] is None


def test_every_verb_is_known_to_the_feed_or_to_the_commands() -> None:
    feed = Feed(TaskRegistry(), Commands())
    for verb in VERBS:
        owns = hasattr(feed, f"_on_{verb}") or hasattr(feed._commands, f"_{verb}")
        assert owns or verb in QUESTIONS
