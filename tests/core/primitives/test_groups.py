"""TaskGroup and open groups."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asyncnb import Task, TaskGroup, current_deadline, eager_task_factory, open_group, timeout
from asyncnb._core.launched import named_groups as _named_groups
from asyncnb._core.launched.named_groups import open_groups
from asyncnb._core.launched.open_group import OpenGroup
from asyncnb._core.primitives.futures import INTERRUPT
from asyncnb._core.primitives.groups import group_of
from asyncnb.testing import TaskRecorder, run_virtual


def plain(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
    return asyncio.Task(coro, loop=loop, **kwargs)


def own(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
    return Task(coro, loop=loop, **kwargs)


@pytest.fixture(params=[plain, own], ids=["C task", "own task"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Run a coroutine in a task of either kind, in virtual time."""

    def call(coro: Any) -> Any:
        async def main() -> Any:
            return await request.param(asyncio.get_running_loop(), coro)

        return run_virtual(main())

    return call


async def fail(delay: float = 0, error: BaseException | None = None) -> None:
    await asyncio.sleep(delay)
    raise error if error is not None else ValueError("boom")


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def stubborn(delay: float = 0) -> None:
    """End with an error when cancelled, ``delay`` seconds later."""
    try:
        await forever()
    finally:
        await asyncio.sleep(delay)
        raise ValueError("stubborn")


