"""Notices: what `asyncnb.notify` and the ends of tasks say, and many of them at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

import asyncnb
from asyncnb._core import frontend
from asyncnb._core.config import config
from asyncnb._core.launched.digest import GAP, GAP_AFTER_MANY, LONGEST_GAP, QUIET, Digest
from asyncnb._core.launched.notices import LEVELS, MAX_TEXT, MAX_TITLE, Notice, notice_of_end
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import registry
from tests.widgets.xss import CORPUS


class Recorder(frontend.PlainFrontEnd):
    """A front end that notes what it is given."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.ended: list[Notice | None] = []

    def notify(self, notice: Any) -> None:
        self.notices.append(notice)

    def task_ended(self, record: Any) -> None:
        self.ended.append(notice_of_end(record))
        record.silence()
        record.set_shown()


@pytest.fixture
def front_end() -> Iterator[Recorder]:
    recorder = Recorder()
    detach = frontend.attach(recorder)
    yield recorder
    detach()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every task as one that ran for a long time."""
    monkeypatch.setattr(config, "notify_after", 0.0)


def ended(task: asyncnb.Task[Any]) -> TaskRecord:
    asyncnb.run(asyncio.wait([task]))
    record = registry.get(task.info().id)
    assert record is not None
    record.wait_shown(10)
    return record


async def fail() -> None:
    raise ValueError("no\nsecond line")


def test_it_takes_the_name_of_the_task_that_calls_it(front_end: Recorder) -> None:
    async def work() -> None:
        asyncnb.notify("half of it is done")

    ended(asyncnb.launch(work(), name="crawl"))
    asyncnb.notify("done", level="success")
    asyncnb.notify("hot", title="Oven", level="warning")
    assert [each[:3] for each in front_end.notices] == [
        ("crawl", "half of it is done", "info"),
        ("", "done", "success"),
        ("Oven", "hot", "warning"),
    ]
    assert not any(each.only_unseen for each in front_end.notices)


def test_plain_python_prints_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    asyncnb.notify("hot", title="Oven")
    asyncnb.notify("done")
    assert capsys.readouterr().err == "Oven: hot\ndone\n"


@pytest.mark.parametrize(
    ("arguments", "options", "error", "says"),
    [
        ((3,), {}, TypeError, "takes a str as text, not 3 (int). Write str(...)"),
        (("x",), {"title": 3}, TypeError, "takes a str as title, not 3 (int)"),
        ((" \n",), {}, ValueError, "this one is empty"),
        (("x",), {"level": "eror"}, ValueError, "not 'eror'. Did you mean 'error'?"),
        (("x",), {"level": None}, ValueError, "takes a level of 'info', 'success'"),
    ],
)
def test_a_bad_call_is_refused_with_what_to_write(
    front_end: Recorder,
    arguments: tuple[Any],
    options: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    with pytest.raises(error) as caught:
        asyncnb.notify(*arguments, **options)
    assert says in str(caught.value)
    assert front_end.notices == []


@pytest.mark.parametrize("text", [*CORPUS, "x" * 10_000, "\ud800 alone", "a\nb\r\n\tc"])
def test_texts_are_short_and_on_one_line(front_end: Recorder, text: str) -> None:
    if not text.strip():
        return
    asyncnb.notify(text, title=text)
    [notice] = front_end.notices
    assert len(notice.text) <= MAX_TEXT
    assert len(notice.title) <= MAX_TITLE
    assert set(notice.line()) & {chr(n) for n in (*range(32), 127, *range(0x80, 0xA0))} == set()
    assert not {"\u202e", "\u2066", "\u2028"} & set(notice.line())
    notice.line().encode()  # no lone surrogates


def test_only_failures_of_long_tasks_are_worth_a_notice(front_end: Recorder, soon: None) -> None:
    ended(asyncnb.launch(fail(), name="broken"))
    ended(asyncnb.launch(asyncio.sleep(0), name="fine"))
    sleeper = asyncnb.launch(asyncio.sleep(60), name="stopped")
    sleeper.cancel()
    ended(sleeper)
    [broken, fine, stopped] = front_end.ended
    assert broken is not None
    assert broken.title == "broken failed"
    assert broken.text.endswith(" s: ValueError: no")
    assert (broken.level, broken.state, broken.only_unseen) == ("error", "failed", True)
    assert (fine, stopped) == (None, None)


def test_a_short_task_that_fails_is_worth_none(front_end: Recorder) -> None:
    ended(asyncnb.launch(fail()))
    assert front_end.ended == [None]


@pytest.mark.parametrize(
    ("option", "worth"),
    [("off", []), ("failures", ["a failed"]), ("all", ["a failed", "b is done"])],
)
def test_the_option_says_which(
    front_end: Recorder,
    soon: None,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    worth: list[str],
) -> None:
    monkeypatch.setattr(config, "notify", option)
    ended(asyncnb.launch(fail(), name="a"))
    ended(asyncnb.launch(asyncio.sleep(0), name="b"))
    assert [each.title for each in front_end.ended if each is not None] == worth


def test_a_task_that_was_asked_to_notifies_of_any_end(
    front_end: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "notify", "off")
    for n, (body, cancel) in enumerate(
        [(fail(), False), (asyncio.sleep(0), False), (asyncio.sleep(60), True)]
    ):
        task = asyncnb.launch(_after(body), name=f"task {n}")
        record = registry.get(task.info().id)
        assert record is not None
        record.notify = True
        if cancel:
            task.cancel()
        ended(task)
    assert [(each.title, each.level, each.only_unseen) for each in front_end.ended if each] == [
        ("task 0 failed", "error", False),
        ("task 1 is done", "success", False),
        ("task 2 was cancelled", "warning", False),
    ]


async def _after(body: Any) -> None:
    try:
        await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        body.close()
        raise
    await body


# Many at once


def failure(n: int = 1, *, only_unseen: bool = True) -> Notice:
    return Notice(f"t{n} failed", "after 61 s", "error", "failed", f"t{n}", only_unseen)


def test_one_is_shown_as_it_is_after_a_moment() -> None:
    digest = Digest()
    assert digest.wait(0) is None
    digest.put(failure(), 100.0)
    assert digest.take(100.0) is None
    assert digest.wait(100.0) == pytest.approx(QUIET)
    assert digest.take(100.0 + QUIET) == failure()
    assert digest.wait(101.0) is None


def test_ten_thousand_failures_are_one_notice_and_take_no_memory() -> None:
    digest = Digest()
    for n in range(10_000):
        digest.put(failure(n), 5.0 + n * 1e-5)
    taken = digest.take(5.2 + QUIET)
    assert taken is not None
    assert taken.title == "10,000 tasks failed"
    assert taken.text == "t0, t1, t2 and 9,997 more"
    assert (taken.level, taken.only_unseen) == ("error", True)
    assert len(digest._examples) == 0


def test_a_stream_that_never_pauses_is_shown_ever_more_rarely() -> None:
    digest = Digest()
    shown = []
    for step in itertools.count():
        now = step * 0.1
        if now > 3600:
            break
        digest.put(failure(step), now)
        if digest.take(now) is not None:
            shown.append(now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(shown)]
    assert gaps[0] == pytest.approx(GAP_AFTER_MANY, abs=0.11)
    assert gaps[1] == pytest.approx(2 * GAP_AFTER_MANY, abs=0.11)
    assert gaps[-1] == pytest.approx(LONGEST_GAP, abs=0.11)
    assert len(shown) < 14


def test_after_a_pause_the_next_one_is_shown_at_once_again() -> None:
    digest = Digest()
    for n in range(5):
        digest.put(failure(n), 0.0)
    assert digest.take(QUIET) is not None
    digest.put(failure(), 5.0)  # too early
    assert digest.wait(5.0) == pytest.approx(QUIET + GAP_AFTER_MANY - 5.0)
    assert digest.take(QUIET + GAP_AFTER_MANY) == failure()
    digest.put(failure(), 60.0)
    assert digest.take(60.0 + QUIET) == failure()
    digest.put(failure(), 60.0 + QUIET)
    assert digest.wait(60.0 + QUIET) == pytest.approx(GAP)


@pytest.mark.parametrize(
    ("states", "title"),
    [
        (["failed", "done"], "2 tasks ended: 1 failed, 1 is done"),
        (["failed", "failed", "done", "done"], "4 tasks ended: 2 failed, 2 are done"),
        (["cancelled", "cancelled"], "2 tasks were cancelled"),
        (["done", ""], "1 task is done, 1 more"),
        (["", "", ""], "3 notifications"),
    ],
)
def test_what_several_have_in_common(states: list[str], title: str) -> None:
    digest = Digest()
    for n, state in enumerate(states):
        level = "error" if state == "failed" else "info"
        digest.put(Notice("a title", f"text {n}", level, state, f"t{n}", state == "failed"), 0.0)
    taken = digest.take(QUIET)
    assert taken is not None
    assert taken.title == title
    assert taken.level == ("error" if "failed" in states else "info")
    assert not taken.only_unseen  # one of them is shown in any case
    if states[-1] == "":
        assert f"a title: text {len(states) - 1}" in taken.text


def test_the_levels_are_ordered() -> None:
    digest = Digest()
    for level in LEVELS[::-1]:
        digest.put(Notice("", "x", level), 0.0)
    taken = digest.take(QUIET)
    assert taken is not None
    assert taken.level == "error"
