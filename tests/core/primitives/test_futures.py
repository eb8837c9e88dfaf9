"""Future, wrap_future, ensure_future, and telling awaitables apart."""

from __future__ import annotations

import asyncio
import collections.abc
import concurrent.futures
import functools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from asyncnb import (
    EmbeddedLoopError,
    Future,
    Task,
    ensure_future,
    iscoroutine,
    iscoroutinefunction,
    isfuture,
    wrap_future,
)
from asyncnb._core.base.errors import THREADS
from asyncnb._core.primitives import joining as _waiters
from asyncnb._core.primitives.futures import local
from tests.core.elsewhere import FACTORIES, running_elsewhere, turn

Loop = asyncio.AbstractEventLoop


@pytest.fixture(params=FACTORIES)
def elsewhere(request: pytest.FixtureRequest) -> Iterator[Loop]:
    with running_elsewhere(request.param) as loop:
        yield loop


async def give(value: Any) -> Any:
    return value


def test_a_result_set_in_another_thread_wakes_the_awaiting_task() -> None:
    async def main() -> None:
        future = Future[int]()
        threading.Thread(target=future.set_result, args=(5,)).start()
        assert await future == 5
        failing = Future[int]()
        threading.Thread(target=failing.set_exception, args=(KeyError,)).start()
        with pytest.raises(KeyError):
            await failing
        cancelled = Future[int]()
        threading.Thread(target=cancelled.cancel, args=("why",)).start()
        with pytest.raises(asyncio.CancelledError, match="why"):
            await cancelled

    asyncio.run(main())


def test_who_waits_for_a_dead_loop_on_a_closed_one_disturbs_no_other(elsewhere: Loop) -> None:
    closed, source = asyncio.new_event_loop(), asyncio.Future[int](loop=elsewhere)
    proxy = local(source, closed)
    turn(elsewhere)
    closed.close()
    assert _waiters.fail_waiters(elsewhere, RuntimeError("the loop crashed")) == 1
    assert not proxy.done()


def test_the_second_of_two_threads_that_set_a_result_is_refused_at_once(elsewhere: Loop) -> None:
    gate = threading.Event()
    elsewhere.call_soon_threadsafe(gate.wait, 10)
    future = Future[int](loop=elsewhere)
    future.set_result(1)
    with pytest.raises(asyncio.InvalidStateError):
        future.set_result(2)
    with pytest.raises(asyncio.InvalidStateError):
        future.set_exception(ValueError)
    gate.set()
    turn(elsewhere)
    assert future.result() == 1


def test_a_cancelled_future_drops_the_result_that_was_on_its_way(elsewhere: Loop) -> None:
    problems: list[Any] = []
    elsewhere.set_exception_handler(lambda _, context: problems.append(context))
    gate = threading.Event()
    elsewhere.call_soon_threadsafe(gate.wait, 10)
    future = Future[int](loop=elsewhere)
    elsewhere.call_soon_threadsafe(future.cancel)
    future.set_result(1)
    gate.set()
    turn(elsewhere)
    assert future.cancelled() and problems == []


def test_a_future_of_another_loop_can_be_awaited(elsewhere: Loop) -> None:
    async def main() -> None:
        future = Future[int](loop=elsewhere)
        elsewhere.call_soon_threadsafe(future.set_result, 3)
        assert await future == 3
        assert await future == 3

    asyncio.run(main())


@pytest.mark.parametrize("stop", [StopIteration, StopIteration(1)])
def test_stop_iteration_becomes_a_runtime_error(stop: Any) -> None:
    async def main() -> None:
        future = Future[int]()
        future.set_exception(stop)
        with pytest.raises(RuntimeError, match="StopIteration interacts badly") as caught:
            await future
        assert isinstance(caught.value.__cause__, StopIteration)

    asyncio.run(main())


def test_set_exception_refuses_other_values_in_the_calling_thread(elsewhere: Loop) -> None:
    future = Future[int](loop=elsewhere)
    with pytest.raises(TypeError):
        future.set_exception(5)  # type: ignore[arg-type]
    future.set_result(1)
    turn(elsewhere)
    assert future.result() == 1


