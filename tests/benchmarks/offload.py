"""Work elsewhere against the engines' own calls: wall clock, as it happens in other processes.

Rows need what they compare with: those of dask only where dask is installed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib.util
import multiprocessing
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncnb
from asyncnb import embedded_loop
from asyncnb._core.loop.current import shutdown
from asyncnb._offload.engines import process as _process
from tests.benchmarks import Contender, Row

Clock = Callable[[], float]
ITEMS = 10_000


def tiny(number: int) -> int:
    """What is called 10,000 times."""
    return number + 1


def tiny_ones(numbers: list[int]) -> list[int]:
    """A chunk of these calls."""
    return [tiny(number) for number in numbers]


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
            async for _, outcome in asyncnb.map(tiny, range(count), on=on, **options):
                last = outcome.result()
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

        class OutputCapture:
            def write(self, text: str) -> int:
                heard.set()
                return len(text)

            def flush(self) -> None:
                pass

        before, sys.stdout = sys.stdout, OutputCapture()  # type: ignore[assignment]
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


def by_asyncio(pool: concurrent.futures.Executor) -> Contender:
    """What asyncio itself takes for a call that a task waits for: the price of a loop between."""
    loop = embedded_loop()

    async def one(number: int) -> int:
        return await loop.run_in_executor(pool, tiny, number)

    return one_by_one(lambda n: asyncio.run_coroutine_threadsafe(one(n), loop).result())


def by_a_task(pool: concurrent.futures.Executor) -> Contender:
    """A launched task that waits for the same call: the least that a task can take."""
    loop = embedded_loop()

    async def one(number: int) -> int:
        return await loop.run_in_executor(pool, tiny, number)

    return one_by_one(lambda n: asyncnb.launch(one(n)).join(30))


def streamed_by_asyncio(pool: concurrent.futures.Executor, size: int) -> Contender:
    """Chunks of calls that are all submitted at once, read in order on the loop."""
    loop = embedded_loop()

    async def results(count: int) -> AsyncIterator[int]:
        chunks = [list(range(start, start + size)) for start in range(0, count, size)]
        futures = [loop.run_in_executor(pool, tiny_ones, chunk) for chunk in chunks]
        for future in futures:
            for number in await future:
                yield number

    def run(clock: Clock, count: int) -> float:
        async def main() -> float:
            start = clock()
            last = 0
            async for number in results(count):
                last = number
            assert last == count
            return clock() - start

        return asyncnb.run(main())

    return run


def one_call(
    where: str,
    yardstick: str,
    call: Callable[[int], Any],
    on: Any,
    *,
    count: int = 50,
    goal: float = 1.2,
    **others: Contender,
) -> Row:
    asyncnb.offload(tiny, 1, on=on).join(60)
    ours = one_by_one(lambda n: asyncnb.offload(tiny, n, on=on).join(30))
    contenders = {yardstick: one_by_one(call), "asyncnb": ours, **others}
    return Row(f"one call {where}", contenders, count=count, goal=goal, wall=True, rounds=15)


def many_calls(
    where: str,
    yardstick: str,
    map_all: Callable[[int], Any],
    goal: float,
    on: Any,
    others: dict[str, Contender] | None = None,
    **options: Any,
) -> Row:
    contenders = {yardstick: mapped(map_all), "asyncnb": streamed(on, **options), **(others or {})}
    name = f"10,000 tiny calls {where}"
    return Row(name, contenders, count=ITEMS, goal=goal, wall=True, rounds=3)


def first_of(where: str, on: Any) -> Row:
    contenders = {"0.3 s": allowed(0.3), "asyncnb": first_line(on)}
    return Row(f"first line {where}", contenders, count=1, goal=1.0, wall=True, rounds=7)


def rows() -> Iterator[Row]:
    """Yield the rows; the pools and clusters live as long as they are iterated over."""
    slots = _process.process_engine().slots()
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(slots, mp_context=context) as pool:
        list(pool.map(tiny, range(100)))
        streamed("process", chunksize=1)(time.perf_counter, 50)
        submit = "ProcessPoolExecutor.submit"
        yield one_call(
            "in a worker process", submit, lambda n: pool.submit(tiny, n).result(), "process"
        )
        yield one_call(
            "by a pool of the user's",
            submit,
            lambda n: pool.submit(tiny, n).result(),
            pool,
            goal=1.3,
            **{
                "loop.run_in_executor": by_asyncio(pool),
                "launch(run_in_executor)": by_a_task(pool),
            },
        )
        for size in (1, 10, 100):
            yield many_calls(
                f"in processes, chunks of {size}",
                "ProcessPoolExecutor.map",
                pooled(pool, size),
                1.1,
                "process",
                chunksize=size,
            )
        yield many_calls(
            "by a pool of the user's, chunks of 100",
            "ProcessPoolExecutor.map",
            pooled(pool, 100),
            1.1,
            pool,
            {"loop.run_in_executor": streamed_by_asyncio(pool, 100)},
            chunksize=100,
        )
        yield first_of("of a worker process", "process")
        yield first_of("of a pool of the user's", pool)
    if importlib.util.find_spec("loky") is not None:
        yield from loky_rows(slots)
    if importlib.util.find_spec("distributed") is not None:
        yield from dask_rows(slots)
    if importlib.util.find_spec("ipyparallel") is not None:
        yield from ipyparallel_rows(slots)
    shutdown()
    _process.close()


def loky_rows(slots: int) -> Iterator[Row]:
    """Yield the rows that need loky."""
    import loky  # type: ignore[import-untyped]

    executor = loky.ProcessPoolExecutor(slots)
    try:
        list(executor.map(tiny, range(100)))
        yield one_call(
            "by loky",
            "loky",
            lambda n: executor.submit(tiny, n).result(),
            executor,
            goal=1.3,
            **{"loop.run_in_executor": by_asyncio(executor)},
        )
        yield first_of("of loky", executor)
    finally:
        executor.shutdown(kill_workers=True)


def ipyparallel_rows(slots: int) -> Iterator[Row]:
    """Yield the rows that need ipyparallel."""
    import ipyparallel

    cluster = ipyparallel.Cluster(n=slots, controller_ip="127.0.0.1", log_level=40)
    client = cluster.start_and_connect_sync()
    try:
        view = client.load_balanced_view()
        view.map_sync(tiny, range(100))
        yield one_call(
            "on ipyparallel", "view.apply", lambda n: view.apply_async(tiny, n).get(), view
        )
        yield many_calls(
            "on ipyparallel, chunks of 100",
            "view.map",
            lambda count: view.map(tiny, range(count), chunksize=100, block=False),
            1.1,
            view,
            chunksize=100,
        )
        yield first_of("from ipyparallel", view)
    finally:
        client.close()
        cluster.stop_cluster_sync()


def dask_rows(slots: int) -> Iterator[Row]:
    """Yield the rows that need a dask cluster."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=slots,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=60,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(tiny, range(100)))
        yield one_call(
            "on dask",
            "Client.submit",
            lambda n: client.submit(tiny, n, pure=False).result(),
            client,
            count=5,
        )
        yield many_calls(
            "on dask",
            "Client.map",
            lambda count: client.gather(client.map(tiny, range(count), pure=False)),
            1.15,
            client,
        )
        yield first_of("from dask", client)
