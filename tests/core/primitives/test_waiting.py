"""sleep, wait, wait_for, gather, as_completed, track; on one loop and across loops."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asyncnb import (
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    Task,
    as_completed,
    eager_task_factory,
    gather,
    shield,
    sleep,
    track,
    wait,
    wait_for,
)
from asyncnb._core.base import progress_observers as _progress
from asyncnb._core.base.progress import Progress
from asyncnb._core.base.progress_observers import observe_progress
from asyncnb._core.primitives import as_completed as _as_completed
from asyncnb._core.primitives import gather as _gather
from asyncnb._core.primitives import groups as _groups
from asyncnb._core.primitives import shield as _shield
from asyncnb._core.primitives import waiting as _waiting
from asyncnb._core.primitives.futures import INTERRUPT
from asyncnb.testing import TaskRecorder, run_virtual


@pytest.fixture(params=["C task", "own task"])
def create(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Make a task of either kind on the running loop."""
    make = asyncio.Task if request.param == "C task" else Task
    return lambda coro: make(coro, loop=asyncio.get_running_loop())


@pytest.fixture
def elsewhere() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="elsewhere")
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    for task in asyncio.all_tasks(loop):
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
    loop.close()


@pytest.fixture(autouse=True)
def no_coroutine_left() -> Iterator[None]:
    """Fail on "coroutine ... was never awaited"."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        yield
        gc.collect()
    assert not [w for w in caught if "never awaited" in str(w.message)]


async def after(delay: float, value: Any = None) -> Any:
    await asyncio.sleep(delay)
    if isinstance(value, BaseException):
        raise value
    return value


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def stubborn(value: Any, delay: float = 0) -> Any:
    """Return ``value`` when cancelled, all the same."""
    try:
        await forever()
    except asyncio.CancelledError:
        await asyncio.sleep(delay)
    return value


def now() -> float:
    return asyncio.get_running_loop().time()


class TestSleep:
    def test_sleeps_and_returns_the_result(self) -> None:
        async def main() -> None:
            assert await sleep(3, "slept") == "slept"
            assert now() == 3

        run_virtual(main())

    @pytest.mark.parametrize("delay", [0, -5])
    def test_zero_is_one_iteration_of_the_loop(self, delay: float) -> None:
        async def main() -> None:
            seen: list[int] = []
            loop = asyncio.get_running_loop()
            loop.call_soon(seen.append, 1)
            loop.call_soon(lambda: loop.call_soon(seen.append, 2))
            await sleep(delay)
            assert seen == [1]

        run_virtual(main())

    def test_nan_is_refused(self) -> None:
        async def main() -> None:
            with pytest.raises(ValueError, match="NaN"):
                await sleep(float("nan"))

        run_virtual(main())


class TestWait:
    def test_all(self, create: Any) -> None:
        async def main() -> None:
            tasks = [create(after(delay)) for delay in (2, 3, 1)]
            done, pending = await wait(iter(tasks))
            assert (done, pending, now()) == (set(tasks), set(), 3)
            assert await wait(tasks) == (set(tasks), set())

        run_virtual(main())

    def test_first_completed(self, create: Any) -> None:
        async def main() -> None:
            tasks = [create(after(delay)) for delay in (1, 2, 3)]
            order = []
            pending = set(tasks)
            while pending:
                done, pending = await wait(pending, return_when=FIRST_COMPLETED)
                order += [(tasks.index(task), now()) for task in done]
            assert order == [(0, 1), (1, 2), (2, 3)]

        run_virtual(main())

    def test_first_exception(self, create: Any) -> None:
        async def main() -> None:
            tasks = [create(after(1)), create(after(2, ValueError())), create(after(3))]
            done, pending = await wait(tasks, return_when=FIRST_EXCEPTION)
            assert (done, pending, now()) == (set(tasks[:2]), {tasks[2]}, 2)
            assert isinstance(tasks[1].exception(), ValueError)
            done, pending = await wait([tasks[2]], return_when=FIRST_EXCEPTION)
            assert not pending

        run_virtual(main())

    def test_cancelled_does_not_count_as_an_exception(self, create: Any) -> None:
        async def main() -> None:
            tasks = [create(forever()), create(after(1))]
            tasks[0].cancel()
            _, pending = await wait(tasks, return_when=FIRST_EXCEPTION)
            assert (pending, now()) == (set(), 1)

        run_virtual(main())

    @pytest.mark.parametrize("return_when", ["ALL_COMPLETED", "FIRST_COMPLETED"])
    def test_timeout_is_not_an_error_and_cancels_nothing(
        self, create: Any, return_when: str
    ) -> None:
        async def main() -> None:
            task = create(after(5, "value"))
            assert await wait([task], timeout=1, return_when=return_when) == (set(), {task})
            assert now() == 1
            assert not task.cancelling()
            assert not _callbacks(task)
            assert await task == "value"

        run_virtual(main())

    @pytest.mark.parametrize("return_when", ["ALL_COMPLETED", "FIRST_COMPLETED"])
    def test_cancelled_waiter_cancels_nothing(self, create: Any, return_when: str) -> None:
        async def main() -> None:
            tasks = [create(after(5)), create(after(5))]
            waiter = create(wait(tasks, return_when=return_when))
            await asyncio.sleep(1)
            waiter.cancel("msg")
            with pytest.raises(asyncio.CancelledError):
                await waiter
            assert not any(task.cancelling() or _callbacks(task) for task in tasks)
            await wait(tasks)

        run_virtual(main())

    def test_waiting_for_done_futures_still_yields(self, create: Any) -> None:
        async def main() -> None:
            done = asyncio.get_running_loop().create_future()
            done.set_result(None)
            seen: list[int] = []
            asyncio.get_running_loop().call_soon(seen.append, 1)
            for return_when in ("ALL_COMPLETED", FIRST_COMPLETED, FIRST_EXCEPTION):
                assert await wait([done], return_when=return_when) == ({done}, set())
            assert seen

        run_virtual(main())

    def test_bad_arguments_explain_themselves(self) -> None:
        async def main() -> None:
            with pytest.raises(ValueError, match="empty"):
                await wait([])
            task = asyncio.ensure_future(after(0))
            with pytest.raises(TypeError, match=r"wait\(\[task\]\)"):
                await wait(task)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="FIRST_COMPLETED"):
                await wait([task], return_when="SOON")
            coro = after(0)
            with pytest.raises(TypeError, match="create_task"):
                await wait([coro])  # type: ignore[type-var]
            coro.close()
            with pytest.raises(TypeError, match="int"):
                await wait([1])  # type: ignore[type-var]
            await task

        run_virtual(main())

    @pytest.mark.parametrize("return_when", ["ALL_COMPLETED", FIRST_COMPLETED, FIRST_EXCEPTION])
    def test_futures_of_other_loops_and_threads(self, elsewhere: Any, return_when: str) -> None:
        async def main() -> None:
            there = asyncio.run_coroutine_threadsafe(_make_task(after(0, 1)), elsewhere).result()
            promise: concurrent.futures.Future[int] = concurrent.futures.Future()
            here = asyncio.ensure_future(after(0, 3))
            pending: set[Any] = {there, promise, here}
            threading.Timer(0, promise.set_result, [2]).start()
            seen: set[Any] = set()
            while pending:
                done, pending = await wait(pending, return_when=return_when)
                seen |= done
            assert sorted(f.result() for f in seen) == [1, 2, 3]
            assert seen == {there, promise, here}

        asyncio.run(main())

    def test_repeated_waits_leave_no_callbacks_on_a_foreign_future(self) -> None:
        async def main() -> int:
            promise: concurrent.futures.Future[int] = concurrent.futures.Future()
            for _ in range(5):
                await wait([promise], timeout=0)
            return len(promise._done_callbacks)  # type: ignore[attr-defined]

        assert asyncio.run(main()) == 1


async def _make_task(coro: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(coro)


def _callbacks(future: Any) -> Any:
    return future._callbacks


class TestWaitFor:
    def test_result_in_time(self, create: Any) -> None:
        async def main() -> None:
            assert await wait_for(after(1, "a"), 2) == "a"
            assert await wait_for(create(after(1, "b")), None) == "b"
            assert await wait_for(after(1, "c"), None) == "c"

        run_virtual(main())

    def test_timeout_cancels_and_waits_for_the_cleanup(self, create: Any) -> None:
        async def main() -> None:
            async def body() -> None:
                try:
                    await forever()
                finally:
                    await asyncio.sleep(1)

            task = create(body())
            with pytest.raises(TimeoutError) as caught:
                await wait_for(task, 2)
            assert isinstance(caught.value.__cause__, asyncio.CancelledError)
            assert task.cancelled()
            assert now() == 3

        run_virtual(main())

    def test_coroutine_runs_in_the_callers_task(self) -> None:
        async def main() -> None:
            async def who() -> Any:
                return asyncio.current_task()

            assert await wait_for(who(), 1) is asyncio.current_task()

        run_virtual(main())

    def test_value_and_exception_after_the_timeout_take_precedence(self) -> None:
        async def main() -> None:
            assert await wait_for(stubborn("value"), 1) == "value"
            with pytest.raises(KeyError):
                await wait_for(_fails_when_cancelled(), 1)
            me = asyncio.current_task()
            assert me is not None
            assert me.cancelling() == 0
            await asyncio.sleep(0)

        run_virtual(main())

    def test_cancellation_is_not_lost_when_the_result_comes_at_once(self) -> None:
        """gh-86296: the caller is cancelled in the turn in which the awaited one ends."""

        async def main() -> None:
            async def caller() -> None:
                await wait_for(_returns_at_once(), 1)
                me = asyncio.current_task()
                assert me is not None
                me.cancel()
                await asyncio.sleep(0)

            task = asyncio.create_task(caller())
            with pytest.raises(asyncio.CancelledError):
                await task

        run_virtual(main())

    def test_inner_cancellation_is_not_a_timeout(self) -> None:
        async def main() -> None:
            with pytest.raises(asyncio.CancelledError):
                await wait_for(after(1, asyncio.CancelledError()), 5)

        run_virtual(main())

    @pytest.mark.parametrize("timeout", [0, -1])
    def test_zero_or_negative_timeout(self, create: Any, timeout: float) -> None:
        async def main() -> None:
            started = []

            async def body() -> None:
                started.append(1)

            with pytest.raises(TimeoutError):
                await wait_for(body(), timeout)
            assert not started
            done = create(after(0, "done"))
            await done
            assert await wait_for(done, timeout) == "done"
            running = create(after(1))
            with pytest.raises(TimeoutError):
                await wait_for(running, timeout)
            assert running.cancelled()

        run_virtual(main())

    def test_futures_of_other_loops_and_threads(self, elsewhere: Any) -> None:
        async def main() -> None:
            task = asyncio.run_coroutine_threadsafe(_make_task(forever()), elsewhere).result()
            with pytest.raises(TimeoutError):
                await wait_for(task, 0.001)
            assert task.cancelled()
            promise: concurrent.futures.Future[int] = concurrent.futures.Future()
            promise.set_result(3)
            assert await wait_for(promise, 60) == 3  # type: ignore[arg-type]
            with pytest.raises(TimeoutError):
                await wait_for(concurrent.futures.Future(), 0)  # type: ignore[arg-type]

        asyncio.run(main())


async def _fails_when_cancelled() -> None:
    try:
        await forever()
    except asyncio.CancelledError:
        raise KeyError from None


async def _returns_at_once() -> None:
    pass


class TestGather:
    def test_results_in_order_of_arguments(self, create: Any) -> None:
        async def main() -> None:
            assert await gather(after(2, "a"), create(after(1, "b")), after(3, "c")) == [*"abc"]
            assert await gather() == []

        run_virtual(main())

    def test_duplicates_run_once(self) -> None:
        async def main() -> None:
            coro = after(1, "x")
            assert await gather(coro, coro, after(0, "y"), coro) == ["x", "x", "y", "x"]

        run_virtual(main())

    def test_first_exception_at_once_and_siblings_keep_running(self, create: Any) -> None:
        async def main() -> None:
            sibling = create(after(5, "value"))
            with pytest.raises(ValueError, match="bad"):
                await gather(sibling, after(1, ValueError("bad")), after(2, KeyError("unseen")))
            assert now() == 1
            assert await sibling == "value"

        run_virtual(main())

    def test_return_exceptions(self, create: Any) -> None:
        async def main() -> None:
            cancelled = asyncio.get_running_loop().create_future()
            cancelled.cancel("msg")
            one, two, three = await gather(
                after(2, ValueError()), cancelled, after(1, 3), return_exceptions=True
            )
            assert isinstance(one, ValueError)
            assert isinstance(two, asyncio.CancelledError)
            assert two.args == ("msg",)
            assert three == 3

        run_virtual(main())

    def test_child_cancelled_by_other_code(self, create: Any) -> None:
        async def main() -> None:
            child = create(forever())
            outer = gather(child, after(5))
            await asyncio.sleep(0)
            child.cancel("why")
            with pytest.raises(asyncio.CancelledError) as caught:
                await outer
            assert caught.value.args == ("why",)
            assert not outer.cancelled()

        run_virtual(main())

    @pytest.mark.parametrize("return_exceptions", [False, True])
    def test_cancel_cancels_the_children(self, create: Any, return_exceptions: bool) -> None:
        async def main() -> None:
            children = [create(forever()), create(forever())]
            outer = gather(*children, return_exceptions=return_exceptions)
            await asyncio.sleep(0)
            assert outer.cancel("stop")
            with pytest.raises(asyncio.CancelledError):
                await outer
            assert all(child.cancelled() for child in children)
            assert not outer.cancel()

        run_virtual(main())

    def test_cancel_is_remembered_when_children_suppress_it(self) -> None:
        async def main() -> None:
            outer = gather(stubborn(1), stubborn(2), return_exceptions=True)
            await asyncio.sleep(0)
            outer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer

        run_virtual(main())

    def test_done_children_count_at_once(self) -> None:
        async def main() -> None:
            future = asyncio.get_running_loop().create_future()
            future.set_result(1)
            assert gather(future).done()
            assert gather(future, return_exceptions=True).done()
            asyncio.get_running_loop().set_task_factory(eager_task_factory)
            assert gather(_returns_at_once(), _returns_at_once()).done()

        run_virtual(main())

    def test_interrupt_spares_launched_children(self) -> None:
        async def main() -> None:
            class Launched(Task[Any]):
                _launched = True

            launched = Launched(after(5, "done"))
            other = asyncio.create_task(forever())
            outer = gather(launched, other)
            await asyncio.sleep(1)
            assert outer.cancel(INTERRUPT)  # type: ignore[arg-type]
            assert outer.cancelled()
            assert not launched.cancelling()
            await asyncio.sleep(0)
            assert other.cancelled()
            assert await launched == "done"

        run_virtual(main())

    def test_interrupt_without_launched_children_is_a_cancel(self) -> None:
        async def main() -> None:
            other = asyncio.create_task(forever())
            outer = gather(other)
            await asyncio.sleep(0)
            assert outer.cancel(INTERRUPT)  # type: ignore[arg-type]
            assert not outer.done()
            with pytest.raises(asyncio.CancelledError):
                await outer

        run_virtual(main())

    @pytest.mark.parametrize(
        ("bad", "hint"), [([], "star"), (after, r"after\(\)"), (3, "awaitable"), ({}, "")]
    )
    def test_bad_arguments_start_nothing(self, bad: Any, hint: str) -> None:
        async def main() -> None:
            coro = after(0)
            with pytest.raises(TypeError, match=hint):
                gather(coro, bad)
            assert coro.cr_frame is None
            assert len(asyncio.all_tasks()) == 1

        run_virtual(main())

    def test_futures_of_other_loops_and_threads(self, elsewhere: Any) -> None:
        async def main() -> None:
            make = asyncio.run_coroutine_threadsafe
            there = make(_make_task(after(0, 1)), elsewhere).result()
            promise = make(after(0, 2), elsewhere)
            assert await gather(there, promise, after(0, 3)) == [1, 2, 3]  # type: ignore[arg-type]
            stuck = make(_make_task(forever()), elsewhere).result()
            outer = gather(stuck, forever())
            await asyncio.sleep(0)
            outer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer
            await wait([stuck])
            assert stuck.cancelled()

        asyncio.run(main())

    def test_futures_of_two_loops_without_a_running_one(self, elsewhere: Any) -> None:
        loop = asyncio.new_event_loop()
        with pytest.raises(ValueError, match="different loops"):
            gather(loop.create_future(), elsewhere.create_future())
        loop.close()


class TestGatherLimit:
    @pytest.mark.parametrize("return_exceptions", [False, True])
    def test_limit_bounds_concurrency(self, return_exceptions: bool) -> None:
        async def main() -> None:
            running = most = 0

            async def work(number: int) -> int:
                nonlocal running, most
                running += 1
                most = max(most, running)
                await asyncio.sleep(10 - number)
                running -= 1
                return number

            coros = [work(number) for number in range(10)]
            results = await gather(*coros, limit=3, return_exceptions=return_exceptions)
            assert results == list(range(10))
            assert most == 3

        run_virtual(main())

    def test_the_others_are_not_started(self) -> None:
        async def main() -> None:
            recorder = TaskRecorder()
            outer = gather(*[recorder(after(1), str(n)) for n in range(4)], limit=2)
            await asyncio.sleep(0.5)
            assert recorder.order("start") == ["0", "1"]
            await outer
            assert recorder.time_of("3", "start") == 1

        run_virtual(main())

    def test_failure_closes_the_others(self) -> None:
        async def main() -> None:
            rest = [after(1) for _ in range(3)]
            with pytest.raises(ValueError, match="bad"):
                await gather(after(1, ValueError("bad")), *rest, limit=1)
            assert all(coro.cr_frame is None for coro in rest)

        run_virtual(main())

    def test_failure_is_a_result_with_return_exceptions(self) -> None:
        async def main() -> None:
            one, two = await gather(
                after(1, ValueError()), after(1, 2), limit=1, return_exceptions=True
            )
            assert isinstance(one, ValueError)
            assert two == 2

        run_virtual(main())

    @pytest.mark.parametrize("return_exceptions", [False, True])
    def test_cancel_closes_the_others(self, return_exceptions: bool) -> None:
        async def main() -> None:
            rest = [after(1) for _ in range(3)]
            outer = gather(forever(), *rest, limit=1, return_exceptions=return_exceptions)
            await asyncio.sleep(1)
            outer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer
            assert all(coro.cr_frame is None for coro in rest)

        run_virtual(main())

    def test_tasks_do_not_count_for_the_limit(self, create: Any) -> None:
        async def main() -> None:
            task = create(after(5, "task"))
            assert await gather(task, after(1, "a"), after(1, "b"), limit=1) == ["task", "a", "b"]
            assert now() == 5
            assert await gather(limit=1) == []

        run_virtual(main())

    def test_eager_tasks(self) -> None:
        async def main() -> None:
            asyncio.get_running_loop().set_task_factory(eager_task_factory)
            assert await gather(*[_value(n) for n in range(5)], limit=2) == [0, 1, 2, 3, 4]

        run_virtual(main())

    def test_task_that_cannot_be_started_fails_the_gather(self) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            outer = gather(after(1), after(1), limit=1)

            def refuse(loop: Any, coro: Any, **kwargs: Any) -> Any:
                raise LookupError("no more tasks")

            loop.set_task_factory(refuse)
            with pytest.raises(LookupError, match="no more tasks"):
                await outer
            loop.set_task_factory(None)

        run_virtual(main())

    @pytest.mark.parametrize(
        ("limit", "error"), [(0, ValueError), (-1, ValueError), ("3", TypeError), (1.5, TypeError)]
    )
    def test_bad_limits_start_nothing(self, limit: Any, error: type[Exception]) -> None:
        async def main() -> None:
            for call in (gather, lambda *aws, limit: as_completed(aws, limit=limit)):
                coro = after(0)
                with pytest.raises(error, match="time"):
                    call(coro, limit=limit)
                assert coro.cr_frame is None

        run_virtual(main())


async def _value(value: Any) -> Any:
    return value


class TestAsCompleted:
    def test_async_iteration_yields_the_original_tasks(self, create: Any) -> None:
        async def main() -> None:
            tasks = [create(after(delay)) for delay in (3, 1, 2)]
            seen = []
            async for task in as_completed(tasks):
                assert task.done()
                seen.append(tasks.index(task))
            assert seen == [1, 2, 0]

        run_virtual(main())

    def test_async_iteration_yields_tasks_for_coroutines(self) -> None:
        async def main() -> None:
            coro = after(1, "v")
            (task,) = [task async for task in as_completed([coro, coro])]
            assert isinstance(task, Task)
            assert task.result() == "v"

        run_virtual(main())

    def test_plain_iteration_yields_coroutines(self, create: Any) -> None:
        async def main() -> None:
            aws = [create(after(2, "late")), after(1, "early"), after(3, ValueError())]
            coros = list(as_completed(aws))
            assert await coros[2] == "early"  # the first awaited gets the first result
            assert await coros[0] == "late"
            with pytest.raises(ValueError):
                await coros[1]

        run_virtual(main())

    def test_awaited_concurrently(self) -> None:
        async def main() -> None:
            coros = list(as_completed([after(n, n) for n in (1, 2, 3)]))
            assert sorted(await gather(*coros)) == [1, 2, 3]

        run_virtual(main())

    def test_a_turn_that_a_cancelled_task_cannot_take_is_the_next_ones(self) -> None:
        async def main() -> None:
            futures = [asyncio.get_running_loop().create_future() for _ in range(2)]
            first, second = (asyncio.ensure_future(coro) for coro in as_completed(futures))
            await asyncio.sleep(0)
            futures[0].set_result("the first result")
            await asyncio.sleep(0)  # the first is woken, and has not run yet
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert await asyncio.wait_for(second, 1) == "the first result"

        run_virtual(main())

    def test_timeout(self, create: Any) -> None:
        async def main() -> None:
            tasks = [create(after(delay)) for delay in (1, 5)]
            seen = []
            with pytest.raises(TimeoutError):
                async for task in as_completed(tasks, timeout=2):
                    seen.append(task)
            assert seen == tasks[:1]
            coros = list(as_completed(tasks, timeout=0))
            results = await gather(*coros, return_exceptions=True)
            assert sum(isinstance(r, TimeoutError) for r in results) == 1
            assert not tasks[1].done()
            await tasks[1]

        run_virtual(main())

    def test_resumed_after_break_and_after_cancellation(self) -> None:
        async def main() -> None:
            iterator = as_completed([after(n, n) for n in (1, 2, 3)])
            seen = []
            async for task in iterator:
                seen.append(task.result())
                break
            with pytest.raises(TimeoutError):
                await wait_for(anext(iterator), 0.5)
            async for task in iterator:
                seen.append(task.result())
            assert seen == [1, 2, 3]

        run_virtual(main())

    def test_cancelled_waiter_wakes_the_next(self) -> None:
        async def main() -> None:
            first, second = (asyncio.ensure_future(c) for c in as_completed([after(1), after(5)]))
            loop = asyncio.get_running_loop()
            # Cancelled in the very turn in which the result woke it.
            loop.call_at(1, lambda: loop.call_soon(loop.call_soon, first.cancel))
            await wait([first, second], return_when=FIRST_COMPLETED)
            await wait([first, second])
            assert now() <= 5

        run_virtual(main())

    def test_limit(self) -> None:
        async def main() -> None:
            recorder = TaskRecorder()
            names = "abcd"
            aws = [
                recorder(after(delay), name)
                for name, delay in zip(names, (3, 1, 1, 1), strict=True)
            ]
            seen = [now() async for _ in as_completed(aws, limit=2)]
            assert seen == [1, 2, 3, 3]
            assert recorder.time_of("c", "start") == 1
            coros = [after(1, n) for n in range(3)]
            results = [await coro for coro in as_completed(coros, limit=1)]
            assert results == [0, 1, 2]

        run_virtual(main())

    def test_timeout_closes_what_was_not_started(self) -> None:
        async def main() -> None:
            aws = [after(1), after(1), after(1)]
            errors = 0
            for coro in as_completed(aws, timeout=1.5, limit=1):
                try:
                    await coro
                except TimeoutError:
                    errors += 1
            assert errors == 2
            assert aws[2].cr_frame is None
            await asyncio.sleep(1)

        run_virtual(main())

    def test_bad_arguments(self) -> None:
        async def main() -> None:
            coro = after(0)
            with pytest.raises(TypeError, match="expects an iterable of awaitables"):
                as_completed(coro)  # type: ignore[arg-type]
            coro.close()

        run_virtual(main())
        coro = after(0)
        asyncio.set_event_loop(None)
        with pytest.raises(RuntimeError, match="no current event loop"):
            as_completed([coro])

    def test_with_a_loop_that_is_set_but_does_not_run(self) -> None:
        """gh-157856."""
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            (coro,) = as_completed([after(0, "v")])
            assert loop.run_until_complete(coro) == "v"
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    @pytest.mark.parametrize("plain", [False, True])
    def test_cancelled_wait_loses_no_result(self, plain: bool) -> None:
        async def main() -> None:
            given = [asyncio.ensure_future(after(n, n)) for n in (1, 2)]
            iterator = as_completed(given)
            step = next(iterator) if plain else iterator.__anext__()
            waiting = asyncio.ensure_future(step)
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            if plain:  # gh-158004
                assert [await coro for coro in iterator] == [1, 2]
            else:
                assert [future.result() async for future in iterator] == [1, 2]

        run_virtual(main())

    def test_futures_of_other_loops_and_threads(self, elsewhere: Any) -> None:
        async def main() -> None:
            there = asyncio.run_coroutine_threadsafe(_make_task(after(0, 1)), elsewhere).result()
            promise: concurrent.futures.Future[int] = concurrent.futures.Future()
            here = asyncio.ensure_future(after(0, 3))
            threading.Timer(0, promise.set_result, [2]).start()
            given: list[Any] = [there, promise, here]
            seen = [future async for future in as_completed(given)]
            assert set(seen) == set(given)
            assert sorted([await coro for coro in as_completed(given)]) == [1, 2, 3]

        asyncio.run(main())


class TestAwaitedBy:
    """The edges that 3.14 keeps; a recorder replaces its functions on older Pythons."""

    @pytest.fixture
    def edges(self, monkeypatch: pytest.MonkeyPatch) -> set[tuple[Any, Any]]:
        found: set[tuple[Any, Any]] = set()
        for module in (_waiting, _gather, _groups, _shield, _as_completed):
            monkeypatch.setattr(module, "add_edge", lambda *edge: found.add(edge))
            monkeypatch.setattr(module, "discard_edge", lambda *edge: found.discard(edge))
        return found

    def test_wait_gather_and_group(self, edges: set[tuple[Any, Any]]) -> None:
        async def main() -> None:
            me = asyncio.current_task()
            child = asyncio.ensure_future(after(1))
            asyncio.get_running_loop().call_soon(lambda: seen.append(set(edges)))
            seen: list[set[tuple[Any, Any]]] = []
            await wait([child])
            assert seen == [{(child, me)}]
            assert not edges
            failing, survivor = (asyncio.ensure_future(after(n, ValueError())) for n in (1, 2))
            outer = gather(failing, survivor)
            assert edges == {(failing, me), (survivor, me)}
            assert not outer._callbacks  # gh-158239
            with pytest.raises(ValueError):
                await outer
            assert not edges  # gh-157213: the survivor is not awaited any more
            await wait([survivor])
            async with _groups.TaskGroup() as group:
                child = group.create_task(after(1))
                assert edges == {(child, me)}
            assert not edges

        run_virtual(main())

    @pytest.mark.parametrize("keywords", [{"return_exceptions": True}, {"limit": 2}])
    def test_gather_of_other_kinds(
        self, edges: set[tuple[Any, Any]], keywords: dict[str, Any]
    ) -> None:
        async def main() -> None:
            me = asyncio.current_task()
            given = [asyncio.ensure_future(after(n)) for n in (1, 2)]
            outer = gather(*given, **keywords)
            assert edges == {(child, me) for child in given}
            await outer
            assert not edges

        run_virtual(main())

    def test_shield(self, edges: set[tuple[Any, Any]]) -> None:
        async def main() -> None:
            me = asyncio.current_task()
            inner = asyncio.get_running_loop().create_future()
            outer = shield(inner)
            assert edges == {(inner, me)}
            outer.cancel()
            assert not edges and not inner._callbacks  # gh-155143
            outer = shield(inner)
            inner.set_result(None)
            await outer
            assert not edges

        run_virtual(main())

    def test_as_completed(self, edges: set[tuple[Any, Any]]) -> None:
        async def main() -> None:
            me = asyncio.current_task()
            quick, slow = given = [asyncio.ensure_future(after(n)) for n in (1, 9)]
            iterator = as_completed(given, timeout=2)
            assert edges >= {(quick, me), (slow, me)}  # gh-156523
            assert await anext(iterator) is quick
            assert {edge for edge in edges if edge[0] in given} == {(slow, me)}
            with pytest.raises(TimeoutError):
                await anext(iterator)
            assert not edges
            slow.cancel()

        run_virtual(main())


class TestShield:
    @pytest.fixture
    def reports(self) -> list[dict[str, Any]]:
        return []

    def test_failure_after_a_cancel_is_reported_only_if_it_is_never_retrieved(
        self, reports: list[dict[str, Any]]
    ) -> None:
        async def let_go_of(inner: asyncio.Future[Any]) -> None:
            outer = shield(inner)
            outer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, report: reports.append(report))
            inner = asyncio.ensure_future(after(1, ValueError("seen")))
            await let_go_of(inner)
            with pytest.raises(ValueError, match="seen"):
                await inner
            assert not reports
            inner = asyncio.ensure_future(after(1, ValueError("lost")))
            await let_go_of(inner)
            await asyncio.sleep(2)
            assert not reports
            del inner
            gc.collect()

        run_virtual(main())
        (report,) = reports
        assert report["message"] == "Task exception was never retrieved"
        assert str(report["exception"]) == "lost"


class TestProgress:
    @pytest.fixture
    def reports(self) -> Iterator[list[Progress]]:
        seen: list[Progress] = []
        end = observe_progress(seen.append)
        yield seen
        end()

    def test_gather_reports_each_end(self, reports: list[Progress]) -> None:
        async def main() -> None:
            await gather(after(1), after(2), progress="two")
            await gather(*[after(1) for _ in range(3)], progress="three", limit=2)

        run_virtual(main())
        two = [p for p in reports if p.label == "two"]
        assert [(p.done, p.total, p.ended) for p in two] == [
            (0, 2, False),
            (1, 2, False),
            (2, 2, False),
            (2, 2, True),
        ]
        assert [p.done for p in reports if p.label == "three"] == [0, 1, 2, 3, 3]
        assert len({p.id for p in reports}) == 2
        assert all(p.task is not None for p in reports)

    def test_failed_gather(self, reports: list[Progress]) -> None:
        async def main() -> None:
            with pytest.raises(ValueError, match="bad"):
                await gather(after(1, ValueError("bad")), after(2), progress="it")
            await asyncio.sleep(5)

        run_virtual(main())
        assert (reports[-1].failed, reports[-1].ended, reports[-1].done) == (True, True, 1)

    def test_as_completed(self, reports: list[Progress]) -> None:
        async def main() -> None:
            async for _ in as_completed([after(1), after(2)], progress="it"):
                pass

        run_virtual(main())
        assert [p.done for p in reports] == [0, 1, 2, 2]

    def test_track_in_a_thread_without_a_loop(self, reports: list[Progress]) -> None:
        assert list(track([1, 2, 3], name="items")) == [1, 2, 3]
        assert [(p.done, p.total) for p in reports] == [(0, 3), (1, 3), (2, 3), (3, 3), (3, 3)]
        assert reports[-1].ended
        assert reports[0].task is None

    def test_track_asynchronously(self, reports: list[Progress]) -> None:
        async def items() -> Any:
            yield 1
            yield 2

        async def main() -> None:
            assert [item async for item in track(items())] == [1, 2]
            assert [item async for item in track([3], total=5)] == [3]
            with pytest.raises(TypeError, match="async for"):
                iter(track(items()))

        run_virtual(main())
        assert {p.total for p in reports} == {None, 5}

    def test_track_break_and_failure(self, reports: list[Progress]) -> None:
        for _ in track([1, 2]):
            break
        gc.collect()
        assert (reports[-1].ended, reports[-1].failed) == (True, False)

        def broken() -> Iterator[int]:
            yield 1
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            list(track(broken()))
        assert (reports[-1].ended, reports[-1].failed) == (True, True)

    def test_track_explains_what_it_takes(self) -> None:
        with pytest.raises(TypeError, match=r"range\(3\)"):
            track(3)  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="total"):
            track([], total=-1)

    def test_without_observer_nothing_happens(self) -> None:
        assert _progress._observers == ()
        assert list(track([1])) == [1]

    def test_an_observer_that_fails_for_one_piece_of_work_gets_all_other(self, caplog: Any) -> None:
        seen: list[Progress] = []

        def observe(progress: Progress) -> None:
            if progress.label == "bad":
                raise ValueError("bad bar")
            seen.append(progress)

        end = observe_progress(observe)
        try:
            assert list(track([1, 2], name="bad")) == [1, 2]
            assert list(track([1, 2], name="good")) == [1, 2]
        finally:
            end()
        assert [p.done for p in seen] == [0, 1, 2, 2]
        assert len(caplog.records) == 1
        assert _progress._failed == set()

    def test_observers_end_in_any_order_and_each_takes_itself_alone(self) -> None:
        seen: list[list[Progress]] = [[], [], []]
        same = seen[2].append
        ends = [observe_progress(each) for each in (seen[0].append, seen[1].append, same, same)]
        for index, expected in ((0, [0, 4, 8]), (2, [0, 8, 12]), (1, [0, 8, 16]), (3, [0, 8, 16])):
            ends[index]()
            ends[index]()  # twice is once
            list(track([1, 2]))
            assert [len(each) for each in seen] == expected
        assert _progress._observers == ()
