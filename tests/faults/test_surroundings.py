"""The machine around the kernel: files, threads, clock, sleep, clients."""

from __future__ import annotations

import queue
import signal
import sys
import time

import pytest
import zmq
from jupyter_client.blocking import BlockingKernelClient

from tests.faults.conftest import begin, check

REPORTS_BLOCKS = True
posix = pytest.mark.skipif(sys.platform == "win32", reason="these limits are POSIX's")


@posix
@pytest.mark.promise(
    "no file descriptor left: code that needs one fails with a message, the rest runs"
)
def test_file_descriptors_used_up(fresh_victim):
    # What needs a descriptor once has it by now: imports, and a thread that prints.
    fresh_victim.ok("%tasks\nawait asyncio.sleep(0); print('heard')").wait_for("heard")
    fresh_victim.ok(
        """
        import os, resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        taken = []
        try:
            while True: taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError: pass
        """
    )
    cell = fresh_victim.ok(
        """
        try: await asyncio.open_connection("127.0.0.1", 9)
        except OSError as exc: print("refused:", exc.strerror)
        """
    )
    cell.wait_for("refused: ")  # with that reason, unless IPython has just closed a file
    fresh_victim.ok("%%atask job\nawait asyncio.sleep(0.01)\nprint('with none left')").wait_for(
        "with none left"
    )
    assert "witness" in fresh_victim.ok("%tasks").result
    fresh_victim.ok("for fd in taken: os.close(fd)")


@posix
@pytest.mark.promise("no thread left: a thread body fails with a message, all else keeps running")
def test_thread_limit_reached(fresh_victim):
    fresh_victim.ok(
        """
        import threading
        original = threading.Thread.start
        def start(self): raise RuntimeError("can't start new thread")
        threading.Thread.start = start
        """
    )
    cell = fresh_victim.run("%%atask job\ntime.sleep(0)", 15)
    cell.wait_for("RuntimeError: can't start new thread")
    assert len(cell.errors) == 1
    fresh_victim.ok("%%atask result\nawait asyncio.sleep(0)\n6 * 7").wait_for("42")
    fresh_victim.ok("%%atask other\nawait asyncio.sleep(0)\nprint('on the loop')").wait_for(
        "on the loop"
    )
    fresh_victim.ok("threading.Thread.start = original")
    assert fresh_victim.evaluate("job.info().state") == "failed"
    fresh_victim.ok("%%atask again\ntime.sleep(0)\n'a thread ' 'again'").wait_for("a thread again")


@posix
@pytest.mark.promise(
    "the machine slept for five seconds: timers continue, nothing is reported blocked"
)
def test_suspended(fresh_victim):
    import os

    cell = fresh_victim.ok("%%atask nap\nawait asyncio.sleep(0.5)\nprint('woke')")
    os.kill(fresh_victim.pid, signal.SIGSTOP)
    time.sleep(5)  # the length of the sleep is the subject
    os.kill(fresh_victim.pid, signal.SIGCONT)
    cell.wait_for("woke")
    assert not fresh_victim.where("has blocked the loop")


@pytest.mark.promise("the wall clock jumps: tasks and timeouts follow the monotonic clock")
def test_clock_moved(fresh_victim):
    fresh_victim.ok(
        """
        import time as t
        real = t.time
        t.time = lambda: real() - 86400.0 * 365
        """
    )
    fresh_victim.ok("%%atask short -t 600\nawait asyncio.sleep(0.05)\nprint('kept')").wait_for(
        "kept"
    )
    assert "short" in fresh_victim.ok("%tasks").result
    fresh_victim.ok("t.time = real")


NAMES = {
    "10,000 characters": "n" * 10_000,
    "emoji": "🦑🐙👩‍👩‍👧",
    "script": "<script>alert(1)</script>",
    "format": "%s{0}{}$x",
    "right to left": "\u05d0\u05d1\u05d2",
}


@pytest.mark.promise("a task may have any printable name")
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names(victim, name):
    victim.ok(f"t = asyncnb.launch(asyncio.sleep(600), name={name!r})")
    assert victim.evaluate(f"asyncnb.task({name!r}) is t") is True
    table = victim.ok("%tasks")
    html = table.of_type("execute_result")[0]["data"]["text/html"]
    assert "<script>" not in html
    victim.ok("repr(t), t.info(), str(asyncnb.tasks())")
    victim.ok(f"asyncnb.cancel({name!r})")


