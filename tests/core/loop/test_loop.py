"""The embedded loop in plain Python: its thread, its end, its crash, forks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator

import pytest

import asyncnb
from asyncnb import EmbeddedLoop, Task
from asyncnb._core.loop.current import shutdown
from asyncnb._core.primitives import joining as _waiters


@pytest.fixture
def loop() -> Iterator[EmbeddedLoop]:
    loop = EmbeddedLoop()
    loop.start()
    yield loop
    loop.shutdown(1.0)
    assert not loop.thread.is_alive()


def plain_python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=os.environ | env, check=False
    )


def test_it_is_an_event_loop_on_a_daemon_thread_of_its_own(loop: EmbeddedLoop) -> None:
    async def where() -> tuple[object, str]:
        return asyncio.get_running_loop(), threading.current_thread().name

    future = asyncio.run_coroutine_threadsafe(where(), loop)
    running, name = future.result(10)
    assert running is loop
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert name.startswith("asyncnb")
    assert loop.thread.daemon
    assert loop.statistics().kind == loop.kind


def test_shutdown_cancels_the_tasks_and_lets_their_cleanup_run(loop: EmbeddedLoop) -> None:
    started, cleaned = threading.Event(), []

    async def work() -> None:
        try:
            started.set()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    asyncio.run_coroutine_threadsafe(work(), loop)
    assert started.wait(10)
    assert loop.shutdown()
    assert cleaned == ["up"]
    assert loop.is_closed()
    assert loop.shutdown()  # once more does nothing


def test_shutdown_waits_no_longer_than_it_was_told(loop: EmbeddedLoop) -> None:
    started, release = threading.Event(), threading.Event()

    async def refuse() -> None:
        started.set()
        while not release.is_set():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    asyncio.run_coroutine_threadsafe(refuse(), loop)
    assert started.wait(10)
    loop.shutdown(0.05)
    loop.thread.join(10)
    assert not loop.thread.is_alive()
    release.set()


def test_shutdown_on_its_own_thread_is_refused(loop: EmbeddedLoop) -> None:
    async def main() -> None:
        loop.shutdown()

    with pytest.raises(asyncnb.WrongThreadError, match="to_thread"):
        asyncio.run_coroutine_threadsafe(main(), loop).result(10)


@pytest.mark.parametrize("exc", [SystemExit, KeyboardInterrupt])
def test_exceptions_that_leave_run_forever_do_not_end_the_thread(
    loop: EmbeddedLoop, exc: type[BaseException]
) -> None:
    def leave() -> None:
        raise exc

    loop.call_soon_threadsafe(leave)
    answered = threading.Event()
    loop.call_soon_threadsafe(answered.set)
    assert answered.wait(10)
    assert loop.alive


def test_stop_called_by_somebody_does_not_end_it(loop: EmbeddedLoop) -> None:
    loop.call_soon_threadsafe(loop.stop)
    answered = threading.Event()
    loop.call_soon_threadsafe(answered.set)
    assert answered.wait(10)
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(10)
    assert loop.statistics().stops >= 1


class BreaksWhenStopped(EmbeddedLoop):
    def run_forever(self) -> None:
        super().run_forever()
        raise OSError("the selector is gone")


def test_a_crash_is_told_and_releases_those_who_wait() -> None:
    loop = BreaksWhenStopped()
    crashes: list[BaseException] = []
    loop.on_crash.add(lambda _, exc: crashes.append(exc))
    loop.start()
    task = Task(asyncio.sleep(60), loop=loop)
    released: list[BaseException] = []
    waits = threading.Event()

    def join() -> None:
        waits.set()
        try:
            task.join()
        except asyncnb.EmbeddedLoopError as exc:
            released.append(exc)

    thread = threading.Thread(target=join)
    thread.start()
    assert waits.wait(10)
    while not _waiters.joiners_of(loop):  # until it is registered
        os.sched_yield() if hasattr(os, "sched_yield") else None
    loop.call_soon_threadsafe(loop.stop)
    loop.thread.join(10)
    thread.join(10)
    assert not loop.alive
    assert loop.dead
    assert [type(e) for e in crashes] == [OSError]
    assert [e.__cause__ for e in released] == crashes
    assert loop.crash is crashes[0]
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    with pytest.raises(asyncnb.EmbeddedLoopError):
        task.join(5)


def test_a_loop_that_cannot_start_says_so() -> None:
    class Dead(EmbeddedLoop):
        def run_forever(self) -> None:
            raise OSError("no selector")

    with pytest.raises(asyncnb.EmbeddedLoopError) as caught:
        Dead().start()
    assert isinstance(caught.value.__cause__, OSError)


def test_a_new_loop_is_started_after_the_last_one_ended() -> None:
    first = asyncnb.embedded_loop()
    assert asyncnb.embedded_loop() is first
    assert shutdown()
    second = asyncnb.embedded_loop()
    assert second is not first
    assert second.alive
    assert asyncnb.run(asyncio.sleep(0, "works")) == "works"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_forked_child_gets_a_loop_of_its_own() -> None:
    done = plain_python(
        """
        import asyncio, os, warnings, asyncnb
        # CPython warns of every fork of a process with threads, and since 3.15 a warning that is
        # an error leaves os.fork(); until then it was lost.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        parents = asyncnb.embedded_loop()
        task = asyncnb.launch(asyncio.sleep(60), name="parents")
        pid = os.fork()
        if pid == 0:
            ok = asyncnb.tasks() == [] and asyncnb.embedded_loop() is not parents
            ok = ok and asyncnb.launch(asyncio.sleep(0, 5)).join(10) == 5
            try:
                task.join(5)
            except RuntimeError:
                ok = ok and True
            else:
                ok = False
            os._exit(0 if ok else 1)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert asyncnb.task("parents").info().state in ("pending", "waiting")
        print(status)
        """
    )
    assert (done.stdout.strip(), done.stderr) == ("0", "")


def test_the_interpreters_exit_runs_the_cleanup_of_tasks_and_is_silent() -> None:
    done = plain_python(
        """
        import asyncio, asyncnb, threading
        started = threading.Event()

        async def work():
            await asyncio.to_thread(int)  # 3.12.1 starts no new thread at its end
            try:
                started.set()
                await asyncio.sleep(60)
            finally:
                await asyncio.to_thread(print, "cleaned up")

        asyncnb.launch(work())
        started.wait(10)
        """
    )
    assert (done.stdout, done.stderr, done.returncode) == ("cleaned up\n", "", 0)


def test_a_failed_task_is_told_in_plain_python_once() -> None:
    done = plain_python(
        """
        import asyncio, asyncnb

        async def fail():
            raise ValueError("seen")

        task = asyncnb.launch(fail(), name="failing")
        try:
            task.join(10)
        except ValueError:
            pass
        """
    )
    assert done.returncode == 0
    assert done.stdout == ""
    assert done.stderr.count("ValueError: seen") == 1
    assert "failing" in done.stderr


def test_a_loop_is_started_early_once_and_not_at_all_after_a_shutdown() -> None:
    done = plain_python(
        """
        import threading
        from asyncnb._core.loop import current
        current._EARLY_SECONDS = 60
        current.start_early(lambda: print("prepared"))
        assert current.running_embedded_loop() is None
        loop = current.running_or_starting_loop()
        assert loop.alive and loop is current.embedded_loop()
        current.shutdown()
        current.start_early(lambda: print("prepared"))
        thread = current._early.thread
        current.shutdown()
        assert not thread.is_alive() and current.running_embedded_loop() is None
        current._EARLY_SECONDS, ready = 0, threading.Event()
        current.start_early(ready.set)
        assert ready.wait(20) and current.running_embedded_loop() is not loop
        print(current.running_embedded_loop().alive)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_an_unknown_kind_of_loop_is_refused_by_name() -> None:
    done = plain_python("import asyncnb", ASYNCNB_LOOP="twisted")
    assert done.returncode == 1
    assert "ASYNCNB_LOOP='twisted'" in done.stderr