class TestTaskGroup:
    def test_waits_for_all_children(self, run: Any) -> None:
        async def main() -> list[str]:
            recorder = TaskRecorder()
            async with TaskGroup() as group:
                group.create_task(recorder(asyncio.sleep(2), "slow"))
                group.create_task(recorder(asyncio.sleep(1), "quick"))
            return recorder.order("result")

        assert run(main()) == ["quick", "slow"]

    def test_first_failure_cancels_siblings_and_body(self, run: Any) -> None:
        async def main() -> TaskRecorder:
            recorder = TaskRecorder()
            with pytest.raises(ExceptionGroup) as caught:
                async with TaskGroup() as group:
                    group.create_task(recorder(fail(1), "bad"))
                    group.create_task(recorder(forever(), "other"))
                    await recorder(forever(), "body")
            assert [type(e) for e in caught.value.exceptions] == [ValueError]
            assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
            return recorder

        recorder = run(main())
        assert sorted(recorder.order("cancelled")) == ["body", "other"]
        assert recorder.time_of("body", "cancelled") == 1

    def test_child_created_while_waiting_is_waited_for(self, run: Any) -> None:
        async def main() -> list[str]:
            recorder = TaskRecorder()

            async def parent(group: TaskGroup) -> None:
                await asyncio.sleep(1)
                group.create_task(recorder(asyncio.sleep(1), "late"))

            async with TaskGroup() as group:
                group.create_task(parent(group))
            return recorder.order("result")

        assert run(main()) == ["late"]

    def test_cancelling_count_survives_error_and_outside_cancel(self, run: Any) -> None:
        async def main() -> None:
            async def body() -> None:
                with pytest.raises(ExceptionGroup):
                    async with TaskGroup() as group:
                        group.create_task(stubborn())
                        await asyncio.sleep(0)
                        me.cancel()
                        await forever()
                assert me.cancelling() == 1
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.sleep(0)  # re-armed
                assert me.uncancel() == 0

            me = asyncio.current_task()
            assert me is not None
            await body()

        run(main())

    def test_nested_groups_both_cancelled(self, run: Any) -> None:
        async def main() -> None:
            with pytest.raises(ExceptionGroup) as caught:
                async with TaskGroup() as outer:
                    try:
                        async with TaskGroup() as inner:
                            inner.create_task(fail(0, KeyError()))
                            outer.create_task(fail(0, TypeError()))
                            await forever()
                    except* KeyError:
                        pass
            assert [type(e) for e in caught.value.exceptions] == [TypeError]
            me = asyncio.current_task()
            assert me is not None
            assert me.cancelling() == 0
            await asyncio.sleep(0)  # nothing is left to be delivered

        run(main())

    @pytest.mark.parametrize("state", ["new", "finished", "aborting"])
    def test_refused_coroutine_is_closed(self, state: str, run: Any) -> None:
        async def main() -> None:
            async def never() -> None:
                raise AssertionError

            coro = never()
            group = TaskGroup()
            if state == "new":
                with pytest.raises(RuntimeError, match="has not been entered"):
                    group.create_task(coro)
            elif state == "finished":
                async with group:
                    pass
                with pytest.raises(RuntimeError, match="is finished"):
                    group.create_task(coro)
            else:
                async with group:
                    group.cancel()
                    with pytest.raises(RuntimeError, match="is shutting down"):
                        group.create_task(coro)
            assert coro.cr_frame is None

        run(main())

    def test_entering_twice_and_outside_a_task_is_refused(self) -> None:
        async def main() -> None:
            async with TaskGroup() as group:
                with pytest.raises(RuntimeError, match="already been entered"):
                    await group.__aenter__()

        run_virtual(main())
        with pytest.raises(RuntimeError, match="no running event loop"):
            TaskGroup().__aenter__().send(None)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_base_error_of_the_body_is_raised_unwrapped(self, error: type[BaseException]) -> None:
        async def main() -> list[str]:
            recorder = TaskRecorder()
            with pytest.raises(error):
                async with TaskGroup() as group:
                    group.create_task(recorder(forever(), "child"))
                    await asyncio.sleep(0)
                    raise error
            return recorder.order("cancelled")

        assert run_virtual(main()) == ["child"]

    def test_failures_hidden_by_a_base_error_are_reported(self) -> None:
        async def main() -> list[str]:
            told: list[Any] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, c: told.append(c))

            with pytest.raises(KeyboardInterrupt):
                async with TaskGroup() as group:
                    group.create_task(stubborn())
                    await asyncio.sleep(0)
                    raise KeyboardInterrupt
            return [str(c["exception"]) for c in told]

        assert run_virtual(main()) == ["stubborn"]

    def test_group_that_ended_keeps_no_base_error(self) -> None:
        async def main() -> None:
            group = TaskGroup()
            with pytest.raises(SystemExit):
                async with group:
                    raise SystemExit
            assert not [value for value in vars(group).values() if isinstance(value, SystemExit)]

        run_virtual(main())

    def test_generator_exit_is_raised_unwrapped(self) -> None:
        async def main() -> None:
            async def items() -> Any:
                async with TaskGroup() as group:
                    group.create_task(forever())
                    yield 1

            iterator = items()
            assert await anext(iterator) == 1
            await iterator.aclose()

        run_virtual(main())

    def test_eager_failure_does_not_leak_a_cancellation(self) -> None:
        async def main() -> None:
            asyncio.get_running_loop().set_task_factory(eager_task_factory)

            async def at_once() -> None:
                raise ValueError

            with pytest.raises(ExceptionGroup):
                async with TaskGroup() as group:
                    group.create_task(at_once())
                    group.create_task(at_once())  # still open: the failure is handled later
            me = asyncio.current_task()
            assert me is not None
            assert me.cancelling() == 0
            await asyncio.sleep(0)

        run_virtual(main())

    def test_failed_group_leaves_no_cycles(self) -> None:
        async def main() -> None:
            gc.collect()
            gc.disable()
            try:
                error = None
                try:
                    async with TaskGroup() as group:
                        group.create_task(fail())
                except ExceptionGroup as caught:
                    error = caught.exceptions[0]
                assert error is not None
                del group
                assert not [r for r in gc.get_referrers(error) if isinstance(r, (list, dict))]
            finally:
                gc.enable()

        run_virtual(main())


