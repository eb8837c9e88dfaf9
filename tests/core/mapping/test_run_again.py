"""Runs of `asyncnb.map` that are stopped at awkward moments, and run again: no item is lost."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

import asyncnb
from asyncnb.testing import run_virtual


async def numbers(count: int) -> Any:
    for number in range(count):
        yield number


def test_items_of_an_asynchronous_source_keep_their_places_when_a_run_continues() -> None:
    bad = {2, 4}

    async def call(item: int) -> int:
        if item in bad:
            bad.discard(item)
            raise ValueError(item)
        await asyncio.sleep(item)
        return item

    async def main() -> None:
        run = asyncnb.map(call, numbers(20), limit=3).start()
        await asyncio.sleep(15)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert [outcome.index for outcome in run.failed] == [2, 4]
        assert await run.retry() == list(range(20))

    run_virtual(main())


def test_an_item_that_arrives_during_a_pause_waits_for_its_end() -> None:
    async def slow() -> Any:
        for number in range(3):
            await asyncio.sleep(10)
            yield number

    called: list[int] = []

    async def call(item: int) -> int:
        called.append(item)
        return item

    async def main() -> None:
        run = asyncnb.map(call, slow()).start()
        await asyncio.sleep(15)
        assert run.pause()
        await asyncio.sleep(100)
        assert called == [0] and run.counts().running == 1
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert (await run.retry())[:2] == [0, 1]

    run_virtual(main())


def test_a_run_that_is_cancelled_before_its_first_step_ends_its_stream() -> None:
    async def call(item: int) -> int:
        return item

    async def main() -> None:
        run = asyncnb.map(call, range(5))

        async def consume() -> list[int]:
            return [item async for item, _ in run]

        consumer = asyncio.create_task(consume())
        asyncio.get_running_loop().call_soon(run.cancel)  # after it is launched, before it starts
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(consumer, 60)
        assert [item async for item, _ in run.retry()] == list(range(5))

    run_virtual(main())


def test_an_item_that_has_no_key_is_refused_by_each_retry(tmp_path: Path) -> None:
    async def call(item: Any) -> str:
        return str(item)

    async def main() -> None:
        item = {1, 2}
        run = asyncnb.map(call, [1, item, 3], save=tmp_path / "run.db")
        for _ in range(2):
            with pytest.raises(TypeError, match=r"item 1, \{1, 2\},"):
                await (run if run.task is None else run.retry())
        item.clear()
        run._item_keys._key = str
        assert await run.retry() == ["1", "set()", "3"]

    asyncnb.run(main())


def test_an_outcome_that_cannot_be_read_is_looked_for_again_by_a_retry(tmp_path: Path) -> None:
    calls: list[int] = []

    async def call(item: int) -> Any:
        calls.append(item)
        return (item,)

    async def main() -> None:
        path = tmp_path / "run.db"
        await asyncnb.map(call, [1, 2], save=asyncnb.Save(path, pickle=True))
        run = asyncnb.map(call, [2, 1], save=path)
        for _ in range(2):
            with pytest.raises(asyncnb.SaveError, match="pickled"):
                await (run if run.task is None else run.retry())
        assert calls == [1, 2]

    asyncnb.run(main())


@pytest.mark.parametrize("ordered", [True, False])
def test_results_that_a_stopped_stream_had_not_given_are_given_by_the_retry(ordered: bool) -> None:
    calls: list[int] = []

    async def call(item: int) -> int:
        calls.append(item)
        await asyncio.sleep(item == 0)
        if item == 0 and calls.count(0) == 1:
            raise ValueError(item)
        return item

    async def main() -> None:
        run = asyncnb.map(call, range(8), limit=4, on_error="cancel", ordered=ordered)
        found = []
        with pytest.raises(ValueError, match="0"):
            async for item, _ in run:
                found.append(item)
                await asyncio.sleep(10)
        found += [item async for item, _ in run.retry()]
        assert sorted(found) == list(range(8)) and calls == [0, 1, 2, 3, 4, 5, 6, 7, 0]

    run_virtual(main())


def test_calls_in_threads_that_are_repeated_keep_the_limit() -> None:
    lock = threading.Lock()
    tries: dict[int, int] = {}
    now = most = 0

    def call(item: int) -> int:
        nonlocal now, most
        tries[item] = tries.get(item, 0) + 1
        if item >= 20 and tries[item] == 1:  # the others are quick: chunks get large
            raise OSError(item)
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.001 * (item >= 20))
        with lock:
            now -= 1
        return item

    async def main() -> None:
        retry = asyncnb.Retry(1, first=0.001, jitter=False)
        assert await asyncnb.map(call, range(200), limit=2, retry=retry) == list(range(200))

    asyncnb.run(main())
    assert most <= 2


def test_no_item_is_taken_after_the_source_has_raised() -> None:
    class Source:
        """An iterator that has more items after its exception, unlike a generator."""

        taken = 0

        def __iter__(self) -> Source:
            return self

        def __next__(self) -> int:
            self.taken += 1
            if self.taken == 5:
                raise KeyError("source")
            if self.taken > 20:
                raise StopIteration
            return self.taken

    async def call(item: int) -> int:
        await asyncio.sleep(item)
        return item

    async def main() -> None:
        source = Source()
        with pytest.raises(KeyError, match="source"):
            await asyncnb.map(call, source, limit=3)
        assert source.taken == 5

    run_virtual(main())


def test_a_run_with_a_stream_or_a_file_is_freed_without_the_collector(tmp_path: Path) -> None:
    async def call(item: int) -> int:
        return item

    async def main() -> None:
        iterated = asyncnb.map(call, range(3), save=tmp_path / "1.db")
        assert len([each async for each in iterated]) == 3
        awaited = asyncnb.map(call, range(3), save=tmp_path / "2.db")
        await awaited
        freed = [weakref.ref(each._driver) for each in (iterated, awaited)]
        gc.disable()
        try:
            del iterated, awaited
            await asyncio.sleep(0.3)  # the timer of the last report of progress
            assert [each() for each in freed] == [None, None]
        finally:
            gc.enable()

    asyncnb.run(main())


def test_the_failures_of_a_run_leave_a_coroutine_that_has_caught_them_alone() -> None:
    async def main() -> None:
        caught: list[ConnectionError] = []
        asked, answered = asyncio.Event(), asyncio.Event()

        async def read() -> str:
            try:
                raise ConnectionError("lost")
            except ConnectionError as exc:
                caught.append(exc)
            await asked.wait()  # it is in the traceback of the exception, and waits again
            answered.set()
            return "read on"

        async def call(item: int) -> None:
            raise caught[0]

        reader = asyncio.create_task(read())
        await asyncio.sleep(0)
        run = asyncnb.map(call, range(100), limit=20, return_exceptions=True)
        assert len(await run) == 100
        asked.set()
        async with asyncio.timeout(5):  # a coroutine that was closed never ends its task
            assert await reader == "read on"
        assert answered.is_set()

    asyncnb.run(main())
