"""What recording costs a traced task, and what it leaves to the others: nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from asyncnb import create_task, record
from asyncnb._core.tracing.current import current_recording
from tests.benchmarks import Contender, Row

STEPS = 500
Body = Callable[[], Any]


async def turns() -> None:
    for _ in range(STEPS):
        await asyncio.sleep(0)


async def futures() -> None:
    loop = asyncio.get_running_loop()
    for _ in range(STEPS):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future


def stepping(body: Body, *, traced: bool, beside: bool = False) -> Contender:
    """Time the steps of one task: recorded, not, or not while another one is (``beside``)."""

    def run(clock: Callable[[], float], count: int) -> float:
        async def main() -> float:
            start = clock()
            for _ in range(count // STEPS):
                await create_task(body())
            return clock() - start

        with record() if traced or beside else contextlib.nullcontext():
            token = current_recording.set(current_recording.get() if traced else None)
            try:
                with asyncio.Runner() as runner:
                    return runner.run(main())
            finally:
                current_recording.reset(token)

    return run


def rows() -> Iterator[Row]:
    """Steps of a traced task against those of an untraced one."""
    for what, body in (("that only take turns", turns), ("that await futures", futures)):
        yield Row(
            f"steps {what}",
            {
                "untraced": stepping(body, traced=False),
                "traced": stepping(body, traced=True),
                "beside": stepping(body, traced=False, beside=True),
            },
            4 * STEPS,
            1.5,
        )
