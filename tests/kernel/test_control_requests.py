"""Requests of front ends on the control channel, which a kernel answers while a cell runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.session import Session

from asyncnb.widgets._commands import VERBS
from asyncnb.widgets._requests.control import REQUEST_VERBS
from tests.kernel.control import ControlClient, content_for
from tests.kernel.driver import Kernel

PATIENT = "task = asyncnb.launch(asyncio.Event().wait(), name='patient'); id = task.info().id"


@pytest.fixture
def client(kernel: Kernel) -> Iterator[ControlClient]:
    with ControlClient(kernel) as client:
        yield client


def test_a_client_finds_asyncnb_and_asks_what_it_can(kernel: Kernel, client: ControlClient) -> None:
    assert len(client.find()) == 1
    assert client.find() == client.find()
    kernel.ok("await asyncio.sleep(0)")  # there is a loop
    said = client.ok(c="hello", version=1)
    assert said["version"] == 1
    assert said["can"] == sorted([*VERBS, *REQUEST_VERBS])
    assert said["python"] == kernel.evaluate("sys.version.split()[0]")
    assert said["ipykernel"] == kernel.evaluate("__import__('ipykernel').__version__")
    assert said["loop"] == kernel.evaluate("asyncnb.embedded_loop().kind")


@pytest.mark.parametrize("block", ["time.sleep(0.01)", "sum(range(1000))"])
def test_requests_are_handled_while_a_cell_blocks(
    kernel: Kernel, client: ControlClient, block: str
) -> None:
    kernel.ok(PATIENT)
    id = kernel.evaluate("id")
    cell = kernel.submit(f"print('blocks')\nwhile not task.done():\n    {block}\nprint('over')")
    cell.wait_for("blocks")
    assert client.find()
    rows = client.subscribe()
    snapshot = client.message(rows, "snapshot")
    assert "patient" in str(snapshot["texts"])
    assert [each["name"] for each in client.ok(c="list")["tasks"]] == ["patient"]
    done = client.ok(c="cancel", id=id)
    assert done["text"] == "cancellation requested for 1 task"
    assert cell.wait().stdout == "blocks\nover\n"


def test_a_kernel_that_runs_a_cell_is_shown_as_busy_after_a_request(
    kernel: Kernel, client: ControlClient
) -> None:
    kernel.ok(PATIENT)
    client.ok(c="hello")
    cell = kernel.submit("print('blocks')\nwhile not task.done():\n    time.sleep(0.01)")
    cell.wait_for("blocks")
    asked = client.send({"c": "hello"})

    def state(message: dict[str, Any], parent: str, wanted: str) -> bool:
        return (
            message["msg_type"] == "status"
            and message["parent_header"]["msg_id"] == parent
            and message["content"]["execution_state"] == wanted
        )

    client.read(lambda message: state(message, asked, "idle"))
    client.read(lambda message: state(message, cell.msg_id, "busy"))
    client.ok(c="cancel_all")
    cell.wait()
    # A request to an idle kernel ends with `idle`.
    client.read(lambda message: state(message, cell.msg_id, "idle"))
    asked, last = client.send({"c": "hello"}), client.send({"c": "hello"})
    client.read(lambda message: state(message, last, "idle"))
    states = [m for m in client.heard if m["msg_type"] == "status"]
    after = [m["parent_header"]["msg_id"] for m in states[-4:]]
    assert after == [asked, asked, last, last]


def test_a_subscription_gets_rows_and_answers_until_it_ends(
    kernel: Kernel, client: ControlClient
) -> None:
    rows = client.subscribe()
    snapshot = client.message(rows, "snapshot")
    assert snapshot["format"]["texts"][:2] == ["id", "name"]
    kernel.ok(PATIENT)
    id = kernel.evaluate("id")
    assert "patient" in str(client.message(rows, "delta")["texts"])
    assert client.ok(c="rename", id=id, name="other", n="1", comm_id=rows) == {"status": "ok"}
    assert client.message(rows, "ack", n="1")["ok"]
    client.ok(c="rename", id=id, name="patient", n="1", comm_id=rows)  # the same request again
    assert client.message(rows, "ack", n="1")["ok"]
    assert kernel.evaluate("task.get_name()") == "other"
    client.ok(c="rename", id=id, name="*", n="2", comm_id=rows)
    assert "glob" in client.message(rows, "ack", n="2", ok=False)["text"]
    client.ok(c="detail", id=id, comm_id=rows)
    assert client.message(rows, "detail", id=id)["of"]["frames"]
    client.ok(c="seen", messages=3, comm_id=rows)
    client.ok(c="sync", comm_id=rows)
    assert "other" in str(client.message(rows, "snapshot")["texts"])
    client.ok(c="subscribe", comm_id=rows, show="rows")  # of a page that has reconnected
    client.message(rows, "snapshot")
    client.ok(c="unsubscribe", comm_id=rows)
    assert "subscribe again" in client.refused(c="seen", messages=3, comm_id=rows)
    assert "No subscription" in client.refused(c="unsubscribe", comm_id=rows)
    other = client.subscribe("summary")
    assert client.message(other, "summary")["counts"]["running"] == 1
    client.ok(c="view", ids=[id], n="3", comm_id=other)
    assert "rows" in client.message(other, "ack", n="3", ok=False)["text"]
    ended = len(client.heard)
    client.ok(c="cancel", id=id)
    assert client.message(other, "summary")["counts"]["cancelled"] == 1
    assert not any(content_for(rows, message) for message in client.heard[ended:])
    client.ok(c="close", comm_id=other)


def test_two_clients_are_told_the_same_and_one_leaves(
    kernel: Kernel, client: ControlClient
) -> None:
    with ControlClient(kernel) as second:
        mine, theirs = client.subscribe(), second.subscribe()
        client.message(mine, "snapshot"), second.message(theirs, "snapshot")
        kernel.ok(PATIENT)
        assert client.message(mine, "delta")["texts"] == second.message(theirs, "delta")["texts"]
        second.ok(c="pause", id=kernel.evaluate("id"))
        client.message(mine, "delta")
        second.ok(c="unsubscribe", comm_id=theirs)
    client.ok(c="resume", id=kernel.evaluate("id"))
    client.message(mine, "delta")


REFUSED: list[Any] = [
    {},
    {"c": None},
    {"c": "nonsense"},
    {"c": {}},
    {"c": ["hello"]},
    {"c": "_cancel"},
    {"c": "cancel"},
    {"c": "cancel", "id": "1"},
    {"c": "cancel", "id": -1},
    {"c": "cancel", "id": 10**30},
    {"c": "cancel", "id": 1, "n": 1},
    {"c": "cancel", "id": 1, "comm_id": None},
    {"c": "cancel", "id": 1, "comm_id": "none such"},
    {"c": "cancel_all", "version": 2},
    {"c": "hello", "version": "1"},
    {"c": "subscribe"},
    {"c": "subscribe", "comm_id": "x"},
    {"c": "subscribe", "comm_id": "", "show": "rows"},
    {"c": "subscribe", "comm_id": "x" * 101, "show": "rows"},
    {"c": "subscribe", "comm_id": "\u202e", "show": "rows"},
    {"c": "subscribe", "comm_id": "x", "show": "all"},
    {"c": "subscribe", "comm_id": "x", "show": ["rows"]},
    {"c": "seen", "messages": 1},
    {"c": "sync"},
    {"c": "detail", "id": 1},
    {"c": "list", "limit": -1},
    {"c": "list", "limit": "10"},
    {"c": "list", "since": "today"},
    {"c": "list", "state": "dead"},
    {"c": "describe"},
    {"c": "describe", "task": "none such"},
    {"c": "describe", "task": 0},
    {"c": "output", "task": "patient", "cursor": -1},
    {"c": "output", "task": "patient", "cursor": 1},
]


def test_what_makes_no_sense_is_refused_with_a_sentence_and_changes_nothing(
    kernel: Kernel, client: ControlClient
) -> None:
    kernel.ok(PATIENT)
    for content in REFUSED:
        sentence = client.refused(content)
        assert sentence[-1] in ".;?" and " " in sentence, (content, sentence)
    assert kernel.evaluate("task.info().state") == "waiting"
    assert client.ok(c="list")["total"] == 1


def test_a_request_with_a_wrong_signature_is_ignored(kernel: Kernel, client: ControlClient) -> None:
    kernel.ok(PATIENT)
    forged = Session(key=b"another", signature_scheme=client.session.signature_scheme)
    forged.send(client._client.control_channel.socket, "asyncnb_request", {"c": "cancel_all"})
    assert client.ok(c="list")["tasks"][0]["state"] == "waiting"


def test_many_requests_at_once_are_all_answered_in_order(
    kernel: Kernel, client: ControlClient
) -> None:
    kernel.ok(PATIENT)
    id = kernel.evaluate("id")
    asked = [client.send({"c": "rename", "id": id, "name": f"name {n}"}) for n in range(300)]
    assert all(client.reply(each)["status"] == "ok" for each in asked)
    assert kernel.evaluate("task.get_name()") == "name 299"


def test_tasks_are_listed_and_described(kernel: Kernel, client: ControlClient) -> None:
    kernel.ok("before = time.time()")
    kernel.ok("%%atask fails\nawait asyncio.sleep(0); print('tried'); 1/0")
    kernel.run("%tasks wait")
    kernel.ok(
        "for n in range(5): asyncnb.launch(asyncio.Event().wait(), name=f'job {n}\\ud800')\n"
        "async def main(): await asyncnb.map(asyncio.sleep, [0, 60])\n"
        "asyncnb.launch(main(), name='crawl'); time.sleep(0)"
    )
    listed = client.ok(c="list", since=kernel.evaluate("before"))
    assert [each["name"] for each in listed["tasks"]][:2] == ["fails", "job 0\\ud800"]
    failed = listed["tasks"][0]
    assert failed["state"] == "failed" and failed["note"].startswith("ZeroDivisionError")
    assert failed["ended"] >= failed["started"] > 0
    part = client.ok(c="list", limit=2, offset=1)
    assert part["tasks"] == listed["tasks"][1:3] and part["total"] == listed["total"] >= 7
    assert client.ok(c="list", limit=0, state="failed")["total"] == 1
    assert client.ok(c="list", since=listed["now"] + 60, state="failed")["total"] == 0
    described = client.ok(c="describe", task="fails")["task"]
    assert described["output"] == "tried\n" and "ZeroDivisionError" in described["traceback"]
    assert client.ok(c="describe", task=failed["id"])["task"] == described
    assert client.ok(c="timeline")["data"]


def test_output_is_read_from_a_cursor_on_and_says_how_much_is_gone(
    kernel: Kernel, client: ControlClient
) -> None:
    kernel.ok(
        "%%atask talks\ntext, said = None, asyncio.Queue()\n"
        "while (text := await said.get()) is not None: print(text, end='')"
    )
    kernel.ok("await asyncio.sleep(0)\nput = lambda text: said.put_nowait(text)")
    kernel.ok("import asyncnb._core.config as c; c.config.output_tail = 10")

    def say(text: str) -> None:
        kernel.ok(f"put({text!r}); await asyncio.sleep(0); await asyncio.sleep(0)")

    start = client.ok(c="output", task="talks")
    assert start["text"] == "" and start["cursor"] == 0
    say("hello")
    first = client.ok(c="output", task="talks")
    assert (first["text"], first["cursor"], first["gone"]) == ("hello", 5, 0)
    say(" you")
    more = client.ok(c="output", task=first["id"], cursor=5)
    assert (more["text"], more["cursor"], more["gone"]) == (" you", 9, 0)
    say("12345")
    late = client.ok(c="output", task="talks", cursor=2)
    assert (late["text"], late["cursor"], late["gone"]) == (" you12345", 14, 3)
    assert client.ok(c="output", task="talks", cursor=14)["text"] == ""
    assert "14 characters" in client.refused(c="output", task="talks", cursor=15)
    kernel.ok("put(None)\n%tasks wait")
    assert client.ok(c="output", task="talks", cursor=14)["state"] == "done"


def test_an_unloaded_asyncnb_says_bye_and_a_loaded_one_is_another(
    fresh_kernel: Kernel,
) -> None:
    kernel = fresh_kernel
    with ControlClient(kernel) as client:
        [found] = client.find()
        rows, summary = client.subscribe(), client.subscribe("summary")
        client.message(rows, "snapshot")
        kernel.ok("%unload_ext asyncnb")
        client.message(rows, "bye")
        client.message(summary, "bye")
        assert client.find() == []
        kernel.ok("%load_ext asyncnb")
        [again] = client.find()
        assert again != found
        assert "subscribe again" in client.refused(c="sync", comm_id=rows)
        close = client.session.msg("comm_close", {"comm_id": again, "data": {}})
        kernel._client.shell_channel.send(close)
        kernel.ok("")
        assert client.find() == [again], "a front end has closed the comm"
        rows = client.subscribe()
        client.message(rows, "snapshot")
        kernel.restart()
        while not client.find():  # a message to a kernel that starts may be lost
            pass
        client.wait_for_iopub()
        assert "subscribe again" in client.refused(c="sync", comm_id=rows)
        client.message(client.subscribe(), "snapshot")


def test_a_kernel_without_asyncnb_has_nothing_to_be_found(start_kernel: Any) -> None:
    kernel = start_kernel(extension=False)
    with ControlClient(kernel) as client:
        assert client.find() == []
        kernel.ok("import sys\n%load_ext asyncnb")
        assert len(client.find()) == 1
        kernel.ok("%load_ext asyncnb")
        assert len(client.find()) == 1
        heavy = "[m for m in ('anywidget', 'asyncnb.widgets._feed') if m in sys.modules]"
        assert kernel.evaluate(heavy) == []
        client.subscribe(), client.subscribe("summary")
        assert kernel.evaluate(heavy) == ["asyncnb.widgets._feed"], "a widget has been imported"