@pytest.mark.promise("everything a task prints arrives, complete, under its own cell")
@pytest.mark.parametrize(
    ("code", "there"),
    [
        ("print('y' * 65_536 + 'END')", "y" * 65_536 + "END"),
        ("print(''.join(map(chr, range(1, 0x3000))) + 'END')", "END"),
        ("print('\\udcff\\ud800END')", "\\udcff\\ud800END"),
        ("for n in range(65_536): print(n)\nprint('END')", "65535\nEND"),
        ("print('\\x00\\x07\\x1b[31m\\r\\b' + 'END')", "END"),
    ],
    ids=["64k line", "control characters", "surrogates", "64k lines", "escapes"],
)
def test_output(victim, code, there):
    cell = victim.ok(f"%%atask job\nawait asyncio.sleep(0)\n{code}")
    cell.wait_for(there)
    assert victim.where("END") == [cell]


@pytest.mark.promise(
    "threads that inherit a context: what a task's library prints appears under its cell"
)
def test_output_of_a_librarys_threads(start_kernel):
    kernel = start_kernel(env={"PYTHON_THREAD_INHERIT_CONTEXT": "1"})
    if not kernel.evaluate("getattr(sys.flags, 'thread_inherit_context', 0)"):
        pytest.skip("threads inherit no context in this Python")
    if not kernel.has_subshells:
        pytest.skip("ipykernel 6 routes a thread's output by the thread, not by its context")
    begin(kernel)
    kernel.ok("go = asyncio.Event()")
    cell = kernel.ok(
        """
        %%atask job
        from concurrent.futures import ThreadPoolExecutor
        await go.wait()
        with ThreadPoolExecutor(2) as pool:
            await asyncio.to_thread(list, pool.map(print, ["EN" "D 1", "EN" "D 2"]))
        """
    )
    kernel.ok("go.set(); await job")
    cell.wait_for("END 1").wait_for("END 2")
    assert kernel.where("END") == [cell]
    check(kernel)


@posix
@pytest.mark.promise("bytes that are not text, from a process in a task, arrive under its own cell")
@pytest.mark.parametrize("await_", ["", "await asyncio.sleep(0)\n"], ids=["thread", "loop"])
def test_binary_output_of_a_process(victim, await_):
    cell = victim.ok(f"%%atask job\n{await_}!printf '\\377\\376\\000abc\\201\\n'; echo E''ND")
    cell.wait_for("abc").wait_for("END")
    assert victim.where("END") == [cell]


@pytest.mark.promise("a thousand tasks in cleanup: shutdown and restart run every one, in time")
@pytest.mark.parametrize("way", ["shutdown", "restart"])
def test_thousand_cleanups(fresh_kernel, tmp_path, way):
    path = tmp_path / "cleaned"
    fresh_kernel.ok(
        f"""
        async def job():
            try: await asyncio.sleep(600)
            finally:
                await asyncio.sleep(0.01)
                with open({str(path)!r}, "a") as f: f.write("x")
        for _ in range(1000): asyncnb.launch(job())
        await asyncio.sleep(0.1)
        """
    )
    getattr(fresh_kernel, way)()
    assert path.read_text() == "x" * 1000


@pytest.mark.promise("two front ends on one kernel: each cell's output arrives at both, once")
def test_two_front_ends(victim):
    other = BlockingKernelClient(
        connection_file=victim._manager.connection_file, context=zmq.Context.instance()
    )
    other.load_connection_file()
    other.start_channels(shell=True, iopub=True, stdin=False, hb=False, control=False)
    try:
        other.wait_for_ready(timeout=30)
        mine = victim.ok("%%atask mine\nawait asyncio.sleep(0.01)\nprint('m', 'ine')")
        msg_id = other.execute("%%atask theirs\nawait asyncio.sleep(0.01)\nprint('th', 'eirs')")
        mine.wait_for("m ine")
        said = ""
        while "th eirs" not in said:
            message = other.get_iopub_msg(timeout=20)
            if message["parent_header"].get("msg_id") == msg_id:
                said += message["content"].get("text", "")
        assert victim.evaluate("[asyncnb.task(n).info().state for n in ('mine', 'theirs')]") == [
            "done",
            "done",
        ]
    except queue.Empty:
        raise AssertionError("the other front end heard nothing") from None
    finally:
        other.stop_channels()
