"""`%%atask --on process`: a cell in a worker process is a task like any other."""

from __future__ import annotations

import signal

import psutil
import pytest

from tests.offload.conftest import FAR, lacking


@pytest.fixture(autouse=True)
def _kernel_has_cloudpickle(python):
    if lacking(python, "cloudpickle"):
        pytest.skip(f"{python} has no cloudpickle, which `--on process` needs")


def test_output_result_and_worker_of_a_remote_cell(kernel):
    cell = kernel.ok("%%atask far --on process\nimport os\nprint('said', os.getpid() > 0)\n6 * 7")
    assert kernel.evaluate("asyncnb.task('far').join(20)") == 42
    cell.wait_for(lambda c: c.shown)
    assert cell.stdout.endswith("said True\n")
    assert cell.shown == ["42"]
    info = kernel.evaluate(
        "(lambda i: (i.state, i.kind, i.worker[:7], i.created <= i.started <= i.ended))"
        "(asyncnb.task('far').info())"
    )
    assert info == ("done", "process", "process", True)
    assert kernel.evaluate("asyncnb.task('far').output") == "said True\n"


def test_names_it_reads_are_sent_and_listed_in_the_first_line(kernel):
    kernel.ok("import math\nbase = 10\ndef add(n): return n + base\nunread = 'never sent'")
    cell = kernel.ok("%%atask far --on process\nadd(math.floor(2.5))")
    assert kernel.evaluate("asyncnb.task('far').join(20)") == 12
    kernel.drain()
    assert cell.stdout.splitlines()[0] == "to process, with add (function); imported there: math"
    quiet = kernel.ok("%%atask hush --on process --quiet\nadd(1)")
    assert kernel.evaluate("asyncnb.task('hush').join(20)") == 11
    kernel.drain()
    assert quiet.text == ""


def test_functions_that_were_sent_share_the_variables_of_the_cell(kernel):
    kernel.ok("count = 1\ndef bump():\n    global count\n    count += 1\n    return count")
    kernel.ok("%%atask far --on process\ncount = 10\nbump()\n(count, bump())")
    assert kernel.evaluate("asyncnb.task('far').join(20)") == (11, 12)
    assert kernel.evaluate("count") == 1


def test_a_name_that_the_cell_binds_first_is_not_sent(kernel):
    kernel.ok("file = open('held', 'w')\nrows = [0]")
    cell = kernel.ok(
        "%%atask far --on process\nwith open('held') as file:\n    rows = list(file)\nlen(rows)"
    )
    assert kernel.evaluate("asyncnb.task('far').join(20)") == 0
    kernel.ok("file.close()")
    assert cell.stdout.splitlines()[0] == "to process, with rows (list)"


def test_in_names_what_is_sent_and_nothing_else_is(kernel):
    kernel.ok("a, b = 1, 2")
    kernel.ok("%%atask far --on process --in a\n('b' in globals(), a)")
    assert kernel.evaluate("asyncnb.task('far').join(20)") == (False, 1)


def test_out_names_what_comes_back(kernel):
    kernel.ok("%%atask far --on process -o left,right,value\nleft = 1\nright = [2]\n'last'")
    kernel.ok("asyncnb.task('far').join(20)")
    assert kernel.evaluate("(left, right, value)") == (1, [2], "last")
    assert kernel.evaluate("asyncnb.task('far').result()") == "last"


def test_an_awaiting_cell_runs_on_a_loop_in_the_worker(kernel):
    kernel.ok(
        """
        %%atask far --on process
        import asyncio
        async with asyncio.timeout(10):
            found = await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2))
        found
        """
    )
    assert kernel.evaluate("asyncnb.task('far').join(20)") == [1, 2]