class TestGroupCancel:
    def test_ends_without_an_error(self, run: Any) -> None:
        async def main() -> TaskRecorder:
            recorder = TaskRecorder()
            async with TaskGroup() as group:
                group.create_task(recorder(forever(), "child"))
                await asyncio.sleep(0)
                group.cancel()
                group.cancel()
                await recorder(forever(), "body")
            me = asyncio.current_task()
            assert me is not None
            assert me.cancelling() == 0
            await asyncio.sleep(0)
            return recorder

        assert sorted(run(main()).order("cancelled")) == ["body", "child"]

    def test_body_that_never_suspends_again(self, run: Any) -> None:
        async def main() -> None:
            async with TaskGroup() as group:
                group.cancel()
            await asyncio.sleep(0)  # the undelivered request was withdrawn

        run(main())

    def test_before_entry_takes_effect_on_entry(self, run: Any) -> None:
        async def main() -> bool:
            group = TaskGroup()
            group.cancel()
            async with group:
                await forever()
            return True

        assert run(main())

    def test_after_exit_does_nothing(self, run: Any) -> None:
        async def main() -> None:
            async with TaskGroup() as group:
                pass
            group.cancel()
            await asyncio.sleep(0)

        run(main())

    def test_failures_during_the_cancel_are_raised(self, run: Any) -> None:
        async def main() -> None:
            with pytest.raises(ExceptionGroup):
                async with TaskGroup() as group:
                    group.create_task(stubborn())
                    await asyncio.sleep(0)
                    group.cancel()

        run(main())

    def test_outside_cancel_during_the_wait_propagates(self, run: Any) -> None:
        async def main() -> None:
            async def slow_to_end() -> None:
                try:
                    await forever()
                finally:
                    await asyncio.sleep(10)

            async def body() -> None:
                async with TaskGroup() as group:
                    group.create_task(slow_to_end())
                    await asyncio.sleep(0)
                    group.cancel()

            task = asyncio.create_task(body())
            await asyncio.sleep(5)
            task.cancel("from outside")
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert caught.value.args == ("from outside",)

        run(main())

    def test_timeout_around_a_cancelled_group_is_kept(self, run: Any) -> None:
        async def main() -> None:
            async def slow_to_end() -> None:
                try:
                    await forever()
                finally:
                    await asyncio.sleep(10)

            with pytest.raises(TimeoutError):
                async with timeout(1), TaskGroup() as group:
                    group.create_task(slow_to_end())
                    await asyncio.sleep(0)
                    group.cancel()

        run(main())

    def test_eager_child_that_cancels_its_group(self) -> None:
        async def main() -> bool:
            asyncio.get_running_loop().set_task_factory(eager_task_factory)

            async def child(group: TaskGroup) -> None:
                group.cancel()
                await forever()

            async with TaskGroup() as group:
                group.create_task(child(group))
            return True

        assert run_virtual(main())


class TestCurrentDeadline:
    def test_none_without_timeouts_and_outside_of_tasks(self) -> None:
        async def main() -> None:
            assert current_deadline() is None
            async with timeout(None):
                assert current_deadline() is None

        run_virtual(main())
        assert current_deadline() is None

    def test_earliest_of_the_nested(self) -> None:
        async def main() -> list[float | None]:
            found = []
            async with timeout(10):
                async with timeout(20) as inner:
                    found.append(current_deadline())
                    inner.reschedule(5)
                    found.append(current_deadline())
                found.append(current_deadline())
            return [*found, current_deadline()]

        assert run_virtual(main()) == [10, 5, 10, None]

    def test_timeouts_left_out_of_order(self) -> None:
        async def main() -> None:
            first, second = timeout(10), timeout(5)
            await first.__aenter__()
            await second.__aenter__()
            await first.__aexit__(None, None, None)
            assert current_deadline() == 5
            await second.__aexit__(None, None, None)
            assert current_deadline() is None
            assert not asyncio.get_running_loop()._asyncnb_timeouts  # type: ignore[attr-defined]

        run_virtual(main())

    def test_children_of_a_group_inherit_and_other_tasks_do_not(self) -> None:
        async def main() -> None:
            async def look() -> float | None:
                await asyncio.sleep(0)
                async with timeout(50):
                    return current_deadline()

            async def nested() -> float | None:
                async with TaskGroup() as group:
                    task = group.create_task(look())
                return task.result()

            async with timeout(10), TaskGroup() as group:
                child = group.create_task(look())
                grandchild = group.create_task(nested())
                other = asyncio.create_task(look())
                await asyncio.sleep(0)
                assert group_of(child) is group
            assert (child.result(), grandchild.result()) == (10, 10)
            assert await other == 50

        run_virtual(main())


# --- open groups -------------------------------------------------------------------------------


