"""Worker threads: a function that runs an event loop itself is cancelled through that loop."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
import trio
import uvicorn

import asyncnb
from asyncnb import EmbeddedLoop, Task
from asyncnb._core.base.inner_loops import inner_loop
from asyncnb._core.base.worker_thread import Worker
from asyncnb._core.loop.current import shutdown


@pytest.fixture
def loop() -> Iterator[EmbeddedLoop]:
    shutdown()  # where an earlier test has left the process's own, asyncnb.run() would run on that
    loop = EmbeddedLoop()
    loop.start()
    yield loop
    loop.shutdown()


class Job:
    """A function on a worker thread, and what it logs."""

    def __init__(self) -> None:
        self.started, self.ended = threading.Event(), threading.Event()
        self.log: list[str] = []

    def start(self, loop: EmbeddedLoop, function: Callable[[Job], Any], **options: Any) -> None:
        self.worker = Worker(lambda: function(self), loop, **options)
        self.task = Task(self.worker.run(), loop=loop, name="job")
        self.task.add_done_callback(lambda _: self.ended.set())
        assert self.started.wait(10)

    def cancel(self) -> None:
        self.task.cancel()
        assert self.ended.wait(10), f"still runs; {self.log}"
        assert self.task.cancelled()
        self.worker.thread.join(10)

    async def main(self) -> None:
        try:
            self.started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            self.log.append("cleaned up")

    async def busy(self) -> None:
        async def child() -> None:
            while True:
                await asyncio.sleep(0)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                group.create_task(child())
                self.started.set()
        finally:
            self.log.append("cleaned up")

    async def trio_main(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                self.started.set()
        finally:
            self.log.append("cleaned up")

    async def anyio_main(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                self.started.set()
        finally:
            self.log.append("cleaned up")


def _runner(job: Job) -> None:
    with asyncio.Runner() as runner:
        runner.run(job.main())


def _own_runner(job: Job) -> None:
    with asyncnb.Runner() as runner:
        runner.run(job.main())


def _until_complete(job: Job, new_loop: Callable[[], Any] = asyncio.new_event_loop) -> None:
    loop = new_loop()
    try:
        loop.run_until_complete(job.main())
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _forever(job: Job, new_loop: Callable[[], Any] = asyncio.new_event_loop) -> None:
    loop = new_loop()
    task = loop.create_task(job.main())
    try:
        loop.run_forever()
    finally:
        loop.close()
        assert task.cancelled()


def _forever_without_tasks(job: Job) -> None:
    loop = asyncio.new_event_loop()
    loop.call_soon(job.started.set)
    try:
        loop.run_forever()
    finally:
        loop.close()
        job.log.append("cleaned up")


def _uvloop(function: Callable[..., None]) -> Callable[[Job], None]:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed, or not for this Python")
    return lambda job: function(job, uvloop.new_event_loop)


RUNNERS: dict[str, Callable[[Job], Any]] = {
    "asyncio.run": lambda job: asyncio.run(job.main()),
    "asyncio.run, busy": lambda job: asyncio.run(job.busy()),
    "asyncio.Runner": _runner,
    "asyncnb.Runner": _own_runner,
    "asyncnb.run": lambda job: asyncnb.run(job.main()),
    "run_until_complete": _until_complete,
    "run_forever": _forever,
    "run_forever, no tasks": _forever_without_tasks,
    "uvloop, run_until_complete": lambda job: _uvloop(_until_complete)(job),
    "uvloop, run_forever": lambda job: _uvloop(_forever)(job),
    "trio.run": lambda job: trio.run(job.trio_main),
    "anyio.run": lambda job: anyio.run(job.anyio_main),
    "anyio.run, trio": lambda job: anyio.run(job.anyio_main, backend="trio"),
}


@pytest.mark.parametrize("run", RUNNERS.values(), ids=list(RUNNERS))
def test_cancelling_a_function_that_runs_a_loop_ends_it_with_its_cleanup(loop, run):
    if run in (RUNNERS["uvloop, run_until_complete"], RUNNERS["uvloop, run_forever"]):
        pytest.importorskip("uvloop", reason="uvloop is not there for this Python")
    for _ in range(3):
        job = Job()
        job.start(loop, run)
        job.cancel()
        assert job.log == ["cleaned up"]


def test_cancelling_a_function_that_runs_work_on_the_embedded_loop_ends_the_work(loop):
    asyncnb.embedded_loop()
    try:
        for _ in range(3):
            job = Job()
            job.start(loop, lambda job: asyncnb.run(job.main()))
            job.cancel()
            assert job.log == ["cleaned up"]
    finally:
        shutdown()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # uvicorn leaves its sockets open
@pytest.mark.parametrize("kind", ["asyncio", "auto"])
def test_a_cancelled_server_frees_its_port(loop, kind):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    def serve(job: Job) -> None:
        job.started.set()
        uvicorn.run(app, port=port, lifespan="off", log_level="error", loop=kind)

    for _ in range(2):
        job = Job()
        job.start(loop, serve)
        deadline = time.monotonic() + 10
        while not _listens(port):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        job.cancel()
        assert not _listens(port)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_objects_of_a_cancelled_function_are_freed_even_after_its_frames_were_inspected(loop):
    class Socket:
        pass

    resume = threading.Event()
    made: list[weakref.ref[Socket]] = []

    async def main(job: Job) -> None:
        listening = Socket()
        made.append(weakref.ref(listening))
        job.started.set()
        assert resume.wait(10)
        await asyncio.sleep(60)

    job = Job()
    job.start(loop, lambda job: asyncio.run(main(job)))
    job.task.cancel()
    while job.worker._inner is None:
        time.sleep(0.001)
    resume.set()
    assert job.ended.wait(10)
    assert job.task.cancelled()
    assert made[0]() is None


def test_a_step_that_blocks_the_loop_is_interrupted_once_and_its_cleanup_may_await(loop):
    async def main(job: Job) -> None:
        try:
            job.started.set()
            while True:
                time.sleep(0.001)
        finally:
            await asyncio.sleep(0.2)
            job.log.append("cleaned up")

    job = Job()
    job.start(loop, lambda job: asyncio.run(main(job)))
    job.cancel()
    assert job.log == ["cleaned up"]


def test_a_function_that_enters_its_wait_while_it_is_looked_at_is_cancelled(loop, monkeypatch):
    looked, waits = threading.Event(), threading.Event()

    def look(ident: int, frame: Any) -> Any:
        if not looked.is_set():
            looked.set()  # the frame is that of main(), which is about to leave its thread's stack
            assert waits.wait(10)
        return inner_loop(ident, frame)

    monkeypatch.setattr("asyncnb._core.base.worker_thread.inner_loop", look)

    async def main(job: Job) -> None:
        try:
            asyncio.get_running_loop().call_soon(waits.set)
            job.started.set()
            assert looked.wait(10)
            await asyncio.Event().wait()
        finally:
            job.log.append("cleaned up")

    job = Job()
    job.start(loop, lambda job: asyncio.run(main(job)))
    job.cancel()
    assert job.log == ["cleaned up"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_blocking_step_of_a_nursery_ends_with_its_cleanup(loop, backend):
    async def main(job: Job) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            try:
                job.started.set()
                while True:
                    time.sleep(0.001)
            finally:
                job.log.append("cleaned up")

    job = Job()
    job.start(loop, lambda job: anyio.run(main, job, backend=backend))
    job.cancel()
    assert job.log == ["cleaned up"]


def test_a_loop_that_ends_before_it_accepts_the_cancel_leaves_it_to_the_code_after_it(loop):
    ending, asked = threading.Event(), threading.Event()

    class Late(asyncio.SelectorEventLoop):
        def call_soon_threadsafe(self, *args: Any, **options: Any) -> Any:  # type: ignore[override]
            asked.set()  # and dropped, as by a loop that is closed a moment later
            return self.call_later(3600, lambda: None)

    def function(job: Job) -> None:
        late = Late()

        async def main() -> None:
            job.started.set()
            asked.wait(10)

        late.run_until_complete(main())
        late.close()
        ending.set()
        while True:
            time.sleep(0.001)

    job = Job()
    job.start(loop, function)
    job.cancel()
    assert ending.is_set()


def test_a_loop_in_a_variable_of_another_thread_is_not_cancelled(loop):
    elsewhere = asyncio.new_event_loop()
    thread = threading.Thread(target=elsewhere.run_forever)
    thread.start()

    def function(job: Job) -> None:
        other = elsewhere  # in the variables of a function of the worker's
        job.started.set()
        while other:
            time.sleep(0.001)

    job = Job()
    job.start(loop, function)
    job.cancel()
    assert elsewhere.is_running()
    elsewhere.call_soon_threadsafe(elsewhere.stop)
    thread.join(10)
    elsewhere.close()


def test_a_function_that_does_not_end_is_reported(loop, monkeypatch):
    monkeypatch.setattr("asyncnb._core.base.worker_thread.STUCK_SECONDS", 0.05)
    stuck, release = threading.Event(), threading.Event()

    def function(job: Job) -> None:
        job.started.set()
        release.wait(10)

    job = Job()
    job.start(loop, function, on_stuck=stuck.set)
    job.task.cancel()
    assert stuck.wait(10)
    release.set()
    assert job.ended.wait(10)
    assert job.task.cancelled()
