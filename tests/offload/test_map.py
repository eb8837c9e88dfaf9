"""`asyncnb.map` elsewhere: in worker processes and in threads, and on the loop the same way."""

from __future__ import annotations

import asyncio
import contextvars
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
    expected = [2 * n for n in range(300)]
    assert await asyncnb.map(double_later, range(300), on=on) == expected
    streamed = [(item, each.result()) async for item, each in asyncnb.map(double_later, range(300))]
    assert streamed == list(enumerate(expected))


@in_a_loop
async def test_plain_functions_and_chunks_of_a_given_size():
    for chunksize in (1, 7, None):
        results = await asyncnb.map(double, range(100), on="process", chunksize=chunksize)
        assert results == [2 * n for n in range(100)]


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
    run = asyncnb.map(wait_for_a_later_one, range(20), on=on, chunksize=chunksize)
    assert [item async for item, _ in run] == list(range(20))


@in_a_loop
async def test_a_local_function_and_an_asynchronous_source():
    offset = 10

    async def source():
        for item in range(50):
            await asyncio.sleep(0)
            yield item

    run = asyncnb.map(lambda item: item + offset, source(), on="process")
    assert await run == list(range(10, 60))


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
    run = asyncnb.map(wait_for_the_others, range(6), on="process", ordered=False, chunksize=1)
    async for item, _ in run:
        found.append(item)
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
    run = asyncnb.map(double_later, source(), on=on, limit=20)
    async with asyncio.timeout(50):
        async for _ in run:
            given += 1
            assert taken - given < 2 * 20 + 1  # as many wait to be taken as run
            if given == 300:
                break
    await run.aclose()
    assert taken <= 340
    assert run.done()


@pytest.mark.parametrize("on", [None, "process"])
@in_a_loop
async def test_the_first_failure_can_end_the_run(on):
    async def picky_later(item):
        return picky(item)

    found = []
    with pytest.raises(ValueError, match="not 3") as caught:
        async for item, _ in asyncnb.map(picky_later, range(1000), on=on, on_error="cancel"):
            found.append(item)
    assert found == list(range(len(found)))[:3]
    assert "asyncnb.map: item 3 of 'picky_later': 3" in caught.value.__notes__


@pytest.mark.parametrize("on", [None, "process"])
@in_a_loop
async def test_return_exceptions_puts_them_in_place_of_results(on):
    async def picky_later(item):
        return picky(item)

    found = await asyncnb.map(picky_later, range(6), on=on, return_exceptions=True)
    assert [r for r in found if not isinstance(r, ValueError)] == [0, 1, 2, 4, 5]
    assert isinstance(found[3], ValueError)


@in_a_loop
async def test_a_lost_worker_fails_only_its_own_items():
    run = asyncnb.map(killer, range(8), on="process", chunksize=1, return_exceptions=True)
    found = await run
    assert [r for r in found if isinstance(r, int)] == [0, 1, 2, 4, 5, 6, 7]
    assert isinstance(found[3], asyncnb.WorkerLostError)


@in_a_loop
async def test_a_call_in_a_process_is_repeated_and_limited(tmp_path):
    path = str(tmp_path)

    def flaky(item):
        import os
        import time

        mark = os.path.join(path, str(item))
        if not os.path.exists(mark):
            open(mark, "w").close()
            if item == 2:
                raise ConnectionError("once")
            if item == 4:
                time.sleep(60)
        return item

    retry = asyncnb.Retry(2, first=0.001)
    run = asyncnb.map(flaky, range(6), on="process", retry=retry, timeout=1)
    assert await run == list(range(6))
    assert run.counts().retried == 2


@in_a_loop
async def test_leaving_early_stops_running_calls():
    def stay(item):
        import time

        if item:
            time.sleep(60)
        return item

    run = asyncnb.map(stay, range(10), on="process", chunksize=1)
    async for item, _ in run:
        assert item == 0
        break
    await run.aclose()
    engine = process.process_engine()
    assert not [worker for worker in engine._workers if worker.job is not None]
    assert threading.current_thread() is threading.main_thread()


