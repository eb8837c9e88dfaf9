"""The driver itself, on a kernel without asyncnb: what it claims to see, it sees."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.kernel.driver import ROOT, KernelError


@pytest.fixture
def plain(start_kernel):
    return start_kernel(extension=False)


def test_a_cell_collects_what_its_code_said_in_each_way(plain):
    cell = plain.run(
        """
        import sys
        print("out"); print("err", file=sys.stderr)
        handle = display("shown", display_id=True); handle.update("changed")
        6 * 7
        """
    )
    assert (cell.status, cell.stdout, cell.stderr, cell.result) == ("ok", "out\n", "err\n", "42")
    assert cell.shown == ["'shown'", "42"]
    assert [u["text/plain"] for u in cell.updates] == ["'changed'"]


def test_an_error_is_told_without_colours(plain):
    cell = plain.run("1/0")
    assert cell.status == "error"
    assert cell.error.ename == cell.errors[0].ename == "ZeroDivisionError"
    assert "Cell In[1], line 1" in cell.error.traceback
    assert "\x1b" not in cell.error.traceback


def test_output_that_comes_after_the_cell_ended_is_filed_under_it(plain):
    early = plain.run(
        """
        import asyncio
        gate = asyncio.Event()
        async def late():
            await gate.wait()
            print("late")
        task = asyncio.create_task(late())
        """
    )
    assert early.text == ""
    other = plain.run("gate.set(); await asyncio.sleep(0); print('other')")
    early.wait_for("late")
    assert plain.where("late") == [early]
    assert plain.where("other") == [other]


def test_waiting_for_what_does_not_come_fails_and_shows_what_came(plain):
    cell = plain.run("print('something else')")
    with pytest.raises(AssertionError, match="something else"):
        cell.wait_for("nothing", timeout=0.1)


def test_evaluate_returns_literals_and_raises_for_errors(plain):
    plain.ok("x = {'a': [1, 2]}")
    assert plain.evaluate("x") == {"a": [1, 2]}
    with pytest.raises(KernelError, match="NameError"):
        plain.evaluate("no_such_name")


def test_interrupt_restart_and_shutdown_do_what_the_buttons_do(plain):
    # Without flush=True: a stop during a flush is lost once in 500 times.
    cell = plain.submit("import time; x = 1; print('busy'); time.sleep(600)")
    cell.wait_for("busy")
    plain.interrupt()
    assert cell.wait().error.ename == "KeyboardInterrupt"
    assert plain.evaluate("x") == 1
    plain.restart()
    with pytest.raises(KernelError, match="NameError"):
        plain.evaluate("x")
    plain.shutdown()
    assert not plain.alive


def test_a_kernel_that_dies_ends_the_wait_for_it(plain):
    with pytest.raises(AssertionError, match="died"):
        plain.run("import os; os._exit(1)", timeout=60)


@pytest.mark.skipif(sys.platform == "win32", reason="no signal is inherited as ignored there")
def test_a_run_that_was_started_with_sigint_ignored_can_interrupt_all_the_same():
    test = "test_ctrl_c_in_run_on_cancels_and_waits_for_the_cleanup"
    probe = f"tests/core/primitives/test_threads.py::{test}"
    pytest_there = f"{sys.executable} -m pytest -q -p no:cacheprovider --timeout 60 {probe}"
    # As a shell does for a job in the background.
    command = ["sh", "-c", f"trap '' INT; exec {pytest_there}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
