"""Questions that are answered when something has happened, on a clock that tests set."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import asyncnb
from asyncnb._core.launched.record import TaskRecord, observers
from asyncnb._core.loop.current import shutdown
from asyncnb._kernel.output.task_output import FOLLOWED, output_of
from asyncnb.testing import clear_ended
from asyncnb.widgets._requests.held import LINGER, MAX_HELD, SETTLE, HeldQuestions


class Asked:
    """A request; ``said`` is its answer."""

    said: dict[str, Any] | None = None

    def reply(self, content: dict[str, Any]) -> None:
        assert self.said is None, "answered twice"
        self.said = content


class Desk:
    """Held questions in this thread."""

    def __init__(self) -> None:
        self.now = 100.0
        self.held = HeldQuestions(output_of, lambda: self.now)

    def ask(self, verb: str, seconds: float = 10, **arguments: Any) -> Asked:
        asked = Asked()
        self.held.take(asked, verb, {"seconds": seconds, **arguments})
        self.held.look()
        return asked

    def wait(self, *tasks: Any, any: bool = False, seconds: float = 10) -> Asked:
        return self.ask("wait", seconds, tasks=[*tasks], any=any)

    def follow(self, task: Any, cursor: int = 0, seconds: float = 10) -> Asked:
        return self.ask("follow", seconds, task=task, cursor=cursor)

    def later(self, seconds: float = SETTLE) -> None:
        self.now += seconds
        self.held.look()


@pytest.fixture
def desk() -> Iterator[Desk]:
    before = len(observers)
    desk = Desk()
    yield desk
    desk.held._closed = True
    desk.held._run()  # its end
    assert len(observers) == before, "something is still observed"
    asyncnb.cancel("*")
    shutdown()
    clear_ended()


def task(name: str) -> TaskRecord:
    record: TaskRecord = asyncnb.launch(asyncio.Event().wait(), name=name)._record
    asyncnb.run(asyncio.sleep(0))
    return record


def end(record: TaskRecord) -> None:
    record.task.cancel()
    asyncnb.run(asyncio.wait([record.task]))
    while record.ended is None:
        asyncnb.run(asyncio.sleep(0))


def test_a_wait_is_answered_when_all_have_ended_or_the_time_is_up(desk: Desk) -> None:
    one, two = task("one"), task("two")
    both, first = desk.wait("one", two.id), desk.wait("one", "two", any=True)
    short = desk.wait("two", "two", seconds=1)
    end(one)
    desk.held.look()
    assert first.said is None, "more may end in the same moment"
    desk.later()
    assert [each["name"] for each in first.said["tasks"]] == ["one"]
    assert first.said["left"] == [two.id]
    assert both.said is short.said is None
    desk.later(1)
    assert short.said == {"status": "ok", "tasks": [], "left": [two.id]}
    end(two)
    desk.held.look()
    desk.later()
    assert len(both.said["tasks"]) == 2 and both.said["left"] == []
    assert desk.wait("none such").said["status"] == "error"


def test_output_is_sent_a_moment_after_it_was_printed(desk: Desk) -> None:
    record = task("talks")
    asked = desk.follow("talks")
    output_of(record).add("stdout", "a")
    assert not desk.held._inbox.empty(), "the thread is woken"
    desk.held.look()
    output_of(record).add("stderr", "b")
    assert asked.said is None
    desk.later()
    assert asked.said["text"] == "ab" and asked.said["cursor"] == 2 and asked.said["task"] is None
    again = desk.follow(record.id, 2)
    end(record)
    desk.held.look()
    desk.later()
    assert again.said["text"] == "" and again.said["task"]["state"] == "cancelled"
    assert desk.follow("talks", 3).said["status"] == "error"


def test_what_is_not_read_yet_is_kept_for_a_while(desk: Desk) -> None:
    record = task("talks")
    output = output_of(record)
    output.most = 10
    asked = desk.follow("talks")
    for _ in range(FOLLOWED):
        output.add("stdout", "0123456789")
    output.add("stdout", "0123456789")  # one too many
    desk.held.look()
    desk.later()
    assert asked.said["gone"] == 10 and len(asked.said["text"]) == 100
    for _ in range(5):
        output.add("stdout", "abcdefghij")
    assert len(output.text) == 50, "what was read is dropped, and nothing else"
    next = desk.follow("talks", asked.said["cursor"])
    desk.later()
    assert next.said["gone"] == 0 and len(next.said["text"]) == 50
    output.add("stdout", "0123456789")
    output.add("stdout", "0123456789")
    assert len(output.text) == 20
    desk.later(LINGER)
    assert len(output.text) == 10, "its follower has gone away"
    assert output._news is None and output._reader is None


def test_the_slower_one_of_two_followers_counts(desk: Desk) -> None:
    record = task("talks")
    output = output_of(record)
    output.most = 10
    output.add("stdout", "0123456789")
    fast, slow = desk.follow("talks", 10), desk.follow("talks", 0)
    output.add("stdout", "abcdefghij")
    assert len(output.text) == 20
    desk.held.look()
    desk.later()
    assert fast.said["text"] == "abcdefghij" and slow.said["text"] == "0123456789abcdefghij"


def test_no_more_than_a_hundred_are_held_and_none_survives(desk: Desk) -> None:
    task("never")
    held = [desk.wait("never") for _ in range(MAX_HELD)]
    assert desk.wait("never").said["status"] == "error"
    assert all(each.said is None for each in held)
    desk.held._closed = True
    desk.held._run()
    assert all("unloaded" in each.said["evalue"] for each in held)
