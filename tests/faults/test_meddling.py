"""User code that interferes with the loop, the interpreter or IPython."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.faults.conftest import begin, check

LOOP = {
    "stop() from a cell": "asyncnb.embedded_loop().stop()",
    "stop() on the loop": (
        "await asyncio.sleep(0)\nasyncio.get_running_loop().stop()\nawait asyncio.sleep(0)"
    ),
    "close() from a cell": "asyncnb.embedded_loop().close()",
    "close() on the loop": "await asyncio.sleep(0)\nasyncio.get_running_loop().close()",
    "a callback that raises SystemExit": (
        "def f(): raise SystemExit\nasyncnb.embedded_loop().call_soon_threadsafe(f)"
    ),
    "set_exception_handler that raises": (
        "def f(loop, context): raise ValueError('handler')\n"
        "loop = asyncnb.embedded_loop(); old = loop.get_exception_handler()\n"
        "loop.call_soon_threadsafe(loop.set_exception_handler, f)\n"
        "loop.call_soon_threadsafe(lambda: 1 / 0)\nawait asyncio.sleep(0)\n"
        "loop.call_soon_threadsafe(loop.set_exception_handler, old)"
    ),
    "a default executor that is shut down": (
        "import concurrent.futures as cf\nloop = asyncnb.embedded_loop()\n"
        "pool = cf.ThreadPoolExecutor(1)\n"
        "loop.call_soon_threadsafe(loop.set_default_executor, pool)\n"
        "await asyncio.sleep(0)\npool.shutdown()\n"
        "loop.set_default_executor(cf.ThreadPoolExecutor(4))"
    ),
    "debug mode": (
        "asyncnb.embedded_loop().set_debug(True); time.sleep(0.1); "
        "asyncnb.embedded_loop().set_debug(False)"
    ),
    "another event loop policy": (
        "import warnings; warnings.simplefilter('ignore')\n"
        "asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())"
    ),
}


@pytest.mark.promise(
    "user code may stop, close or disturb the loop: it keeps running, with its tasks"
)
@pytest.mark.parametrize("code", LOOP.values(), ids=LOOP)
def test_user_code_and_the_loop(fresh_victim, code):
    fresh_victim.run(code, 15)


@pytest.mark.promise(
    "the loop's thread is killed: a message says so, its tasks and groups fail, a new loop works"
)
def test_loop_thread_killed(start_kernel):
    # The standard loop: uvloop logs an exception that hits its own code, and continues.
    kernel = start_kernel(env={"ASYNCNB_LOOP": "asyncio"})
    begin(kernel)
    kernel.ok(
        """
        import ctypes
        class Killed(BaseException): pass
        waiter = threading.Thread(target=lambda: outcome.append(catch()))
        outcome = []
        def catch():
            try: witness.join()
            except BaseException as exc: return f"{type(exc).__name__}: {exc}"
        waiter.start()
        group = asyncnb.open_group("pages"); member = group.create_task(asyncio.sleep(60))
        thread = asyncnb.embedded_loop().thread
        while thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident), ctypes.py_object(Killed))
            thread.join(0.05)
        waiter.join(10)
        assert "crashed" in outcome[0], outcome
        assert "Killed" in witness.info().error and member.info().state == "failed"
        with asyncnb.open_group("pages") as again: again.create_task(asyncio.sleep(0))
        assert group.closed and again is not group
        """
    )
    check(kernel, witness=False)


@pytest.mark.promise("nest_asyncio beside asyncnb: everything keeps working")
@pytest.mark.parametrize("module", ["nest_asyncio", "nest_asyncio2"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_nest_asyncio(start_kernel, module, when):
    kernel = start_kernel(extension=False)
    has = kernel.evaluate(f"__import__('importlib.util').util.find_spec({module!r}) is not None")
    if not has:
        pytest.skip(f"{module} is not installed beside this kernel")
    load = "%load_ext asyncnb\nimport asyncio, asyncnb, sys, threading, time"
    apply = f"import {module}; {module}.apply()"
    for code in (apply, load) if when == "before" else (load, apply):
        kernel.ok(code)
    begin(kernel)
    assert kernel.ok("asyncnb.run(asyncio.sleep(0, 'ran'))").result == "'ran'"
    kernel.ok("async def f(): await asyncio.sleep(0); return 7\nassert asyncnb.run(f()) == 7")
    stopped = kernel.submit("print('busy'); await asyncio.sleep(600)").wait_for("busy")
    kernel.interrupt()
    assert stopped.wait().error.ename == "KeyboardInterrupt"
    check(kernel)


@pytest.mark.promise(
    "asyncio.run and the like in a task: the error says what to write; no other effect"
)
@pytest.mark.parametrize(
    "body",
    [
        "await asyncio.sleep(0)\nasyncio.run(asyncio.sleep(0))",
        "await asyncio.sleep(0)\nasyncnb.run(asyncio.sleep(0))",
        "await asyncio.sleep(0)\nasyncio.get_running_loop().run_until_complete(asyncio.sleep(0))",
        "await asyncio.sleep(0)\nasyncio.get_running_loop().run_forever()",
    ],
    ids=["asyncio.run", "asyncnb.run", "run_until_complete", "run_forever"],
)
def test_run_in_a_task(victim, body):
    victim.ok("import warnings; warnings.simplefilter('ignore', RuntimeWarning)")
    victim.ok(f"%%atask job\n{body}").wait_for("Error")
    assert victim.evaluate("job.info().state") == "failed"


@pytest.mark.promise("a library's plain function that runs a loop works in a background cell")
@pytest.mark.parametrize(
    "run",
    [
        "asyncio.run({})",
        "asyncio.get_event_loop().run_until_complete({})",
        "asyncio.Runner().run({})",
    ],
)
def test_a_loop_run_in_a_background_cell(victim, run):
    call = run.format("asyncio.sleep(0, 'ran')")
    victim.ok(f"%%atask job\nprint({call})").wait_for("ran")


@pytest.mark.promise(
    "an attribute that another thread has set: the error says which thread and where"
)
def test_an_attribute_of_another_thread(victim):
    victim.ok("here = threading.local()\nhere.x = 1")
    error = victim.run("await asyncio.sleep(0)\nhere.x").error
    assert error.ename == "AttributeError"
    assert "main thread" in error.traceback


@pytest.mark.promise(
    "an object of another thread is refused: the error says what made it and what to do"
)
def test_an_object_of_another_thread(victim):
    victim.ok("import sqlite3\ndb = sqlite3.connect(':memory:')")
    error = victim.run("await asyncio.sleep(0)\ndb.execute('select 1')").error
    assert "created in the main thread" in error.traceback
    assert "check_same_thread=False" in error.traceback


@pytest.mark.promise(
    "an interrupt ends a cell and its child processes, but none of an earlier cell"
)
def test_stop_and_child_processes(start_kernel):
    kernel = start_kernel()
    kernel.ok("earlier = await asyncio.create_subprocess_exec('sleep', '60')")
    for _ in range(3):
        code = "own = await asyncio.create_subprocess_exec('sleep', '60'); print('busy')"
        stopped = kernel.submit(f"{code}\nawait own.wait()").wait_for("busy")
        kernel.interrupt()
        assert stopped.wait().error.ename == "KeyboardInterrupt"
        assert kernel.evaluate("earlier.returncode") is None
    kernel.ok("earlier.kill(); await earlier.wait()")


@pytest.mark.promise("an interrupt ends even a cell that has changed the loop's signal handlers")
def test_stop_and_signal_handlers(victim):
    victim.ok("import signal")
    for method in ("add_signal_handler", "remove_signal_handler"):
        args = ", print" if method.startswith("add") else ""
        call = f"asyncio.get_running_loop().{method}(signal.SIGUSR1{args})"
        code = f"await asyncio.sleep(0)\n{call}\nprint('busy')\nawait asyncio.sleep(600)"
        stopped = victim.submit(code).wait_for("busy")
        victim.interrupt()
        assert stopped.wait(10).error.ename == "KeyboardInterrupt"


@pytest.mark.promise("a cell that runs a loop itself can be cancelled and run again")
@pytest.mark.parametrize(
    "run",
    [
        "asyncio.run(main())",
        "loop = asyncio.new_event_loop(); loop.run_until_complete(main())",
        "import anyio; anyio.run(main)",
        "import trio; trio.run(trio_main)",
        "import uvicorn; uvicorn.run(app, port=0, log_level='error')",
    ],
    ids=["asyncio.run", "run_until_complete", "anyio.run", "trio.run", "uvicorn.run"],
)
def test_cancel_of_a_loop_in_a_cell(victim, run):
    victim.ok(
        """
        import threading
        started = threading.Event()
        async def main():
            started.set()
            await asyncio.sleep(3600)
        async def trio_main():
            import trio
            started.set()
            await trio.sleep(3600)
        async def app(scope, receive, send):
            for event in ("startup", "shutdown"):
                await receive()
                started.set() if event == "startup" else None
                await send({"type": f"lifespan.{event}.complete"})
        """
    )
    for _ in range(2):
        victim.ok(f"%%atask job\n{run}")
        victim.ok("assert started.wait(10); started.clear(); job.cancel()", 15)
        victim.ok("await asyncio.wait([job], timeout=10);", 15)
        assert victim.evaluate("job.info().state") == "cancelled"


@pytest.mark.promise("a task paused before its first step does not begin, whichever thread made it")
def test_pause_before_the_first_step(victim):
    victim.ok(
        """
        async def body(): began.append(True)
        began, made = [], []
        thread = threading.Thread(target=lambda: made.append(asyncnb.launch(body())))
        await asyncio.sleep(0)
        thread.start(); thread.join()
        assert made[0].pause()
        await asyncio.sleep(0.05)
        assert not began
        made[0].resume(); await made[0]
        assert began
        """
    )


@pytest.mark.promise("a fork in a task: the child ends by itself, the parent's tasks keep running")
@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="Windows has no fork")
def test_fork_in_a_task(victim):
    victim.ok(
        """
        %%atask job
        import os, warnings
        warnings.simplefilter("ignore")
        await asyncio.sleep(0)
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        """
    ).wait_for("7")


@pytest.mark.promise("a fork beside an open group: the child opens another one")
@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="Windows has no fork")
def test_fork_beside_an_open_group(victim):
    victim.ok(
        """
        import os, signal, warnings
        warnings.simplefilter("ignore")
        group = asyncnb.open_group("pages")
        pid = os.fork()
        if pid == 0:
            signal.alarm(15)
            with asyncnb.open_group("pages") as mine:
                result = mine.create_task(asyncio.sleep(0, 7))
            os._exit(result.result() if mine is not group else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert group.create_task(asyncio.sleep(0, 5)).join(10) == 5
        group.join(10)
        """
    )


#: What the parent does, and what its child does then.
FORKED = {
    "a lock that another thread holds": (
        """
        from asyncnb._core.launched import open_group as _open_groups
        inside, done = threading.Event(), threading.Event()
        def hold():
            with _open_groups.lock:
                inside.set(); done.wait(30)
        threading.Thread(target=hold).start(); inside.wait()
        """,
        """
        with asyncnb.open_group("pages") as mine:
            result = mine.create_task(asyncio.sleep(0, 7))
        return result.result()
        """,
    ),
    "an executor in use": (
        """
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        done = threading.Event()
        def talk(): print("hello"); return 7
        def remote():
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                return asyncnb.offload(talk, on=pool).join(30)
        remote()
        """,
        "return remote()",
    ),
    "a recording": (
        """
        done = threading.Event()
        asyncnb.launch(asyncio.sleep(0), name="mine", trace=True).join(10)
        """,
        """
        before = asyncnb.tasks(), asyncnb.timeline().text()
        asyncnb.launch(asyncio.sleep(0), name="its own", trace=True).join(10)
        now = asyncnb.timeline().text()
        return 7 if not before[0] and "mine" not in now and "its own" in now else 1
        """,
    ),
}


@pytest.mark.promise("a forked child waits for no thread of its parent, and begins with no task")
@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="Windows has no fork")
@pytest.mark.parametrize(("parent", "child"), FORKED.values(), ids=FORKED)
def test_fork_beside(victim, parent, child):
    victim.ok("import os, signal, warnings\nwarnings.simplefilter('ignore')")
    victim.ok("def child():\n" + textwrap.indent(textwrap.dedent(child).strip(), "    "))
    victim.ok(parent, 60)
    victim.ok(
        """
        pid = os.fork()
        if pid == 0:
            signal.alarm(40)
            code = 1
            try: code = child()
            finally: os._exit(code)
        done.set()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        """,
        60,
    )


CRASHED = """
import asyncio, asyncnb
class Killed(BaseException): pass
def killed(): raise Killed
group = asyncnb.open_group("pages")
lost = [
    group.create_task(asyncio.sleep(600), name="page"),
    asyncnb.launch(asyncio.sleep(600), name="lone"),
]
asyncnb.run(asyncio.sleep(0))
loop = asyncnb.embedded_loop()
loop.run_forever = killed  # what its thread calls again after a stop()
loop.call_soon_threadsafe(loop.stop)
loop.thread.join(20)
new = asyncnb.launch(asyncio.sleep(600), name="new")
assert asyncnb.cancel("*") == [new]
assert [task.info().state for task in lost] == ["failed", "failed"]
with asyncnb.open_group("pages") as again:
    result = again.create_task(asyncio.sleep(0, "works"))
assert group.closed and again is not group
print(result.result())
"""


@pytest.mark.promise(
    "plain Python, the loop's thread ends: tasks and groups fail, cancel skips them"
)
def test_crash_in_plain_python():
    done = subprocess.run(
        [sys.executable, "-c", CRASHED], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "works\n"), done.stderr


@pytest.mark.promise("run() with another loop, within a running one: it cleans up as usual")
@pytest.mark.parametrize("option", ["loop_factory=asyncio.new_event_loop", "debug=True"])
def test_run_beside_a_running_loop(victim, option):
    victim.ok(
        f"""
        cleaned, kept = [], []
        async def background():
            try: await asyncio.sleep(600)
            finally:
                await asyncio.sleep(0)
                cleaned.append(True)
        async def work():
            kept.append(asyncio.create_task(background()))
            await asyncio.sleep(0)
            return 7
        async def main(): return asyncnb.run(work(), {option})
        assert await asyncio.to_thread(asyncio.run, main()) == 7
        assert cleaned == [True]
        """
    )


@pytest.mark.promise("create_task replaced by other code stays so when a recording starts and ends")
def test_create_task_of_other_code(victim):
    victim.ok(
        """
        loop = asyncnb.embedded_loop()
        made = []
        def create_task(coro, **options):
            made.append(coro)
            return type(loop).create_task(loop, coro, **options)
        loop.create_task = create_task
        async def work(): await asyncio.create_task(asyncio.sleep(0))
        for _ in range(2): await asyncnb.launch(work(), trace=True)
        await asyncio.sleep(0)
        assert vars(loop).get("create_task") is create_task
        assert made
        del loop.create_task
        """
    )


IPYTHON = {
    "%reset": "beat_, beats_ = beat, beats\n%reset_selective -f ^nothing",
    "%run": "open('script.py', 'w').write('print(1)')\n%run script.py",
    "autoreload": "%load_ext autoreload\n%autoreload 2",
    "%%capture": "%%capture said\nprint('captured')",
    "%%time": "%%time\nsum(range(10))",
    "%%timeit": "%timeit -n1 -r1 asyncnb.launch(asyncio.sleep(0)).join()",
    "%prun": "%prun -q sum(range(10))",
    "%pdb": "%pdb on\n%pdb off",
    "%who": "%whos",
    "%history": "%history -n",
    "%gui": "%gui",
    "%config": "%config InlineBackend.figure_format = 'svg'",
    "%xmode": "%xmode Minimal\n%xmode Context",
    "%colors": "%colors NoColor",
}


@pytest.mark.promise("IPython's own magics work beside background tasks, and these beside them")
@pytest.mark.parametrize("code", IPYTHON.values(), ids=IPYTHON)
def test_ipython_magics(victim, code):
    talker = victim.ok(
        "%%atask talker\nwhile True:\n    print('.')\n    await asyncio.sleep(0.005)"
    )
    talker.wait_for(".")
    victim.ok(code)
    here = talker.text.count(".")
    talker.wait_for(lambda cell: cell.text.count(".") > here)


PLAIN = """
import asyncio, asyncnb, sys
async def job(n):
    try:
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0)
        done.append(n)
        if len(done) == 100: print("all cleaned up", flush=True)
