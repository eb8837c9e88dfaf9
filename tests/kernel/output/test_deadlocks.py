"""A deadlock is reported in the cells of its tasks, once, and answered when asked for."""

from __future__ import annotations

import pytest

from tests.kernel.driver import Cell, Kernel

MAY_BE = "asyncnb: this may be a deadlock: 2 tasks wait for each other"

HOLDS = "%%atask a\nasync with lock:\n    await q.get()"
WAITS = "%%atask b\nasync with lock:\n    await q.put(1)"


@pytest.fixture
def notebook(kernel: Kernel) -> Kernel:
    kernel.ok("lock = asyncio.Lock(); q = asyncio.Queue()")
    return kernel


def knot(kernel: Kernel) -> tuple[Cell, Cell]:
    a = kernel.ok(HOLDS)
    kernel.ok("while not lock.locked(): await asyncio.sleep(0)")
    return a, kernel.ok(WAITS)


def words(a: Cell, b: Cell) -> str:
    return (
        f"{MAY_BE}; only a new cell or a callback could end this.\n"
        f"  `a` holds lock `lock` (In[{a.count}], line 2) and waits for queue `q` "
        f"(In[{a.count}], line 3); "
        "only `b` puts into it.\n"
        f"  `b` waits for lock `lock` (In[{b.count}], line 2), which `a` holds.\n"
        'To end it, cancel one of them, for example: %tasks cancel "b"\n'
    )


def test_a_deadlock_is_reported_once_in_the_cells_of_its_tasks(notebook):
    a, b = knot(notebook)
    other = notebook.ok("%%atask ticker\nwhile True: await asyncio.sleep(0.01)")
    a.wait_for(MAY_BE)
    b.wait_for(MAY_BE)
    notebook.ok("await asyncio.sleep(2.5)")  # time for another search
    notebook.drain()
    assert a.stderr == b.stderr == words(a, b)
    assert notebook.where(MAY_BE) == [a, b]
    assert other.text == ""


def test_a_deadlock_of_the_cells_when_they_run_again_is_reported_anew(notebook):
    a, b = knot(notebook)
    b.wait_for(MAY_BE)
    notebook.ok("%tasks cancel b\n%tasks wait b")
    again = notebook.ok(WAITS)
    again.wait_for(MAY_BE)
    a.wait_for(lambda cell: cell.text.count(MAY_BE) == 2)
    assert again.stderr == words(a, again)
    assert b.text.count(MAY_BE) == 1


def test_tasks_deadlocks_searches_at_once(notebook):
    assert notebook.ok("%tasks deadlocks").stdout == "No deadlock found among no tasks.\n"
    a, b = knot(notebook)
    notebook.ok("while not lock._waiters: await asyncio.sleep(0)")
    assert notebook.ok("%tasks deadlocks").stdout == words(a, b)
    notebook.ok("%tasks cancel b\n%tasks wait b")
    assert notebook.ok("%tasks deadlocks").stdout == (
        "No deadlock found among 1 task.\n"
        "Only a new cell or a callback could wake 1 task:\n"
        f"  `a` waits for queue `q` (In[{a.count}], line 3); no living task puts into it.\n"
    )


def test_a_deadlock_is_in_the_facts_of_the_dashboard_while_it_lasts(notebook):
    notebook.ok("from asyncnb._extension import _loaded")
    facts = "_loaded.browser().feed._loop_facts({})['deadlocks']"
    a, _ = knot(notebook)
    a.wait_for(MAY_BE)
    assert notebook.evaluate(facts) == [
        "This may be a deadlock: 2 tasks wait for each other: a and b. %tasks deadlocks says why."
    ]
    notebook.ok("%tasks cancel b\n%tasks wait b")
    assert notebook.evaluate(facts) == []


def test_with_the_option_off_only_tasks_deadlocks_searches(notebook):
    notebook.ok("%asyncnb option deadlocks off")
    try:
        a, b = knot(notebook)
        notebook.ok("await asyncio.sleep(2.5)")
        assert notebook.ok("%tasks deadlocks").stdout == words(a, b)
        notebook.drain()
        assert a.text == b.text == ""
    finally:
        notebook.ok("%asyncnb option deadlocks on")


def test_a_cell_in_the_foreground_may_be_part_of_a_deadlock(notebook):
    notebook.ok("ready = asyncio.Event()")
    a = notebook.ok(
        "%%atask a\nasync with lock:\n    await ready.wait()\n    await asyncio.wait([cell])"
    )
    here = notebook.submit("cell = asyncio.current_task(); ready.set()\nasync with lock: pass")
    here.wait_for("deadlock")
    a.wait_for("deadlock")
    notebook.interrupt()
    here.wait()
    assert here.stderr == a.stderr
    assert here.stderr.startswith(
        "asyncnb: deadlock: 2 tasks wait for each other.\n"
        f"  `a` holds lock `lock` (In[{a.count}], line 2) and waits for "
        f"the cell In[{here.count}] (In[{a.count}], line 4).\n"
        f"  The cell In[{here.count}] waits for lock `lock` "
        f"(In[{here.count}], line 2), which `a` holds.\n"
        'To end it, cancel one of them, for example: %tasks cancel "a"\n'
    )


def test_idle_workers_and_actors_get_no_note(notebook):
    pool = notebook.ok(
        """
        async def work():
            while True: await q.get()
        async def actor(inbox, other):
            while True: await other.put(await inbox.get())
        other = asyncio.Queue()
        for i in range(3): asyncnb.launch(work(), name=f"w{i}")
        for pair in ((q, other), (other, q)): asyncnb.launch(actor(*pair))
        """
    )
    notebook.ok("await asyncio.sleep(2.5)")
    notebook.drain()
    assert pool.text == ""