def test_a_traceback_shows_the_lines_of_the_cell(kernel):
    cell = kernel.ok(
        """
        %%atask far --on process
        def inner():
            return 1 / 0
        try:
            inner()
        except ZeroDivisionError as exc:
            raise KeyError("outer") from exc
        """
    )
    error = cell.wait_for(lambda c: c.errors).errors[0]
    assert error.ename == "KeyError"
    assert "----> 3     return 1 / 0" in error.traceback
    assert '----> 7     raise KeyError("outer") from exc' in error.traceback
    assert not FAR.search(error.traceback)
    assert kernel.run("asyncnb.task('far').result()").error.ename == "KeyError"


def test_cancel_interrupts_blocking_code_and_runs_its_cleanup(kernel):
    cell = kernel.ok(
        """
        %%atask far --on process
        import os, time
        try:
            print("pid", os.getpid())  # a cancel may arrive while this returns
            time.sleep(60)
        finally:
            print("cleaned up")
        """
    )
    cell.wait_for("pid")
    kernel.ok("asyncnb.cancel('far')")
    cell.wait_for("cleaned up")
    kernel.ok("%tasks wait far")
    assert kernel.evaluate("asyncnb.task('far').info().state") == "cancelled"
    assert not cell.errors
    pid = int(cell.stdout.split("pid ")[1].split()[0])
    assert psutil.pid_exists(pid), "a worker whose job has stopped is used again"


def test_cancel_of_an_awaiting_cell_runs_its_cleanup(kernel):
    cell = kernel.ok(
        """
        %%atask far --on process
        import asyncio
        print("begun")
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            print("cleaned up")
        """
    )
    cell.wait_for("begun")
    kernel.ok("asyncnb.cancel('far')")
    cell.wait_for("cleaned up")


def test_a_timeout_stops_the_work(kernel):
    cell = kernel.ok("%%atask far --on process -t 0.3\nwhile True: pass")
    error = cell.wait_for(lambda c: c.errors).errors[0]
    assert error.ename == "TimeoutError"
    assert "while True: pass" not in error.traceback or "----> 2" in error.traceback


def test_a_queued_task_is_pending_and_never_starts_when_cancelled(kernel, tmp_path):
    kernel.ok(
        """
        from asyncnb._offload.engines.process import process_engine
        many = process_engine().max_workers
        def stay(): time.sleep(60)
        busy = [asyncnb.offload(stay, name=f"busy{n}") for n in range(many)]
        """
    )
    ran = tmp_path / "ran"
    kernel.ok(f"%%atask late --on process\nopen({str(ran)!r}, 'w')")
    assert kernel.evaluate("asyncnb.task('late').info().state") == "pending"
    kernel.ok("asyncnb.cancel('late')\n%tasks wait late")
    assert kernel.evaluate("asyncnb.task('late').info().state") == "cancelled"
    kernel.ok("asyncnb.cancel('busy*')\n%tasks wait busy*")
    assert not ran.exists()


def test_a_killed_worker_fails_only_its_own_task(kernel):
    cell = kernel.ok(
        "%%atask dies --on process\nimport os, time\nprint('pid', os.getpid())\ntime.sleep(60)"
    )
    other = kernel.ok(
        "%%atask lives --on process\nimport os, time\nprint('pid', os.getpid())\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n'alive'"
    )
    cell.wait_for("pid")
    other.wait_for("pid")
    psutil.Process(int(cell.stdout.split("pid ")[1])).send_signal(signal.SIGKILL)
    error = cell.wait_for(lambda c: c.errors).errors[0]
    assert error.ename == "WorkerLostError"
    assert "SIGKILL" in error.evalue
    kernel.ok("open('go', 'w').close()")
    assert kernel.evaluate("asyncnb.task('lives').join(20)") == "alive"
    kernel.ok("%%atask next --on process\n'as before'")
    assert kernel.evaluate("asyncnb.task('next').join(20)") == "as before"


def test_retry_runs_it_again_when_its_worker_is_lost(kernel, tmp_path):
    kernel.ok(f"path = {str(tmp_path / 'died')!r}")
    cell = kernel.ok(
        """
        %%atask again --on process --retry 2
        import os, signal
        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        "second time"
        """
    )
    assert kernel.evaluate("asyncnb.task('again').join(30)") == "second time"
    cell.wait_for("second time")


