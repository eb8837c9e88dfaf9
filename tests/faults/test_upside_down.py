"""Interpreters with unusual options, and cells that change the interpreter."""

from __future__ import annotations

import pytest

from tests.faults.conftest import begin, check

ENVIRONMENTS = {
    "-OO and asyncio's debug mode": {"PYTHONOPTIMIZE": "2", "PYTHONASYNCIODEBUG": "1"},
    "-X dev": {"PYTHONDEVMODE": "1"},
    "-W error": {"PYTHONWARNINGS": "error"},
    "a locale of ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.promise(
    "a kernel with unusual options: everything works, and nothing unusual is printed"
)
@pytest.mark.parametrize("env", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_kernel_started_with(start_kernel, env):
    kernel = start_kernel(env=env)
    begin(kernel)
    kernel.ok("%%atask thread\ntime.sleep(0)\nprint('in a', 'thread')").wait_for("in a thread")
    failed = kernel.ok("%%atask bad\nawait asyncio.sleep(0)\nraise ValueError('e\\xe9')")
    failed.wait_for("ValueError: e\xe9")
    assert failed.stderr == ""
    assert "witness" in kernel.ok("%tasks").result
    kernel.ok("asyncnb.cancel('witness'); await asyncnb.wait([asyncnb.task('witness')])")
    begin(kernel)
    check(kernel)
    assert not kernel.where("Warning")


@pytest.mark.promise("asyncio's debug mode: for a callback it names the line of the cell")
def test_debug_mode_says_the_users_line(start_kernel):
    # The standard loop: uvloop does not say where a callback comes from.
    kernel = start_kernel(env={"ASYNCNB_LOOP": "asyncio"})
    begin(kernel)
    kernel.ok(
        """
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        made = loop.call_soon(print), loop.call_at(loop.time() + 600, print)
        said = [repr(handle).partition("created at ")[2] for handle in made]
        for handle in made: handle.cancel()
        loop.set_debug(False)
        """
    )
    for where in kernel.evaluate("said"):
        assert where and "asyncnb" not in where.partition(":")[0]
    check(kernel)


#: What is done, and what takes it back.
MEDDLING = {
    "sys.settrace": (
        "def tr(*a): return tr\nsys.settrace(tr); threading.settrace(tr)",
        "sys.settrace(None); threading.settrace(None)",
    ),
    "sys.setprofile": (
        "sys.setprofile(lambda *a: 0); threading.setprofile(lambda *a: 0)",
        "sys.setprofile(None); threading.setprofile(None)",
    ),
    "tracemalloc": ("import tracemalloc; tracemalloc.start()", "tracemalloc.stop()"),
    "faulthandler": (
        "import faulthandler; f = open('fault.txt', 'w'); faulthandler.enable(f)",
        "faulthandler.disable(); f.close()",
    ),
    "no garbage collector": ("import gc; gc.disable()", "gc.enable()"),
    "warnings as errors": (
        "import warnings; warnings.simplefilter('error')",
        "warnings.resetwarnings()",
    ),
    "a short recursion limit": (
        "depth = sys.getrecursionlimit(); sys.setrecursionlimit(150)",
        "sys.setrecursionlimit(depth)",
    ),
    "a switch interval of 10 s": (
        "sys.setswitchinterval(10)",
        "sys.setswitchinterval(0.005)",
    ),
    "time.monotonic jumps": (
        "real = time.monotonic; time.monotonic = lambda: real() + 1e6",
        "time.monotonic = real",
    ),
    "time.monotonic stops": (
        "real = time.monotonic; time.monotonic = lambda: 0.0",
        "time.monotonic = real",
    ),
    "asyncio not in sys.modules": (
        "gone = sys.modules.pop('asyncio')",
        "sys.modules['asyncio'] = gone",
    ),
    "print is replaced": ("real = print\ndef print(*a): real('|', *a)", "del print"),
    "sys.stdout is a closed file": (
        "import io; out = sys.stdout; shut = io.StringIO(); shut.close(); sys.stdout = shut",
        "sys.stdout = out",
    ),
    "no environment": (
        "import os; env = dict(os.environ); os.environ.clear()",
        "os.environ.update(env)",
    ),
    "the folder is gone": (
        "import os, tempfile; home = os.getcwd(); d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)",
        "os.chdir(home)",
    ),
}


@pytest.mark.promise(
    "an unusual interpreter: tasks run, fail and are shown, on the loop and in threads"
)
@pytest.mark.parametrize(("do", "undo"), MEDDLING.values(), ids=MEDDLING)
def test_interpreter(victim, do, undo):
    if "rmdir" in do and victim.evaluate("sys.platform") == "win32":
        pytest.skip("Windows removes no folder that is a process's current one")
    victim.ok(do)
    try:
        victim.ok("%%atask on_loop\nawait asyncio.sleep(0)\ndisplay('looped')").wait_for("looped")
        victim.ok("%%atask limited -t 600\nawait asyncio.sleep(0.01)\n'lim' 'ited'").wait_for(
            "limited"
        )
        victim.ok("%%atask in_thread\ntime.sleep(0)\n'thre' 'aded'").wait_for("threaded")
        failed = victim.ok("%%atask bad\nawait asyncio.sleep(0)\nraise ValueError('told')")
        failed.wait_for("ValueError: told")
        assert len(failed.errors) == 1
        victim.ok("await asyncio.sleep(0.01)\n%tasks")
    finally:
        victim.ok(undo)


HANDLERS = {
    "a function": "signal.signal(signal.SIGINT, lambda *a: None)",
    "SIG_IGN": "signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "SIG_DFL": "signal.signal(signal.SIGINT, signal.SIG_DFL)",
    "a wake-up descriptor": "signal.set_wakeup_fd(ear.fileno())",
}


@pytest.mark.promise("a library handles SIGINT itself: an interrupt still ends cells that await")
@pytest.mark.parametrize("take", HANDLERS.values(), ids=HANDLERS)
def test_interrupt_handler_of_another_library(victim, take):
    victim.ok(
        "import signal, socket; before = signal.getsignal(signal.SIGINT)\n"
        "mouth, ear = socket.socketpair(); ear.setblocking(False)"
    )
    victim.ok(take)
    stopped = victim.submit("print('busy'); await asyncio.sleep(600)").wait_for("busy")
    victim.interrupt()
    assert stopped.wait().error.ename == "KeyboardInterrupt"
    if "wakeup" in take:
        assert victim.ok("signal.set_wakeup_fd(-1) == ear.fileno()").result == "True"
    victim.ok("signal.signal(signal.SIGINT, before); mouth.close(); ear.close()")


@pytest.mark.promise("a worker thread dies before its code begins: a cancel ends its task")
def test_worker_thread_dies(victim):
    victim.ok("threading.setprofile(lambda *a: 1 / 0)")
    cell = victim.ok("%%atask job\ntime.sleep(0)").wait_for("ZeroDivisionError")
    victim.ok("threading.setprofile(None)")
    victim.ok(
        "asyncnb.task('job')._record.task.get_coro(); [t.name for t in threading.enumerate()]"
    )
    assert "asyncnb worker" in cell.stderr
    victim.ok("%tasks cancel job\nawait asyncnb.wait([asyncnb.task('job')])")
    assert victim.evaluate("asyncnb.task('job').info().state") == "cancelled"


@pytest.mark.promise(
    "a worker process ends, or loses its pipes: a message says so, the next one works"
)
@pytest.mark.parametrize(
    "body",
    [
        "import os; os._exit(3)",
        "import os\nfor fd in range(3, 60):\n    try: os.close(fd)\n    except OSError: pass",
    ],
    ids=["os._exit", "pipes closed"],
)
def test_worker_process_ends(victim, body):
    if "close" in body and victim.evaluate("sys.platform") == "win32":
        pytest.skip("handles of Windows are not numbers below 60")
    cell = victim.ok(f"%%atask job --on process\n{body}").wait_for("WorkerLostError", 60)
    assert "The worker process that ran this" in cell.errors[0].evalue
    victim.ok("%%atask next --on process\n'still ' 'there'").wait_for("still there", 60)


@pytest.mark.promise("a task launches another with the magic: its output appears there too")
def test_magic_in_a_task(victim):
    cell = victim.ok(
        """
        %%atask outer
        await asyncio.sleep(0)
        get_ipython().run_cell_magic("atask", "inner", "await asyncio.sleep(0)\\n'in' 'ner said'")
        """
    )
    cell.wait_for("inner said")
    parent = "asyncnb.task('inner').info().parent == asyncnb.task('outer').info().id"
    assert victim.evaluate(parent) is True


@pytest.mark.promise("an exit function launches a task and waits for it: it runs")
def test_launch_at_exit(fresh_kernel, tmp_path):
    path = tmp_path / "at_exit"
    fresh_kernel.ok(
        f"""
        import atexit
        async def work(): return "ran"
        def late():
            with open({str(path)!r}, "w") as f:
                f.write(asyncnb.launch(work()).join(5))
        atexit.register(late);
        """
    )
    fresh_kernel.shutdown()
    assert path.read_text() == "ran"


@pytest.mark.promise("%reset -f: a task's arguments stay, the variables it looks up are gone")
def test_reset(fresh_kernel):
    kernel = fresh_kernel
    kernel.ok(
        """
        def work(gate, say):
            async def inner():
                await gate.wait()
                say("kept", "on")
            return inner()
        gate = asyncio.Event()
        asyncnb.launch(work(gate, print), name="own")
        sys.gate = gate
        """
    )
    lost = kernel.ok("%%atask lost\nawait gate.wait()\nprint(threading)")
    kernel.ok("await asyncio.sleep(0)")
    kernel.ok("%reset -f")
    kernel.ok("import asyncio, asyncnb, sys, time\nawait asyncio.sleep(0)\nsys.gate.set()")
    lost.wait_for("NameError: name 'threading' is not defined")
    kernel.ok("assert asyncnb.task('own').join(10) is None")
    kernel.drain()
    assert kernel.where("kept on")
    kernel.ok("import threading")
    begin(kernel)
    check(kernel)
