"""Front ends: widgets that close, pages that reconnect, consoles that disconnect."""

from __future__ import annotations

import time

import pytest
import zmq
from jupyter_client.blocking import BlockingKernelClient

from tests.faults.conftest import begin, check
from tests.kernel.debugger import Debugger
from tests.kernel.driver import DEADLINE
from tests.kernel.ipykernel.test_debugger import CELLS, assert_stops

DASHBOARD = """
dashboard = asyncnb.dashboard()
comm = dashboard.comm.comm_id
feed = dashboard._feed
"""

BUSY = """
%%atask busy
n = 0
while True:
    n += 1
    asyncio.current_task().set_name(f"busy {n}")
    await asyncio.sleep(0.001)
"""


def say(kernel, comm, **content):
    """Send what the page's half of a widget sends."""
    data = {"method": "custom", "content": content}
    return kernel._request("comm_msg", {"comm_id": comm, "data": data})


def told(kernel, comm, kind):
    """All messages of this kind that the page got for one comm."""
    messages = [
        message["content"]["data"]["content"]
        for cell in list(kernel._cells.values())
        for message in list(cell.messages)
        if message["msg_type"] == "comm_msg"
        and message["content"]["comm_id"] == comm
        and message["content"]["data"].get("method") == "custom"
    ]
    return [each for each in messages if each["k"] == kind]


def wait_told(kernel, comm, kind, n=1):
    with kernel._news:
        assert kernel._news.wait_for(lambda: len(told(kernel, comm, kind)) >= n, DEADLINE)
    return told(kernel, comm, kind)


@pytest.fixture
def watched(victim):
    """One visible dashboard, and a task whose name keeps changing."""
    victim.ok("__import__('ipywidgets').Widget.close_all()")
    victim.ok(DASHBOARD)
    comm = victim.evaluate("comm")
    say(victim, comm, c="sync")
    wait_told(victim, comm, "snapshot")
    victim.ok(BUSY)
    wait_told(victim, comm, "delta", 2)
    return victim, comm


@pytest.mark.promise("a timeline has the same bars as text, as SVG and on a page")
@pytest.mark.parametrize("place, word", [("process", "in a worker"), ("thread", "in a thread")])
def test_a_timeline_is_drawn_by_one_rule(victim, place, word):
    victim.ok(DASHBOARD)
    comm = victim.evaluate("comm")
    victim.ok(f"%%atask job --on {place}\n1")
    victim.ok("%tasks wait job", 30)
    say(victim, comm, c="timeline")
    [answer] = wait_told(victim, comm, "timeline")
    [row] = [row for row in answer["data"]["rows"] if row["name"] == "job"]
    assert row["bars"][-1][0] == {"in a worker": "worker", "in a thread": "thread"}[word]
    for drawn in ("text()", "svg()"):
        assert word in victim.evaluate(f"asyncnb.timeline('job').{drawn}")


@pytest.mark.promise(
    "a dashboard closed while it is updated: the others continue, nothing is logged"
)
def test_widget_closed_while_updated(watched):
    kernel, comm = watched
    first = kernel.ok("first, first_comm = dashboard, comm\n" + DASHBOARD)
    other = kernel.evaluate("comm")
    say(kernel, other, c="sync")
    wait_told(kernel, other, "delta")
    closed = kernel.ok(
        "ended = first._subscription\nfirst.close()\nassert ended not in feed._subscriptions"
    )
    so_far = len(told(kernel, comm, "delta")), len(told(kernel, other, "delta"))
    wait_told(kernel, other, "delta", so_far[1] + 3)
    assert len(told(kernel, comm, "delta")) == so_far[0]
    assert not first.stderr and not closed.stderr


@pytest.mark.promise(
    "reloads with dashboards on the page: one extension is alive, and the page shows it"
)
def test_reloads_with_dashboards_on_the_page(fresh_victim):
    kernel = fresh_victim
    comms = []
    for _ in range(3):
        kernel.ok(DASHBOARD + "import gc; asyncnb.launch(asyncio.sleep(600), name='sleeps')")
        comms.append(kernel.evaluate("comm"))
        say(kernel, comms[-1], c="sync")
        wait_told(kernel, comms[-1], "snapshot")
        kernel.ok("del feed\n%unload_ext asyncnb")
        kernel.ok("%load_ext asyncnb")
    say(kernel, comms[0], c="sync")  # opened once more
    for comm, times in zip(comms, (2, 1, 1), strict=True):
        wait_told(kernel, comm, "bye", times)
    kernel.ok("names = (gc.collect(), [type(o).__name__ for o in gc.get_objects()])[1]")
    assert kernel.evaluate("names.count('Extension'), names.count('Feed')") == (1, 0)
    begin(kernel)


