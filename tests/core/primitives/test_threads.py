"""to_thread, run_coroutine_threadsafe, run_on, Runner and run."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from asyncnb import Runner, Task, run_coroutine_threadsafe, to_thread
from asyncnb._core.primitives import joining as _waiters
from asyncnb._core.primitives.threads import run, run_on
from tests.core.elsewhere import FACTORIES, running_elsewhere, turn

Loop = asyncio.AbstractEventLoop


@pytest.fixture(params=FACTORIES)
def factory(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def elsewhere(factory: Any) -> Iterator[Loop]:
    with running_elsewhere(factory) as loop:
        yield loop


async def give(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


class Cleanup:
    """A coroutine that sleeps forever, and what became of it."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.cleaned_up = False

    async def run(self) -> None:
        try:
            self.started.set()
            while True:
                # Not without a limit: a signal that arrives just before the loop goes to sleep
                # wakes no thread, and its Python handler runs at the loop's next turn.
                await asyncio.sleep(0.05)
        finally:
            await asyncio.sleep(0)
            self.cleaned_up = True


def test_to_thread_carries_context_results_and_errors(factory: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    def work(*args: Any, **kwargs: Any) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        return variable.get(), args, kwargs

    def stop() -> None:
        raise StopIteration("over")

    async def main() -> None:
        variable.set("mine")
        assert await to_thread(work, 1, loop=2) == ("mine", (1,), {"loop": 2})
        with pytest.raises(ZeroDivisionError):
            await to_thread(divmod, 1, 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await to_thread(stop)
        with pytest.raises(TypeError, match="regular function"):
            await (await to_thread(give, 1))

    run(main(), loop_factory=factory)


def test_a_submitted_coroutine_gives_its_result_or_error(elsewhere: Loop) -> None:
    assert run_coroutine_threadsafe(give(1), elsewhere).result(10) == 1

    async def fail() -> None:
        raise KeyError("lost")

    assert isinstance(run_coroutine_threadsafe(fail(), elsewhere).exception(10), KeyError)
    with pytest.raises(TypeError, match="A coroutine object is required"):
        run_coroutine_threadsafe(5, elsewhere)  # type: ignore[arg-type]


def test_cancelling_a_submitted_coroutine_cancels_its_task(elsewhere: Loop) -> None:
    work = Cleanup()
    future = run_coroutine_threadsafe(work.run(), elsewhere)
    assert work.started.wait(10)
    assert future.cancel()
    turn(elsewhere)
    assert work.cleaned_up
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(10)


def test_on_the_loops_own_thread_result_is_refused_and_cancel_is_immediate(factory: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = run_coroutine_threadsafe(asyncio.Event().wait(), loop)
        await asyncio.sleep(0)
        for wait in (future.result, future.exception):
            with pytest.raises(RuntimeError, match="use `await coro`"):
                wait()
        (task,) = asyncio.all_tasks() - {asyncio.current_task()}
        future.cancel()
        assert task.cancelling() == 1

    run(main(), loop_factory=factory)


def test_run_on_gives_the_result_in_the_callers_context(elsewhere: Loop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def read() -> tuple[str, str, Any]:
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(0)
        return variable.get(), task.get_name(), asyncio.get_running_loop()

    variable.set("mine")
    assert run_on(elsewhere, read(), name="reader") == ("mine", "reader", elsewhere)
    assert run_on(elsewhere, Task(give(2), loop=elsewhere)) == 2
    with pytest.raises(TypeError, match="is required"):
        run_on(elsewhere, 5)  # type: ignore[arg-type]


def test_run_on_cancels_at_the_timeout_and_waits_for_the_cleanup(elsewhere: Loop) -> None:
    work = Cleanup()
    with pytest.raises(TimeoutError, match="cancelled"):
        run_on(elsewhere, work.run(), timeout=0.01)
    assert work.cleaned_up is work.started.is_set()  # on a busy machine it may not have begun


def test_run_on_the_loops_own_thread_is_refused(factory: Any) -> None:
    async def main() -> None:
        coro = give(1)
        with pytest.raises(RuntimeError, match="own thread"):
            run_on(asyncio.get_running_loop(), coro)
        coro.close()

    run(main(), loop_factory=factory)


def test_run_on_ends_when_the_loop_dies(elsewhere: Loop) -> None:
    started = threading.Event()

    async def work() -> None:  # without a cleanup: no loop will ever run it
        started.set()
        await asyncio.Event().wait()

    def die() -> None:
        assert started.wait(10)
        _waiters.fail_waiters(elsewhere, RuntimeError("the loop crashed"))

    thread = threading.Thread(target=die)
    thread.start()
    with pytest.raises(RuntimeError, match="the loop crashed"):
        run_on(elsewhere, work())
    thread.join(10)


@pytest.mark.skipif(sys.platform == "win32", reason="raises the signal in another way there")
def test_ctrl_c_in_run_on_cancels_and_waits_for_the_cleanup(elsewhere: Loop) -> None:
    work = Cleanup()
    main = threading.main_thread().ident
    assert main is not None

    def press() -> None:
        assert work.started.wait(10)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_on(elsewhere, work.run())
    thread.join(10)
    assert work.cleaned_up


def test_run_takes_any_awaitable(factory: Any) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            return give(3).__await__()

    assert run(give(1), loop_factory=factory) == 1
    assert run(Awaitable(), loop_factory=factory) == 3
    for wrong in (5, None, give):
        with pytest.raises(TypeError, match="an awaitable is required"):
            run(wrong, loop_factory=factory)  # type: ignore[arg-type]


def test_run_in_a_running_loop_is_refused(factory: Any) -> None:
    async def main() -> None:
        coro = give(1)
        with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
            run(coro)
        with pytest.raises(RuntimeError, match="running event loop"):
            Runner().run(coro)
        coro.close()

    thread_error: list[BaseException] = []

    def in_a_thread() -> None:
        try:
            run(main(), loop_factory=factory)
        except BaseException as exc:
            thread_error.append(exc)

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join(10)
    assert thread_error == []


def test_a_runner_keeps_its_loop_and_context_between_runs(factory: Any) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    async def count() -> tuple[int, Any]:
        variable.set(variable.get() + 1)
        return variable.get(), asyncio.get_running_loop()

    with Runner(loop_factory=factory) as runner:
        first, loop = runner.run(count())
        second, same = runner.run(count())
        assert (first, second) == (1, 2) and loop is same is runner.get_loop()
    assert variable.get() == 0 and loop.is_closed()
    with pytest.raises(RuntimeError, match="Runner is closed"):
        runner.get_loop()


def test_run_cancels_remaining_tasks_and_waits_for_their_cleanup(factory: Any) -> None:
    work = Cleanup()
    left: list[Any] = []

    async def main() -> None:
        left.append(Task(work.run()))
        await asyncio.sleep(0)

    run(main(), loop_factory=factory)
    assert work.cleaned_up and left[0].cancelled()


def test_run_reports_a_remaining_task_that_fails_in_its_cleanup(factory: Any) -> None:
    reported: list[dict[str, Any]] = []

    async def fails() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("in the cleanup")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        left.append(Task(fails()))
        await asyncio.sleep(0)

    left: list[Any] = []
    run(main(), loop_factory=factory)
    [context] = reported
    assert context["task"] is left[0]
    assert context["exception"] is left[0].exception()


@pytest.mark.skipif(sys.platform == "win32", reason="raises the signal in another way there")
def test_ctrl_c_in_run_cancels_the_main_task(factory: Any) -> None:
    work = Cleanup()
    main = threading.main_thread().ident
    assert main is not None

    def press() -> None:
        assert work.started.wait(10)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(work.run(), loop_factory=factory)
    thread.join(10)
    assert work.cleaned_up
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_blocked_thread_sees_results_of_many_runs_in_order(elsewhere: Loop) -> None:
    started = time.monotonic()
    assert [run_on(elsewhere, give(n)) for n in range(200)] == list(range(200))
    assert time.monotonic() - started < 30
