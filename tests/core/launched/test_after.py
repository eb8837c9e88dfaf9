"""launch(after=...) in plain Python: what the kernel's tests of ``--after`` leave out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

import asyncnb
from asyncnb._core.launched import after as after_module
from asyncnb.testing import clear_ended


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    clear_ended()
    yield
    asyncnb.cancel("*")
    for task in asyncnb.tasks():
        asyncnb.run(asyncio.wait([task]))
    clear_ended()


def test_a_task_renamed_to_what_it_waits_for_does_not_wait_for_itself() -> None:
    async def main() -> str:
        gate = asyncio.Event()
        asyncnb.launch(gate.wait(), name="load")
        clean = asyncnb.launch(asyncio.sleep(0, "ran"), name="clean", after="load")
        await asyncio.sleep(0)
        clean.set_name("load")
        gate.set()
        return await asyncio.wait_for(clean, 30)

    assert asyncnb.launch(main(), name="main").join(60) == "ran"


def test_waiting_for_a_group_costs_no_turn_for_each_of_its_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0
    look = after_module.After._left

    def counted(*args: object) -> object:
        nonlocal looks
        looks += 1
        return look(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(after_module.After, "_left", counted)

    async def main() -> int:
        group = asyncnb.open_group("pages")
        gates = [asyncio.Event() for _ in range(300)]
        pages = [asyncnb.launch(gate.wait(), group=group) for gate in gates]
        index = asyncnb.launch(asyncio.sleep(0, 7), name="index", after="pages")
        ends = list(zip(gates, pages, strict=True))
        random.Random(3).shuffle(ends)
        for gate, page in ends:
            assert not index.done()
            gate.set()
            await page
        return await index

    assert asyncnb.launch(main(), name="main").join(60) == 7
    assert looks < 100  # in an arbitrary order: about the logarithm of 300
