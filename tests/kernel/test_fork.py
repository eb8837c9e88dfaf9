"""Children of the kernel: they never run the parent's loop, and the parent does not notice."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.skipif("not hasattr(__import__('os'), 'fork')")


@pytest.fixture
def ticking(fresh_kernel, tmp_path):
    """A task that ticks and whose cleanup, once it runs, notes the process it ran in."""
    fresh_kernel.ok(
        f"import os, signal; ticked = threading.Event(); notes = {str(tmp_path / 'notes')!r}"
    )
    fresh_kernel.ok(
        """
        %%atask ticker
        try:
            while True:
                ticked.set()
                await asyncio.sleep(0.01)
        finally:
            with open(notes, "a") as file: print(os.getpid(), file=file)
        """
    )
    fresh_kernel.ok("assert ticked.wait(10)")
    yield fresh_kernel
    fresh_kernel.ok("ticked.clear(); assert ticked.wait(10)")
    assert not (tmp_path / "notes").exists(), "the cleanup of a parent's task ran in a child"
    assert fresh_kernel.ok("await asyncio.sleep(0, 2)", 10).result == "2"


# A child that hangs is ended by its alarm, and reports -14 instead of 7.
FORK = """
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(15)
            {child}
            code = 7
        except BaseException:
            import traceback; traceback.print_exc(file=sys.__stderr__)
            code = 1
        finally:
            os._exit(code)
    exit_code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    """


def test_a_child_of_os_fork_has_no_thread_of_the_loop(ticking):
    ticking.ok(FORK.format(child="assert threading.active_count() == 1, threading.enumerate()"), 30)
    assert ticking.evaluate("exit_code") == 7


def test_a_child_of_os_fork_does_not_run_the_parents_tasks(ticking):
    ticking.ok(FORK.format(child="ticked.clear(); assert not ticked.wait(0.2)"), 30)
    assert ticking.evaluate("exit_code") == 7


def test_a_child_of_os_fork_can_run_a_coroutine(ticking):
    ticking.ok(FORK.format(child="assert asyncnb.run(asyncio.sleep(0.01, 5)) == 5"), 30)
    assert ticking.evaluate("exit_code") == 7


def test_a_child_of_os_fork_can_use_asyncio_itself(ticking):
    ticking.ok(FORK.format(child="assert asyncio.run(asyncio.sleep(0.01, 5)) == 5"), 30)
    assert ticking.evaluate("exit_code") == 7


def test_joining_a_task_of_the_parent_in_a_child_fails_instead_of_hanging(ticking):
    child = "\n            ".join(
        ["try: ticker.join()", "except Exception: pass", "else: raise SystemExit(2)"]
    )
    ticking.ok(FORK.format(child=child), 30)
    assert ticking.evaluate("exit_code") == 7


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_processes_work_from_a_sync_cell(ticking, method):
    ticking.ok(
        f"""
        import multiprocessing, operator
        context = multiprocessing.get_context("{method}")
        process = context.Process(target=time.sleep, args=(0.01,)); process.start()
        process.join(20)
        """,
        60,
    )
    assert ticking.evaluate("process.exitcode") == 0


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_processes_work_from_a_thread_body(ticking, method):
    ticking.ok(
        f"""
        %%atask children
        import multiprocessing
        process = multiprocessing.get_context("{method}").Process(target=time.sleep, args=(0.01,))
        process.start(); process.join(20)
        process.exitcode
        """
    )
    assert ticking.evaluate("children.join(40)") == 0


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_pool_works_from_an_await_cell(ticking, method):
    ticking.ok(
        f"""
        import multiprocessing, operator
        from concurrent.futures import ProcessPoolExecutor
        context = multiprocessing.get_context("{method}")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            product = await asyncio.get_running_loop().run_in_executor(pool, operator.mul, 6, 7)
        """,
        60,
    )
    assert ticking.evaluate("product") == 42


def test_a_subprocess_works_from_an_await_cell_and_from_a_task(ticking):
    ticking.ok(
        """
        async def call():
            p = await asyncio.create_subprocess_exec("echo", "said", stdout=asyncio.subprocess.PIPE)
            return (await p.communicate())[0]
        in_cell = await call()
        """,
        30,
    )
    ticking.ok("in_task = asyncnb.launch(call()).join(20)", 30)
    assert ticking.evaluate("(in_cell, in_task)") == (b"said\n", b"said\n")
