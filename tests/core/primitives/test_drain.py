"""wait(FIRST_COMPLETED) on what the last one left: as asyncio's, with callbacks that stay."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import gc
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asyncnb
from asyncnb import FIRST_COMPLETED, wait
from asyncnb._core.primitives.first_completed import MIN_WATCHED

Futures = set[asyncio.Future[Any]]


def new_futures(count: int = MIN_WATCHED + 4) -> list[asyncio.Future[Any]]:
    loop = asyncio.get_running_loop()
    return [loop.create_future() for _ in range(count)]


async def drain_one(given: Futures, **kwargs: Any) -> tuple[Futures, Futures]:
    return await wait(given, return_when=FIRST_COMPLETED, **kwargs)


async def watched(futures: list[asyncio.Future[Any]]) -> Futures:
    """End the first of ``futures`` and return the others, whose callbacks remain from now on."""
    before = asyncio.get_running_loop().create_future()
    before.set_result(None)
    _, pending = await drain_one({before, *futures})
    futures[0].set_result(None)
    _, pending = await drain_one(pending)
    assert [callbacks(future) for future in futures[1:]] == [1] * (len(futures) - 1)
    return pending


def callbacks(future: asyncio.Future[Any]) -> int:
    return len(future._callbacks or ())  # type: ignore[attr-defined]


def test_callbacks_remain_from_the_second_wait_on_and_each_end_is_reported_once() -> None:
    async def main() -> None:
        futures = new_futures()
        pending = set(futures)
        told: list[asyncio.Future[Any]] = []
        for future in futures:
            future.set_result(None)
            done, pending = await drain_one(pending)
            told += done
            second = future is not futures[0]
            assert [callbacks(f) for f in pending] == [second] * len(pending)
        assert told == futures
        assert pending == set()

    asyncio.run(main())


def test_pending_futures_have_no_callback_left_when_the_set_is_dropped() -> None:
    async def main() -> None:
        futures = new_futures()
        pending = await watched(futures)
        del pending
        assert [callbacks(f) for f in futures] == [0] * len(futures)

    asyncio.run(main())


def test_the_set_may_be_dropped_in_another_thread() -> None:
    async def main() -> None:
        futures = new_futures()
        kept = [await watched(futures)]
        thread = threading.Thread(target=kept.clear)
        thread.start()
        thread.join()
        assert callbacks(futures[1]) == 1  # only the loop's thread may touch them
        await asyncio.sleep(0)
        assert [callbacks(f) for f in futures] == [0] * len(futures)

    asyncio.run(main())


def test_a_cancelled_wait_leaves_no_callback() -> None:
    async def main() -> None:
        futures = new_futures()
        pending = await watched(futures)
        task = asyncio.ensure_future(drain_one(pending))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [callbacks(f) for f in futures] == [0] * len(futures)
        futures[1].set_result(None)
        done, _ = await drain_one(pending)  # as good a set as before
        assert done == {futures[1]}

    asyncio.run(main())


def test_a_future_removed_from_the_set_does_not_end_the_wait() -> None:
    async def main() -> None:
        futures = new_futures()
        pending = await watched(futures)
        futures[1].set_result(None)  # its callback is on its way
        pending.remove(futures[1])
        pending.remove(futures[2])
        waiting = asyncio.ensure_future(drain_one(pending))
        for _ in range(3):
            await asyncio.sleep(0)
        futures[2].set_result(None)
        for _ in range(3):
            await asyncio.sleep(0)
        assert not waiting.done()
        futures[3].set_result(None)
        done, rest = await waiting
        assert done == {futures[3]}
        assert rest == set(futures[4:])

    asyncio.run(main())


def test_a_future_added_to_the_set_is_waited_for() -> None:
    async def main() -> None:
        futures = new_futures()
        pending = await watched(futures)
        late = asyncio.ensure_future(asyncio.sleep(0, "late"))
        elsewhere: Any = concurrent.futures.Future()
        pending.add(late)
        done, pending = await drain_one(pending)
        assert done == {late}
        assert callbacks(futures[1]) == 1
        pending.add(elsewhere)
        elsewhere.set_result("elsewhere")
        done, pending = await drain_one(pending)
        assert done == {elsewhere}
        assert pending == set(futures[1:])
        pending.add(asyncnb.sleep(0))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="coroutines is forbidden"):
            await drain_one(pending)
        next(iter(f for f in pending if not asyncio.isfuture(f))).close()

    asyncio.run(main())


def test_a_future_that_ended_between_two_waits_is_reported_after_one_iteration() -> None:
    async def main() -> None:
        futures = new_futures()
        pending = await watched(futures)
        futures[1].set_result(None)
        await asyncio.sleep(0)
        turns: list[None] = []
        asyncio.get_running_loop().call_soon(turns.append, None)
        done, pending = await drain_one(pending, timeout=60)
        assert done == {futures[1]}
        assert turns == [None]
        done, pending = await drain_one(pending, timeout=0)
        assert done == set()
        assert pending == set(futures[2:])

    asyncio.run(main())


def test_two_may_wait_for_the_same_set() -> None:
    async def main() -> None:
        futures = new_futures()
        pending = await watched(futures)
        both = asyncio.gather(drain_one(pending), drain_one(pending))
        await asyncio.sleep(0)
        futures[1].set_result(None)
        assert [done for done, _ in await both] == [{futures[1]}] * 2

    asyncio.run(main())


@pytest.mark.parametrize("double", [copy.copy, set.copy, lambda s: s | s, lambda s: s - set()])
def test_a_copy_is_an_independent_set(double: Callable[[Futures], Futures]) -> None:
    async def main() -> None:
        futures = new_futures()
        pending = await watched(futures)
        assert repr(pending) == repr(set(pending))
        other = double(pending)
        del other
        gc.collect()
        waiting = asyncio.ensure_future(drain_one(pending))
        await asyncio.sleep(0)
        futures[1].set_result(None)
        assert (await waiting)[0] == {futures[1]}

    asyncio.run(main())
    assert (
        type(pickle.loads(pickle.dumps(asyncnb._core.primitives.first_completed.Pending({1}))))
        is set
    )


steps = st.lists(
    st.tuples(
        st.sampled_from(["end", "cancel", "wait", "put", "take", "turn"]),
        st.integers(0, MIN_WATCHED + 3),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps=steps)
def test_any_sequence_gives_the_same_as_asyncio(steps: list[tuple[str, int]]) -> None:
    async def main(call: Any) -> list[Any]:
        futures = new_futures()
        pending: Futures = set(futures)
        told: list[Any] = []
        for what, number in steps:
            future = futures[number]
            if what == "end" and not future.done():
                future.set_result(None)
            elif what == "cancel":
                future.cancel()
            elif what == "put":
                pending.add(future)
            elif what == "take":
                pending.discard(future)
            elif what == "turn":
                await asyncio.sleep(0)
            elif what == "wait" and pending:
                timeout = 0 if not any(f.done() for f in pending) else None
                done, pending = await call(pending, timeout=timeout, return_when=FIRST_COMPLETED)
                told.append(sorted(map(futures.index, done)))
                told.append(sorted(map(futures.index, pending)))
        return told

    assert asyncio.run(main(wait)) == asyncio.run(main(asyncio.wait))
