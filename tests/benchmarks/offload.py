"""Work elsewhere against the engines' own calls: wall clock, as it happens in other processes.

Rows need what they compare with: those of dask only where dask is installed.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib.util
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import asyncnb
from asyncnb._core import _loop
from asyncnb._offload import _process
from tests.benchmarks import Contender, Row

Clock = Callable[[], float]
ITEMS = 10_000


def tiny(number: int) -> int:
    """What is called 10,000 times."""
    return number + 1


def speak() -> None:
    """Say one line and stay for longer than it may take to arrive."""
    print("here", flush=True)
    time.sleep(1)


def one_by_one(call: Callable[[int], Any]) -> Contender:
    def run(clock: Clock, count: int) -> float:
        start = clock()
        for number in range(count):
            assert call(number) == number + 1
        return clock() - start

    return run


def streamed(on: Any, **options: Any) -> Contender:
    def run(clock: Clock, count: int) -> float:
        async def main() -> float:
            start = clock()
            last = 0
            async for number in asyncnb.map(tiny, range(count), on=on, **options):
                last = number
            assert last == count
            return clock() - start

        return asyncnb.run(main())

    return run


def mapped(map_all: Callable[[int], Any]) -> Contender:
    def run(clock: Clock, count: int) -> float:
        start = clock()
        last = 0
        for number in map_all(count):
            last = number
        assert last == count
        return clock() - start

    return run


def pooled(pool: concurrent.futures.Executor, size: int) -> Callable[[int], Any]:
    return lambda count: pool.map(tiny, range(count), chunksize=size)


def first_line(on: Any) -> Contender:
    """Seconds until a line printed elsewhere is written here; ``count`` is one."""

    def run(clock: Clock, count: int) -> float:
        heard = threading.Event()

        class Ear:
            def write(self, text: str) -> int:
                heard.set()
                return len(text)

            def flush(self) -> None:
                pass

        before, sys.stdout = sys.stdout, Ear()  # type: ignore[assignment]
        try:
            start = clock()
            task = asyncnb.offload(speak, on=on)
            assert heard.wait(30)
            seconds = clock() - start
            task.cancel()
            with contextlib.suppress(asyncnb.CancelledError):
                task.join(30)
        finally:
            sys.stdout = before
        return seconds

    return run


def allowed(seconds: float) -> Contender:
    """The yardstick of a row whose goal is a time, not a ratio."""
    return lambda clock, count: seconds


def rows() -> Iterator[Row]:
    """Yield the rows; the pools and clusters live as long as they are iterated over."""
    slots = _process.process_engine().slots()
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(slots, mp_context=context) as pool:
        list(pool.map(tiny, range(100)))
        asyncnb.offload(tiny, 1).join(30)
        streamed("process", chunksize=1)(time.perf_counter, 50)
        yield Row(
            "one call in a worker process",
            {
                "ProcessPoolExecutor.submit": one_by_one(lambda n: pool.submit(tiny, n).result()),
                "asyncnb.offload": one_by_one(lambda n: asyncnb.offload(tiny, n).join(30)),
            },
            count=100,
            goal=1.2,
            wall=True,
            rounds=15,
        )
        yield Row(
            "one call by an executor of the user's",
            {
                "ProcessPoolExecutor.submit": one_by_one(lambda n: pool.submit(tiny, n).result()),
                "asyncnb.offload": one_by_one(lambda n: asyncnb.offload(tiny, n, on=pool).join(30)),
            },
            count=100,
            goal=1.2,
            wall=True,
            rounds=15,
        )
        for chunksize in (1, 10, 100):
            yield Row(
                f"10,000 tiny calls, chunks of {chunksize}",
                {
                    "ProcessPoolExecutor.map": mapped(pooled(pool, chunksize)),
                    "asyncnb.map": streamed("process", chunksize=chunksize),
                },
                count=ITEMS,
                goal=1.1,
                wall=True,
                rounds=7,
            )
        yield Row(
            "first line of a worker process",
            {"0.3 s": allowed(0.3), "asyncnb": first_line("process")},
            count=1,
            goal=1.0,
            wall=True,
            rounds=7,
        )
    if importlib.util.find_spec("distributed") is not None:
        yield from dask_rows(slots)
    _loop.shutdown()
    _process.close()


def dask_rows(slots: int) -> Iterator[Row]:
    """Yield the rows that need a dask cluster."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=min(slots, os.cpu_count() or 1),
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=60,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(tiny, range(100)))
        asyncnb.offload(tiny, 1, on=client).join(30)
        yield Row(
            "one call on dask",
            {
                "Client.submit": one_by_one(lambda n: client.submit(tiny, n, pure=False).result()),
                "asyncnb.offload": one_by_one(
                    lambda n: asyncnb.offload(tiny, n, on=client).join(30)
                ),
            },
            count=30,
            goal=1.2,
            wall=True,
            rounds=9,
        )
        yield Row(
            "10,000 tiny calls on dask",
            {
                "Client.map": mapped(
                    lambda count: client.gather(client.map(tiny, range(count), pure=False))
                ),
                "asyncnb.map": streamed(client),
            },
            count=ITEMS,
            goal=1.15,
            wall=True,
            rounds=3,
        )
        yield Row(
            "first line from dask",
            {"0.3 s": allowed(0.3), "asyncnb": first_line(client)},
            count=1,
            goal=1.0,
            wall=True,
            rounds=7,
        )