def test_interrupting_the_kernel_does_not_affect_workers(kernel):
    cell = kernel.ok(
        "%%atask far --on process\nimport os, time\nprint('begun')\n"
        "while not os.path.exists('on'): time.sleep(0.01)\n'undisturbed'"
    )
    cell.wait_for("begun")
    stopped = kernel.submit("print('busy'); time.sleep(60)")
    stopped.wait_for("busy")
    kernel.interrupt()
    assert stopped.wait().error.ename == "KeyboardInterrupt"
    kernel.ok("open('on', 'w').close()")
    assert kernel.evaluate("asyncnb.task('far').join(20)") == "undisturbed"


@pytest.mark.parametrize(
    ("line", "body", "message"),
    [
        ("--on proces", "1", "Did you mean 'process'"),
        ("--on number", "1", "on= takes 'process'"),
        ("--on process --in nothing_such", "1", "no variable 'nothing_such'"),
        ("--on process --in a-b", "1", "name of a variable"),
        ("--on process -o lost", "found = 1", "assigns no such name"),
        ("--on process", "lock", "lock (lock) cannot be sent"),
        ("--on loop --in number", "number", "sees all its variables"),
        ("-o a,b", "1", "-o takes one name"),
        ("--on process", "big", "the limit is 1.0 kB (big"),
    ],
)
def test_invalid_options_are_refused_before_anything_starts(kernel, line, body, message):
    kernel.ok(
        """
        import os
        number, lock, big = 1, threading.Lock(), b"x" * 2000
        os.environ["ASYNCNB_OFFLOAD_LIMIT"] = "1 kB"
        """
    )
    cell = kernel.run(f"%%atask refused {line}\n{body}")
    kernel.ok("del os.environ['ASYNCNB_OFFLOAD_LIMIT']")
    kernel.drain()
    assert message in cell.text
    assert kernel.evaluate("len(asyncnb.tasks('refused'))") == 0


def test_the_size_limit_is_an_option(kernel):
    kernel.ok("big = b'x' * 2000\n%asyncnb option offload_limit 1kB")
    cell = kernel.run("%%atask far --on process\nlen(big)")
    assert "the limit is 1.0 kB" in cell.text and "offload_limit 2GB" in cell.text
    assert "not '2XB'" in kernel.run("%asyncnb option offload_limit 2XB").text
    kernel.ok("%asyncnb option offload_limit 256MB")
    kernel.ok("%%atask far --on process\nlen(big)")
    assert kernel.evaluate("asyncnb.task('far').join(20)") == 2000


def test_a_module_missing_on_the_worker_is_named(kernel):
    kernel.ok(
        """
        import types
        fake = sys.modules["only_here"] = types.ModuleType("only_here")
        """
    )
    cell = kernel.ok("%%atask far --on process\nfake.value")
    error = cell.wait_for(lambda c: c.errors).errors[0]
    assert error.ename == "OffloadError"
    assert "no module 'only_here'" in error.evalue


def test_output_of_programs_and_c_code_appears_in_the_cell(kernel):
    cell = kernel.ok(
        "%%atask far --on process\nimport os\nprint('one')\nos.system('echo two')\nprint('three')"
    )
    kernel.ok("asyncnb.task('far').join(60)", 90)
    cell.wait_for("three")
    # Two pipes: output written to both within a millisecond may be reordered.
    assert sorted(cell.stdout.split()[-3:]) == ["one", "three", "two"]


def test_display_shell_commands_and_magics_work_in_a_worker(kernel):
    cell = kernel.ok(
        """
        %%atask far --on process
        from IPython.display import HTML
        display(HTML("<b>bold</b>"))
        !echo from a shell
        %time sum(range(10))
        """
    )
    kernel.ok("asyncnb.task('far').join(30)")
    cell.wait_for("Wall time")
    assert cell.displays[0]["text/html"] == "<b>bold</b>"
    cell.wait_for("from a shell")