@pytest.mark.promise("the page of a dashboard is gone: later messages for it do no harm")
def test_comm_closed_by_the_page(watched):
    kernel, comm = watched
    kernel._request("comm_close", {"comm_id": comm, "data": {}}).wait_for(lambda cell: cell.idle)
    kernel.ok("dashboard.close()")
    id = kernel.evaluate("asyncnb.task('witness').info().id")
    for content in ({"c": "cancel", "id": id}, {"c": "sync"}, {"c": "seen", "messages": 10**9}):
        say(kernel, comm, **content)
    kernel.ok("while feed._observing: await asyncio.sleep(0.02)")  # it stops looking at all tasks
    assert kernel.evaluate("asyncnb.task('witness').done()") is False


@pytest.mark.promise(
    "a page that has died is sent no more after a hundred messages without an answer"
)
def test_front_end_dies_silently(watched):
    kernel, comm = watched
    if not kernel.evaluate("dashboard._subscription.answers"):
        pytest.skip("ipykernel 6 hears a page only between cells, so silence means nothing")
    kernel.ok("while feed._observing: await asyncio.sleep(0.1)", 40)
    assert len(told(kernel, comm, "delta")) <= 102
    say(kernel, comm, c="sync")  # it was only asleep
    wait_told(kernel, comm, "snapshot", 2)


def other_page(kernel, comm, said):
    """Send messages from a page with its own session, and receive the answers there."""
    page = BlockingKernelClient(
        connection_file=kernel._manager.connection_file, context=zmq.Context.instance()
    )
    page.load_connection_file()
    page.start_channels(shell=True, iopub=True, stdin=False, hb=False, control=False)
    # Not wait_for_ready(), which waits for silence, and the dashboard is never silent.
    heard: set[str] = set()
    deadline = time.monotonic() + DEADLINE
    try:
        while not heard >= {"snapshot", "ack"}:
            assert time.monotonic() < deadline, heard
            for content in said:  # until it is heard: the page subscribes meanwhile
                data = {"method": "custom", "content": content}
                message = page.session.msg("comm_msg", {"comm_id": comm, "data": data})
                page.shell_channel.send(message)
            for _ in range(20):
                if not page.iopub_channel.socket.poll(500):
                    break
                message = page.get_iopub_msg()
                if message["msg_type"] == "comm_msg":
                    heard.add(message["content"]["data"]["content"]["k"])
    finally:
        page.stop_channels()


@pytest.mark.promise(
    "a page reconnects, in the same session or a new one: it gets all; no click counts twice"
)
@pytest.mark.parametrize("same", [True, False], ids=["same session", "another session"])
def test_front_end_reconnects(watched, same):
    kernel, comm = watched
    kernel.ok("stubborn_heard = 0")
    kernel.ok(
        """
        %%atask stubborn
        while stubborn_heard < 2:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                stubborn_heard += 1
        """
    )
    kernel.ok("while asyncnb.task('stubborn').info().state != 'waiting': await asyncio.sleep(0)")
    click = {"c": "cancel", "n": "7", "id": kernel.evaluate("asyncnb.task('stubborn').info().id")}
    say(kernel, comm, **click)
    wait_told(kernel, comm, "ack")
    kernel.ok("while stubborn_heard < 1: await asyncio.sleep(0.01)")
    said = [{"c": "sync"}, click]  # a page says again what was not answered to it
    if same:
        kernel._client.shell_channel.stop()
        kernel._client._shell_channel = None
        kernel._client.shell_channel.start()
        for content in said:
            say(kernel, comm, **content)
        wait_told(kernel, comm, "snapshot", 2)
        wait_told(kernel, comm, "ack", 2)
    else:
        other_page(kernel, comm, said)
    assert kernel.evaluate("stubborn_heard") == 1
    kernel.ok("%tasks cancel stubborn")