@pytest.fixture
def home() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop on a separate thread, the loop of open groups while the test runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="home of open groups")
    thread.start()
    before = _named_groups.embedded_loop, _named_groups._starter
    _named_groups.embedded_loop = lambda: loop  # type: ignore[assignment,return-value]
    _named_groups._starter = lambda group: None  # type: ignore[assignment,return-value]
    yield loop
    _named_groups.embedded_loop, _named_groups._starter = before
    for group in open_groups():
        group.cancel()
        concurrent.futures.wait([asyncio.run_coroutine_threadsafe(_end(group), loop)])
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert not open_groups()


async def _end(group: OpenGroup) -> None:
    try:
        await group
    except BaseException:
        return


class TestOpenGroup:
    def test_join_waits_for_tasks_of_several_cells(self, home: Any) -> None:
        group = open_group("work")
        first = group.create_task(asyncio.sleep(0, 1), name="first")
        assert open_group("work") is group
        second = open_group("work").create_task(asyncio.sleep(0, 2))
        group.join()
        assert (first.result(), second.result(), first.get_name()) == (1, 2, "first")
        assert open_group("work") is not group

    def test_is_a_task_group(self, home: Any) -> None:
        assert isinstance(open_group("work"), TaskGroup)

    def test_ended_group_refuses_and_closes(self, home: Any) -> None:
        group = open_group("work")
        group.join()
        coro = asyncio.sleep(1)
        with pytest.raises(RuntimeError, match="finished"):
            group.create_task(coro)
        assert coro.cr_frame is None

    def test_failure_cancels_the_others_and_is_raised_each_time(self, home: Any) -> None:
        group = open_group("work")
        other = group.create_task(forever())
        group.create_task(fail())
        for _ in range(2):
            with pytest.raises(ExceptionGroup) as caught:
                group.join()
            assert [type(e) for e in caught.value.exceptions] == [ValueError]
        assert other.cancelled()

    def test_continue_reports_each_failure_and_keeps_none(self, home: Any) -> None:
        told: list[Any] = []
        home.call_soon_threadsafe(home.set_exception_handler, lambda _, c: told.append(c))
        group = open_group("work", on_error="continue")
        gate: concurrent.futures.Future[None] = concurrent.futures.Future()

        async def wait_for_gate() -> str:
            await asyncio.wrap_future(gate)
            return "done"

        other = group.create_task(wait_for_gate())
        bad = group.create_task(fail())
        with pytest.raises(ValueError, match="boom"):
            bad.join()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), home).result()
        assert [c["task"] for c in told] == [bad]
        assert not group._errors
        gate.set_result(None)
        group.join()
        assert other.result() == "done"

    def test_cancel_ends_it_without_an_error(self, home: Any) -> None:
        group = open_group("work")
        task = group.create_task(forever())
        group.cancel()
        group.join()
        assert task.cancelled()
        group.cancel()

    def test_add_adopts_tasks_of_any_loop_and_futures(self, home: Any) -> None:
        group = open_group("work")
        promise: concurrent.futures.Future[int] = concurrent.futures.Future()

        async def here() -> bool:
            mine = asyncio.create_task(forever())
            there = Task(forever(), loop=home)
            group.add(mine, there, promise)
            assert len(group) == 3
            group.cancel()
            await group
            await asyncio.sleep(0)
            return mine.cancelled() and there.cancelled() and promise.cancelled()

        assert asyncio.run(here())

    def test_add_explains_what_it_takes(self, home: Any) -> None:
        coro = asyncio.sleep(0)
        with pytest.raises(TypeError, match="create_task"):
            open_group("work").add(coro)  # type: ignore[arg-type]
        coro.close()

    def test_await_on_its_own_loop(self, home: Any) -> None:
        group = open_group("work")
        task = group.create_task(asyncio.sleep(0, 5))

        async def main() -> None:
            await group

        asyncio.run_coroutine_threadsafe(main(), home).result()
        assert task.result() == 5

    def test_cancelling_the_awaiter_cancels_the_group(self, home: Any) -> None:
        group = open_group("work")
        task = group.create_task(forever())

        async def main() -> None:
            async def waiter() -> None:
                await group

            waiting = asyncio.create_task(waiter())
            await asyncio.sleep(0)
            waiting.cancel("enough")
            with pytest.raises(asyncio.CancelledError):
                await waiting

        asyncio.run(main())
        assert task.cancelled()

    def test_interrupt_ends_the_wait_only(self, home: Any) -> None:
        group = open_group("work")
        task = group.create_task(forever())

        async def main() -> None:
            async def waiter() -> None:
                await group

            waiting = asyncio.create_task(waiter())
            await asyncio.sleep(0)
            waiting.cancel(INTERRUPT)  # type: ignore[arg-type]
            with pytest.raises(asyncio.CancelledError):
                await waiting

        asyncio.run(main())
        assert not task.done()

    def test_join_times_out_and_may_be_repeated(self, home: Any) -> None:
        group = open_group("work")
        task = group.create_task(forever())
        with pytest.raises(TimeoutError):
            group.join(timeout=0)
        assert not task.done()
        group.cancel()
        group.join()

    def test_join_on_its_own_thread_explains_itself(self, home: Any) -> None:
        group = open_group("work")
        group.create_task(forever())

        async def main() -> None:
            with pytest.raises(RuntimeError, match="await group"):
                group.join()

        asyncio.run_coroutine_threadsafe(main(), home).result()

    def test_deadline_cancels_and_raises(self, home: Any) -> None:
        group = open_group("work", timeout=3600)
        task = group.create_task(forever())
        group.reschedule(home.time())
        with pytest.raises(TimeoutError):
            group.join()
        assert task.cancelled()

    def test_deadline_can_be_moved_and_taken_away(self, home: Any) -> None:
        group = open_group("work", timeout=3600)
        assert group.when() is not None
        group.reschedule(None)
        assert group.when() is None
        open_group("work", timeout=60)
        assert 50 < group.when() - home.time() <= 60  # type: ignore[operator]

    def test_with_joins(self, home: Any) -> None:
        with open_group("work") as group:
            task = group.create_task(asyncio.sleep(0, 3))
        assert task.result() == 3

    def test_with_cancels_when_the_body_fails(self, home: Any) -> None:
        with pytest.raises(ExceptionGroup) as caught, open_group("work") as group:
            task = group.create_task(forever())
            raise KeyError("body")
        assert [type(e) for e in caught.value.exceptions] == [KeyError]
        assert task.cancelled()

    def test_keyboard_interrupt_in_with_is_raised_unwrapped(self, home: Any) -> None:
        with pytest.raises(KeyboardInterrupt), open_group("work") as group:
            task = group.create_task(forever())
            raise KeyboardInterrupt
        assert task.cancelled()

    @pytest.mark.parametrize("where", ["home", "elsewhere"])
    def test_async_with_failure_cancels_the_body(self, home: Any, where: str) -> None:
        async def main() -> None:
            group = open_group("work")
            with pytest.raises(ExceptionGroup):
                async with group:
                    group.create_task(fail())
                    await forever()
            me = asyncio.current_task()
            assert me is not None
            assert me.cancelling() == 0
            await asyncio.sleep(0)

        if where == "home":
            asyncio.run_coroutine_threadsafe(main(), home).result()
        else:
            asyncio.run(main())

    @pytest.mark.parametrize("where", ["home", "elsewhere"])
    def test_async_with_waits(self, home: Any, where: str) -> None:
        async def main() -> int:
            async with open_group("work") as group:
                task = group.create_task(asyncio.sleep(0, 7))
            return task.result()

        if where == "home":
            assert asyncio.run_coroutine_threadsafe(main(), home).result() == 7
        else:
            assert asyncio.run(main()) == 7

    def test_bad_arguments_explain_themselves(self, home: Any) -> None:
        with pytest.raises(ValueError, match="'cancel'"):
            open_group("work", on_error="ignore")
        with pytest.raises(TypeError, match="name"):
            open_group(3)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="seconds"):
            open_group("work", timeout=-1)
        open_group("work")
        with pytest.raises(ValueError, match="is already open with"):
            open_group("work", on_error="continue")

    def test_own_starter_is_used(self, home: Any) -> None:
        started: list[Any] = []

        def start(coro: Any, **kwargs: Any) -> Any:
            started.append(kwargs)
            return Task(coro, loop=home, **kwargs)

        group = OpenGroup("work", loop=home, start=start)
        group.create_task(asyncio.sleep(0), name="a")
        group.join()
        assert started == [{"name": "a"}]
