"""The public test tools."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings

import pytest

from asyncnb.testing import TaskRecorder, VirtualTimeLoop, draw_virtual, run_virtual


def test_sleeping_takes_no_time_and_the_clock_shows_it() -> None:
    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    before = time.monotonic()
    assert run_virtual(main()) == 3600
    assert time.monotonic() - before < 60


def test_where_a_loop_runs_already_virtual_time_passes_on_a_thread_of_its_own() -> None:
    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    async def cell() -> float:
        return run_virtual(main())

    assert asyncio.run(cell()) == 3600


def test_timers_fire_in_order() -> None:
    async def main() -> list[int]:
        order: list[int] = []
        loop = asyncio.get_running_loop()
        for delay in (3, 1, 2):
            loop.call_later(delay, order.append, delay)
        await asyncio.sleep(4)
        assert isinstance(loop, VirtualTimeLoop)
        assert loop.jumps == 4
        return order

    assert run_virtual(main()) == [1, 2, 3]


def test_clock_waits_for_a_thread_when_there_is_no_timer() -> None:
    async def main() -> float:
        await asyncio.to_thread(lambda: None)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 0


def test_the_end_waits_for_the_threads_in_real_time() -> None:
    ended: list[bool] = []
    let_go = threading.Event()

    def work() -> None:
        let_go.wait(10)
        ended.append(True)

    async def main() -> None:
        asyncio.get_running_loop().run_in_executor(None, work)
        # Not before the clock has had the time to jump over what the Runner allows for it.
        threading.Timer(0.1, let_go.set).start()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_virtual(main())
    assert ended == [True]


def test_unseen_failures_are_raised() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    with pytest.raises(AssertionError, match="exception handler") as caught:
        run_virtual(main())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_drawing_of_virtual_time() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(3600), name="long")

    drawn = draw_virtual(main(), grid=0.1)
    assert [row["name"] for row in drawn.data["rows"]] == ["main", "long"]
    assert "long" in drawn.svg() and drawn.text().count("done, 1 h") == 2
    with pytest.raises(AssertionError, match="exception handler"):
        draw_virtual(_fails_unseen())
    began: list[bool] = []

    async def not_to_begin() -> None:
        began.append(True)

    refused = not_to_begin()
    with pytest.raises(ValueError, match="above 0"):
        draw_virtual(refused, grid=0)
    refused.close()
    assert not began


async def _fails_unseen() -> None:
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(1)


def test_recorder() -> None:
    recorder = TaskRecorder()

    async def fail() -> None:
        recorder.note("note", 5)
        raise ValueError

    async def main() -> None:
        tasks = [
            asyncio.create_task(recorder(asyncio.sleep(2, "v"), "ok")),
            asyncio.create_task(recorder(fail(), "bad"), name="bad"),
            asyncio.create_task(recorder(asyncio.sleep(9), "slow")),
        ]
        await asyncio.sleep(3)
        tasks[2].cancel("enough")
        await asyncio.wait(tasks)
        assert isinstance(tasks[1].exception(), ValueError)

    run_virtual(main())
    assert recorder.order("start") == ["ok", "bad", "slow"]
    assert recorder.of("bad") == ["start", "note", "error"]
    assert recorder.time_of("ok", "result") == 2
    assert recorder.time_of("slow", "cancelled") == 3
    assert "enough" in str(recorder)
    with pytest.raises(LookupError, match="never happened"):
        recorder.time_of("ok", "error")
