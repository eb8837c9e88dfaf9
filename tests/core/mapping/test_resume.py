"""`map(save=...)`: the same call continues where the last one stopped, whatever stopped it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import asyncnb
from asyncnb import ItemsFailedError, Save, SaveError
from asyncnb._core.mapping.save import SaveCounts
from tests.core.mapping.test_save import folder

__all__ = ["folder"]


class Service:
    """Counts its calls; fails for what is in ``bad``, waits for ``gate`` where that is set."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.bad: set[Any] = set()
        self.gate: asyncio.Event | None = None

    async def fetch(self, item: Any) -> Any:
        self.calls.append(item)
        if self.gate is not None:
            await self.gate.wait()
        if item in self.bad:
            raise ValueError(f"no {item}")
        return {"item": item}


def results(*items: Any) -> list[dict[str, Any]]:
    return [{"item": item} for item in items]


@pytest.fixture
def service() -> Service:
    return Service()


def run(service: Service, items: Any, **options: Any) -> Any:
    async def main() -> Any:
        return await asyncnb.map(service.fetch, items, save="run.db", **options)

    return asyncio.run(main())


def test_the_same_call_makes_only_the_calls_that_are_missing(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(service, "abc") == results(*"abc")
    assert capsys.readouterr().out == ""
    service.calls.clear()
    assert run(service, "dacb") == results(*"dacb")
    assert service.calls == ["d"]
    assert capsys.readouterr().out == "run.db: 3 done already\n"
    assert os.listdir() == ["run.db"]


def test_what_is_cancelled_is_missing_and_what_had_ended_is_not(service: Service) -> None:
    async def main() -> None:
        service.gate = asyncio.Event()
        run = asyncnb.map(service.fetch, range(10), save="run.db", limit=3)
        waiting = asyncio.ensure_future(_await(run))
        while len(service.calls) < 3:
            await asyncio.sleep(0)
        gate, service.gate = service.gate, asyncio.Event()
        gate.set()
        while len(service.calls) < 6:
            await asyncio.sleep(0)
        waiting.cancel()  # three have ended, and their outcomes may be on their way
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert os.listdir() == ["run.db"]

    asyncio.run(main())
    service.calls.clear()
    service.gate = None
    assert run(service, range(10)) == results(*range(10))
    assert service.calls == list(range(3, 10))


async def _await(run: Any) -> Any:
    return await run


def test_a_cancelled_run_can_be_run_again_by_the_same_object(service: Service) -> None:
    async def main() -> Any:
        service.gate = asyncio.Event()
        run = asyncnb.map(service.fetch, range(10), save="run.db", limit=3).start()
        while len(service.calls) < 3:
            await asyncio.sleep(0)
        service.gate.set()
        while run.counts().done < 3:
            await asyncio.sleep(0)
        run.cancel()
        while not run.done():
            await asyncio.sleep(0)
        return await run.retry()

    assert asyncio.run(main()) == results(*range(10))
    assert Save("run.db").counts() == SaveCounts(10, 0, 0)


def test_failures_are_outcomes_and_stay_until_they_are_retried(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    service.bad = {1, 3}
    with pytest.raises(ItemsFailedError):
        run(service, range(5))
    service.calls.clear()
    service.bad.clear()

    async def main() -> Any:
        run = asyncnb.map(service.fetch, range(5), save="run.db")
        with pytest.raises(ItemsFailedError, match="2 of 5 items failed") as caught:
            await run
        assert service.calls == []
        assert [str(exc) for exc in caught.value.exceptions] == ["no 1", "no 3"]
        assert [(each.item, each.saved) for each in run.failed] == [(1, True), (3, True)]
        counts = run.counts()
        assert (counts.done, counts.failed, counts.saved) == (3, 2, 3)
        return await run.retry()

    assert asyncio.run(main()) == results(*range(5))
    assert service.calls == [1, 3]
    assert capsys.readouterr().out == (
        "run.db: 3 done and 2 failed already; run.retry() runs the failed ones again\n"
    )
    assert Save("run.db").counts() == SaveCounts(5, 0, 0)


def test_cleared_failures_run_again_by_the_call(service: Service) -> None:
    service.bad = {1}
    with pytest.raises(ItemsFailedError):
        run(service, range(3))
    service.bad.clear()
    assert Save("run.db").clear("failed") == 1
    service.calls.clear()
    assert run(service, range(3)) == results(0, 1, 2)
    assert service.calls == [1]


def test_outcomes_are_streamed_from_the_file_in_order(service: Service) -> None:
    service.bad = {2}
    with pytest.raises(ItemsFailedError):
        run(service, range(4))
    service.calls.clear()

    async def main() -> list[Any]:
        found = []
        async for item, outcome in asyncnb.map(
            service.fetch, iter([5, 3, 2, 1, 0, 4]), save="run.db", limit=1
        ):
            found.append((item, outcome.ok, outcome.saved, outcome.index, outcome.key))
        return found

    assert asyncio.run(main()) == [
        (5, True, False, 0, "5"),
        (3, True, True, 1, "3"),
        (2, False, True, 2, "2"),
        (1, True, True, 3, "1"),
        (0, True, True, 4, "0"),
        (4, True, False, 5, "4"),
    ]


def test_a_streamed_outcome_is_on_the_disk_before_it_is_given(service: Service) -> None:
    async def main() -> None:
        async for item, _ in asyncnb.map(service.fetch, range(20), save="run.db", ordered=False):
            db = sqlite3.connect("file:run.db?mode=ro", uri=True)
            found = db.execute("SELECT 1 FROM outcomes WHERE key = ?", (str(item),)).fetchone()
            db.close()
            assert found

    asyncio.run(main())


def test_thousands_of_saved_items_leave_the_loop_to_others(service: Service) -> None:
    run(service, range(2000))
    service.calls.clear()
    turns = 0

    async def main() -> None:
        nonlocal turns
        task = asyncio.ensure_future(_await(asyncnb.map(service.fetch, range(2000), save="run.db")))
        while not task.done():
            turns += 1
            await asyncio.sleep(0)
        assert await task == results(*range(2000))

    asyncio.run(main())
    assert service.calls == []
    assert turns > 5


def test_an_asynchronous_source_and_equal_items(service: Service) -> None:
    async def source() -> AsyncIterator[str]:
        for item in "abaac":
            yield item

    assert run(service, source()) == results(*"abaac")
    assert service.calls == list("abaac")
    assert run(service, source()) == results(*"abaac")
    assert len(service.calls) == 5


def test_the_results_of_a_plain_function_in_threads_are_saved_too() -> None:
    async def main(function: Any, path: str, **options: Any) -> Any:
        return await asyncnb.map(function, range(20), save=path, **options)

    threads = set()

    def double(number: int) -> int:
        threads.add(threading.get_ident())
        return 2 * number

    assert asyncio.run(main(double, "threads.db")) == list(range(0, 40, 2))
    count = len(threads)
    assert asyncio.run(main(double, "threads.db")) == list(range(0, 40, 2))
    assert len(threads) == count
    assert threading.get_ident() not in threads


# What stops a run


def test_a_result_that_cannot_be_saved_stops_the_run_and_pickle_lets_it_continue() -> None:
    calls = []

    async def pair(number: int) -> Any:
        calls.append(number)
        return number if number < 3 else (number, number)

    async def main(**options: Any) -> Any:
        return await asyncnb.map(pair, range(6), limit=1, save=Save("run.db", **options))

    with pytest.raises(SaveError, match=r"the result is of type tuple.*pickle=True"):
        asyncio.run(main())
    assert Save("run.db").counts() == SaveCounts(3, 0, 0)
    assert calls[:4] == [0, 1, 2, 3]
    del calls[:]
    assert asyncio.run(main(pickle=True)) == [0, 1, 2, (3, 3), (4, 4), (5, 5)]
    assert calls == [3, 4, 5]


def test_a_full_disk_stops_the_run_and_the_same_call_continues(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asyncnb._core.mapping import open_save

    prepare = open_save.connect

    def small(path: str, **options: Any) -> Any:
        db = prepare(path, **options)
        db.execute("PRAGMA max_page_count=20")
        return db

    # Some on a healthy disk: on a fast one a single write may hold all that comes, and fail whole.
    run(service, range(100))
    with monkeypatch.context() as patched:
        patched.setattr(open_save, "connect", small)
        with pytest.raises(SaveError, match=r"the disk is full.*outcomes? that it saved before"):
            run(service, range(2000))
    saved = Save("run.db").counts().done
    assert 100 <= saved < 2000
    service.calls.clear()
    assert run(service, range(2000)) == results(*range(2000))
    assert len(service.calls) == 2000 - saved


def test_a_run_that_a_full_disk_has_stopped_is_retried_by_the_same_object(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asyncnb._core.mapping import open_save

    prepare = open_save.connect

    def small(path: str, **options: Any) -> Any:
        db = prepare(path, **options)
        db.execute("PRAGMA max_page_count=20")
        return db

    async def main() -> None:
        run = asyncnb.map(service.fetch, range(2000), save="run.db")
        with monkeypatch.context() as patched:
            patched.setattr(open_save, "connect", small)
            with pytest.raises(SaveError, match="the disk is full"):
                await run
        counts = run.counts()
        assert counts.running == 0
        assert counts.done == Save("run.db").counts().done
        assert await run.retry() == results(*range(2000))
        assert Save("run.db").counts() == SaveCounts(2000, 0, 0)

    asyncio.run(main())


def test_an_item_without_a_key_stops_the_run_before_its_call(service: Service) -> None:
    with pytest.raises(TypeError, match=r"item 2, .*add a function that returns"):
        run(service, ["a", "b", object(), "c"], limit=1)
    assert "c" not in service.calls
    assert all(isinstance(item, str) for item in service.calls)
    items = [{"id": n, "data": {n}} for n in (7, 8)]
    assert asyncio.run(_named(service, items)) == 2
    assert [each.key for each in Save("named.db")] == ["7", "8"]


async def _named(service: Service, items: list[Any]) -> int:
    async def number(item: dict[str, Any]) -> int:
        return int(item["id"])

    return len(await asyncnb.map(number, items, save="named.db", key="id"))


def test_two_runs_on_one_file_are_refused_before_anything_starts(service: Service) -> None:
    async def main() -> None:
        service.gate = asyncio.Event()
        first = asyncnb.map(service.fetch, range(3), save="run.db", name="calls").start()
        while len(service.calls) < 3:
            await asyncio.sleep(0)
        with pytest.raises(SaveError, match="in use by the run 'calls' of this process"):
            await asyncnb.map(service.fetch, range(3), save="run.db")
        with pytest.raises(SaveError, match="in use by the run 'calls' of this process"):
            asyncnb.map(service.fetch, range(3), save="run.db").start()
        assert len(service.calls) == 3
        service.gate.set()
        assert await first == results(0, 1, 2)
        assert await asyncnb.map(service.fetch, range(3), save="run.db") == results(0, 1, 2)

    asyncio.run(main())


def test_bad_arguments_are_refused_by_the_call(service: Service) -> None:
    for save, error in (
        (3, TypeError),
        ("", ValueError),
        ("no/run.db", SaveError),
        (".", SaveError),
    ):
        with pytest.raises(error):
            asyncnb.map(service.fetch, [1], save=save)
    with pytest.raises(TypeError, match="the name of its attribute"):
        asyncnb.map(service.fetch, [1], save="run.db", key=3)
    assert os.listdir() == []
    Path("run.db").write_text("name,age\n" * 100)
    with pytest.raises(SaveError, match="is not a database"):
        asyncnb.map(service.fetch, [1], save="run.db")
    assert service.calls == []


def test_a_run_that_is_never_started_makes_no_file(service: Service) -> None:
    asyncnb.map(service.fetch, [1], save="run.db").cancel()
    assert os.listdir() == []
