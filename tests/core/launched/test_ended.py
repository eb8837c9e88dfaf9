"""What the history keeps of ended tasks: facts and output, not what they refer to."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import asyncnb
from asyncnb._core import frontend
from asyncnb._core.config import RESULTS
from asyncnb._core.frontend import PlainFrontEnd
from asyncnb._core.launched import ended as _ended
from asyncnb._core.launched.record import CellRequest, TaskRecord
from asyncnb._core.launched.registry import registry
from asyncnb._core.launched.start import launch_record, run_body
from asyncnb._core.loop.current import shutdown
from asyncnb.testing import clear_ended, validate


class Large:
    """Stands for a data frame."""


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    asyncnb.embedded_loop().set_exception_handler(lambda *_: None)
    asyncnb.embedded_loop().watch(0)  # it would hold the task of the step at which it looked
    clear_ended()
    registry.set_results_limit(10)
    yield
    registry.set_results_limit(RESULTS)
    shutdown()
    clear_ended()


async def load(made: list[Any]) -> Large:
    found = Large()
    made.append(weakref.ref(found))
    return found


async def fail(made: list[Any]) -> None:
    found = Large()
    made.append(weakref.ref(found))
    raise ValueError(f"no {type(found).__name__}")


def alive(made: list[Any]) -> int:
    gc.collect()
    return sum(each() is not None for each in made)


def settle() -> None:
    """Wait until the loop has done what it had to do."""
    asyncnb.run(asyncio.sleep(0))
    asyncnb.run(asyncio.sleep(0))


def ended(work: Any, **options: Any) -> None:
    task = asyncnb.launch(work, **options)
    while not task.done():
        settle()
    del task
    settle()


def test_results_are_kept_of_the_newest_few_alone() -> None:
    made: list[Any] = []
    for n in range(30):
        ended(load(made), name=f"load {n}")
    assert alive(made) == 10
    assert isinstance(asyncnb.task("load 29").result(), Large)
    assert isinstance(asyncnb.task("load 20").result(), Large)
    with pytest.raises(asyncnb.ResultDroppedError, match=r"'load 19'.*%asyncnb option results"):
        asyncnb.task("load 19").result()
    registry.set_results_limit(1)
    assert alive(made) == 1
    registry.set_results_limit(0)
    assert alive(made) == 0
    validate()


def test_results_are_kept_while_code_holds_the_task() -> None:
    registry.set_results_limit(0)
    made: list[Any] = []
    held = asyncnb.launch(load(made), name="held")
    assert isinstance(held.join(5), Large)
    settle()
    assert asyncnb.task("held") is held
    assert alive(made) == 1
    del held
    assert alive(made) == 0
    assert asyncnb.task("held").info().state == "done"


def test_a_result_in_a_variable_lives_as_long_as_that() -> None:
    made: list[Any] = []
    namespace: dict[str, Any] = {}

    class Binds(PlainFrontEnd):
        def task_ended(self, record: Any) -> None:
            namespace.update(df=record.task.result())
            record.set_shown()

    detach = frontend.attach(Binds())
    try:
        record = TaskRecord()
        record.request = CellRequest(bind="df")
        task = launch_record(record, run_body(load(made), record), name="bound")
        task.join(5)
        del task, record
        settle()
        assert alive(made) == 1
        del namespace["df"]
        assert alive(made) == 0
    finally:
        detach()


def test_a_failure_that_was_shown_keeps_no_frames() -> None:
    made: list[Any] = []
    for n in range(5):
        ended(fail(made), name=f"fail {n}")
    assert alive(made) == 0
    for n in range(5):
        task = asyncnb.task(f"fail {n}")
        assert task.info().error == "ValueError: no Large"
        with pytest.raises(ValueError, match="no Large"):
            task.result()


def test_a_failure_of_long_ago_says_what_it_was() -> None:
    registry.set_results_limit(0)
    ended(fail([]), name="old")
    gc.collect()  # on 3.12 and 3.13 its traceback leads on to the callers, which have the task
    with pytest.raises(asyncnb.ResultDroppedError, match=r"ValueError: no Large.*'old'"):
        asyncnb.task("old").result()
    assert asyncnb.task("old").info().error == "ValueError: no Large"


def test_a_failure_of_a_group_keeps_no_frames() -> None:
    made: list[Any] = []
    group = asyncnb.open_group("g")

    async def fill() -> None:  # on the loop: none of them fails before all are there
        for _ in range(3):
            asyncnb.launch(fail(made), group="g")

    asyncnb.run(fill())
    with pytest.raises(ExceptionGroup):
        group.join(5)
    del group
    settle()
    assert alive(made) == 0
    assert {task.info().group for task in asyncnb.tasks(group="g")} == {"g"}


def test_what_stands_for_an_ended_task_is_a_task_in_all_calls() -> None:
    registry.set_results_limit(0)
    ended(asyncio.sleep(0, "short"), name="text")
    ended(asyncio.sleep(0, [1]), name="list")
    ended(fail([]), name="failed")
    waiting = asyncnb.launch(asyncio.sleep(60), name="cancelled")
    waiting.cancel()
    with pytest.raises(asyncnb.CancelledError):
        waiting.join(5)
    del waiting
    settle()
    gc.collect()
    text, listed, failed, cancelled = asyncnb.tasks()
    assert [task.info().state for task in asyncnb.tasks()] == [
        "done",
        "done",
        "failed",
        "cancelled",
    ]
    assert asyncnb.tasks() == [text, listed, failed, cancelled], "the same objects again"
    assert text.result() == asyncnb.run(text) == text.join() == "short"
    assert isinstance(listed.exception(), asyncnb.ResultDroppedError)
    assert cancelled.cancelled()
    with pytest.raises(asyncnb.CancelledError):
        cancelled.join()
    for task in (text, listed, failed, cancelled):
        assert isinstance(task, asyncio.Task)
        assert task.done()
        assert not task.cancel()
        assert task.get_coro() is None
        assert task.get_stack() == []
        assert list(task.get_context()) == []
        assert task.output == ""
        assert task.timeout is None
        assert repr(task) == f"<EndedTask name={task.get_name()!r} {task.info().state}>"
        assert asyncnb.cancel(task.get_name()) == []

    async def together(*tasks: Any) -> Any:
        done, _ = await asyncnb.wait(tasks)
        gathered = await asyncio.gather(*done, return_exceptions=True)
        return len(done), sorted(type(each).__name__ for each in gathered)

    kinds = ["CancelledError", "ResultDroppedError", "ResultDroppedError", "str"]
    assert asyncnb.run(together(*asyncnb.tasks())) == (4, kinds)
    text.set_name("renamed")
    del text, task
    gc.collect()
    assert asyncnb.task("renamed").result() == "short"


def test_a_dropped_failure_is_unseen_until_code_asks_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shown: list[Any] = []

    class Shows(PlainFrontEnd):
        def task_ended(self, record: Any) -> None:
            shown.append(record.id)
            record.set_shown()

    detach = frontend.attach(Shows())
    told: list[Any] = []
    asyncnb.embedded_loop().set_exception_handler(lambda _, context: told.append(context))
    try:
        for results in (10, 0):
            registry.set_results_limit(results)
            ended(fail([]), name="fail")
            gc.collect()
            assert [record.name for record in registry.failed_unseen()] == ["fail"]
            error = asyncnb.task("fail").exception()
            assert type(error) is (ValueError if results else asyncnb.ResultDroppedError)
            assert registry.failed_unseen() == []
            clear_ended()
        with caplog.at_level(logging.ERROR):
            gc.collect()
    finally:
        detach()
    assert len(shown) == 2
    assert told == [], "it was shown; asyncio has nothing to add"
    assert not caplog.records


class Custom(Exception):
    """Whose constructor takes something else than its args."""

    made = 0

    def __init__(self, code: int, *, detail: str) -> None:
        super().__init__(f"code {code}")
        self.code, self.detail = code, detail
        type(self).made += 1


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x", 1),
        KeyError("x"),
        OSError(2, "no such file", "name"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        SystemExit(3),
        SyntaxError("bad", ("file", 1, 2, "text")),
        ExceptionGroup("two", [ValueError("a"), ExceptionGroup("inner", [TypeError("b")])]),
        Custom(7, detail="d"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_copy_without_frames_says_the_same(error: BaseException) -> None:
    try:
        raise error from RuntimeError("cause")
    except BaseException:
        made = Custom.made
        copy = _ended.without_frames(error)
    assert type(copy) is type(error)
    assert copy is not error
    assert (str(copy), copy.args[:1], vars(copy)) == (str(error), error.args[:1], vars(error))
    assert (copy.__traceback__, copy.__cause__, copy.__context__) == (None, None, None)
    assert Custom.made == made, "no code of the class was run"


def test_what_cannot_be_copied_is_not_kept() -> None:
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    error.args = ("something else",)
    assert _ended.without_frames(error) is None
    assert _ended.without_frames(ExceptionGroup("g", [error])) is None
