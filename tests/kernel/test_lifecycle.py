"""The kernel's end, restart, the loop's accidents."""

from __future__ import annotations

import time

import pytest

CLEANUP = """
    %%atask {name}
    try:
        started.release()
        {wait}
    finally:
        {cleanup}
        with open({path!r}, "a") as file: print("{name} cleaned up", file=file)
    """


@pytest.fixture
def marks(tmp_path):
    return tmp_path / "marks.txt"


@pytest.fixture
def kernel_with_cleanups(fresh_kernel, marks):
    """One loop body, one with a cleanup of a second, one thread body: all running."""
    # No limit of time is the subject: not asyncnb's two seconds, and not the 2.5 after which
    # jupyter_client ends the process.
    fresh_kernel._manager.shutdown_wait_time = 60.0
    fresh_kernel.ok("from asyncnb._core.config import config; config.shutdown_seconds = 25.0")
    fresh_kernel.ok("started = threading.Semaphore(0)")
    bodies = {
        "loop": ("await asyncio.sleep(600)", "await asyncio.sleep(0)"),
        "slow": ("await asyncio.sleep(600)", "await asyncio.sleep(1.0)"),
        "thread": ("while True: time.sleep(0.001)", "pass"),
    }
    for name, (wait, cleanup) in bodies.items():
        fresh_kernel.ok(CLEANUP.format(name=name, wait=wait, cleanup=cleanup, path=str(marks)))
    fresh_kernel.ok(f"for _ in range({len(bodies)}): assert started.acquire(timeout=10)")
    return fresh_kernel


ALL = ["loop cleaned up", "slow cleaned up", "thread cleaned up"]

FOREGROUNDS = {
    "idle": None,
    "in a sync cell": "print('busy'); time.sleep(600)",
    "in an await cell": "print('busy'); await asyncio.sleep(600)",
    "in a join": "print('busy'); loop.join()",
}


def occupy(kernel, code):
    if code:
        kernel.submit(code).wait_for("busy")


@pytest.mark.parametrize("foreground", FOREGROUNDS.values(), ids=FOREGROUNDS)
def test_shutdown_runs_the_cleanup_of_every_task(kernel_with_cleanups, marks, foreground):
    occupy(kernel_with_cleanups, foreground)
    kernel_with_cleanups.shutdown()
    assert sorted(marks.read_text().splitlines()) == ALL


@pytest.mark.parametrize("foreground", FOREGROUNDS.values(), ids=FOREGROUNDS)
def test_restart_runs_the_cleanup_of_every_task(kernel_with_cleanups, marks, foreground):
    occupy(kernel_with_cleanups, foreground)
    kernel_with_cleanups.restart()
    assert sorted(marks.read_text().splitlines()) == ALL
    assert kernel_with_cleanups.evaluate("[t.get_name() for t in asyncnb.tasks()]") == []
    cell = kernel_with_cleanups.ok("%%atask after\nprint('new')\nawait asyncio.sleep(0, 42)")
    cell.wait_for("42")


def test_exit_in_a_cell_runs_the_cleanup_of_every_task(kernel_with_cleanups, marks):
    kernel_with_cleanups.ok("exit()")
    kernel_with_cleanups.shutdown()
    assert sorted(marks.read_text().splitlines()) == ALL


@pytest.mark.parametrize(
    ("wait", "cleanup"),
    [
        ("await asyncio.sleep(600)", "await asyncio.sleep(10)"),
        ("await asyncio.sleep(600)", "time.sleep(10)"),
        ("while True: time.sleep(0.001)", "time.sleep(10)"),
    ],
    ids=["awaiting", "blocking the loop", "thread"],
)
def test_a_cleanup_of_ten_seconds_does_not_hang_the_shutdown(fresh_kernel, marks, wait, cleanup):
    fresh_kernel.ok("started = threading.Semaphore(0)")
    fresh_kernel.ok(CLEANUP.format(name="job", wait=wait, cleanup=cleanup, path=str(marks)))
    fresh_kernel.ok("assert started.acquire(timeout=10)")
    began = time.monotonic()
    fresh_kernel.shutdown()
    assert time.monotonic() - began < 8


def test_a_thread_body_in_a_blocking_call_does_not_hang_the_shutdown(fresh_kernel):
    fresh_kernel.ok("started = threading.Event()")
    fresh_kernel.ok("%%atask job\nstarted.set()\ntime.sleep(600)")
    fresh_kernel.ok("assert started.wait(10)")
    began = time.monotonic()
    fresh_kernel.shutdown()
    assert time.monotonic() - began < 8


def test_a_kernel_without_tasks_shuts_down_promptly(fresh_kernel):
    fresh_kernel.ok("await asyncio.to_thread(int)")
    began = time.monotonic()
    fresh_kernel.shutdown()
    assert time.monotonic() - began < 2.5


TICKER = "%%atask ticker\nwhile True:\n    ticked.set()\n    await asyncio.sleep(0.01)"


@pytest.fixture
def ticking(fresh_kernel):
    fresh_kernel.ok("ticked = threading.Event()")
    fresh_kernel.ok(TICKER)
    fresh_kernel.ok("assert ticked.wait(10)")
    return fresh_kernel


def assert_works(kernel):
    kernel.ok("ticked.clear(); assert ticked.wait(10)", 15)
    assert kernel.evaluate("asyncnb.task('ticker').done()") is False
    assert kernel.ok("await asyncio.sleep(0, 2)", 10).result == "2"
    cell = kernel.ok("%%atask fresh\nawait asyncio.sleep(0, 42)", 10)
    cell.wait_for("42", 10)


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "ValueError"])
def test_an_exception_that_ends_the_loops_run_leaves_the_tasks_alive(ticking, name):
    ticking.ok(
        f"""
        def crash(): raise {name}("crash")
        asyncnb.embedded_loop().call_soon_threadsafe(crash)
        """
    )
    assert_works(ticking)


def test_stop_called_by_user_code_on_the_running_loop_leaves_the_tasks_alive(ticking):
    ticking.run(
        "await asyncio.sleep(0)\nasyncio.get_running_loop().stop()\nawait asyncio.sleep(0)", 10
    )
    assert_works(ticking)


def test_stop_called_by_user_code_from_the_main_thread_leaves_a_usable_kernel(ticking):
    ticking.run("asyncnb.embedded_loop().stop()", 10)
    assert ticking.ok("1 + 1", 10).result == "2"
    assert ticking.ok("await asyncio.sleep(0, 2)", 10).result == "2"
    cell = ticking.ok("%%atask fresh\nawait asyncio.sleep(0, 42)", 10)
    cell.wait_for("42", 10)


def test_close_called_by_user_code_on_the_running_loop_does_not_end_it(ticking):
    ticking.run("await asyncio.sleep(0)\nasyncio.get_running_loop().close()", 10)
    assert_works(ticking)


def test_reset_of_the_namespace_leaves_tasks_running(ticking):
    ticking.ok("keep = ticked")
    ticking.ok("import builtins; builtins.kept = ticked")
    ticking.ok(
        "%%atask holder\nimport builtins\nflag = builtins.kept\nasync def f(flag=flag):\n"
        "    while True:\n        flag.set(); await __import__('asyncio').sleep(0.01)\n"
        "await f()"
    )
    ticking.ok("%reset -f")
    ticking.ok("import builtins; builtins.kept.clear(); assert builtins.kept.wait(10)")
