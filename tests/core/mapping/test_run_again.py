"""Runs of `asyncnb.map` that are stopped at awkward moments, and run again: no item is lost."""

from __future__ import annotations

import asyncio
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
