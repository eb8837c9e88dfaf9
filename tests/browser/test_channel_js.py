"""The protocol's JavaScript on an empty page, with a connection that the test answers through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import asyncnb._lab
from tests.browser.lab import Lab

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.browser

SOURCE = Path(asyncnb._lab.__file__).parent / "src" / "channel.js"

# What a Channel uses of JupyterLab's KernelConnection. `sent` has the content of each request with
# the type of its message, `answer` answers one of them, `publish` is a message on IOPub.
OPEN = """async source => {
    const text = `${source}; export { Channel };`;
    const made = URL.createObjectURL(new Blob([text], { type: 'text/javascript' }));
    const { Channel } = await import(made);
    const listeners = new Set();
    window.futures = [];
    window.connection = {
        clientId: 'client', username: 'me', isDisposed: false,
        status: 'idle', connectionStatus: 'connected',
        iopubMessage: { connect: f => listeners.add(f), disconnect: f => listeners.delete(f) },
        sendControlMessage(message) {
            if (window.isDead) throw new Error('Kernel is dead');
            const future = { message };
            future.done = new Promise((_, reject) => {
                future.dispose = () => {
                    future.isDisposed = true;
                    reject(new Error('Canceled'));
                };
            });
            futures.push(future);
            return future;
        },
    };
    window.listeners = listeners;
    window.sent = () => futures.map(({ message }) => [message.header.msg_type, message.content]);
    window.answer = async (index, content) => {
        futures.at(index).onReply({ content });
        await new Promise(done => setTimeout(done));
    };
    window.publish = (comm, content, more = {}) => {
        const message = { header: { msg_type: 'comm_msg' }, buffers: [],
            content: { comm_id: comm, data: { method: 'custom', content } }, ...more };
        listeners.forEach(f => f(connection, message));
    };
    window.channel = new Channel(connection);
    window.got = [];
    window.open = (show = 'rows') => channel.subscribe(show, message => got.push(message));
    window.outcome = promise => promise.then(value => ['ok', value], e => [e.kind, e.message]);
}"""


class Client:
    """A page with one Channel."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.page: Page = lab.blank_page()

    def open(self) -> None:
        """Begin anew."""
        self._lab.call(self.page.goto("about:blank"))
        self.ask(OPEN, SOURCE.read_text(encoding="utf-8"))

    def ask(self, script: str, argument: Any = None) -> Any:
        """Evaluate on the page."""
        return self._lab.call(self.page.evaluate(script, argument))

    def sent(self) -> list[Any]:
        """The requests since the last call, without the types and the ids."""
        found = self.ask("() => window.sent().slice(window.read ?? 0)")
        self.ask("() => { window.read = futures.length; }")
        return [{k: v for k, v in content.items() if k != "comm_id"} for _, content in found]

    def close(self) -> None:
        """Close the page."""
        self._lab.call(self.page.close())


@pytest.fixture(scope="module")
def _client(lab: Lab) -> Iterator[Client]:
    client = Client(lab)
    yield client
    client.close()


@pytest.fixture
def client(_client: Client) -> Client:
    """A channel to a kernel that has not answered anything yet."""
    _client.open()
    return _client


def test_a_request_ends_with_its_reply_or_a_sentence(client: Client) -> None:
    asked = "window.a = outcome(channel.request({ c: 'hello' }));"
    client.ask(f"() => {{ {asked} }}")
    assert client.ask("() => sent()") == [["asyncnb_request", {"c": "hello"}]]
    assert client.ask("() => futures[0].message.channel") == "control"
    client.ask("() => answer(0, { status: 'ok', version: 1 })")
    assert client.ask("() => a") == ["ok", {"status": "ok", "version": 1}]

    client.ask(f"() => {{ {asked} }}")
    error = "{ status: 'error', ename: 'CommandError', evalue: 'Unknown command.' }"
    client.ask(f"() => answer(1, {error})")
    assert client.ask("() => a") == ["refused", "Unknown command."]

    silent = client.ask("() => outcome(channel.request({ c: 'hello' }, 1))")
    assert silent == ["timeout", "The kernel did not answer."]

    client.ask(f"() => {{ {asked} futures.at(-1).dispose(); }}")  # as a restart does
    assert client.ask("() => a")[0] == "lost"
    client.ask(f"() => {{ {asked} channel.cut(); }}")
    assert client.ask("() => a")[0] == "lost"
    client.ask(f"() => {{ window.isDead = true; {asked} }}")
    assert client.ask("() => a") == ["lost", "The kernel is not connected: Kernel is dead."]
    client.ask(f"() => {{ connection.connectionStatus = 'connecting'; {asked} }}")
    assert client.ask("() => a") == ["lost", "The kernel is not connected."]

    assert client.ask("() => futures.every(future => future.isDisposed)")
    assert client.ask("() => channel.pending.size") == 0


