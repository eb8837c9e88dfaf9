"""The page on the protocol has each verb, argument, kind and field that there is, and no other."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import asyncnb
from asyncnb._core.listing.facts import MORE, VERSION
from asyncnb._core.listing.rows import FORMAT
from asyncnb._core.loop.current import shutdown
from asyncnb._kernel.output.task_output import FOLLOWED
from asyncnb.testing import clear_ended
from asyncnb.widgets._commands import DEFAULTS, MAX_SECONDS, QUESTIONS, VERBS, Commands
from asyncnb.widgets._feed import Feed
from asyncnb.widgets._kernel_feed import kernel_feed
from asyncnb.widgets._requests.control import (
    MAX_SUBSCRIPTIONS,
    OF_A_SUBSCRIPTION,
    REQUEST_VERBS,
    ControlSide,
)
from asyncnb.widgets._requests.held import LINGER, MAX_HELD, MAX_TEXT, SETTLE
from asyncnb.widgets._requests.reads import MAX_LISTED
from asyncnb.widgets._subscription import MAX_UNACKNOWLEDGED, Subscription

PAGE = (Path(__file__).parents[2] / "notebooks/reference/protocol.md").read_text(encoding="utf-8")


def table(head: str, after: str = "") -> dict[str, list[str]]:
    """The rows of a table, by the name in the first column: the other cells."""
    text = PAGE[PAGE.index(after) :]
    lines = text[text.index(f"| {head} |") :].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in rows}


def names(cell: str) -> list[str]:
    return re.findall(r"`([a-z_?]+)`", cell)


def arguments(rows: dict[str, list[str]]) -> dict[str, list[str]]:
    return {verb: names(cells[0]) for verb, cells in rows.items()}


def test_the_page_has_the_version_and_the_limits() -> None:
    assert f"This is version {VERSION}." in PAGE
    assert f"`format.acknowledge` messages ({MAX_UNACKNOWLEDGED // 5})" in PAGE
    assert f"After {MAX_UNACKNOWLEDGED} messages" in PAGE
    assert f"at most {MAX_SUBSCRIPTIONS} subscriptions" in PAGE
    assert f"at most {MAX_LISTED:,} tasks" in PAGE
    assert f"at most {MAX_SECONDS}. " in PAGE and f"At most {MAX_HELD} such requests" in PAGE
    assert f"waits for {SETTLE} s" in PAGE and f"kept for {LINGER:g} s" in PAGE
    assert f"about {MAX_TEXT:,} characters" in PAGE and FOLLOWED == 10


def test_the_page_has_all_verbs_with_their_arguments() -> None:
    own = table("verb | arguments | reply")
    assert arguments(own) == {verb: [*checks] for verb, checks in REQUEST_VERBS.items()}
    questions = table("verb | arguments | reply", "Questions are")
    changing = table("verb | arguments | effect")
    subscribed = table("verb | arguments | effect", "These verbs need")
    assert subscribed.keys() == OF_A_SUBSCRIPTION
    assert QUESTIONS | {"timeline"} == questions.keys()
    together = arguments(questions | changing | subscribed)
    assert together == {verb: [*checks] for verb, checks in VERBS.items()}
    for verb, (cell, _) in (own | questions).items():
        given = dict(re.findall(r"`(\w+)` \(\"?([\w*]*)\"?\)", cell))
        wanted = {k: json.dumps(v).strip('"') for k, v in DEFAULTS.get(verb, {}).items()}
        assert given == wanted, verb


def test_the_page_has_the_columns() -> None:
    on_page = {name: names(cells[0]) for name, cells in table("row | columns").items()}
    assert on_page == {name: FORMAT[name] for name in FORMAT if name != "ended"}


#: Of the kernel, in the answer to `hello`.
FACTS = ("asyncnb", "python", "ipykernel", "pid", "notebook")


class AtOnce(Feed):
    def submit(self, subscription: Subscription, content: object) -> None:
        self.take(subscription, content)


class Asked:
    def __init__(self, talk: Talk, content: object) -> None:
        self.content = content
        self.talk = talk

    def reply(self, content: dict[str, Any]) -> None:
        self.talk.replies.append(content)

    def publish(self, comm_id: str, message: dict[str, Any], buffers: list[bytes]) -> None:
        self.talk.messages.append(message)


class Talk:
    """A client and a feed, in one thread."""

    def __init__(self) -> None:
        self.replies: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.feed = kernel_feed()
        self.feed.__class__ = AtOnce
        self.side = ControlSide(self.feed, lambda: dict.fromkeys(FACTS))
        self.side.held.submit = self._answer_at_once  # type: ignore[method-assign,assignment]

    def _answer_at_once(self, *given: Any) -> None:
        self.side.held.take(*given)
        self.side.held.look()

    def ask(self, **content: Any) -> dict[str, Any]:
        self.side.serve(Asked(self, content))
        return self.replies[-1]


@pytest.fixture
def talk() -> Iterator[Talk]:
    asyncnb.embedded_loop()
    talk = Talk()
    yield talk
    talk.feed.close()
    asyncnb.cancel("*")
    shutdown()
    clear_ended()


def test_replies_have_the_fields_that_the_page_says(talk: Talk) -> None:
    asyncnb.run(asyncnb.launch(asyncio.sleep(0), name="over"))
    asked: dict[str, dict[str, Any]] = {
        "hello": {},
        "subscribe": {"comm_id": "x", "show": "rows"},
        "unsubscribe": {"comm_id": "x"},
        "wait": {"tasks": ["over"]},
        "follow": {"task": "over"},
        "list": {},
        "overview": {},
        "find": {"patterns": ["over"]},
        "describe": {"task": "over"},
        "stack": {"task": "over"},
        "output": {"task": "over"},
        "variables": {},
        "timeline": {},
    }
    rows = table("verb | arguments | reply")
    rows |= table("verb | arguments | reply", "Questions are")
    assert asked.keys() == rows.keys()
    for verb, given in asked.items():
        reply = talk.ask(c=verb, **given)
        assert reply.pop("status") == "ok"
        cell = re.sub(r"\(`.*?\)|;.*", "", rows[verb][1])
        assert {*reply} == {*names(cell)}, verb
    task = talk.ask(c="describe", task="over")["task"]
    listed = talk.ask(c="list")["tasks"][0]
    assert {*listed} == {*FORMAT["numbers"], *FORMAT["texts"], "created"}
    fields = re.findall(r"`(\w+)`", "".join(f"`{key}`" for key in table("field | meaning")))
    assert {*fields} == {*MORE, "created", "inside"}
    detail = set(re.findall(r"`(\w+)`", PAGE.partition("- `of` in a `detail`:")[2].split("\n")[0]))
    assert {*task} - {*listed} <= detail


def test_messages_have_the_fields_that_the_page_says(talk: Talk) -> None:
    on_page = {kind: names(cells[0]) for kind, cells in table("kind | fields").items()}

    async def parent() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.Event().wait(), name="child")

    asyncnb.run(asyncnb.launch(asyncio.sleep(0), name="over"))
    task = asyncnb.launch(parent(), name="parent")
    asyncnb.run(asyncio.sleep(0))
    id = task.info().id
    talk.ask(c="subscribe", comm_id="s", show="summary")
    talk.ask(c="subscribe", comm_id="r", show="rows")
    for content in (
        {"c": "unfold", "ids": [id]},
        {"c": "view", "ids": [id]},
        {"c": "detail", "id": id},
        {"c": "timeline"},
        {"c": "rename", "id": id, "name": "other", "n": "1"},
        {"c": "clear"},
    ):
        assert talk.ask(**content, comm_id="r") == {"status": "ok"}
        talk.feed.tick()
    asyncnb.open_group("open")
    talk.feed._next_sample = 0.0
    talk.feed.tick()
    talk.feed.close()
    talk.feed._run()  # its end
    found: dict[str, set[str]] = {}
    for message in talk.messages:
        fields = {*message} - {"k"}
        wanted = on_page[message["k"]]
        missing = {name for name in wanted if "?" not in name} - fields
        assert not missing, (message["k"], missing)
        found[message["k"]] = found.get(message["k"], set()) | fields
    assert found.keys() == on_page.keys(), "the page has a kind that was not seen"
    for kind, fields in found.items():
        assert fields <= {name.rstrip("?") for name in on_page[kind]}, kind


def test_each_kind_that_the_code_sends_is_on_the_page() -> None:
    kinds = set()
    for path in Path(str(__import__("asyncnb.widgets").widgets.__path__[0])).rglob("*.py"):
        kinds |= set(re.findall(r'"k": "(\w+)"', path.read_text(encoding="utf-8")))
    kinds |= {"snapshot", "delta"}  # an argument
    kinds -= {"note", "ask"}  # the notifier's, which has no subscription
    assert kinds == table("kind | fields").keys()


def test_commands_answer_on_a_subscription_as_in_a_reply() -> None:
    for verb in VERBS.keys() - OF_A_SUBSCRIPTION - QUESTIONS - {"timeline"}:
        assert hasattr(Commands, f"_{verb}"), verb
