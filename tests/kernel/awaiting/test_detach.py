"""%tasks background: a cell that awaits is detached and continues as a task."""

from __future__ import annotations

import pytest

GO = "%tasks background"


@pytest.fixture
def gate(kernel):
    """A kernel that can detach a cell from a subshell, with a gate for the cell to wait at."""
    if not kernel.has_subshells:
        pytest.skip("this kernel has no subshells")
    kernel.ok("gate = asyncio.Event(); loop = asyncnb.embedded_loop()")
    return kernel


def detach(kernel, code):
    """Send a cell that prints 'on' and then awaits; detach it; return it with its reply."""
    cell = kernel.submit(code)
    cell.wait_for("on")
    aside = kernel.aside(GO)
    assert aside.status == "ok", aside
    cell.wait()
    assert cell.status == "ok"
    assert f"cell{cell.number} continues" in aside.stdout
    return cell


def test_the_reply_returns_and_the_output_keeps_appearing_under_the_cell(gate):
    cell = detach(gate, "print('on')\nawait gate.wait()\nprint('later')\n'the result'")
    assert cell.result is None
    name = f"cell{cell.number}"
    other = gate.ok("loop.call_soon_threadsafe(gate.set); 'another cell'")
    gate.ok(f"%tasks wait {name}")
    cell.wait_for("'the result'")
    assert cell.stdout == "on\nlater\n"
    assert cell.shown == ["'the result'"]
    assert other.text == "'another cell'\n"
    assert gate.evaluate(f"asyncnb.task('{name}').result()") == "the result"
    assert gate.evaluate(f"(Out[{cell.number}], _{cell.number})") == ("the result",) * 2
    assert gate.evaluate("_") == "another cell"
    info = gate.evaluate(f"tuple(asyncnb.task('{name}').info().cell)")
    assert info[0] == cell.number


def test_a_failure_afterwards_is_shown_once_below_the_cell(gate):
    cell = detach(gate, "print('on')\nawait gate.wait()\n1/0")
    gate.ok("loop.call_soon_threadsafe(gate.set)")
    waiting = gate.run(f"%tasks wait cell{cell.number}")
    assert waiting.error.ename == "TasksFailedError"
    cell.wait_for(lambda c: c.errors)
    gate.drain()
    [error] = cell.errors
    assert error.ename == "ZeroDivisionError"
    assert "line 3" in error.traceback
    assert "asyncnb" not in error.traceback


def test_it_is_cancelled_paused_and_limited_like_any_task(gate):
    cell = detach(
        gate,
        "n = 0\nprint('on')\ntry:\n  while True:\n    n += 1\n    await asyncio.sleep(0.001)\n"
        "finally:\n  print('cleaned up')",
    )
    name = f"cell{cell.number}"
    gate.ok(f"%tasks pause {name}")
    assert gate.ok("before = n; time.sleep(0.05); n - before").result == "0"
    gate.ok(f"%tasks resume {name}")
    gate.ok("while n == before: time.sleep(0.001)")
    gate.ok(f"%tasks cancel {name}")
    gate.ok(f"%tasks wait {name}")
    cell.wait_for("cleaned up")
    assert cell.errors == []
    again = detach(gate, "print('on')\nawait gate.wait()")
    gate.ok(f"%tasks timeout cell{again.number} 0")
    again.wait_for("TimeoutError")


def test_an_interrupt_does_not_hit_a_detached_cell(gate):
    cell = detach(gate, "print('on')\nawait gate.wait()\nprint('through')")
    blocking = gate.submit("print('blocks')\ntime.sleep(20)")
    blocking.wait_for("blocks")
    gate.interrupt()
    assert blocking.wait().error.ename == "KeyboardInterrupt"
    gate.ok("loop.call_soon_threadsafe(gate.set)")
    cell.wait_for("through")


def test_it_is_refused_with_a_reason_if_no_cell_is_awaiting(gate):
    assert "No cell is awaiting now" in gate.run(GO).error.evalue
    blocking = gate.submit("await asyncio.sleep(0); print('on'); time.sleep(1); 'done'")
    blocking.wait_for("on")
    assert "blocks the loop" in gate.aside(GO).error.evalue
    assert blocking.wait().result == "'done'"
    assert gate.evaluate("asyncnb.tasks()") == []


def test_a_cell_detaches_itself(kernel):
    kernel.ok("gate = asyncio.Event(); loop = asyncnb.embedded_loop()")
    cell = kernel.ok(f"{GO}\nawait gate.wait(); print('later'); 'own result';")
    other = kernel.ok("loop.call_soon_threadsafe(gate.set); 'other'")
    kernel.ok("%tasks wait")
    cell.wait_for("later")
    assert other.text == "'other'\n"
    assert cell.shown == []  # a semicolon hides it, as usual
    assert kernel.evaluate("asyncnb.tasks()[0].result()") == "own result"
    assert "DisplayHook" in kernel.evaluate("type(sys.displayhook).__name__")
    assert not kernel.evaluate("type(sys.displayhook).__name__").startswith("_")
