"""Whatever a page says: answered or dropped, never run, and no task changes but the one it names.

``ASYNCNB_FUZZ=50000`` tries that many conversations; the suite tries a few hundred.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import asyncnb
from asyncnb import embedded_loop
from asyncnb._core.introspection.info import STATES
from asyncnb._core.launched import named_groups as _named_groups
from asyncnb._core.launched.registry import registry
from asyncnb._core.loop.current import shutdown
from asyncnb.testing import clear_ended
from asyncnb.widgets._commands import ORDERS, VERBS, Commands
from asyncnb.widgets._feed import Feed
from asyncnb.widgets._requests.control import REQUEST_VERBS, ControlSide
from asyncnb.widgets._subscription import Subscription

EXAMPLES = int(os.environ.get("ASYNCNB_FUZZ", "300"))
GROUP = "a group"
#: What no message may cause: code made or run, a process, a file, a connection, a pickle read.
FORBIDDEN = {
    *("exec", "compile", "import", "open", "os.system", "os.exec", "os.remove", "os.fork"),
    *("subprocess.Popen", "socket.connect", "socket.bind", "pickle.find_class", "marshal.loads"),
}

CODE = [
    "__import__('os').system('true')",
    "{self.__class__}",
    "%s%n",
    "os.remove",
    "../x",
    "*",
    "?",
]
#: Represents lists in lists, deeper than a function may call itself.
DEEP = "<5000 lists>"
text = st.one_of(
    st.text(max_size=20),
    st.sampled_from([*CODE, *VERBS, GROUP, "kept 1", "_cancel", "\ud800", "x" * 2000, "\u202e"]),
)
scalar = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 40),
    st.sampled_from([10**400, -(10**19), 2**63, 1e308, 0.5, -0.0, float("inf"), float("nan")]),
    st.floats(),
    text,
)
junk = st.recursive(
    scalar | st.just(DEEP),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)
number = st.integers(0, 12)  # tasks are found by number of their place: see `real`
fitting = {
    "messages": st.integers(0, 10**6),
    "ids": st.lists(number, max_size=6) | st.just([1] * 20_000),
    "id": number,
    "group": st.sampled_from([GROUP, "none such", ""]),
    "name": text,
    "seconds": st.none() | st.floats(0, 1e9) | st.just(10**400),
    "on": st.booleans(),
    "calls": st.none() | st.integers(-3, 9) | st.floats(0, 1e9) | st.just(10**400) | text,
    "rate": st.none() | st.floats(0, 1e9) | st.sampled_from(["5/s", "none"]) | text,
    "cell_id": st.none() | text,
    "limit": st.integers(0, 10**6),
    "offset": st.integers(0, 10**6),
    "since": st.none() | st.floats(0, 1e9),
    "state": st.none() | st.sampled_from(STATES),
    "task": number | text,
    "cursor": st.integers(0, 9),
    "comm_id": st.sampled_from(["one", "other"]),
    "show": st.sampled_from(["rows", "summary"]),
    "patterns": st.lists(text | st.sampled_from(["kept*", "1", "kept 1/*"]), max_size=3),
    "match": text,
    "pattern": text,
    "order": st.sampled_from(ORDERS),
    "tasks": st.lists(number | text, max_size=3),
    "any": st.booleans(),
}


@st.composite
def message(draw: Any, verbs: Any = VERBS) -> Any:
    """A command; most often with something wrong: left out, put in, of another kind."""
    if draw(st.integers(0, 9)) == 0:
        return draw(junk)
    # Not all are to be cancelled at once, or there would be nothing left to do wrong.
    verb = draw(st.sampled_from([v for v in verbs if v != "cancel_all"]))
    said = {"c": verb} | {name: draw(fitting[name]) for name in verbs[verb]}
    if draw(st.booleans()):
        said["n"] = draw(st.sampled_from(["1", "2", "3"]))
    if verbs is not VERBS and draw(st.booleans()):
        said["comm_id"] = draw(fitting["comm_id"])
    for _ in range(draw(st.integers(0, 2))):
        what = draw(st.sampled_from([*said, "more"]))
        if draw(st.booleans()):
            said[what] = draw(junk)
        else:
            said.pop(what, None)
    return said


talk = st.lists(message(), max_size=8)
requests = st.lists(message({**VERBS, **REQUEST_VERBS}), max_size=8)


class Guard:
    """Notes what the interpreter is asked for while it watches: an audit hook cannot be removed."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self.seen: list[str] = []
        sys.addaudithook(self.heard)

    def heard(self, event: str, arguments: Any) -> None:
        if self.thread != threading.get_ident() or event not in FORBIDDEN:
            return
        if event == "open" and str(arguments[0]).endswith(".py") and arguments[1] in ("r", "rb"):
            return  # the source of a frame that an opened row shows
        self.seen.append(f"{event} {arguments}")


