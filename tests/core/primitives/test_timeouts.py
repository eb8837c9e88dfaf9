"""Timeout, timeout, timeout_at."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from asyncnb import Task, TaskGroup, Timeout, timeout, timeout_at
from asyncnb.testing import VirtualTimeLoop, run_virtual


@pytest.fixture(params=["C task", "own task"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Run a coroutine in a task of either kind, in virtual time."""
    make = asyncio.Task if request.param == "C task" else Task

    def call(coro: Any) -> Any:
        async def main() -> Any:
            return await make(coro, loop=asyncio.get_running_loop())

        return run_virtual(main())

    return call


async def still_well() -> None:
    """The current task has no cancellation left, delivered or not."""
    me = asyncio.current_task()
    assert me is not None
    assert me.cancelling() == 0
    await asyncio.sleep(0)


class TestTimeout:
    def test_interrupts_the_body(self, run: Any) -> None:
        async def main() -> None:
            with pytest.raises(TimeoutError) as caught:
                async with timeout(5) as scope:
                    await asyncio.sleep(10)
            assert asyncio.get_running_loop().time() == 5
            assert scope.expired()
            assert isinstance(caught.value.__cause__, asyncio.CancelledError)
            await still_well()

        run(main())

    def test_body_in_time(self, run: Any) -> None:
        async def main() -> None:
            async with timeout(5) as scope:
                assert repr(scope) == "<Timeout [active] when=5.0>"
                await asyncio.sleep(4)
            assert not scope.expired()
            assert repr(scope) == "<Timeout [finished]>"
            await asyncio.sleep(10)  # the timer is gone
            await still_well()

        run(main())

    def test_none_means_no_deadline(self, run: Any) -> None:
        async def main() -> None:
            async with timeout(None) as scope, timeout_at(None):
                await asyncio.sleep(1e6)
            assert scope.when() is None
            assert scope.remaining() is None

        run(main())

    @pytest.mark.parametrize("delay", [0, -1])
    def test_past_deadline_interrupts_the_first_suspension(self, run: Any, delay: float) -> None:
        async def main() -> None:
            with pytest.raises(TimeoutError):
                async with timeout(delay):
                    await asyncio.sleep(0)
            await still_well()

        run(main())

    def test_past_deadline_does_not_interrupt_what_never_suspends(self, run: Any) -> None:
        async def main() -> None:
            async with timeout(0) as scope:
                pass
            assert not scope.expired()
            await still_well()

        run(main())

    def test_nested_only_the_expired_one_converts(self, run: Any) -> None:
        async def main() -> None:
            async with timeout(10) as outer:
                with pytest.raises(TimeoutError):
                    async with timeout(5) as inner:
                        await asyncio.sleep(20)
            assert inner.expired()
            assert not outer.expired()
            await still_well()

        run(main())

    def test_outer_first(self, run: Any) -> None:
        async def main() -> None:
            with pytest.raises(TimeoutError):
                async with timeout(5) as outer, timeout(10) as inner:
                    await asyncio.sleep(20)
            assert outer.expired()
            assert not inner.expired()
            await still_well()

        run(main())

    def test_same_deadline(self, run: Any) -> None:
        async def main() -> None:
            with pytest.raises(TimeoutError):
                async with timeout_at(5) as outer, timeout_at(5) as inner:
                    await asyncio.sleep(20)
            assert outer.expired()
            assert inner.expired()
            await still_well()

        run(main())

    def test_cancellation_from_outside_propagates(self, run: Any) -> None:
        async def main() -> None:
            me = asyncio.current_task()
            assert me is not None
            with pytest.raises(asyncio.CancelledError):
                async with timeout(5):
                    asyncio.get_running_loop().call_at(5, me.cancel)
                    await asyncio.sleep(10)
            assert me.uncancel() == 0
            await still_well()

        run(main())

    def test_body_that_suppresses_the_interruption(self, run: Any) -> None:
        async def main() -> None:
            async with timeout(5) as scope:
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.sleep(10)
            assert scope.expired()
            await still_well()

        run(main())

    def test_other_exception_gets_a_timeout_error_in_its_context(self, run: Any) -> None:
        async def main() -> None:
            with pytest.raises(ZeroDivisionError) as caught:
                async with timeout(5):
                    try:
                        await asyncio.sleep(10)
                    finally:
                        1 / 0
            context = caught.value.__context__
            assert isinstance(context, TimeoutError)
            assert isinstance(context.__cause__, asyncio.CancelledError)
            assert caught.value.__cause__ is None
            await still_well()

        run(main())

    def test_members_of_an_exception_group_get_it_too(self, run: Any) -> None:
        async def main() -> None:
            async def crash() -> None:
                try:
                    await asyncio.sleep(10)
                finally:
                    raise KeyError

            with pytest.raises(ExceptionGroup) as caught:
                async with timeout(5), TaskGroup() as group:
                    group.create_task(crash())
            (member,) = caught.value.exceptions
            assert isinstance(member, KeyError)
            assert isinstance(member.__context__, TimeoutError)
            await still_well()

        run(main())

    def test_entered_twice(self, run: Any) -> None:
        async def main() -> None:
            scope = timeout(5)
            async with scope:
                with pytest.raises(RuntimeError, match="has already been entered"):
                    await scope.__aenter__()
            with pytest.raises(RuntimeError, match="has already been entered"):
                await scope.__aenter__()

        run(main())

    def test_outside_a_task(self) -> None:
        def enter() -> None:
            with pytest.raises(RuntimeError, match="inside a task"):
                timeout(5).__aenter__().send(None)

        async def main() -> None:
            done = asyncio.Event()
            loop = asyncio.get_running_loop()
            loop.call_soon(lambda: (enter(), done.set()))
            await done.wait()

        run_virtual(main())
        with pytest.raises(RuntimeError, match="no running event loop"):
            timeout(5)

    @pytest.mark.parametrize(
        ("value", "hint"), [("5", r"float\('5'\)"), (timedelta(seconds=5), "total_seconds")]
    )
    def test_a_deadline_that_is_not_a_number_is_explained(self, value: Any, hint: str) -> None:
        async def main() -> None:
            with pytest.raises(TypeError, match=hint):
                timeout(value)

        run_virtual(main())
        with pytest.raises(TypeError, match=hint):
            timeout_at(value)

    def test_nan_is_refused(self) -> None:
        async def main() -> None:
            with pytest.raises(ValueError, match="nan"):
                async with timeout(float("nan")):
                    pass
            async with timeout(5) as scope:
                with pytest.raises(ValueError, match="nan"):
                    scope.reschedule(float("nan"))

        run_virtual(main())


