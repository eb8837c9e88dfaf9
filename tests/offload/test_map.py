"""`asyncnb.map`: a stream of calls with back-pressure, on the loop and in worker processes."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading

import pytest

import asyncnb
from asyncnb._offload.engines import process


def in_a_loop(test):
    """Run an async test on a new event loop."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 60))

    return run


@pytest.fixture(scope="module", autouse=True)
def _workers():
    yield
    process.close()


def double(item):
    return 2 * item


def picky(item):
    if item == 3:
        raise ValueError(f"not {item}")
    return item


def killer(item):
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


async def double_later(item):
    await asyncio.sleep(0)
    return 2 * item


@pytest.mark.parametrize("on", [None, "process"])
@in_a_loop
async def test_results_come_in_the_order_of_the_items(on):
    found = [r async for r in asyncnb.map(double_later, range(300), on=on)]
    assert found == [2 * n for n in range(300)]


@in_a_loop
async def test_plain_functions_and_chunks_of_a_given_size():
    for chunksize in (1, 7, None):
        results = asyncnb.map(double, range(100), on="process", chunksize=chunksize)
        assert [r async for r in results] == [2 * n for n in range(100)]


@pytest.mark.parametrize("on", [None, "process"])
@in_a_loop
async def test_results_stay_in_order_although_the_first_item_ends_last(on, tmp_path):
    if on is not None and process.process_engine().max_workers < 2:
        pytest.skip("with one worker process, nothing can overtake")
    path = str(tmp_path / "go")

    async def wait_for_a_later_one(item):
        import asyncio
        import os

        if item == 3:
            open(path, "w").close()
        while item == 0 and not os.path.exists(path):
            await asyncio.sleep(0.001)
        return item

    chunksize = None if on is None else 1
    results = asyncnb.map(wait_for_a_later_one, range(20), on=on, chunksize=chunksize)
    assert [r async for r in results] == list(range(20))


@in_a_loop
async def test_a_local_function_and_an_asynchronous_source():
    offset = 10

    async def source():
        for item in range(50):
            await asyncio.sleep(0)
            yield item

    results = asyncnb.map(lambda item: item + offset, source(), on="process")
    assert [r async for r in results] == list(range(10, 60))


@in_a_loop
async def test_unordered_results_do_not_wait_for_a_slow_one(tmp_path):
    if process.process_engine().max_workers < 2:
        pytest.skip("with one worker process, nothing can overtake")
    path = str(tmp_path / "go")

    def wait_for_the_others(item):
        import os
        import time

        while item == 0 and not os.path.exists(path):
            time.sleep(0.01)
        return item

    found = []
    results = asyncnb.map(wait_for_the_others, range(6), on="process", ordered=False, chunksize=1)
    async for result in results:
        found.append(result)
        if len(found) == 5:
            (tmp_path / "go").touch()
    assert sorted(found) == list(range(6))
    assert found[-1] == 0


@pytest.mark.parametrize("on", [None, "process"])
@in_a_loop
async def test_no_more_than_limit_items_are_in_progress(on):
    taken = 0

    def source():
        nonlocal taken
        for item in range(1_000_000):
            taken = item + 1
            yield item

    given = 0
    results = asyncnb.map(double_later, source(), on=on, limit=20)
    async with asyncio.timeout(50):
        async for _ in results:
            given += 1
            assert taken - given < 20 + 1
            if given == 300:
                break
    await results.aclose()
    assert taken <= 320


@in_a_loop
async def test_the_limit_bounds_how_many_calls_run_on_the_loop():
    now = most = 0

    async def count(item):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    async for _ in asyncnb.map(count, range(100), limit=4):
        pass
    assert most == 4


@pytest.mark.parametrize("on", [None, "process"])
@in_a_loop
async def test_a_failed_item_raises_in_its_place_and_stops_the_rest(on):
    async def picky_later(item):
        return picky(item)

    found = []
    with pytest.raises(ValueError, match="not 3"):
        async for result in asyncnb.map(picky_later, range(1000), on=on):
            found.append(result)
    assert found == [0, 1, 2]


@pytest.mark.parametrize("on", [None, "process"])
@in_a_loop
async def test_return_exceptions_yields_them_in_place_of_results(on):
    async def picky_later(item):
        return picky(item)

    found = [r async for r in asyncnb.map(picky_later, range(6), on=on, return_exceptions=True)]
    assert [r for r in found if not isinstance(r, ValueError)] == [0, 1, 2, 4, 5]
    assert isinstance(found[3], ValueError)


@in_a_loop
async def test_a_lost_worker_fails_only_its_own_items():
    results = asyncnb.map(killer, range(8), on="process", chunksize=1, return_exceptions=True)
    found = [r async for r in results]
    assert [r for r in found if isinstance(r, int)] == [0, 1, 2, 4, 5, 6, 7]
    assert isinstance(found[3], asyncnb.WorkerLostError)


@in_a_loop
async def test_leaving_early_stops_running_calls():
    def stay(item):
        import time

        if item:
            time.sleep(60)
        return item

    results = asyncnb.map(stay, range(10), on="process", chunksize=1)
    async for result in results:
        assert result == 0
        break
    await results.aclose()
    engine = process.process_engine()
    assert not [worker for worker in engine._workers if worker.job is not None]
    assert threading.current_thread() is threading.main_thread()


@in_a_loop
async def test_leaving_early_waits_for_the_longest_cleanup():
    ended = []

    async def stay(item):
        try:
            if item:
                await asyncio.Event().wait()
        finally:
            for _ in range(10 * item):
                await asyncio.sleep(0)
            ended.append(item)

    results = asyncnb.map(stay, range(4))
    async for _ in results:
        break
    await results.aclose()
    assert ended == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((1, [1]), {}, TypeError, "takes a function"),
        ((double, [1]), {}, TypeError, "use on='process'"),
        ((double, 5), {"on": "process"}, TypeError, "write range(5)"),
        ((double, [1]), {"on": "proces"}, ValueError, "Did you mean 'process'"),
        ((double, [1]), {"on": "process", "limit": 0}, ValueError, "at least 1"),
        ((double, [1]), {"on": "process", "limit": 2, "chunksize": 3}, ValueError, "limit=2"),
        ((double_later, [1]), {"chunksize": 3}, ValueError, "sent elsewhere"),
    ],
)
def test_invalid_arguments_are_refused_at_once(args, options, error, message):
    with pytest.raises(error, match=message.replace("(", r"\(").replace(")", r"\)")):
        asyncnb.map(*args, **options)