class Page:
    """One page: what it was sent has to fit into a message, as jupyter_client packs it."""

    def __init__(self, feed: Feed) -> None:
        self.answers: list[dict[str, Any]] = []
        self.subscription: Subscription = feed.subscribe(self.receive)

    def receive(self, said: dict[str, Any], buffers: list[bytes]) -> None:
        json.dumps(said, ensure_ascii=False, allow_nan=False).encode()
        self.answers.append(said)


class AtOnce(Feed):
    """A feed that handles what is submitted in the thread that submits it."""

    def submit(self, subscription: Subscription, content: object) -> None:
        self.take(subscription, content)


class Asked:
    """A request as it comes from a client, and its replies."""

    def __init__(self, content: object) -> None:
        self.content = content
        self.replies: list[dict[str, Any]] = []
        self.published: list[dict[str, Any]] = []

    def reply(self, content: dict[str, Any]) -> None:
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
        self.replies.append(content)

    def publish(self, comm_id: str, said: dict[str, Any], buffers: list[bytes]) -> None:
        json.dumps(said, ensure_ascii=False, allow_nan=False).encode()
        self.published.append(said)


class Kernel:
    """A feed without its thread, and six tasks that no message has named yet."""

    def __init__(self) -> None:
        self.registry = registry
        self.now = 0.0
        self.feed = AtOnce(self.registry, Commands(), clock=lambda: self.now)
        self.guard = Guard()
        self.complaints: list[logging.LogRecord] = []

    def ready(self) -> list[Any]:
        """Ensure six living tasks, two of them in a group; return their records in order."""
        for record in self.registry.living():
            if _limit(record.task) is not None:  # of an earlier talk, and would strike in this one
                record.task.cancel()
        self.settle()
        clear_ended()
        living = self.registry.living()
        group = _named_groups.find_group(GROUP) or asyncnb.open_group(GROUP, on_error="continue")
        for n in range(6 - len(living)):
            asyncnb.launch(_for_ever(), group=group if n % 3 == 0 else None)
        self.settle()
        return sorted(self.registry.living(), key=lambda record: record.id)

    def settle(self) -> None:
        """Let the loop do all that it was asked for until now."""
        for _ in range(3):
            turned = threading.Event()
            embedded_loop().call_soon_threadsafe(turned.set)
            assert turned.wait(10)

    def facts(self) -> dict[int, Any]:
        """What a message must not change, unless it names the task."""
        return {
            r.id: (r.task.get_name(), r.state(), r.task.cancelling(), r.group, _limit(r.task))
            for r in self.registry.records()
        }


def _limit(task: Any) -> float | None:
    return None if task.timeout is None else task.timeout.when()


async def _for_ever() -> None:
    await asyncio.Event().wait()


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    kernel = Kernel()
    handler = logging.Handler()
    handler.emit = kernel.complaints.append  # type: ignore[assignment,method-assign]
    logging.getLogger("asyncnb").addHandler(handler)
    page = Page(kernel.feed)
    id = kernel.ready()[0].id
    fit = {
        "id": id,
        "ids": [id],
        "messages": 1,
        "name": "other",
        "seconds": 9,
        "group": "none",
        "on": True,
        "calls": 3,
        "rate": "5/s",
        "cell_id": "none",
        "limit": 1,
        "offset": 0,
        "since": None,
        "state": None,
        "task": id,
        "cursor": 0,
        "patterns": ["none"],
        "match": "",
        "pattern": "none",
        "order": ORDERS[0],
    }
    for verb, needs in reversed(list(VERBS.items())):  # each imports what it needs when first used
        if verb != "cancel_all":  # and `cancel` comes last, when the others had a task
            kernel.feed.take(page.subscription, {"c": verb} | {name: fit[name] for name in needs})
    yield kernel
    logging.getLogger("asyncnb").removeHandler(handler)
    kernel.feed.close()
    asyncnb.cancel("*")
    _named_groups.group_named(GROUP).join(10)
    shutdown()
    clear_ended()


def _nested() -> Any:
    value: Any = []
    for _ in range(5000):
        value = [value]
    return value