# Plain functions, in threads


@in_a_loop
async def test_a_plain_function_runs_in_as_many_threads_as_limit_says():
    barrier = threading.Barrier(4, timeout=30)

    def meet(item):
        barrier.wait()
        return threading.current_thread()

    threads = await asyncnb.map(meet, range(4), limit=4)
    assert len(set(threads)) == 4
    assert threading.current_thread() not in threads
    for thread in threads:
        thread.join(30)  # they end with the run


@in_a_loop
async def test_what_a_plain_function_returns_is_awaited_on_the_loop():
    loop = asyncio.get_running_loop()

    async def where(item):
        await asyncio.sleep(0)
        return item, asyncio.get_running_loop() is loop

    assert await asyncnb.map(lambda item: where(item), range(3)) == [(n, True) for n in range(3)]


@in_a_loop
async def test_a_cancel_stops_the_code_in_a_thread():
    begun, ended = threading.Event(), threading.Event()

    def spin(item):
        begun.set()
        try:
            while True:
                pass
        finally:
            ended.set()

    run = asyncnb.map(spin, [1])
    waiting = asyncio.create_task(run._result())
    await asyncio.to_thread(begun.wait, 30)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.wait(30)


@in_a_loop
async def test_a_call_that_hangs_in_a_thread_times_out(monkeypatch):
    monkeypatch.setattr("asyncnb._offload.engines.own_threads.STOP_SECONDS", 0.01)
    free = threading.Event()
    try:
        run = asyncnb.map(free.wait, [30, 0], timeout=0.05, limit=1, return_exceptions=True)
        late, quick = await run
    finally:
        free.set()
    assert isinstance(late, TimeoutError)
    assert quick is False  # in another thread, as the first one still hangs


@in_a_loop
async def test_items_in_threads_do_not_share_context_variables():
    variable = contextvars.ContextVar("variable", default=None)

    def look(item):
        before = variable.get()
        variable.set(item)
        return before

    assert await asyncnb.map(look, range(2000), limit=2) == [None] * 2000


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((1, [1]), {}, TypeError, "takes a function"),
        ((double, 5), {"on": "process"}, TypeError, "write range(5)"),
        ((double, [1]), {"on": "proces"}, ValueError, "Did you mean 'process'"),
        ((double, [1]), {"on": "process", "limit": 0}, ValueError, "at least 1"),
        ((double, [1]), {"on": "process", "limit": 2, "chunksize": 3}, ValueError, "limit=2"),
        ((double, [1]), {"on": "process", "chunksize": 0}, ValueError, "at least 1"),
        ((double_later, [1]), {"chunksize": 3}, ValueError, "sent elsewhere"),
    ],
)
def test_invalid_arguments_are_refused_at_once(args, options, error, message):
    with pytest.raises(error, match=message.replace("(", r"\(").replace(")", r"\)")):
        asyncnb.map(*args, **options)


@in_a_loop
async def test_outcomes_of_a_worker_process_are_saved_with_retries_and_a_time_limit(tmp_path):
    path, retry = tmp_path / "run.db", asyncnb.Retry(1, first=0)
    run = asyncnb.map(picky, range(6), on="process", save=path, retry=retry, timeout=30)
    with pytest.raises(asyncnb.ItemsFailedError, match="1 of 6 items"):
        await run
    assert asyncnb.Save(path).counts() == (5, 1, 0)
    (failed,) = asyncnb.Save(path).failed
    assert (failed.item, failed.attempts) == (3, 2)
    again = asyncnb.map(picky, range(6), on="process", save=path, return_exceptions=True)
    found = await again
    assert again.counts().saved == 5 and found[4:] == [4, 5]
    assert isinstance(found[3], ValueError) and "not 3" in str(found[3])