def test_the_standard_loop_is_used_when_asked_for() -> None:
    done = plain_python(
        "import asyncnb; print(asyncnb.embedded_loop().kind)", ASYNCNB_LOOP="asyncio"
    )
    assert done.stdout.strip() == "asyncio"


def test_the_loop_keeps_the_short_cuts_to_its_attributes() -> None:
    done = plain_python(
        """
        import asyncio, asyncnb
        from asyncnb._core.loop.embedded import EmbeddedLoop
        try:
            from _testinternalcapi import has_inline_values  # since 3.13, where it is packaged
        except ImportError:
            has_inline_values = lambda loop: True

        async def work():
            async with asyncnb.timeout(60):
                await asyncio.to_thread(int)

        loop = asyncnb.embedded_loop()
        asyncnb.launch(work()).join(10)
        # The attribute that is set on it at times comes back after the others are there.
        loop.call_soon = loop.call_soon
        del loop.call_soon
        # With the 30th CPython gives them up; and where a base has its own slots (3.13).
        assert len(vars(loop) | {"call_soon": 0}) < 30, sorted(vars(loop))
        assert has_inline_values(loop), sorted(vars(loop))
        assert EmbeddedLoop.__basicsize__ == asyncio.SelectorEventLoop.__basicsize__
        """,
        ASYNCNB_LOOP="asyncio",
    )
    assert done.returncode == 0, done.stderr
