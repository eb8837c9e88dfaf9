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
