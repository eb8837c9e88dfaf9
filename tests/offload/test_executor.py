"""Any `concurrent.futures.Executor`: output, tracebacks and cancels, and what a broken one does."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import io
import logging
import multiprocessing
import socket
import subprocess
import sys
import textwrap
import threading
import time
from multiprocessing.connection import Client

import psutil
import pytest

import asyncnb
from asyncnb._offload.engines import process
from asyncnb._offload.engines.worker_hub import worker_hub
from tests.offload.conftest import ended


@pytest.fixture(scope="module", autouse=True)
def _loop_of_this_module():
    yield
    asyncnb.embedded_loop().shutdown()


@pytest.fixture(scope="module")
def pool():
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        yield executor


@pytest.fixture(scope="module")
def threads():
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def capture(monkeypatch):
    """Return a function that captures the output of this process, with an event for the first."""

    class SignallingCapture(io.StringIO):
        first: threading.Event

        def write(self, text):
            count = super().write(text)
            self.first.set()
            return count

    def start():  # not in the fixture: pytest changes sys.stdout before the test itself
        captured = SignallingCapture()
        captured.first = threading.Event()
        monkeypatch.setattr(sys, "stdout", captured)
        return captured

    return start


def say_and_stay(message):
    try:
        print(message, flush=True)  # a cancel may arrive while this returns
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)


def say_and_spin(message):
    try:
        print(message, flush=True)  # a cancel may arrive while this returns
        while True:
            time.sleep(0.001)
    finally:
        print("cleaned up", flush=True)


def fail():
    return 1 / 0


def test_a_call_returns_what_the_function_does(pool):
    task = asyncnb.offload(divmod, 7, 2, on=pool, name="divide")
    assert task.join(30) == (3, 1)
    info = task.info()
    assert (info.kind, info.state, info.name) == ("executor", "done", "divide")
    assert info.worker


def test_functions_that_cannot_be_imported_are_sent(pool):
    base = 10
    assert asyncnb.offload(lambda n: n + base, 1, on=pool).join(20) == 11


def test_a_coroutine_is_sent(pool):
    async def later(n, *more, key=0):
        return n, more, key

    assert asyncnb.launch(later(1, 2, 3, key=4), on=pool).join(20) == (1, (2, 3), 4)


def test_launching_on_an_executor_needs_no_other_name_of_asyncnb_first():
    code = "import asyncnb, concurrent.futures as cf; pool = cf.ThreadPoolExecutor(1)\n"
    code += "print(asyncnb.launch(lambda: 1, on=pool).join(20)); pool.shutdown()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1\n", "")


def slow_one():
    time.sleep(0.05)  # longer than the step that sends it
    return 1


def test_the_timeline_records_remote_work_as_seen_from_the_kernel(pool):
    task: asyncnb.Task[int] = asyncnb.launch(slow_one, on=pool, name="far", trace=True)
    assert task.join(20) == 1
    [row] = asyncnb.timeline(task).data["rows"]
    assert (row["recorded"], row["state"]) == (True, "done")
    assert row["waits"]


def test_an_error_shows_where_it_was_raised(pool):
    import traceback

    task = asyncnb.offload(fail, on=pool)
    with pytest.raises(ZeroDivisionError) as caught:
        task.join(20)
    assert "return 1 / 0" in "".join(traceback.format_exception(caught.value))


def test_output_arrives_while_the_work_runs_and_cancel_stops_it(pool, capture):
    captured = capture()
    task = asyncnb.offload(say_and_stay, "begun", on=pool)
    assert captured.first.wait(20)
    asyncnb.run(asyncnb.sleep(0))  # the loop handles earlier reports first
    assert task.info().state == "running"
    task.cancel()
    assert ended(task) == "cancelled"
    assert captured.getvalue() == "begun\ncleaned up\n"


def test_a_task_waiting_for_a_worker_never_starts_when_cancelled(pool, tmp_path, capture):
    captured = capture()
    busy = asyncnb.offload(say_and_stay, "busy", on=pool)
    assert captured.first.wait(20)
    paths = [tmp_path / name for name in "abc"]
    late = [asyncnb.offload(path.touch, on=pool) for path in paths]
    assert {task.info().state for task in late} == {"pending"}
    for task in (*late, busy):
        task.cancel()
    assert {ended(task) for task in (*late, busy)} == {"cancelled"}
    assert not any(path.exists() for path in paths)


def test_a_thread_pool_works_in_this_process(threads, capture):
    captured = capture()
    mine = []
    task = asyncnb.offload(lambda: mine.append(threading.current_thread().name), on=threads)
    task.join(10)
    assert mine[0].startswith("ThreadPoolExecutor")
    task = asyncnb.offload(say_and_spin, "begun", on=threads)
    assert captured.first.wait(20)
    task.cancel()
    assert ended(task) == "cancelled"
    assert captured.getvalue() == "begun\ncleaned up\n"
    with pytest.raises(ZeroDivisionError):
        asyncnb.offload(fail, on=threads).join(10)


@pytest.mark.parametrize("which", ["pool", "threads"])
def test_map_over_an_executor(which, request):
    async def main():
        executor = request.getfixturevalue(which)
        found = await asyncnb.map(abs, range(-50, 0), on=executor)
        assert found == list(range(50, 0, -1))
        run = asyncnb.map(lambda n: 1 // n, range(2), on=executor, return_exceptions=True)
        assert [type(each) for each in await run] == [ZeroDivisionError, int]

    asyncnb.run(main(), timeout=30)


def test_a_broken_pool_fails_its_tasks_with_a_reason(capture):
    captured = capture()
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        task = asyncnb.offload(say_and_stay, "begun", on=executor)
        assert captured.first.wait(20)
        for process in psutil.Process().children(recursive=True):
            if "spawn_main" in " ".join(process.cmdline()) and process.pid in executor._processes:
                process.kill()
        with pytest.raises(asyncnb.WorkerLostError, match="BrokenProcessPool"):
            task.join(20)
        again = asyncnb.offload(fail, on=executor)
        with pytest.raises(asyncnb.WorkerLostError, match="accepts no work"):
            again.join(20)


async def through_map(executor):
    return await asyncnb.map(abs, range(3), on=executor, on_error="cancel")


def on_each_way(executor):
    """Yield work for an executor, in each way that leads to it."""
    yield lambda: asyncnb.offload(abs, -3, on=executor).join(20)
    yield lambda: asyncnb.launch(lambda: 3, on=executor).join(20)
    yield lambda: asyncnb.run(through_map(executor), timeout=20)


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="Python has no InterpreterPoolExecutor before 3.14"
)
def test_a_pool_of_interpreters_is_refused_at_once():
    with concurrent.futures.InterpreterPoolExecutor(1) as executor:
        for work in on_each_way(executor):
            with pytest.raises(TypeError, match=r"no InterpreterPoolExecutor.* on='process'"):
                work()


def broken():
    raise OSError("no such device")


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_pool_whose_initializer_fails_ends_its_tasks(kind):
    for number in range(3):
        if kind == "threads":
            executor: concurrent.futures.Executor
            executor = concurrent.futures.ThreadPoolExecutor(1, initializer=broken)
        else:
            context = multiprocessing.get_context("spawn")
            executor = concurrent.futures.ProcessPoolExecutor(1, context, initializer=broken)
        with executor:
            work = list(on_each_way(executor))[number]
            for _ in ("the first", "one that comes later"):
                with pytest.raises(asyncnb.WorkerLostError, match=r"Broken(Thread|Process)Pool"):
                    work()


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_pool_that_was_shut_down_accepts_no_work(kind):
    executor: concurrent.futures.Executor = concurrent.futures.ThreadPoolExecutor(1)
    if kind == "processes":
        context = multiprocessing.get_context("spawn")
        executor = concurrent.futures.ProcessPoolExecutor(1, context)
    executor.shutdown()
    for work in on_each_way(executor):
        with pytest.raises(asyncnb.WorkerLostError, match=r"accepts no work.* after shutdown"):
            work()


class Inside(concurrent.futures.Executor):
    """Runs calls inside submit(), as executors for debugging do."""

    def submit(self, function, /, *args, **kwargs):
        future: concurrent.futures.Future[object] = concurrent.futures.Future()
        future.set_result(function(*args, **kwargs))
        return future


class WithoutFuture(concurrent.futures.Executor):
    def submit(self, function, /, *args, **kwargs):
        return None


class WithAnotherAnswer(concurrent.futures.Executor):
    def submit(self, function, /, *args, **kwargs):
        future: concurrent.futures.Future[object] = concurrent.futures.Future()
        future.set_result("accepted")
        return future


class Raising(concurrent.futures.ThreadPoolExecutor):
    def submit(self, function, /, *args, **kwargs):
        raise ValueError("the wrong queue")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Inside, r"inside submit\(\), which would block the loop. Use a ThreadPoolExecutor"),
        (WithoutFuture, "accepts no work: AttributeError: 'NoneType'"),
        (WithAnotherAnswer, "did not run this work: it returned str"),
        (Raising, "accepts no work: ValueError: the wrong queue"),
        (concurrent.futures.Executor, "accepts no work: NotImplementedError"),
    ],
)
def test_an_executor_that_runs_nothing_ends_its_tasks_with_a_reason(kind, message):
    executor = kind()
    for work in on_each_way(executor):
        with pytest.raises(asyncnb.OffloadError, match=message):
            work()


class Holding(concurrent.futures.Executor):
    """Runs nothing until asked to, and perhaps claims that it does."""

    def __init__(self, running):
        self.running = running
        self.held = []
        self.has_one = threading.Event()

    def submit(self, function, /, *args, **kwargs):
        future: concurrent.futures.Future[object] = concurrent.futures.Future()
        if self.running:
            future.set_running_or_notify_cancel()
        self.held.append((future, functools.partial(function, *args, **kwargs)))
        self.has_one.set()
        return future


def touch_when_done(path):
    for _ in range(10_000):
        time.sleep(0.001)
    path.touch()


@pytest.mark.parametrize("running", [False, True])
def test_work_that_never_begins_can_be_cancelled(running, monkeypatch, tmp_path):
    monkeypatch.setattr("asyncnb._offload.engines.executor.CANCEL_GRACE_SECONDS", 0.05)
    monkeypatch.setattr(sys, "stderr", captured := io.StringIO())
    executor = Holding(running)
    task = asyncnb.offload(touch_when_done, tmp_path / "done", on=executor)
    assert executor.has_one.wait(20)
    task.cancel()
    assert ended(task) == "cancelled"
    assert ("no worker started touch_when_done" in captured.getvalue()) is running
    if running:
        # It begins anyway, and is cancelled as soon as that is known.
        [(future, call)] = executor.held
        future.set_result(call())
        assert future.result()[0] == "cancelled"
    assert not list(tmp_path.iterdir())
    assert not worker_hub().jobs and not worker_hub()._dropped


def test_loky_works_like_any_other(capture):
    captured = capture()
    loky = pytest.importorskip("loky", reason="loky is not installed for this Python")
    executor = loky.ProcessPoolExecutor(1)
    try:
        task = asyncnb.offload(say_and_stay, "begun", on=executor)
        assert captured.first.wait(20)
        task.cancel()
        assert ended(task) == "cancelled"
        assert asyncnb.offload(abs, -3, on=executor).join(20) == 3
    finally:
        executor.shutdown(kill_workers=True)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="connections are pipes on Windows")
def test_a_silent_caller_does_not_keep_workers_out():
    hub = worker_hub()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(hub.address)
        with contextlib.closing(Client(hub.address, authkey=hub.key)):
            pass
        with pytest.raises(multiprocessing.AuthenticationError):
            Client(hub.address, authkey=b"another")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="connections are pipes on Windows")
def test_workers_connect_again_once_there_are_file_descriptors():
    code = """
        import os, resource, socket, threading, time
        from multiprocessing.connection import Client
        from asyncnb._offload.engines.worker_hub import worker_hub
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
        hub, sockets, taken = worker_hub(), [], []
        sockets = [socket.socket(socket.AF_UNIX) for _ in range(2)]  # the length of its queue
        try:
            while True: taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError: pass
        for each in sockets: each.connect(hub.address)
        before = time.process_time()
        time.sleep(1)
        print(time.process_time() - before < 0.3)
        for each in taken: os.close(each)
        Client(hub.address, authkey=hub.key).close()
        print("connected")
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["True", "connected"]


@pytest.mark.parametrize("where", ["executor", "process"])
def test_a_worker_is_still_read_after_some_output_could_not_be_shown(pool, where, monkeypatch):
    failed = []

    class Broken(io.StringIO):
        def write(self, text):
            failed.append(text)
            raise LookupError("no stream")

    def talk():
        import time

        print("one", flush=True)
        time.sleep(0.1)
        print("two", flush=True)
        return 5

    monkeypatch.setattr(sys, "stdout", Broken())
    monkeypatch.setattr(logging.getLogger("asyncnb"), "disabled", True)
    task = asyncnb.offload(talk, on=pool if where == "executor" else "process")
    try:
        assert task.join(30) == 5
    finally:
        process.close()
    assert failed
