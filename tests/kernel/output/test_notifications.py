"""Notifications in a kernel without a browser: what is sent to pages, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.kernel.driver import Cell, Kernel

PREPARE = """
import asyncio, asyncnb, sys, threading, time
import asyncnb._core.launched.digest as digest
digest.GAP = digest.GAP_AFTER_MANY = 0.0  # for the next test's
gate = asyncio.Event()
"""


def messages(kernel: Kernel, kind: str) -> list[dict[str, Any]]:
    """What was sent to pages, whichever request it belongs to."""
    return [
        content
        for cell in list(kernel._cells.values())
        for message in list(cell.messages)
        if message["msg_type"] == "comm_msg"
        and isinstance(content := message["content"]["data"].get("content"), dict)
        and content.get("k") == kind
    ]


def notes(kernel: Kernel, number: int) -> list[dict[str, Any]]:
    """Wait for so many notifications and return them; there may be more."""
    with kernel._news:
        enough = kernel._news.wait_for(lambda: len(messages(kernel, "note")) >= number, 30)
    assert enough, messages(kernel, "note")
    return messages(kernel, "note")


def page_says(kernel: Kernel, **content: Any) -> Cell:
    comm = kernel.evaluate(
        "__import__('asyncnb')._extension._loaded._browser._notifier.comm.comm_id"
    )
    data = {"method": "custom", "content": content}
    return kernel._request("comm_msg", {"comm_id": comm, "data": data})


def test_nothing_is_loaded_before_the_first_one(fresh_kernel: Kernel) -> None:
    fresh_kernel.ok("import asyncnb, sys")
    fresh_kernel.ok("%%atask quick\n1")
    fresh_kernel.ok("%tasks wait")
    fresh_kernel.ok("try: asyncnb.launch(asyncio.sleep(0)).join()\nexcept NameError: pass")
    for name in ("anywidget", "asyncnb._kernel.output.notifications"):
        assert fresh_kernel.evaluate(f"{name!r} in sys.modules") is False


@pytest.mark.parametrize(
    ("magic", "title"),
    [
        ("%%atask {} --notify", "is done"),
        ("%%atask {} --notify --on process", "is done"),
        ("%%agroup {} --notify", "is done"),
    ],
)
def test_a_cell_asks_to_be_notified_of_its_end(kernel: Kernel, magic: str, title: str) -> None:
    kernel.ok(PREPARE)
    kernel.ok(magic.format("job") + "\n1;")
    [note] = notes(kernel, 1)
    assert note["title"] == f"job {title}"
    assert note["text"].startswith("after 0.")
    assert (note["level"], note["onlyUnseen"]) == ("success", False)
    assert messages(kernel, "ask")


def test_an_expression_a_failure_and_a_cancel_notify_too(kernel: Kernel) -> None:
    kernel.ok(PREPARE)
    kernel.ok("%atask short --notify asyncio.sleep(0)")
    assert notes(kernel, 1)[0]["title"] == "short is done"
    kernel.ok("%%atask broken --notify\nawait asyncio.sleep(0)\n1 / 0")
    assert notes(kernel, 2)[1]["title"] == "broken failed"
    assert "ZeroDivisionError" in notes(kernel, 2)[1]["text"]
    kernel.ok("%%atask stopped --notify\nawait gate.wait()")
    kernel.ok("%tasks cancel stopped")
    assert notes(kernel, 3)[2]["title"] == "stopped was cancelled"


def test_a_run_that_is_replaced_says_nothing(kernel: Kernel) -> None:
    kernel.ok(PREPARE)
    kernel.ok("%%atask again --notify\nawait gate.wait()")
    kernel.ok("%%atask again --notify\nawait asyncio.sleep(0)")
    [note] = notes(kernel, 1)
    assert note["title"] == "again is done"


def test_it_is_called_from_a_cell_a_thread_and_a_task(kernel: Kernel) -> None:
    kernel.ok(PREPARE)
    kernel.ok("asyncnb.notify('from a cell', level='warning')")
    assert notes(kernel, 1)[0] | {"k": 0, "n": 0} == {
        "k": 0, "n": 0, "title": "", "text": "from a cell", "level": "warning",
        "onlyUnseen": False,
    }  # fmt: skip
    kernel.ok("t = threading.Thread(target=asyncnb.notify, args=('from a thread',)); t.start()")
    assert notes(kernel, 2)[1]["text"] == "from a thread"
    kernel.ok("%%atask crawl\nasyncnb.notify('from a task')")
    assert (notes(kernel, 3)[2]["title"], notes(kernel, 3)[2]["text"]) == ("crawl", "from a task")


def test_it_arrives_while_a_cell_and_the_loop_are_blocked(kernel: Kernel) -> None:
    kernel.ok(PREPARE + "go = threading.Event()\n%asyncnb option watchdog off")
    has_subshells = kernel.has_subshells  # asks the kernel, which answers nothing while it blocks
    blocking = kernel.submit(
        "async def hog(): go.wait(30)\n"
        "task = asyncnb.launch(hog())\n"
        "asyncnb.notify('blocked')\n"
        "go.wait(30)"
    )
    assert notes(kernel, 1)[0]["text"] == "blocked"
    assert not blocking.idle
    kernel.aside("go.set()") if has_subshells else kernel.interrupt()
    blocking.wait()
    kernel.ok("go.set(); task.join()\n%asyncnb option watchdog 0.3")


def test_failures_of_long_tasks_are_notified_by_default(kernel: Kernel) -> None:
    kernel.ok(PREPARE + "%asyncnb option notify_after 0")
    try:
        kernel.ok("async def fail(): raise ValueError('<b>no</b>')")
        kernel.ok("asyncnb.launch(fail(), name='broken');")
        [note] = notes(kernel, 1)
        assert (note["title"], note["onlyUnseen"]) == ("broken failed", True)
        assert note["text"].endswith("s: ValueError: <b>no</b>")
        kernel.ok("%asyncnb option notify off\nasyncnb.launch(fail(), name='other');")
        kernel.ok("%asyncnb option notify all\nasyncnb.launch(asyncio.sleep(0), name='fine');")
        assert [each["title"] for each in notes(kernel, 2)] == ["broken failed", "fine is done"]
    finally:
        kernel.ok("%asyncnb option notify_after 60\n%asyncnb option notify failures")


def test_a_thousand_failures_are_one_notification(kernel: Kernel) -> None:
    kernel.ok(PREPARE)
    kernel.ok("""
        async def fail():
            await gate.wait()
            raise ValueError("no")
        from asyncnb._core.launched.registry import registry
        many = [asyncnb.launch(fail(), name=f"t{n}") for n in range(1000)]
        for task in many: registry.get(task.info().id).notify = True
        digest.QUIET = 1.0
        asyncnb.embedded_loop().call_soon_threadsafe(gate.set)
    """)
    assert [each["title"] for each in notes(kernel, 1)] == ["1,000 tasks failed"]
    kernel.ok("digest.QUIET = 0.3")


def test_a_verb_of_tasks_asks_and_asks_no_more(kernel: Kernel) -> None:
    kernel.ok(PREPARE + "for n in 'ab': asyncnb.launch(gate.wait(), name=f'job {n}')")
    assert kernel.ok("%tasks notify 'job *'").stdout == (
        "you will be notified when job a, job b end\n"
    )
    assert "not be notified of the end of job b" in kernel.ok("%tasks notify 'job b' --off").stdout
    kernel.ok("asyncnb.embedded_loop().call_soon_threadsafe(gate.set);")
    [note] = notes(kernel, 1)
    assert note["title"] == "job a is done"
    for line, says in [
        ("%tasks notify 'job a'", "'job a' has ended."),
        ("%tasks notify jb", "No task named 'jb'."),
        ("%tasks notify", "NAME"),
        ("%tasks notify 'job a' --of", "Did you mean '--off'?"),
    ]:
        cell = kernel.run(line)
        assert "UsageError" in cell.text
        assert says in cell.text


def test_what_no_page_has_shown_is_sent_to_the_next_that_opens(kernel: Kernel) -> None:
    kernel.ok(PREPARE)
    kernel.ok("asyncnb.notify('one')")
    notes(kernel, 1)
    kernel.ok("asyncnb.notify('two')")
    first, second = notes(kernel, 2)
    for number in range(second["n"]):  # the first, and those of the tests before
        page_says(kernel, c="shown", n=number)
    assert first["n"] < second["n"]
    odd: Any
    for odd in (None, "x", {}, [1]):
        page_says(kernel, c=odd, n=odd)
    page_says(kernel, c="hello", age=0)
    assert notes(kernel, 3)[2:] == [second | {"late": True}]
    page_says(kernel, c="hello", age=1e9)
    assert notes(kernel, 4)[3:] == [second | {"late": False}]
    page_says(kernel, c="shown", n=second["n"])
    page_says(kernel, c="hello")
    kernel.ok("asyncnb.notify('three')")
    assert [each["text"] for each in notes(kernel, 5)[4:]] == ["three"]


def test_a_bell_of_the_dashboard_is_the_same(kernel: Kernel) -> None:
    kernel.ok(PREPARE + "dashboard = asyncnb.dashboard()")
    kernel.ok("task = asyncnb.launch(gate.wait(), name='job')\nid = task.info().id")
    comm, id = kernel.evaluate("(dashboard.comm.comm_id, id)")
    content = {"c": "notify", "n": "1", "id": id, "on": True}
    kernel._request("comm_msg", {"comm_id": comm, "data": {"method": "custom", "content": content}})
    with kernel._news:
        assert kernel._news.wait_for(lambda: messages(kernel, "ack"), 30)
    [answer] = messages(kernel, "ack")
    assert (answer["ok"], answer["text"]) == (True, "you will be notified when job ends")
    kernel.ok("asyncnb.embedded_loop().call_soon_threadsafe(gate.set);")
    assert notes(kernel, 1)[0]["title"] == "job is done"


def test_a_headless_run_sends_and_prints_nothing(fresh_kernel: Kernel) -> None:
    fresh_kernel.ok(PREPARE, allow_stdin=False)
    fresh_kernel.ok("%asyncnb option notify_after 0", allow_stdin=False)
    cell = fresh_kernel.ok(
        "%%atask job --notify --wait\nasyncnb.notify('x')\n1;", allow_stdin=False
    )
    assert cell.text.strip() == ""
    failed = fresh_kernel.run("%%atask broken --notify --wait\n1 / 0", allow_stdin=False)
    assert "ZeroDivisionError" in failed.text
    assert fresh_kernel.evaluate("'anywidget' in sys.modules") is False
    assert messages(fresh_kernel, "note") == []


def test_unloading_ends_the_thread_and_the_widget(fresh_kernel: Kernel) -> None:
    fresh_kernel.ok(PREPARE + "import ipywidgets\nasyncnb.notify('x')")
    notes(fresh_kernel, 1)
    fresh_kernel.ok("%unload_ext asyncnb")
    threads = "[t.name for t in threading.enumerate() if t.name.startswith('asyncnb')]"
    assert fresh_kernel.evaluate(threads) == []
    assert (
        fresh_kernel.evaluate(
            "len(ipywidgets.Widget._instances) if hasattr(ipywidgets.Widget, '_instances') else 0"
        )
        == 0
    )
    fresh_kernel.ok("asyncnb.notify('plain')")  # as in plain Python
    fresh_kernel.ok("%load_ext asyncnb\nasyncnb.notify('again')")
    assert notes(fresh_kernel, 2)[1]["text"] == "again"


def test_a_thread_is_not_started_where_there_can_be_none(
    start_kernel: Callable[..., Kernel],
) -> None:
    kernel = start_kernel()
    kernel.ok(PREPARE)
    kernel.ok("""
        start = threading.Thread.start
        def refuse(self):
            if self.name == "asyncnb notifications": raise RuntimeError("can't start new thread")
            start(self)
        threading.Thread.start = refuse
        try: asyncnb.notify("lost for now")
        finally: threading.Thread.start = start
    """)
    kernel.ok("asyncnb.notify('now')")
    assert "2 notifications" in notes(kernel, 1)[0]["title"]