class TestReschedule:
    def test_reschedule_to_later_earlier_and_never(self, run: Any) -> None:
        async def main() -> None:
            async with timeout(5) as scope:
                scope.reschedule(20)
                await asyncio.sleep(10)
                assert scope.remaining() == 10
                scope.reschedule(None)
                await asyncio.sleep(100)
            with pytest.raises(TimeoutError):
                async with timeout(None) as scope:
                    scope.reschedule(asyncio.get_running_loop().time() + 1)
                    await asyncio.sleep(10)
            assert scope.remaining() == 0
            await still_well()

        run(main())

    def test_reschedule_to_the_past(self, run: Any) -> None:
        async def main() -> None:
            with pytest.raises(TimeoutError):
                async with timeout(5) as scope:
                    scope.reschedule(-1)
                    await asyncio.sleep(0)
            await still_well()

        run(main())

    def test_before_and_after(self, run: Any) -> None:
        async def main() -> None:
            scope = timeout(5)
            with pytest.raises(RuntimeError, match="has not been entered"):
                scope.reschedule(1)
            async with scope:
                pass
            with pytest.raises(RuntimeError, match="Cannot change state of finished Timeout"):
                scope.reschedule(1)
            with pytest.raises(TimeoutError):
                async with timeout(0) as late:
                    try:
                        await asyncio.sleep(1)
                    finally:
                        with pytest.raises(RuntimeError, match="state of expiring Timeout"):
                            late.reschedule(1)
            with pytest.raises(RuntimeError, match="Cannot change state of expired Timeout"):
                late.reschedule(1)

        run(main())

    def test_from_another_thread(self, run: Any) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            with pytest.raises(TimeoutError):
                async with timeout(None) as scope:
                    thread = threading.Thread(target=scope.reschedule, args=(loop.time() + 5,))
                    thread.start()
                    thread.join()
                    await asyncio.sleep(10)
            assert loop.time() == 5

        run(main())

    def test_from_another_thread_wins_over_a_timer_that_is_due(self) -> None:
        async def main() -> None:
            async with timeout(5) as scope:
                # Keep the loop busy until the old deadline has passed; the new one is set first.
                thread = threading.Thread(target=scope.reschedule, args=(100,))
                thread.start()
                thread.join()
                assert scope.when() == 100
                loop = asyncio.get_running_loop()
                assert isinstance(loop, VirtualTimeLoop)
                loop.advance(6)
                await asyncio.sleep(1)
            assert not scope.expired()

        run_virtual(main())


class TestRemaining:
    def test_counts_down_and_stops_at_zero(self, run: Any) -> None:
        async def main() -> None:
            early = timeout(5)
            assert early.remaining() == 5
            async with early as scope:
                await asyncio.sleep(3)
                assert scope.remaining() == 2
            await asyncio.sleep(10)
            assert scope.remaining() == 0

        run(main())

    def test_needs_a_loop_before_entry(self) -> None:
        with pytest.raises(RuntimeError, match="no running event loop"):
            Timeout(5).remaining()