def real(content: Any, records: list[Any]) -> Any:
    """Replace the place of a task among the tasks by its id."""
    if not isinstance(content, dict) or content.get("c") == "seen":
        return content
    found = {key: _nested() if value == DEEP else value for key, value in content.items()}
    for name in ("id", "task"):
        if type(found.get(name)) is int and 0 <= found[name] < len(records):
            found[name] = records[found[name]].id
    if isinstance(found.get("ids"), list):
        ids = found["ids"]
        found["ids"] = [
            records[i].id if type(i) is int and 0 <= i < len(records) else i for i in ids
        ]
    return found


def named(content: Any, records: list[Any]) -> set[int]:
    """The tasks that a message may change, read off the message by what the verbs mean."""
    if not isinstance(content, dict):
        return set()
    if content.get("c") in ("cancel", "pause", "resume", "rename", "timeout"):
        return {content["id"]} if type(content.get("id")) is int else set()
    if content.get("c") in ("cancel_named", "pause_named", "resume_named"):
        return {r.id for r in records}  # a task may have been given that name just before
    if content.get("c") == "cancel_all":  # made of another verb by one of the words put in
        return {r.id for r in records}
    if content.get("c") == "cancel_group":
        return {r.id for r in records if r.group == content.get("group")}
    return set()


@example(talk=[{"c": "cancel_all"}], again=[])
@given(talk=talk, again=st.lists(st.integers(0, 20), max_size=4))
@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
def test_a_page_changes_what_it_names_and_nothing_else(
    kernel: Kernel, talk: list[Any], again: list[int]
) -> None:
    records = kernel.ready()
    said = [real(content, records) for content in talk]
    said += [said[i % len(said)] for i in again if said]  # said again, and out of order
    page = Page(kernel.feed)
    before = kernel.facts()
    kernel.complaints.clear()
    kernel.guard.seen.clear()
    kernel.guard.thread = threading.get_ident()
    try:
        for content in said:
            kernel.feed.take(page.subscription, content)
            kernel.now += 0.2
            kernel.feed.tick()
    finally:
        kernel.guard.thread = None
    kernel.settle()
    after = kernel.facts()
    allowed = set().union(*(named(content, records) for content in said))
    changed = {id for id in before if id in after and before[id] != after[id]}
    assert changed <= allowed, f"{said} changed {changed - allowed}"
    gone = {id for id in before if id not in after}
    assert gone <= allowed, f"{said} took {gone - allowed} away"
    assert page.subscription in kernel.feed._subscriptions, "an answer could not be sent"
    assert not kernel.complaints, [record.getMessage() for record in kernel.complaints]
    assert not kernel.guard.seen, kernel.guard.seen
    kernel.feed.unsubscribe(page.subscription)
    clear_ended()


@given(talk=requests)
@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
def test_a_request_is_answered_once_and_changes_what_it_names(
    kernel: Kernel, talk: list[Any]
) -> None:
    records = kernel.ready()
    asked = [Asked(real(content, records)) for content in talk]
    side = ControlSide(kernel.feed, dict)
    before = kernel.facts()
    kernel.complaints.clear()
    kernel.guard.seen.clear()
    kernel.guard.thread = threading.get_ident()
    try:
        for request in asked:
            side.serve(request)
            kernel.now += 0.2
            kernel.feed.tick()
    finally:
        kernel.guard.thread = None
    kernel.settle()
    after = kernel.facts()
    for request in asked:
        [reply] = request.replies
        assert reply["status"] in ("ok", "error"), reply
        assert reply["status"] == "ok" or reply["evalue"], reply
    allowed = set().union(*(named(request.content, records) for request in asked))
    changed = {id for id in before if id not in after or before[id] != after[id]}
    assert changed <= allowed, f"{talk} changed {changed - allowed}"
    assert not kernel.complaints, [record.getMessage() for record in kernel.complaints]
    assert not kernel.guard.seen, kernel.guard.seen
    for subscription in side._subscriptions.values():
        kernel.feed.unsubscribe(subscription)
    clear_ended()


@given(content=junk)
@settings(max_examples=EXAMPLES, deadline=None, database=None)
def test_a_timeline_answers_to_its_one_word_alone(content: Any) -> None:
    pytest.importorskip("anywidget")
    from asyncnb.widgets._timeline import TimelineWidget

    def refresh() -> Any:
        raise AssertionError("it was refreshed")

    TimelineWidget._arrived(SimpleNamespace(_refresh=refresh), content)
