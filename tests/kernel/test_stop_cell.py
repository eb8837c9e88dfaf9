"""stop_cell: the cell that it names ends, be it awaiting or blocking, and nothing else does."""

from __future__ import annotations

import pytest

from tests.kernel.driver import OURS, Kernel

SOON = 10.0  # seconds; what is stopped here would last 60

#: A thread that gives the command of a page as soon as a cell has set `go`. A page reaches another
#: thread than the main one, too: the feed's.
HELPER = """
import queue
from asyncnb import _extension
from asyncnb._core.base.errors import CommandError
go, orders, answers = threading.Event(), queue.Queue(), queue.Queue()
_commands = _extension._loaded.browser().feed._commands
def stop_cell(id):
    try:
        return _commands.execute("stop_cell", {"cell_id": id})
    except CommandError as exc:
        return f"refused: {exc}"
def _serve():
    while (order := orders.get()) is not None:
        go.wait(); go.clear()
        answers.put(stop_cell(order))
_server = threading.Thread(target=_serve, daemon=True); _server.start()
cleaned, gate = [], asyncio.Event()
"""


@pytest.fixture
def stopper(kernel: Kernel):
    kernel.ok(HELPER)
    kernel.ok("%%atask patient\nawait gate.wait()\n'survived'", cell_id="of patient")
    yield kernel
    kernel.ok("orders.put(None); go.set(); _server.join(10)")


WAITS = {
    "await sleep": "go.set(); await asyncio.sleep(60)",
    "await a task": "go.set(); await patient",
    "await to_thread": "go.set(); await asyncio.to_thread(threading.Event().wait, 3)",
    "time.sleep": "go.set(); time.sleep(60)",
    "a sync loop": "go.set()\nwhile True: pass",
    "a sync loop in an await cell": "await asyncio.sleep(0); go.set()\nwhile True: pass",
    "join": "go.set(); patient.join()",
    "run": "go.set(); asyncnb.run(asyncio.sleep(60))",
    "tasks wait": "go.set()\n%tasks wait patient",
}


@pytest.mark.parametrize("code", WAITS.values(), ids=WAITS)
def test_a_stopped_cell_ends_and_the_cells_behind_it_and_all_tasks_keep_running(stopper, code):
    stopper.ok("orders.put('mine')")
    cell = stopper.submit(f"before = 1\n{code}\nafter = 1", cell_id="mine")
    behind = stopper.submit("await asyncio.sleep(0, 'ran')", cell_id="behind")
    last = stopper.submit("1 + 1", cell_id="last")
    for each in (cell, behind, last):
        each.wait(SOON)
    assert [e.ename for e in cell.errors] == ["KeyboardInterrupt"]
    assert OURS not in cell.errors[0].traceback
    assert cell.status == "ok"  # else the kernel would drop the cells behind it
    assert behind.result == "'ran'" and last.result == "2"
    assert stopper.evaluate("answers.get(timeout=10)") == "interrupting the cell"
    assert not stopper.evaluate("'after' in globals()")
    assert stopper.evaluate("patient.info().state") == "waiting"
    assert stopper.ok("gate.set(); await patient").result == "'survived'"


ENDS = {
    "blocking": ("goes.put({n}); _sum = sum(range(20_000))", "sum(range(20_000)); ran.append({n})"),
    "awaiting": (
        "goes.put({n}); await asyncio.sleep(0); _sum = sum(range(5_000))",
        "await asyncio.sleep(0); sum(range(20_000)); await asyncio.sleep(0); ran.append({n})",
    ),
    "mixed": ("await asyncio.sleep(0); goes.put({n})", "sum(range(20_000)); ran.append({n})"),
}


@pytest.mark.parametrize("codes", ENDS.values(), ids=ENDS)
def test_a_stop_that_comes_at_the_end_of_its_cell_does_not_hit_the_next_one(stopper, codes):
    """At any moment around the end: the switch interval lets threads alternate at each line."""
    rounds = 60
    stopper.ok(
        """
        import random
        chance, ran, before = random.Random(21), [], sys.getswitchinterval()
        goes = queue.Queue()
        sys.setswitchinterval(1e-5)
        def _stop_each(rounds):
            for _ in range(rounds):
                n = goes.get()
                for _ in range(chance.randrange(200)):
                    time.sleep(0)
                answers.put(stop_cell(f"victim {n}"))
        _racer = threading.Thread(target=_stop_each, args=(60,), daemon=True); _racer.start()
        """
    )
    victim, bystander = codes
    cells = []
    for n in range(rounds):
        one = stopper.submit(victim.format(n=n), cell_id=f"victim {n}")
        two = stopper.submit(bystander.format(n=n), cell_id=f"bystander {n}")
        if n % 10 == 9:
            two.wait(SOON)  # no more than that in the queue
        cells.append((one, two))
    stopper.ok("_racer.join(10); sys.setswitchinterval(before)")
    for one, two in cells:
        assert one.status == two.status == "ok", one.text + two.text
        assert two.errors == []
        assert [e.ename for e in one.errors] in ([], ["KeyboardInterrupt"])
    assert stopper.evaluate("ran") == list(range(rounds))
    texts = stopper.evaluate("[answers.get_nowait() for _ in range(answers.qsize())]")
    assert len(texts) == rounds  # hit, or too late: that is chance


