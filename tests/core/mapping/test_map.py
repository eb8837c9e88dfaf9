"""`asyncnb.map` on the loop: results, streams, failures, cancels, pauses, and what owns the run."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import threading
import weakref
from typing import Any

import pytest

import asyncnb
from asyncnb import ItemsFailedError, MapRun
from asyncnb._core.launched.record import TaskRecord
from asyncnb.testing import run_virtual


async def double(item: int) -> int:
    await asyncio.sleep(1)
    return 2 * item


async def picky(item: int) -> int:
    await asyncio.sleep(1)
    if item % 3 == 1:
        raise ValueError(f"not {item}")
    return item


def turns(number: int = 20) -> Any:
    async def wait() -> None:
        for _ in range(number):
            await asyncio.sleep(0)

    return wait()


# Results


def test_await_gives_the_results_in_order_and_the_limit_holds() -> None:
    now = most = 0

    async def count(item: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(7 - item % 7)
        now -= 1
        return item

    async def main() -> None:
        run = asyncnb.map(count, range(100), limit=4)
        assert await run == list(range(100))
        assert await run == list(range(100))  # the same again
        counts = run.counts()
        assert (counts.total, counts.started, counts.done, counts.running) == (100, 100, 100, 0)
        assert counts.eta == 0

    run_virtual(main())
    assert most == 4


def test_nothing_starts_before_it_is_wanted() -> None:
    async def main() -> None:
        run = asyncnb.map(double, iter(range(3)))
        await turns()
        assert run.task is None and not run.done() and run.counts().started == 0
        assert "not started" in repr(run)
        assert run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    run_virtual(main())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_stream_gives_items_with_outcomes_in_order(asynchronous: bool) -> None:
    async def items() -> Any:
        for item in range(10):
            await asyncio.sleep(0.01)
            yield item

    async def slow_first(item: int) -> int:
        await asyncio.sleep(10 - item)
        if item == 5:
            raise ValueError(item)
        return -item

    async def main() -> None:
        given = items() if asynchronous else iter(range(10))
        found = [pair async for pair in asyncnb.map(slow_first, given, limit=3)]
        assert [item for item, _ in found] == list(range(10))
        assert [outcome.index for _, outcome in found] == list(range(10))
        assert [outcome.ok for _, outcome in found] == [n != 5 for n in range(10)]
        assert found[3][1].result() == -3 and found[3][1].seconds == 7
        assert isinstance(found[5][1].exception(), ValueError)
        given = items() if asynchronous else iter(range(10))
        run = asyncnb.map(slow_first, given, limit=10, ordered=False)
        assert [item async for item, _ in run] == list(reversed(range(10)))

    run_virtual(main())


def test_a_slow_consumer_slows_down_the_calls() -> None:
    taken = 0

    def source() -> Any:
        nonlocal taken
        for item in range(10**9):
            taken = item
            yield item

    async def main() -> None:
        run = asyncnb.map(double, source(), limit=5)
        stream = aiter(run)
        for expected in range(20):
            item, _ = await anext(stream)
            await asyncio.sleep(100)
            assert item == expected and taken <= item + 10
        await stream.aclose()
        assert run.done() and run.counts().running == 0

    run_virtual(main())


def test_a_function_that_never_waits_leaves_the_loop_its_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asyncnb._core.mapping.loop_calls.BREATH_SECONDS", 0)

    async def at_once(item: int) -> int:
        return item

    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        assert len(await asyncnb.map(at_once, range(1000), limit=2)) == 1000
        ticking.cancel()
        assert ticks > 100

    asyncio.run(main())


def test_items_do_not_share_context_variables() -> None:
    variable: contextvars.ContextVar[int | None] = contextvars.ContextVar("variable", default=None)
    outer: contextvars.ContextVar[str] = contextvars.ContextVar("outer")

    async def look(item: int) -> tuple[int | None, str]:
        before = variable.get()
        variable.set(item)
        await asyncio.sleep(0)
        return before, outer.get()

    async def main() -> None:
        outer.set("seen")
        assert await asyncnb.map(look, range(20), limit=2) == [(None, "seen")] * 20

    run_virtual(main())


# Failures


def test_failures_do_not_stop_the_others_and_can_be_run_again() -> None:
    broken = True

    async def main() -> None:
        async def call(item: int) -> int:
            if broken and item % 3 == 1:
                raise ValueError(f"not {item}")
            return item

        nonlocal broken
        run: MapRun[int, int] = asyncnb.map(call, range(40), name="calls")
        with pytest.raises(ItemsFailedError, match="13 of 40 items failed in 'calls'") as caught:
            await run
        assert len(caught.value.exceptions) == 10
        assert "asyncnb.map: item 1 of 'calls': 1" in caught.value.exceptions[0].__notes__
        assert isinstance(caught.value.split(ValueError)[0], ItemsFailedError)
        assert [outcome.item for outcome in run.failed] == list(range(1, 40, 3))
        broken = False
        assert await run.retry() == list(range(40))
        assert run.failed == [] and run.counts().done == 40
        assert await run.retry() == list(range(40))

    run_virtual(main())


def test_the_first_failure_can_end_the_run() -> None:
    async def main() -> None:
        async def fail(item: int) -> None:
            await asyncio.sleep(2 if item == 1 else 60)
            raise ValueError(f"not {item}")

        run = asyncnb.map(fail, range(1000), limit=10, on_error="cancel")
        with pytest.raises(ValueError, match="not 1"):
            await run
        assert run.counts().failed == 1 and run.counts().running == 0

    run_virtual(main())


def test_a_run_that_was_stopped_continues_where_it_was() -> None:
    calls = []

    async def main() -> None:
        async def call(item: int) -> int:
            calls.append(item)
            await asyncio.sleep(1)
            if item == 5 and calls.count(5) == 1:
                raise ValueError(item)
            return item

        run = asyncnb.map(call, iter(range(20)), limit=4, on_error="cancel")
        with pytest.raises(ValueError, match="5"):
            await run
        assert await run.retry() == list(range(20))
        assert set(calls) == set(range(20))

    run_virtual(main())


def test_exceptions_can_be_in_the_list() -> None:
    async def main() -> None:
        found = await asyncnb.map(picky, range(4), return_exceptions=True)
        assert [type(each) for each in found] == [int, ValueError, int, int]

    run_virtual(main())


def test_a_source_that_raises_ends_the_run_after_what_runs() -> None:
    def broken() -> Any:
        yield from range(5)
        raise KeyError("source")

    async def later() -> Any:
        for item in broken():
            yield item

    async def main() -> None:
        for source in (broken, later):
            with pytest.raises(KeyError, match="source") as caught:
                await asyncnb.map(double, source(), name="calls")
            note = "asyncnb.map: raised by the iterable of 'calls' after 5 items"
            assert note in caught.value.__notes__
            found = []
            with pytest.raises(KeyError):
                async for item, _ in asyncnb.map(double, source()):
                    found.append(item)
            assert found == list(range(5))

    run_virtual(main())


def test_a_result_that_cannot_be_awaited_is_explained() -> None:
    class Call:
        async def __call__(self, item: int) -> int:
            return item

    class Marked:
        _is_coroutine_mark = _is_coroutine = getattr(
            inspect, "_is_coroutine_mark", getattr(asyncio.coroutines, "_is_coroutine", None)
        )

        def __call__(self, item: int) -> int:
            return item

    async def main() -> None:
        assert await asyncnb.map(Call(), range(3)) == [0, 1, 2]
        assert await asyncnb.map(functools.partial(double), range(3)) == [0, 2, 4]
        marked: Any = Marked()
        if asyncnb.iscoroutinefunction(marked):
            run = asyncnb.map(marked, [7])
            with pytest.raises(ItemsFailedError) as caught:
                await run
            text = "map() awaits what Marked() returns, and for item 0 that was 7 (int)"
            assert str(caught.value.exceptions[0]) == text

    run_virtual(main())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_interpreter_stops_the_run(error: type[BaseException]) -> None:
    stopped = []

    async def call(item: int) -> None:
        try:
            await asyncio.sleep(item)
        finally:
            stopped.append(item)
        raise error("now")

    async def main() -> None:
        await asyncnb.map(call, range(1, 4))

    with pytest.raises(error):
        asyncio.run(main())
    assert sorted(stopped) == [1, 2, 3]


def test_an_item_that_is_cancelled_fails_and_the_run_continues() -> None:
    async def call(item: int) -> int:
        if item == 1:
            raise asyncio.CancelledError
        if item == 2:
            current = asyncio.current_task()
            assert current is not None and current.get_name() == "item 2"
            current.cancel()
        await asyncio.sleep(1)
        return item

    async def main() -> None:
        run = asyncnb.map(call, range(5), limit=1)
        with pytest.raises(ItemsFailedError, match="2 of 5") as caught:
            await run
        assert [str(each)[:22] for each in caught.value.exceptions] == [
            "The call was cancelled"
        ] * 2
        assert [outcome.index for outcome in run.failed] == [1, 2]
        assert run.counts().done == 3

    run_virtual(main())


# Ownership


def test_a_cancel_of_the_code_that_waits_cancels_the_run() -> None:
    ended = []

    async def call(item: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await turns(item)
            ended.append(item)

    async def main() -> None:
        async def wait() -> None:
            await run

        async def iterate() -> None:
            async for _ in run:
                pass

        for waits in (wait, iterate):
            run = asyncnb.map(call, range(10), limit=3)
            waiting = asyncio.create_task(waits())
            await asyncio.sleep(1)
            assert run.counts().running == 3
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert run.done() and ended == [0, 1, 2]
            ended.clear()

    run_virtual(main())


def test_leaving_the_loop_early_stops_everything() -> None:
    ended = []

    async def stay(item: int) -> None:
        try:
            await asyncio.sleep(item * 60)
        finally:
            await turns(10 * item)
            ended.append(item)

    async def main() -> None:
        run = asyncnb.map(stay, range(4))
        async for _ in run:
            break
        await run.aclose()
        assert sorted(ended) == [0, 1, 2, 3]

    run_virtual(main())


def test_a_loop_body_that_raises_ends_the_run() -> None:
    async def main() -> None:
        run = asyncnb.map(double, range(10**9), limit=2)
        kept = []

        async def fail() -> None:
            async for _ in run:
                raise LookupError("body")

        failing = asyncio.create_task(fail())
        with pytest.raises(LookupError) as caught:
            await failing
        kept.append(caught)  # as the shell keeps the last traceback, with the generator in it
        await turns()
        assert run.done()

    run_virtual(main())


def test_a_run_is_iterated_once_or_awaited() -> None:
    async def main() -> None:
        run = asyncnb.map(double, range(3))
        assert [item async for item, _ in run] == [0, 1, 2]
        with pytest.raises(RuntimeError, match="can be iterated once"):
            aiter(run)
        with pytest.raises(RuntimeError, match="either await a run or iterate it"):
            await run
        run = asyncnb.map(double, range(3))
        await run
        with pytest.raises(RuntimeError, match="was started to collect its results"):
            aiter(run)
        run = asyncnb.map(double, range(3))
        with pytest.raises(RuntimeError, match="has not ended"):
            run.retry()
        with pytest.warns(RuntimeWarning, match="'double' was never awaited, iterated or started"):
            del run

    run_virtual(main())


def test_runs_nest() -> None:
    async def inner(item: int) -> int:
        return sum(await asyncnb.map(double, range(item)))

    async def main() -> None:
        assert await asyncnb.map(inner, range(5)) == [0, 0, 2, 6, 12]

    run_virtual(main())


# Pause and limit


def test_a_pause_lets_running_items_end_and_starts_no_more() -> None:
    async def main() -> None:
        async def items() -> Any:
            for item in range(20):
                yield item

        for source in (range(20), items()):
            run = asyncnb.map(double, source, limit=4).start()
            await asyncio.sleep(1.5)
            assert run.pause()
            await asyncio.sleep(100)
            counts = run.counts()
            assert (counts.done, counts.running) == (8, 0)
            assert run.resume()
            assert await run == [2 * item for item in range(20)]
            assert not run.pause()

    run_virtual(main())


def test_a_paused_run_can_be_cancelled() -> None:
    async def main() -> None:
        run = asyncnb.map(double, range(20), limit=4).start()
        await asyncio.sleep(0.5)
        run.pause()
        assert run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert run.counts().running == 0

    run_virtual(main())


def test_a_failure_ends_a_paused_run_if_failures_do() -> None:
    async def main() -> None:
        run = asyncnb.map(picky, [0, 1, 3], on_error="cancel").start()
        await asyncio.sleep(0.5)
        run.pause()
        with pytest.raises(ValueError, match="not 1"):
            await run

    run_virtual(main())


def test_the_limit_changes_while_it_runs() -> None:
    async def main() -> None:
        run = asyncnb.map(double, iter(range(100)), limit=2).start()
        await asyncio.sleep(0.5)
        assert run.counts().running == 2
        run.limit = 10
        await turns()
        assert run.counts().running == 10
        run.limit = 1
        await asyncio.sleep(5)
        assert run.counts().running == 1 and run.limit == 1
        wrongs: list[tuple[Any, type[Exception]]] = [(0, ValueError), ("many", TypeError)]
        for wrong, error in wrongs:
            with pytest.raises(error):
                run.limit = wrong
        run.limit = 100
        assert len(await run) == 100

    run_virtual(main())


def test_a_rate_can_be_set_while_it_runs() -> None:
    async def main() -> None:
        run = asyncnb.map(double, range(100), limit=1).start()
        await asyncio.sleep(1.5)
        assert run.rate is None
        run.rate = "1/min"
        await asyncio.sleep(600)
        assert 10 <= run.counts().started <= 14 and run.rate == "1/min"
        run.cancel()

    run_virtual(main())


def test_timeout_and_retry_are_for_each_call() -> None:
    calls: list[int] = []

    async def call(item: int) -> int:
        calls.append(item)
        if item == 1 or (item == 2 and calls.count(2) == 1):
            await asyncio.sleep(1000)
        return item

    async def main() -> None:
        run = asyncnb.map(call, range(3), timeout=5, retry=asyncnb.Retry(2, first=1))
        with pytest.raises(ItemsFailedError) as caught:
            await run
        assert str(caught.value.exceptions[0]) == "no result within 5 s"
        (failed,) = run.failed
        assert (failed.index, failed.attempts, run.counts().retried) == (1, 3, 3)
        assert failed.seconds >= 15

    run_virtual(main())


# One task of the notebook


def test_a_run_is_one_launched_task_with_its_progress() -> None:
    async def wait(item: int) -> int:
        await asyncio.sleep(0)
        await free.wait()
        return item

    loop = asyncnb.embedded_loop()
    free = asyncio.Event()

    async def main() -> MapRun[int, int]:
        run = asyncnb.map(wait, range(5000), name="calls", limit=3).start()
        while run.counts().running < 3:
            await asyncio.sleep(0)
        assert asyncnb.task("calls") is run.task
        record: Any = run.task._record  # type: ignore[union-attr]
        assert isinstance(record, TaskRecord)
        assert record.adjustable.counts().running == 3 and record.adjustable.limit == 3
        inside = asyncnb.tasks("calls/*")
        assert sorted(task.get_name() for task in inside) == ["item 0", "item 1", "item 2"]
        assert [task.get_name() for task in asyncnb.cancel("calls/item 1")] == ["item 1"]
        return run

    run: MapRun[int, int] = asyncnb.run(main())
    loop.call_soon_threadsafe(free.set)
    with pytest.raises(ItemsFailedError, match="1 of 5000 items"):
        run.join(30)
    assert [task.get_name() for task in asyncnb.tasks("calls")] == ["calls"]
    assert run.retry().join(30) == list(range(5000))


def test_a_plain_thread_starts_changes_and_joins_a_run() -> None:
    entered = threading.Event()
    free = threading.Event()

    async def call(item: int) -> int:
        entered.set()
        while not free.is_set():
            await asyncio.sleep(0)
        return item

    run = asyncnb.map(call, range(50), limit=1).start()
    assert entered.wait(30)
    run.limit = 20
    while run.counts().running < 20:
        pass
    free.set()
    assert run.join(30) == list(range(50))
    assert run.join() == list(range(50))


def test_a_loop_of_another_thread_awaits_and_iterates_a_run() -> None:
    async def call(item: int) -> int:
        await asyncio.sleep(0)
        return item

    async def main() -> None:
        run = asyncnb.map(call, range(50)).start()
        assert asyncio.run_coroutine_threadsafe(_await(run), other).result(30) == list(range(50))

    async def _await(run: MapRun[int, int]) -> list[int]:
        return await run

    other = asyncio.new_event_loop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()
    try:
        run = asyncnb.map(call, range(50)).start()
        assert asyncio.run_coroutine_threadsafe(_await(run), other).result(30) == list(range(50))
    finally:
        other.call_soon_threadsafe(other.stop)
        thread.join()
        other.close()


def test_an_ended_run_is_freed_though_its_task_stays_listed() -> None:
    async def call(item: int) -> int:
        if item == 7:
            raise ValueError(item)
        return item

    run = asyncnb.map(call, range(300), name="big").start()
    with pytest.raises(ItemsFailedError):
        run.join(30)
    record: Any = run.task._record  # type: ignore[union-attr]
    freed = weakref.ref(run)
    del run
    asyncnb.launch(asyncio.sleep(0)).join(10)  # the loop has left the task's last step
    gc.collect()
    assert freed() is None
    assert record.info().name == "big"


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((1, [1]), {}, TypeError, "takes a function and its items, not int"),
        ((double(1), [1]), {}, TypeError, "pass the function, double, without calling it"),
        ((double, 5), {}, TypeError, "write range(5)"),
        ((double, [1]), {"limit": 0}, ValueError, "at least 1"),
        ((double, [1]), {"limit": "5"}, TypeError, "must be an integer"),
        ((double, [1]), {"timeout": "5"}, TypeError, "map(timeout=...) must be a number"),
        ((double, [1]), {"timeout": -1}, ValueError, "map(timeout=...) must be 0 or more"),
        ((double, [1]), {"progress": True}, TypeError, "write progress='double'"),
        ((double, [1]), {"name": 5}, TypeError, "map(name=...) must be a str"),
        ((double, [1]), {"on_error": "cancle"}, ValueError, "Did you mean 'cancel'"),
        ((double, [1]), {"on_error": "cancel", "return_exceptions": True}, ValueError, "omit one"),
        ((double, [1]), {"key": str}, ValueError, "pass save=, too"),
        ((double, [1]), {"rate": "often"}, ValueError, "rate"),
        ((double, [1]), {"retry": "often"}, TypeError, "retry"),
        ((double, [1]), {"chunksize": 5}, ValueError, "sent elsewhere with on="),
    ],
)
def test_bad_arguments_are_refused_before_anything_starts(
    args: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        asyncnb.map(*args, **options)
    assert message in str(caught.value)


def test_an_async_generator_function_is_refused() -> None:
    async def each(item: int) -> Any:
        yield item

    with pytest.raises(TypeError, match="async generator"):
        asyncnb.map(each, [1])
