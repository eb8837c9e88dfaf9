"""A save file: written before it is reported, kept for one function, looked at from outside."""

from __future__ import annotations

import asyncio
import csv
import functools
import json
import linecache
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncnb import Outcome, Save, SaveError
from asyncnb._core.mapping.identity import identify
from asyncnb._core.mapping.open_save import OpenSave
from asyncnb._core.mapping.save import SaveCounts, check_save, open_save


async def fetch(item: Any, size: int = 0) -> Any:
    return item


def outcome(index: int, value: Any = None, error: BaseException | None = None) -> Outcome[Any, Any]:
    return Outcome(index, f"item {index}", value, error, key=f'"item {index}"', seconds=0.5)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    left = [thread.name for thread in threading.enumerate() if "asyncnb save" in thread.name]
    assert not left, "threads that still write"
    assert not [name for name in os.listdir() if "-" in name], "a lock, or a log"


def opened(path: str = "run.db", function: Callable[..., Any] = fetch, **options: Any) -> OpenSave:
    return open_save(*check_save(Save(path, **options), function), "calls")


def saving(*outcomes: Outcome[Any, Any], path: str = "run.db", **options: Any) -> None:
    async def main() -> None:
        file = opened(path, **options)
        try:
            await asyncio.gather(*map(file.wait, outcomes))
        finally:
            await file.aclose()

    asyncio.run(main())


def test_an_outcome_is_in_the_file_when_its_put_has_returned() -> None:
    async def main() -> None:
        file = opened()
        try:
            for number in range(3):
                await file.wait(outcome(number, {"n": number}))
                with sqlite3.connect("file:run.db?mode=ro", uri=True) as db:
                    assert db.execute("SELECT count(*) FROM outcomes").fetchone() == (number + 1,)
                db.close()
        finally:
            await file.aclose()

    asyncio.run(main())
    assert os.listdir() == ["run.db"], "no log, no lock: the file is whole"


def test_what_ends_together_is_written_together_and_reported_in_order() -> None:
    async def main() -> list[int]:
        file = opened()
        told: list[int] = []
        ended = asyncio.get_running_loop().create_future()
        commits = []
        file._db.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)

        def saved(number: int, error: SaveError | None) -> None:
            assert error is None
            told.append(number)
            if len(told) == 500:
                ended.set_result(None)

        for number in range(500):
            file.put(outcome(number, number), functools.partial(saved, number))
        assert not told, "the outcome is reported on the loop"
        await ended
        await file.aclose()
        assert len(commits) < 250
        return told

    assert asyncio.run(main()) == list(range(500))
    assert Save("run.db").counts() == SaveCounts(500, 0, 0)


def test_a_close_writes_what_was_put_before() -> None:
    async def main() -> None:
        file = opened()
        for number in range(50):
            file.put(outcome(number, number), lambda error: None)
        file.join()
        with pytest.raises(SaveError, match="is closed"):
            file.put(outcome(99), lambda error: None)

    asyncio.run(main())
    assert Save("run.db").counts().done == 50


def test_the_next_run_finds_results_and_failures() -> None:
    saving(outcome(0, {"a": [1, None, "é"]}), outcome(1, None, ValueError("no", 3)))
    file = opened()
    found = file.get('"item 0"', 7, "item")
    assert found is not None
    assert (found.ok, found.saved, found.result()) == (True, True, {"a": [1, None, "é"]})
    assert (found.index, found.item, found.attempts, found.seconds) == (7, "item", 1, 0.5)
    failed = file.get('"item 1"', 1, "item 1")
    assert failed is not None
    assert not failed.ok
    with pytest.raises(ValueError, match="no"):
        failed.result()
    assert file.get('"item 2"', 2, "item 2") is None
    file.join()


def test_a_later_outcome_replaces_the_one_of_the_same_key() -> None:
    saving(outcome(0, None, ValueError("no")), outcome(1, 1))
    saving(outcome(0, "at last"))
    assert Save("run.db").counts() == SaveCounts(2, 0, 0)
    assert {each.key: each.result() for each in Save("run.db")} == {
        '"item 0"': "at last",
        '"item 1"': 1,
    }


def test_a_run_says_what_is_there_before_it_starts() -> None:
    file = opened()
    assert file.notice() is None
    file.join()
    saving(*(outcome(n, n) for n in range(1201)))
    file = opened()
    assert file.notice() == "run.db: 1,201 done already"
    file.join()
    saving(outcome(3, None, ValueError()))
    file = opened()
    assert file.notice() == (
        "run.db: 1,200 done and 1 failed already; run.retry() runs the failed ones again"
    )
    file.join()


def test_a_result_that_json_does_not_hold_is_refused_and_the_others_are_kept() -> None:
    async def main() -> None:
        file = opened()
        waits = [file.wait(outcome(0, 0)), file.wait(outcome(1, (1, 2))), file.wait(outcome(2, 2))]
        results = await asyncio.gather(*waits, return_exceptions=True)
        await file.aclose()
        assert [results[0], results[2]] == [None, None]
        assert "the result is of type tuple" in str(results[1])

    asyncio.run(main())
    assert [each.result() for each in Save("run.db")] == [0, 2]


def test_pickled_results_are_written_and_read_only_with_pickle() -> None:
    saving(outcome(0, (1, {2})), outcome(1, [1]), pickle=True)
    assert [each.result() for each in Save("run.db", pickle=True)] == [(1, {2}), [1]]
    with pytest.raises(SaveError, match="reading a pickle runs code"):
        list(Save("run.db"))
    file = opened()
    assert file.get('"item 1"', 1, "") is not None
    with pytest.raises(SaveError, match="reading a pickle runs code"):
        file.get('"item 0"', 0, "")
    file.join()


# Whose file it is


