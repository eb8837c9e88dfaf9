"""``rate=`` of gather and as_completed: when awaitables start, and what an early end leaves."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from aiolimiter import AsyncLimiter

from asyncnb import Rate, as_completed, gather
from asyncnb.testing import run_virtual


@pytest.fixture(autouse=True)
def no_coroutine_left() -> Iterator[None]:
    """Fail on "coroutine ... was never awaited"."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        yield
        gc.collect()
    assert not [w for w in caught if "never awaited" in str(w.message)]


async def start(value: Any = None, delay: float = 0) -> Any:
    """Return when it started; or raise ``value``."""
    time = asyncio.get_running_loop().time()
    await asyncio.sleep(delay)
    if isinstance(value, BaseException):
        raise value
    return time


EVEN = [0, 0.204, 0.408, 0.612, 0.816, 1.02]


def test_they_start_at_the_pace() -> None:
    async def main() -> None:
        assert await gather(*[start() for _ in range(6)], rate="5/s") == pytest.approx(EVEN)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        starts = [task.result() async for task in as_completed([start()] * 1, rate=1)]
        assert starts == [begin]
        begin = loop.time()
        coros = [start() for _ in range(6)]
        starts = [await coro - begin for coro in as_completed(coros, rate="5/s")]
        assert starts == pytest.approx(EVEN)
        assert await gather(rate="5/s") == []

    run_virtual(main())


def test_limit_and_rate_both_hold() -> None:
    async def main() -> None:
        starts = await gather(*[start(delay=0.5) for _ in range(4)], rate="5/s", limit=1)
        assert starts == pytest.approx([0, 0.5, 1, 1.5])
        begin = asyncio.get_running_loop().time()
        starts = await gather(*[start(delay=0.1) for _ in range(4)], rate="5/s", limit=1)
        assert [time - begin for time in starts] == pytest.approx(EVEN[:4])

    run_virtual(main())


def test_running_tasks_do_not_count() -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(start()) for _ in range(3)]
        assert await gather(*tasks, start(), rate="1/h") == [0] * 4

    run_virtual(main())


def test_one_rate_is_shared_by_several_calls() -> None:
    async def main() -> None:
        rate = Rate("5/s")
        found = await asyncio.gather(
            gather(*[start() for _ in range(3)], rate=rate),
            gather(*[start() for _ in range(3)], rate=rate),
        )
        assert sorted(found[0] + found[1]) == pytest.approx(EVEN)
        assert min(found[1]) < max(found[0])  # neither had to wait for the other's end

    run_virtual(main())


def test_an_object_of_another_library_decides() -> None:
    async def main() -> None:
        starts = await gather(*[start() for _ in range(4)], rate=AsyncLimiter(2, 2))
        assert starts == [0, 0, 1, 2]

    run_virtual(main())


def test_a_cancel_while_none_runs_ends_it() -> None:
    async def main() -> None:
        outer: Any = gather(*[start() for _ in range(3)], rate="1/h")
        await asyncio.sleep(1)
        assert outer.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await outer
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main())


def test_a_cancel_while_some_run_cancels_those() -> None:
    async def main() -> None:
        outer = asyncio.ensure_future(gather(*[start(delay=9) for _ in range(9)], rate="1/s"))
        await asyncio.sleep(2.5)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main())


def test_a_failure_leaves_the_others_unstarted() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="bad"):
            await gather(start(), start(ValueError("bad")), start(), start(), rate="1/s")
        assert asyncio.get_running_loop().time() == pytest.approx(1.02)
        coros = [start(), start(ValueError("bad")), start()]
        found = await gather(*coros, rate="1/s", return_exceptions=True)
        assert [type(each) for each in found] == [float, ValueError, float]

    run_virtual(main())


def test_a_timeout_closes_those_that_wait_for_their_turn() -> None:
    async def main() -> None:
        done = 0
        with pytest.raises(TimeoutError):
            async for _ in as_completed([start() for _ in range(5)], rate="1/s", timeout=1.5):
                done += 1
        assert done == 2
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main())


class Broken:
    """Its second turn fails."""

    asked = 0

    async def acquire(self) -> None:
        self.asked += 1
        if self.asked == 2:
            raise ZeroDivisionError("broken")


def test_an_error_of_the_rate_ends_the_call() -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError, match="broken"):
            await gather(*[start() for _ in range(4)], rate=Broken())
        errors = 0
        for coro in as_completed([start() for _ in range(4)], rate=Broken()):
            try:
                await coro
            except ZeroDivisionError:
                errors += 1
        assert errors == 3

    run_virtual(main())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rate": "fast"}, "rate must be"),
        ({"rate": 0}, "above 0"),
        ({"rate": asyncio.Semaphore(3)}, "limit="),
        ({"rate": "5/s", "limit": 0}, "would never start"),
        ({"retry": 3}, "a coroutine runs only once.*asyncnb.map"),
    ],
)
def test_bad_arguments_start_nothing(options: dict[str, Any], sentence: str) -> None:
    async def main() -> None:
        for call in (gather, lambda *aws, **options: as_completed(aws, **options)):
            coros = [start(), start()]
            with pytest.raises((TypeError, ValueError), match=sentence):
                call(*coros, **options)
            assert {coro.cr_frame for coro in coros} == {None}

    run_virtual(main())


def test_futures_of_other_loops_and_the_rate_of_another_thread() -> None:
    rate = Rate("1/h")
    started = threading.Event()

    async def main() -> list[Any]:
        outer = gather(start(1), start(2), rate=rate)
        await asyncio.sleep(0)
        started.set()
        return await outer

    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(asyncio.run(main())))
    thread.start()
    started.wait()
    rate.change("100/s")  # while it waits for the second turn of an hour
    thread.join()
    assert len(found) == 2