def test_a_variable_names_an_executor(kernel):
    kernel.ok("import concurrent.futures as cf; pool = cf.ThreadPoolExecutor(1); n = 20")
    kernel.ok("%%atask near --on pool -o found\nn += 1\nn * 2")
    kernel.ok("asyncnb.task('near').join(20)")
    assert kernel.evaluate("(n, found, asyncnb.task('near').info().kind)") == (21, 42, "executor")
    kernel.ok("import multiprocessing; context = multiprocessing.get_context('spawn')")
    kernel.ok("pool = cf.ProcessPoolExecutor(1, context)")
    cell = kernel.ok("%%atask far --on pool -o m\nprint('said')\nm = n + 1")
    kernel.ok("asyncnb.task('far').join(30); pool.shutdown()")
    # multiprocessing's own helper ends a moment after its kernel, unless it is stopped before.
    kernel.ok("from multiprocessing import resource_tracker as r; r._resource_tracker._stop()")
    cell.wait_for("said")
    assert kernel.evaluate("m") == 22


def test_a_pool_of_interpreters_is_refused_with_a_reason(kernel):
    if kernel.evaluate("sys.version_info < (3, 14)"):
        pytest.skip("Python has no InterpreterPoolExecutor before 3.14")
    kernel.ok("import concurrent.futures as cf; pool = cf.InterpreterPoolExecutor(1)")
    cell = kernel.run("%%atask far --on pool\n1")
    assert "on= takes no InterpreterPoolExecutor" in cell.text
    assert "ThreadPoolExecutor or a ProcessPoolExecutor" in cell.text
    assert kernel.evaluate("len(asyncnb.tasks('far'))") == 0
    kernel.ok("pool.shutdown()")


def test_on_kernel_runs_on_the_main_thread_and_its_loop(kernel):
    cell = kernel.ok(
        """
        %%atask near --on kernel
        print(threading.current_thread() is threading.main_thread())
        await asyncio.sleep(0.01)
        asyncio.get_running_loop() is get_ipython().kernel.io_loop.asyncio_loop
        """
    )
    cell.wait_for(lambda c: c.shown)
    assert (cell.stdout, cell.shown) == ("True\n", ["True"])
    assert kernel.evaluate("asyncnb.task('near').info().kind") == "kernel"
    kernel.ok("%%atask near --on kernel\nthreading.current_thread() is threading.main_thread()")
    # Not join(): it would block the main thread, which may still have to run the task.
    kernel.ok("on_main_thread = await asyncnb.task('near')")
    assert kernel.evaluate("on_main_thread") is True


def test_a_cancelled_task_on_the_kernels_loop_cleans_up(kernel):
    cell = kernel.ok(
        """
        %%atask near --on kernel
        try:
            print("begun")
            await asyncio.sleep(60)
        finally:
            print("cleaned up")
        """
    )
    cell.wait_for("begun")
    kernel.ok("asyncnb.cancel('near')")
    cell.wait_for("cleaned up")


@pytest.mark.parametrize("how", ["killed", "shut down", "unloaded"])
def test_workers_and_their_children_end_with_the_kernel(fresh_kernel, how):
    cell = fresh_kernel.ok(
        """
        %%atask far --on process
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print("child", child.pid)
        while True: pass
        """
    )
    cell.wait_for("child")
    theirs = psutil.Process(fresh_kernel.pid).children(recursive=True)
    assert len([p for p in theirs if p.cmdline()]) >= 2
    if how == "killed":
        psutil.Process(fresh_kernel.pid).kill()
    elif how == "shut down":
        fresh_kernel.shutdown()
    else:
        fresh_kernel.ok("%unload_ext asyncnb")
    _, alive = psutil.wait_procs(theirs, timeout=15)
    assert not alive
