"""Whatever arrives at the control channel: refused or ignored, and the kernel keeps answering.

Real messages on a real socket: halves of them, foreign signatures, other encodings, huge and deep
ones, the corpus of ``tests/widgets/test_fuzz.py``. ``ASYNCNB_FUZZ=5000`` sends that many
conversations; the suite sends a few.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncnb.widgets._commands import HELD, MAX_SECONDS, VERBS
from asyncnb.widgets._requests.control import REQUEST_VERBS
from tests.kernel.control import ControlClient
from tests.kernel.driver import Kernel
from tests.widgets.test_fuzz import DEEP, message

EXAMPLES = int(os.environ.get("ASYNCNB_FUZZ", "15"))
DELIMITER = b"<IDS|MSG>"
SLEEPERS = """
stay = asyncio.Event()
group = asyncnb.open_group('a group', on_error='continue')
made = [asyncnb.launch(stay.wait(), name=f'kept {n}', group=None if n % 3 else group)
        for n in range(6)]
ids = [task.info().id for task in made]
facts = lambda: {i: (t.get_name(), t.info().state, t.cancelling(), t.info().group)
                 for i, t in zip(ids, made)}
"""


class Sender:
    """A connection to the control channel that sends what it is given. It reads if it likes."""

    def __init__(self, client: ControlClient) -> None:
        self.key = client.session.key
        self.address = client._client._make_url("control")
        self.context = zmq.Context()
        self.socket = self.open()

    def open(self, most: int = 1000) -> Any:
        opened = self.context.socket(zmq.DEALER)
        opened.linger, opened.rcvhwm = 0, most
        opened.connect(self.address)
        return opened

    def frames(self, content: object, **header: Any) -> list[bytes]:
        """A message as ZeroMQ sends it: delimiter, signature, four parts."""
        said = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": "asyncnb_request",
            "session": uuid.uuid4().hex,
            "username": "somebody",
            "date": datetime.datetime.now(datetime.UTC).isoformat(),
            "version": "5.3",
        } | header
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        return self.signed([json.dumps(said).encode(), b"{}", b"{}", content])

    def signed(self, parts: list[bytes], key: bytes | None = None) -> list[bytes]:
        signature = hmac.new(self.key if key is None else key, digestmod=hashlib.sha256)
        for part in parts:
            signature.update(part)
        return [DELIMITER, signature.hexdigest().encode(), *parts]

    def ask(self, content: object) -> dict[str, Any]:
        """Send a request; return the content of the next reply."""
        self.socket.send_multipart(self.frames(content))
        return self.read()

    def read(self) -> dict[str, Any]:
        assert self.socket.poll(30_000), "no reply"
        return dict(json.loads(self.socket.recv_multipart()[-1]))


@pytest.fixture
def client(kernel: Kernel) -> Iterator[ControlClient]:
    with ControlClient(kernel) as client:
        client.ok(c="hello")
        kernel.ok(SLEEPERS)
        kernel.ok("await asyncio.sleep(0); await asyncio.sleep(0)")
        yield client


@pytest.fixture
def sender(client: ControlClient) -> Iterator[Sender]:
    sender = Sender(client)
    yield sender
    sender.context.destroy(linger=0)


def test_half_and_forged_messages_are_ignored(
    kernel: Kernel, client: ControlClient, sender: Sender
) -> None:
    before = kernel.evaluate("facts()")
    good = sender.frames({"c": "cancel_all"})
    _, signature, *parts = good
    bad = [good[:n] or [b""] for n in range(len(good))]
    bad += [[b"no", b"delimiter", b"in", b"it"], [b""] * 1000, [DELIMITER] * 100]
    bad += [[DELIMITER, wrong, *parts] for wrong in (b"", b"0" * 64, b"\xff", signature[:-1])]
    bad += [sender.signed(parts, key=b"of another kernel")]
    bad += [[DELIMITER, signature, *parts[:3], b'{"c": "clear"}']]  # signed for another content
    bad += [sender.signed([header, *parts[1:]]) for header in (b"", b"[]", b"{}", b"null", b"\xff")]
    bad += [sender.frames({"c": "cancel_all"}, msg_type=5), sender.frames({}, msg_type="x" * 10**6)]
    if kernel.evaluate("__import__('ipykernel').version_info[0]") < 7:
        # Without a delimiter, a message ends ipykernel 6's own reading of the control channel.
        bad = [frames for frames in bad if DELIMITER in frames]
    for frames in bad:
        sender.socket.send_multipart(frames)
    assert sender.ask({"c": "nonsense"})["status"] == "error", "one of them was answered"
    assert client.ok(c="list")["total"] == 6
    assert kernel.evaluate("facts()") == before


def test_other_encodings_and_odd_json_change_nothing(
    kernel: Kernel, client: ControlClient, sender: Sender
) -> None:
    before = kernel.evaluate("facts()")
    for content in (
        b'{"c": "cancel_a',
        b'{"c": "cancel_all"',
        b"",
        b"\x00",
        '{"c": "cancel_all\xff"}'.encode("latin-1"),
        b'{"c": "cancel\\u0000_all"}',
        b'{"c": "cancel_all", "c": "cancel"}',
        b'{"c": NaN}',
        b'{"c": "timeout", "id": 1, "seconds": NaN}',
        b'{"c": "timeout", "id": 1, "seconds": Infinity}',
        b'{"c": "cancel", "id": 1e999}',
        b'{"c": "cancel", "id": ' + b"9" * 4000 + b"}",
        b'{"c": "cancel", "id": ' + b"9" * 5000 + b"}",
        b'{"c": "cancel", "id": true}',
        b'{"c": "cancel", "id": 1.0}',
        *(b"[]", b"null", b"1e999", b'"cancel_all"', b'[{"c": "cancel_all"}]'),
        b'{"c": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"c": "nonsense", "x": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
        b'{"c": "' + b"x" * 100_000_000 + b'"}',
        b'{"c": "nonsense", "x": [' + b'"y",' * 2_000_000 + b"1]}",
    ):
        sender.socket.send_multipart(sender.frames(content))
    # ipykernel drops what is no JSON; what is, is refused.
    assert client.ok(c="hello")["version"] == 1
    while sender.socket.poll(0):
        assert sender.read()["status"] == "error"
    assert client.ok(c="list")["total"] == 6
    assert kernel.evaluate("facts()") == before


def test_buffers_and_tricks_with_n_do_not_change_what_a_request_means(
    kernel: Kernel, client: ControlClient, sender: Sender
) -> None:
    sender.socket.send_multipart([*sender.frames({"c": "list"}), *[b"z"] * 10_000])
    assert sender.read()["total"] == 6
    id = kernel.evaluate("ids[0]")
    for n in (1, None, "", "x" * 101, ["1"], {"n": "1"}, True, "\ud800", "1" * 100):
        reply = sender.ask({"c": "rename", "id": id, "name": "other", "n": n, "comm_id": "none"})
        assert reply["status"] == "error", n
    assert kernel.evaluate("made[0].get_name()") == "kept 0"
    rows = client.subscribe()
    for _ in range(3):  # each n is done once
        client.ok(c="rename", id=id, name="once", n="a", comm_id=rows)
        client.ok(c="rename", id=id, name="twice", n="b", comm_id=rows)
    client.message(rows, "ack", n="b")
    assert kernel.evaluate("made[0].get_name()") == "twice"
    assert "characters" in client.refused(c="output", task=id, cursor=2**52)
    client.ok(c="unsubscribe", comm_id=rows)


def test_a_peer_that_never_reads_and_a_thousand_connections_are_in_no_ones_way(
    kernel: Kernel, client: ControlClient, sender: Sender
) -> None:
    silent = sender.open(most=1)
    for _ in range(2000):
        silent.send_multipart(sender.frames({"c": "list"}))
    assert client.ok(c="list")["total"] == 6
    host, port = sender.address.removeprefix("tcp://").rsplit(":", 1)
    opened = []
    try:
        for n in range(1000):
            opened.append(socket.create_connection((host, int(port))))
            opened[-1].sendall((b"", b"\xff", b"GET / HTTP/1.1\r\n\r\n", b"\xff\0\0\0")[n % 4])
    except OSError as exc:  # as many as this process, or the kernel, may have
        assert len(opened) > 100, exc
    try:
        asked = [sender.open() for _ in range(50)]
        for each in asked:
            each.send_multipart(sender.frames({"c": "hello"}))
        assert client.ok(c="list")["total"] == 6
    finally:
        for each in opened:
            each.close()
    for each in asked:
        assert each.poll(30_000) and json.loads(each.recv_multipart()[-1])["status"] == "ok"
    assert client.ok(c="list")["total"] == 6


def named(content: Any, ids: list[int], groups: dict[int, Any]) -> set[int]:
    """The tasks that a message may change, read off the message by what the verbs mean."""
    if not isinstance(content, dict):
        return set()
    match content.get("c"):
        case "cancel" | "pause" | "resume" | "rename" | "timeout" | "notify":
            return {content["id"]} if type(content.get("id")) is int else set()
        case "cancel_all" | "cancel_named" | "pause_named" | "resume_named":
            return set(ids)
        case "cancel_group":
            return {id for id in ids if groups[id] == content.get("group")}
    return set()


def as_json(content: Any, ids: list[int]) -> tuple[Any, bytes]:
    """A message of the corpus with the ids of real tasks, and as bytes: deep where it says so."""
    if isinstance(content, dict):
        content = dict(content)
        for name in ("id", "task"):
            if type(content.get(name)) is int and 0 <= content[name] < len(ids):
                content[name] = ids[content[name]]
        if content.get("c") in [*HELD] and type(content.get("seconds")) in (int, float):
            content["seconds"] = 0 if 0 <= content["seconds"] <= MAX_SECONDS else -1
        if isinstance(content.get("ids"), list):
            few = content["ids"][:50]
            content["ids"] = [ids[i] if i in range(len(ids)) else i for i in few]
    deep = b"[" * 5000 + b"]" * 5000
    return content, json.dumps(content).encode().replace(json.dumps(DEEP).encode(), deep)


@pytest.fixture
def converse(kernel: Kernel, client: ControlClient, sender: Sender) -> Callable[[list[Any]], None]:
    def talk(said: list[Any]) -> None:
        kernel.ok("[task.cancel() for task in made]; await asyncio.sleep(0)")
        kernel.ok(SLEEPERS)
        kernel.ok("await asyncio.sleep(0); await asyncio.sleep(0)")
        ids = kernel.evaluate("ids")
        before = kernel.evaluate("facts()")
        groups = {id: facts[3] for id, facts in before.items()}
        sent = [as_json(content, ids) for content in said]
        answered = 0
        for _, content in sent:
            sender.socket.send_multipart(sender.frames(content))
            # One at a time: questions are answered by another thread than the rest.
            if b"[" * 100 not in content:
                assert sender.read()["status"] in ("ok", "error")
                answered += 1
        assert client.ok(c="hello")["version"] == 1
        client.ok(c="list")
        kernel.ok("await asyncio.sleep(0); await asyncio.sleep(0)")
        after = kernel.evaluate("facts()")
        allowed = set().union(*(named(content, ids, groups) for content, _ in sent))
        changed = {id for id in before if before[id] != after[id]}
        assert changed <= allowed, f"{said} changed {changed - allowed}"
        while sender.socket.poll(0):  # of deep ones: whether they are JSON is the parser's choice
            assert sender.read()["status"] in ("ok", "error")

    return talk


requests = st.lists(message({**VERBS, **REQUEST_VERBS}), max_size=8)


def test_the_corpus_of_the_dashboard_is_refused_or_does_what_it_names(
    converse: Callable[[list[Any]], None],
) -> None:
    @given(said=requests)
    @settings(
        max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    def corpus(said: list[Any]) -> None:
        converse(said)

    corpus()