def test_wrap_future_carries_over_results_errors_and_cancellation() -> None:
    async def main() -> None:
        source: concurrent.futures.Future[int] = concurrent.futures.Future()
        wrapped = wrap_future(source)
        threading.Thread(target=source.set_result, args=(1,)).start()
        assert await wrapped == 1

        source = concurrent.futures.Future()
        wrapped = wrap_future(source)
        source.set_exception(concurrent.futures.CancelledError("theirs"))
        with pytest.raises(asyncio.CancelledError, match="theirs"):
            await wrapped

        source = concurrent.futures.Future()
        wrapped = wrap_future(source)
        wrapped.cancel()
        assert source.cancelled()

        source = concurrent.futures.Future()
        source.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wrap_future(source)
        with pytest.raises(TypeError, match=r"ensure_future\(\)"):
            wrap_future(5)  # type: ignore[arg-type]

    asyncio.run(main())


def test_wrap_future_follows_a_standard_task_of_another_loop(elsewhere: Loop) -> None:
    async def make() -> Any:
        return asyncio.get_running_loop().create_task(give(7))

    async def main() -> None:
        task = asyncio.run_coroutine_threadsafe(make(), elsewhere).result(10)
        assert await wrap_future(task) == 7
        mine = asyncio.get_running_loop().create_future()
        assert wrap_future(mine) is mine
        assert local(mine, asyncio.get_running_loop()) is mine

    asyncio.run(main())


def test_ensure_future_takes_futures_coroutines_and_awaitables(elsewhere: Loop) -> None:
    class Awaitable:
        def __await__(self) -> Iterator[Any]:
            yield from asyncio.sleep(0).__await__()
            return 4  # type: ignore[return-value]

    async def main() -> None:
        task = ensure_future(give(1))
        assert type(task) is Task and ensure_future(task) is task
        assert await task == 1
        wrapped = ensure_future(Awaitable())
        assert iscoroutine(wrapped.get_coro())  # type: ignore[attr-defined]
        assert await wrapped == 4
        assert await ensure_future(give(2), loop=elsewhere) == 2
        with pytest.raises(ValueError, match="wrap_future"):
            ensure_future(task, loop=elsewhere)
        with pytest.raises(TypeError, match=r"call it, give\(\)"):
            ensure_future(give)
        with pytest.raises(TypeError, match="did you mean `async def`"):
            ensure_future(None)

    asyncio.run(main())


def test_coroutines_are_distinguished_from_generators_and_functions() -> None:
    class Own(collections.abc.Coroutine[Any, Any, Any]):
        def send(self, value: Any) -> Any: ...
        def throw(self, *args: Any) -> Any: ...
        def close(self) -> None: ...
        def __await__(self) -> Any: ...

    coro = give(1)
    assert iscoroutine(coro) and iscoroutine(Own())
    coro.close()
    assert not iscoroutine(number for number in range(3))
    assert not iscoroutine(give)
    assert iscoroutinefunction(give)
    assert iscoroutinefunction(functools.partial(give, 1))
    assert not iscoroutinefunction(print)
    assert not isfuture(concurrent.futures.Future()) and not isfuture(give)


@pytest.mark.parametrize("late", ["set_result", "set_exception"])
@pytest.mark.parametrize("first", ["set_result", "set_exception", "cancel"])
def test_a_result_from_another_thread_that_comes_too_late_is_dropped(late: str, first: str) -> None:
    errors: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: errors.append(context))
        future: Future[Any] = Future()
        value = LookupError() if late == "set_exception" else 1
        thread = threading.Thread(target=getattr(future, late), args=(value,))
        thread.start()
        thread.join()
        if first == "cancel":
            future.cancel()
        else:
            getattr(future, first)(KeyError("mine") if first == "set_exception" else "mine")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        outcome = await asyncio.gather(future, return_exceptions=True)
        kind = {"cancel": asyncio.CancelledError, "set_exception": KeyError, "set_result": str}
        assert type(outcome[0]) is kind[first]

    asyncio.run(main())
    assert errors == []


@pytest.mark.skipif(not THREADS, reason="no second loop can be made where there are no sockets")
@pytest.mark.parametrize("done", [False, True])
def test_a_join_whose_loop_closes_at_that_moment_returns_the_result_or_raises(
    monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    loop = asyncio.SelectorEventLoop()
    future: Future[int] = Future(loop=loop)

    def register(*_: object) -> None:  # after the join has found the loop open
        if done:
            future.set_result(5)
        loop.close()

    monkeypatch.setattr(_waiters.Joiner, "register", register)
    if done:
        assert _waiters.join_future(future) == 5
    else:
        with pytest.raises(EmbeddedLoopError, match="can never be done"):
            _waiters.join_future(future)
