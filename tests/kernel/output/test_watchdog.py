"""A task that blocks the loop: told in its own cell, once, and got out of it by `%tasks cancel`."""

from __future__ import annotations

import pytest

from tests.kernel.driver import Cell, Kernel

BARKED = "has blocked the loop"

BLOCKS = {
    "time.sleep": "await asyncio.sleep(0)\nwhile not gate.is_set(): time.sleep(0.01)",
    "a python loop": "await asyncio.sleep(0)\nwhile not gate.is_set(): pass",
    "a lock": "await asyncio.sleep(0)\ngate.wait(30)",
    "a function of another cell": "await asyncio.sleep(0)\nspin()",
    "a child task": "await asyncio.create_task(async_spin())",
}


@pytest.fixture
def busy(kernel: Kernel) -> Kernel:
    kernel.ok("gate = threading.Event(); ticks = []")
    kernel.ok("def spin():\n    while not gate.is_set(): pass")
    kernel.ok("async def async_spin(): spin()")
    kernel.ok("%%atask ticker\nwhile True:\n    ticks.append(1)\n    await asyncio.sleep(0.005)")
    return kernel


def assert_told_once(kernel: Kernel, cell: Cell) -> None:
    kernel.drain()
    assert kernel.where(BARKED) == [cell]
    assert cell.text.count(BARKED) == 1


def assert_the_others_go_on(kernel: Kernel) -> None:
    kernel.ok("seen = len(ticks); await asyncio.sleep(0.05); assert len(ticks) > seen")
    assert kernel.evaluate("[ticker.done(), ticker.cancelling()]") == [False, 0]


@pytest.mark.parametrize("code", BLOCKS.values(), ids=BLOCKS)
def test_a_blocking_task_is_told_once_in_its_own_cell_with_line_and_frames(busy, code):
    cell = busy.ok(f"%%atask hog\n{code}")
    cell.wait_for(BARKED)
    assert f"(In[{cell.count}]) has blocked" in cell.stderr
    assert "; 1 other task waits." in cell.stderr or "; 2 other tasks wait." in cell.stderr
    assert "gate.is_set()" in cell.stderr or "gate.wait(30)" in cell.stderr
    assert "/asyncnb/" not in cell.stderr
    status = busy.ok("%asyncnb")
    busy.drain()
    assert "blocked  " in status.stdout
    assert "is_set()" in status.stdout or "gate.wait(30)" in status.stdout
    busy.ok("gate.set()")
    busy.ok("%tasks wait hog")
    assert_told_once(busy, cell)
    assert_the_others_go_on(busy)


@pytest.mark.parametrize("name", ["a python loop", "a child task", "time.sleep"])
def test_tasks_cancel_gets_a_blocking_task_out(busy, name):
    cell = busy.ok(
        "%%atask hog\ntry:\n"
        + "\n".join(f"    {line}" for line in BLOCKS[name].splitlines())
        + "\nfinally:\n    await asyncio.sleep(0)\n    print('cleaned up')"
    )
    cell.wait_for(BARKED)
    busy.ok("%tasks cancel hog")
    cell.wait_for("cleaned up")
    busy.ok("%tasks wait hog")
    assert busy.evaluate("hog.cancelled()")
    assert_told_once(busy, cell)
    assert_the_others_go_on(busy)


def test_a_blocking_await_cell_is_told_in_its_own_output(busy):
    cell = busy.submit("await asyncio.sleep(0)\nspin()")
    cell.wait_for(BARKED)
    busy.interrupt()
    assert cell.wait().error.ename == "KeyboardInterrupt"
    assert f"In[{cell.count}], line 2: spin()" in cell.stderr
    assert_told_once(busy, cell)
    assert_the_others_go_on(busy)


def test_a_traceback_that_takes_long_to_make_is_no_blocked_loop(busy):
    cell = busy.run(
        """
        class Slow(Exception):
            def _render_traceback_(self):
                time.sleep(1)
                return ["it took a while"]
        await asyncio.sleep(0)
        raise Slow
        """
    )
    assert "it took a while" in cell.text
    assert not busy.where(BARKED)


def test_a_launched_coroutine_that_blocks_is_told_where_it_was_launched(busy):
    cell = busy.ok("t = asyncnb.launch(async_spin(), name='spinner')")
    cell.wait_for(BARKED)
    assert "task 'spinner'" in cell.stderr
    busy.ok("t.cancel()")
    busy.ok("%tasks wait spinner")
    assert busy.evaluate("t.cancelled()")
    assert_told_once(busy, cell)


def test_a_busy_main_thread_is_no_blocked_loop(busy):
    busy.ok("await asyncio.sleep(0.01)\nawait asyncio.sleep(0.01)")
    busy.ok("end = time.monotonic() + 1\nwhile time.monotonic() < end: pass")
    busy.drain()
    assert busy.where(BARKED) == []
    assert_the_others_go_on(busy)


def test_stop_ends_an_awaiting_cell_while_another_task_blocks_the_loop(busy):
    busy.ok("waits = threading.Event()")
    hog = busy.ok(
        """
        %%atask hog
        while not waits.is_set():
            await asyncio.sleep(0.001)
        while not gate.is_set():
            time.sleep(0.01)
        """
    )
    cell = busy.submit(
        """
        try:
            waits.set(); await asyncio.sleep(60)
        finally:
            print("cleaned up")
        """
    )
    hog.wait_for(BARKED)
    busy.interrupt()
    error = cell.wait(10).error
    assert error.ename == "KeyboardInterrupt"
    assert f"task 'hog' (In[{hog.count}], line" in error.evalue
    assert "line 2, in <module>\n    waits.set(); await" in error.traceback
    assert "/asyncnb/" not in error.traceback
    assert busy.ok("1 + 1").result == "2"  # while the loop is blocked still
    assert "cleaned up" not in cell.stdout
    busy.ok("gate.set()")
    cell.wait_for("cleaned up")
    busy.ok("%tasks wait hog")
    assert busy.ok("await asyncio.sleep(0, 5)").result == "5"
    assert [e.ename for e in cell.errors] == ["KeyboardInterrupt"]
    assert_told_once(busy, hog)
    assert_the_others_go_on(busy)