def test_a_file_of_another_function_is_refused() -> None:
    saving(outcome(0, 0))

    async def other(item: Any) -> Any:
        return item

    with pytest.raises(SaveError, match=r"holds outcomes of .*test_save\.fetch, not of .*other"):
        check_save("run.db", other)
    known = f"{fetch.__module__}.{fetch.__qualname__}"
    check_save(Save("run.db", function=known), other)
    assert Save("run.db").counts().done == 1


def version(source: str) -> Any:
    names: dict[str, Any] = {"__name__": "cell"}
    exec(f"async def fetch(item, size=0):\n    return {source}", names)
    return names["fetch"]


def test_a_changed_function_is_noticed_and_its_results_are_kept() -> None:
    saving(outcome(0, 0), outcome(1, None, ValueError()), function=version("item"))
    saving(outcome(2, 2), function=version("item + 1"))
    file = opened(function=version("item + 1"))
    notice = file.notice()
    assert notice is not None
    assert "fetch has changed since 2 of these were saved. To run them again, first call " in notice
    assert "asyncnb.Save('run.db').clear('changed')" in notice
    assert file.get('"item 0"', 0, "") is not None
    with pytest.raises(SaveError, match="in use by the run 'calls' of this process"):
        Save("run.db").clear("changed")
    file.join()
    assert Save("run.db").counts() == SaveCounts(2, 1, 2)
    assert Save("run.db").clear("changed") == 2
    file = opened(function=version("item + 1"))
    assert file.notice() == "run.db: 1 done already"
    file.join()
    file = opened(function=version("item"))
    assert "fetch has changed since 1 of these was saved. To run it again" in (file.notice() or "")
    file.join()


def test_changed_arguments_are_named() -> None:
    saving(outcome(0, 0), function=functools.partial(fetch, size=1))
    file = opened(function=functools.partial(fetch, size=2))
    notice = file.notice() or ""
    assert "its arguments have changed from (size=1) to (size=2) since 1 of these was" in notice
    file.join()


def test_the_identity_of_a_function_is_its_name_its_code_and_what_is_bound_to_it() -> None:
    assert identify(version("item")) == identify(version("item"))
    assert identify(version("item")).source != identify(version("1 * item")).source
    assert identify(version("lambda: 1")).source != identify(version("lambda: 2")).source

    class Client:
        def get(self, item: Any) -> Any:
            return item

        def __call__(self, item: Any) -> Any:
            return item

    assert identify(Client().get).name.endswith("Client.get")
    assert identify(Client()).name.endswith("Client")
    assert identify(Client()).source == identify(Client()).source
    for function in (print, len, functools.partial(print, "a"), str.upper):
        assert identify(function) == identify(function)
    long = identify(functools.partial(fetch, "x" * 10_000)).arguments
    assert len(long) < 100
    assert long != identify(functools.partial(fetch, "x" * 9_999)).arguments


def test_functions_of_exec_differ_where_the_source_of_another_one_is_found_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As 3.13 has it while it runs `python -c`, and so in each worker of pytest-xdist.
    lines = ["async def fetch(item, size=0):\n", "    return 0\n"]
    monkeypatch.setitem(linecache.cache, "<string>", (40, None, lines, "<string>"))
    assert identify(version("item")) == identify(version("item"))
    assert identify(version("item")).source != identify(version("item + 1")).source


# Looking at it


def test_a_save_is_looked_at_while_a_run_writes() -> None:
    async def main() -> None:
        file = opened()
        await file.wait(outcome(0, 0))
        saved = Save("run.db")
        looking = iter(saved)
        assert next(looking).result() == 0
        await file.wait(outcome(1, None, ValueError("no")))
        assert saved.counts() == SaveCounts(1, 1, 0)
        assert [each.index for each in saved.failed] == [1]
        assert list(looking) == []
        await file.aclose()

    asyncio.run(main())


def test_a_big_file_is_read_page_by_page() -> None:
    async def main() -> None:
        file = opened()
        for number in range(2500):
            file.put(outcome(number, number), lambda error: None)
        await file.aclose()

    asyncio.run(main())
    assert [each.result() for each in Save("run.db")] == list(range(2500))


def test_export_writes_a_table_as_csv_and_as_json() -> None:
    saving(outcome(0, {"a": 1}), outcome(1, None, KeyError("x")), outcome(2, (1,)), pickle=True)
    assert Save("run.db").export("run.csv") == 3
    with open("run.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["result"] for row in rows] == ['{"a": 1}', "", "null"]
    assert rows[1]["error"] == "KeyError: 'x'"
    assert Save("run.db").export(Path("run.json")) == 3
    table = json.loads(Path("run.json").read_text(encoding="utf-8"))
    assert [row["item"] for row in table] == ["item 0", "item 1", "item 2"]
    assert [row["ok"] for row in table] == [True, False, True]
    with pytest.raises(ValueError, match=r"\.csv or a \.json file"):
        Save("run.db").export("run.xlsx")
    with pytest.raises(SaveError, match=r"There is no file none\.db"):
        Save("none.db").export("none.csv")
    assert not os.path.exists("none.csv")


def test_clear_deletes_what_it_is_asked_to() -> None:
    saving(outcome(0, 0), outcome(1, None, ValueError()))
    with pytest.raises(ValueError, match="Did you mean 'failed'"):
        Save("run.db").clear("fail")
    assert Save("run.db").clear("failed") == 1
    assert Save("run.db").counts() == SaveCounts(1, 0, 0)
    assert Save("run.db").clear() == 1

    async def other(item: Any) -> Any:
        return item

    opened(function=other).join()  # an empty file belongs to no run
    assert repr(Save("run.db")) == "Save('run.db')"
    assert repr(Save("run.db", pickle=True)) == "Save('run.db', pickle=True)"