@pytest.mark.parametrize(
    ("comms", "expected"),
    [
        ("{ one: { target_name: 'asyncnb' } }", True),
        ("{}", False),
        ("undefined", False),
        ("{ one: { target_name: 'jupyter.widget' } }", False),
    ],
)
def test_a_kernel_with_asyncnb_lists_its_comm(client: Client, comms: str, expected: bool) -> None:
    client.ask("() => { window.a = channel.probe(); }")
    assert client.ask("() => sent()") == [["comm_info_request", {"target_name": "asyncnb"}]]
    client.ask(f"() => answer(0, {{ status: 'ok', comms: {comms} }})")
    assert client.ask("() => a") is expected


def test_a_subscription_begins_with_asyncnb_and_again_after_each_loss(client: Client) -> None:
    client.ask("() => { window.rows = open(); rows.post({ c: 'sync' }); channel.resume(); }")
    assert client.sent() == [{"c": "subscribe", "show": "rows"}]
    client.ask("() => answer(0, { status: 'ok', version: 1 })")
    client.ask("() => { window.comm = sent()[0][1].comm_id; rows.post({ c: 'sync' }); }")
    assert client.sent() == []  # a snapshot is on its way
    client.ask(
        """() => {
            publish(comm, { k: 'snapshot' });
            publish('of another', { k: 'delta' });
            publish(comm, { k: 'of a widget' }, { header: { msg_type: 'comm_open' } });
            rows.post({ c: 'view', ids: [1] });
            rows.post({ c: 'view', ids: [2] });
            rows.post({ c: 'sync' });
        }"""
    )
    assert client.ask("() => got") == [{"k": "snapshot"}]
    view = {"c": "view", "ids": [2]}
    assert client.sent() == [{"c": "view", "ids": [1]}, view, {"c": "sync"}]

    client.ask("() => { channel.cut(); publish(comm, { k: 'delta' }); }")
    assert client.ask("() => got.length") == 1
    lost = "() => { try { rows.post({ c: 'clear', n: '1' }); } catch (e) { return e.kind; } }"
    assert client.ask(lost) == "lost"
    client.ask("() => { rows.post(" + '{ c: "unfold", ids: [3] }' + "); channel.resume(); }")
    assert client.sent() == [{"c": "subscribe", "show": "rows"}]
    client.ask("() => answer(-1, { status: 'ok', version: 1 })")
    assert client.sent() == [view, {"c": "unfold", "ids": [3]}]
    assert client.ask("() => futures.at(-1).message.content.comm_id !== comm")

    client.ask("() => { rows.post({ c: 'close' }); channel.resume(); }")
    assert client.sent() == [{"c": "unsubscribe"}]
    client.ask("() => { rows.post({ c: 'sync' }); }")
    assert client.sent() == [{"c": "subscribe", "show": "rows"}]
    client.ask("() => { rows.dispose(); channel.resume(); channel.dispose(); }")
    assert client.sent() == [{"c": "unsubscribe"}]
    assert (
        client.ask("() => [channel.byComm.size, channel.pending.size, listeners.size]") == [0] * 3
    )


def test_messages_are_acknowledged_and_counted_from_each_snapshot(client: Client) -> None:
    client.ask("() => { open('summary'); channel.resume(); window.comm = sent()[0][1].comm_id; }")
    client.sent()
    tell = "n => { for (let i = 0; i < n; i++) publish(comm, { k: 'summary' }); }"
    client.ask(tell, 19)
    assert client.sent() == []
    client.ask(tell, 22)
    assert client.sent() == [{"c": "seen", "messages": 20}, {"c": "seen", "messages": 40}]
    client.ask("() => publish(comm, { k: 'snapshot', format: { acknowledge: 3 } })")
    client.ask(tell, 2)
    assert client.sent() == [{"c": "seen", "messages": 3}]
    assert client.ask("() => got.length") == 44


def test_what_the_kernel_refuses_is_answered_and_an_unknown_subscription_renewed(
    client: Client,
) -> None:
    client.ask(
        """() => {
            window.troubles = [];
            channel.onTrouble = error => troubles.push(error.message);
            window.rows = open();
            channel.resume();
        }"""
    )
    client.ask("() => answer(0, { status: 'ok' })")
    client.ask("() => rows.post({ c: 'cancel', id: 7, n: 'mine' })")
    refused = "{ status: 'error', ename: 'CommandError', evalue: 'No task has the id 7.' }"
    client.ask(f"() => answer(1, {refused})")
    told = {"k": "ack", "n": "mine", "ok": False, "text": "No task has the id 7."}
    assert client.ask("() => got") == [told]
    client.ask("() => answer(2, { status: 'ok' })")  # it knows the subscription
    assert client.ask("() => troubles") == []

    client.ask("() => rows.post({ c: 'view', ids: [] })")
    gone = "{ status: 'error', evalue: 'No subscription has this id.' }"
    client.ask(f"() => answer(3, {gone})")
    assert client.ask("() => troubles") == ["No subscription has this id."]
    client.sent()
    client.ask("() => channel.resume()")
    assert client.sent() == [{"c": "subscribe", "show": "rows"}]