done = []
for n in range(100): asyncnb.launch(job(n))
asyncnb.run(asyncio.sleep(0.05))
{end}
"""


@pytest.mark.promise("plain Python ends with living tasks: their cleanup runs, the exit code stays")
@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("sys.exit(3)", 3), ("raise ValueError", 1)],
    ids=["end", "exit", "error"],
)
def test_interpreter_exit(end, code):
    script = PLAIN.format(end=end)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code
    assert "all cleaned up" in done.stdout
    assert "never retrieved" not in done.stderr and "was destroyed" not in done.stderr


@pytest.mark.promise("%load_ext fails half-way: nothing of it is left, and the next attempt works")
def test_load_without_a_thread(start_kernel):
    kernel = start_kernel(extension=False)
    kernel.ok(
        "import asyncio, sys, threading, time, asyncnb\n"
        "start = threading.Thread.start\n"
        "def refused(self):\n"
        "    if self.name == 'asyncnb start': raise RuntimeError('no thread left')\n"
        "    start(self)\n"
        "threading.Thread.start = refused"
    )
    assert kernel.run("%load_ext asyncnb").error.evalue == "no thread left"
    assert kernel.ok(_IN_THE_MAIN_THREAD).result == "True"
    assert "atask" in kernel.run("%%atask x\n1").stderr  # not found
    kernel.ok("threading.Thread.start = start\n%load_ext asyncnb")
    begin(kernel)
    check(kernel)


_IN_THE_MAIN_THREAD = (
    "await asyncio.sleep(0); threading.current_thread() is threading.main_thread()"
)


@pytest.mark.promise("the loop cannot start: each cell says so and runs, until it can")
def test_load_without_a_loop(start_kernel):
    kernel = start_kernel(extension=False)
    kernel.ok(
        "import asyncio, sys, threading, time, asyncnb\n"
        "from asyncnb._core.loop import embedded as _loop\n"
        "start = _loop.EmbeddedLoop.start\n"
        "def refused(self): raise RuntimeError('no thread left')\n"
        "_loop.EmbeddedLoop.start = refused"
    )
    kernel.ok("%load_ext asyncnb")
    cell = kernel.ok("1 + 1")
    assert cell.result == "2"
    assert "loop could not be started" in cell.stderr and "no thread left" in cell.stderr
    assert kernel.run("%%atask x\n1").error.evalue == "no thread left"
    kernel.ok("_loop.EmbeddedLoop.start = start")
    begin(kernel)
    check(kernel)


@pytest.mark.promise("a step of %unload_ext raises: it is shown, and all other steps are done")
def test_unload_with_a_broken_undo(start_kernel):
    kernel = start_kernel()
    kernel.ok(
        """
        undos = asyncnb._extension._loaded._undo._undos
        def broken(undo=undos[len(undos) // 2]):
            undo()
            raise ValueError("a broken undo")
        undos[len(undos) // 2] = broken
        """
    )
    kernel.run("%unload_ext asyncnb").wait_for("ValueError: a broken undo")
    here = "await asyncio.sleep(0); threading.current_thread() is threading.main_thread()"
    assert kernel.ok(here).result == "True"
    assert "atask" in kernel.run("%%atask x\n1").stderr  # not found
    kernel.ok("%load_ext asyncnb")
    begin(kernel)
    check(kernel)


NOTEBOOK = """{"cells": [{"cell_type": "code", "execution_count": null, "metadata": {},
"outputs": [], "source": ["await asyncio.sleep(0)\\n", "ran = 7"]}],
"metadata": {}, "nbformat": 4, "nbformat_minor": 5}"""


@pytest.mark.promise("code with await runs also by %run of a notebook, %rerun and run_cell()")
@pytest.mark.parametrize(
    "again",
    [
        "%run -i other.ipynb",
        "%rerun {}",
        "assert get_ipython().run_cell('await asyncio.sleep(0)\\nran = 7').success",
    ],
    ids=["%run", "%rerun", "run_cell"],
)
def test_code_run_by_code(victim, again):
    victim.ok(f"open('other.ipynb', 'w').write({NOTEBOOK!r})")
    first = victim.ok("await asyncio.sleep(0)\nran = 7")
    victim.ok("del ran")
    victim.ok(again.format(first.count))
    assert victim.evaluate("ran") == 7