@pytest.mark.promise(
    "a subshell deleted: tasks launched from it keep running and print to their cell"
)
def test_subshell_deleted(victim):
    if not victim.has_subshells:
        pytest.skip("ipykernel 6 has no subshells")
    victim.ok("go = threading.Event()")
    cell = victim.aside(
        "%%atask left\nprint('begun')\nwhile not go.is_set(): await asyncio.sleep(0.01)\n"
        "print('still here')\n6 * 7"
    )
    cell.wait_for("begun")
    control, session = victim._client.control_channel, victim._client.session
    control.send(session.msg("delete_subshell_request", {"subshell_id": victim._subshell}))
    victim._subshell = None
    while True:
        reply = control.get_msg(timeout=DEADLINE)
        if reply["msg_type"] == "delete_subshell_reply":
            break
    assert reply["content"]["status"] == "ok"
    victim.ok("go.set()")
    cell.wait_for("still here").wait_for("42")
    assert victim.evaluate("asyncnb.task('left').result()") == 42


@pytest.mark.promise("%%capture keeps the cell's output; its task's output appears under the cell")
@pytest.mark.parametrize("await_", ["await asyncio.sleep(0.05)", "time.sleep(0.05)"])
def test_capture_around_a_task(victim, await_):
    cell = victim.ok(f"%%capture said\n%%atask job\n{await_}\nprint('to', 'the cell')\n'res' 'ult'")
    cell.wait_for("to the cell").wait_for("result")
    victim.ok("print('below')\nassert said.stdout == '' and not said.outputs, said.stdout")
    failed = victim.ok(f"%%capture said\n%%atask bad\n{await_}\nraise ValueError('sh' 'own')")
    failed.wait_for("ValueError: shown")
    assert victim.where("ValueError: shown") == [failed]


@pytest.mark.promise(
    "another cell captures: a task's prints and displays appear under its own cell"
)
@pytest.mark.parametrize(
    "capture",
    [
        "%%capture said\n{}",
        "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()): {}",
        "from IPython.utils.capture import capture_output\nwith capture_output() as said: {}",
    ],
    ids=["%%capture", "redirect_stdout", "capture_output"],
)
def test_capture_in_another_cell(victim, capture):
    victim.ok("go, spoke = asyncio.Event(), threading.Event()")
    cell = victim.ok(
        "%%atask job\nawait go.wait()\nprint('its', 'own'); display('sho' 'wn')\nspoke.set()"
    )
    code = "asyncnb.embedded_loop().call_soon_threadsafe(go.set); assert spoke.wait(10)"
    victim.ok(capture.format(code))
    cell.wait_for("its own").wait_for("shown")


@pytest.mark.promise(
    "a breakpoint of the front end stops wherever a cell runs, and lets it continue"
)
def test_debugger_stops(start_kernel):
    kernel = begin(start_kernel())
    debugger = Debugger(kernel)
    debugger.start()
    for which in CELLS:
        assert_stops(debugger, which)
    check(kernel)  # a plain kernel, too, may not answer once the debugger has disconnected
    debugger.close()


@pytest.mark.promise(
    "`allow_stdin: false`: a client has each late line once, whether it stops at idle or reads on"
)
def test_clients_without_stdin(victim):
    victim.ok("go = asyncio.Event()")
    code = "%%atask job\nawait go.wait()\nprint('la' 'te')"
    cell = victim.ok(code, allow_stdin=False)
    after = victim.ok("go.set(); await asyncnb.wait([asyncnb.task('job')])", allow_stdin=False)
    [late] = [c for c in cell.of_type("display_data") if "display_id" in c["transient"]]
    empty = {"text/plain": ""}
    cell.wait_for(lambda c: c.stdout == "late\n" and c.updates[-1:] == [empty])
    # The first kind applies all updates, the second those of the cell that runs.
    assert late["data"] == empty and after.updates == [{"text/plain": "late"}]


@pytest.mark.promise(
    "a request that is not a cell: its late output appears once, as in a plain kernel"
)
@pytest.mark.parametrize("options", [{"silent": True}], ids=str)
def test_requests_that_are_no_cells(victim, options):
    victim.ok(
        "go = asyncio.Event()\nasync def talk():\n    await go.wait(); print('la' 'te')\n"
        "launch = lambda: asyncnb.launch(talk(), name='job') and None"
    )
    cell = victim.ok("launch()", allow_stdin=False, **options)
    after = victim.ok(
        "go.set(); await asyncnb.wait([asyncnb.task('job')]);", allow_stdin=False, **options
    )
    cell.wait_for("late")
    victim.drain()
    assert victim.where("late") == [cell]
    assert not (cell.of_type("display_data") + after.of_type("display_data", "update_display_data"))