def test_what_is_not_in_the_foreground_is_not_interrupted(stopper):
    """Neither a queued cell, nor one that has ended, nor the cell that runs instead of these."""
    stopper.ok("%%atask one\nawait gate.wait()", cell_id="one")
    asks = stopper.submit(
        "_ids = ['queued', 'one', 'ended', 'nonsense', '']\n"
        "_thread = threading.Thread(target=lambda: print([stop_cell(id) for id in _ids]))\n"
        "_thread.start(); _thread.join()",
        cell_id="asks",
    )
    queued = stopper.submit("'ran'", cell_id="queued")
    assert asks.wait(SOON).status == "ok" and asks.errors == []
    assert queued.wait(SOON).result == "'ran'"
    assert asks.text.count("has no background task; there is nothing to stop.") == 4
    assert asks.text.count("cancellation requested for 1 task") == 1
    assert stopper.run("await one").error.ename == "CancelledError"
    assert stopper.evaluate("stop_cell('one')") == (
        "refused: 1 task of this cell has ended; nothing is left to stop."
    )
    assert stopper.evaluate("patient.info().state") == "waiting"


def test_the_tasks_that_a_stopped_cell_launched_are_cancelled_by_the_next_stop(stopper):
    stopper.ok("orders.put('mine')")
    cell = stopper.submit(
        "inner = asyncnb.launch(gate.wait(), name='inner'); go.set(); await asyncio.sleep(60)",
        cell_id="mine",
    )
    assert [e.ename for e in cell.wait(SOON).errors] == ["KeyboardInterrupt"]
    assert stopper.evaluate("answers.get(timeout=10)") == (
        "interrupting the cell; 1 task that it launched keeps running: stop it again to cancel it"
    )
    assert stopper.evaluate("inner.info().state") == "waiting"
    assert stopper.evaluate("stop_cell('mine')") == "cancellation requested for 1 task"
    assert stopper.run("await inner").error.ename == "CancelledError"


def test_a_cell_whose_loop_is_blocked_by_a_task_ends_at_once_and_says_when_it_cleans_up(stopper):
    stopper.ok("orders.put('mine'); release, start = threading.Event(), asyncio.Event()")
    stopper.ok("%%atask hog\nawait start.wait()\nwhile not release.is_set(): time.sleep(0.01)")
    cell = stopper.submit(
        """
        def _then():
            while asyncnb.embedded_loop().blocked is None: time.sleep(0.01)
            go.set()
        threading.Thread(target=_then).start()
        try:
            start.set(); await asyncio.sleep(60)
        finally:
            cleaned.append(1)
        """,
        cell_id="mine",
    )
    behind = stopper.submit("1 + 1", cell_id="behind")
    assert cell.wait(SOON).status == "ok"
    assert [e.ename for e in cell.errors] == ["KeyboardInterrupt"]
    assert behind.wait(SOON).result == "2"
    assert stopper.evaluate("answers.get(timeout=10)") == (
        "interrupting the cell; 'hog' blocks the loop, so its cleanup runs when that is over"
    )
    assert stopper.evaluate("cleaned") == []
    stopper.ok("release.set(); hog.join(10); asyncnb.run(asyncio.sleep(0))")
    assert stopper.evaluate("cleaned") == [1]


def test_a_cell_that_refuses_to_stop_or_fails_meanwhile_is_reported_as_it_is(stopper):
    """Its own error counts, and then the kernel drops what is queued, as for any error."""
    stopper.ok("orders.put('mine')")
    cell = stopper.submit(
        """
        try:
            go.set(); await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("mine") from None
        """,
        cell_id="mine",
    )
    assert cell.wait(SOON).status == "error" and cell.error.ename == "ValueError"
    stopper.ok("orders.put('mine')")
    cell = stopper.submit(
        "try:\n    go.set(); time.sleep(60)\nexcept KeyboardInterrupt:\n    'refused'",
        cell_id="mine",
    )
    assert cell.wait(SOON).status == "ok" and cell.errors == []
    # The stop button still ends the cell and all that is queued.
    stopper.ok("_ = answers.get(timeout=10), answers.get(timeout=10)")
    cell = stopper.submit("print('waiting'); await asyncio.sleep(60)", cell_id="mine")
    behind = stopper.submit("1 + 1", cell_id="behind")
    cell.wait_for("waiting")
    stopper.interrupt()
    assert cell.wait(SOON).status == "error" and cell.error.ename == "KeyboardInterrupt"
    assert behind.wait(SOON).status in ("aborted", "error")
