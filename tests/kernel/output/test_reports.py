"""The thread that tells how tasks ended: nothing is left untold, and no thread is left over."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from asyncnb._kernel.output.reports import Reports


@pytest.fixture
def hurried() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def report(reports: Reports, told: list[int], begun: threading.Event) -> None:
    for n in range(20):
        reports.put(lambda short, n=n: told.append(n))  # type: ignore[misc]
        begun.set()


def test_what_is_reported_during_an_unload_is_told_and_no_thread_stays(hurried: None) -> None:
    for _ in range(100):
        reports, begun = Reports(None), threading.Event()
        told: list[int] = []

        args = reports, told, begun
        threads = [threading.Thread(target=report, args=args) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert begun.wait(10)
        reports.stop(10)
        for thread in threads:
            thread.join(10)
        assert sorted(told) == sorted([*range(20), *range(20)])
    assert [t for t in threading.enumerate() if t.name == "asyncnb reports"] == []


def test_an_unload_waits_for_a_thread_that_is_about_to_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports, told = Reports(None), list[int]()
    about, start_it = threading.Event(), threading.Event()
    start = threading.Thread.start

    def start_late(thread: threading.Thread) -> None:
        if thread.name == "asyncnb reports":
            about.set()
            assert start_it.wait(10)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_late)
    reporter = threading.Thread(target=reports.put, args=(lambda short: told.append(1),))
    reporter.start()
    assert about.wait(10)

    seen = []

    def stop() -> None:
        reports.stop(10)
        seen.extend(told)

    stopper = threading.Thread(target=stop)
    stopper.start()
    stopper.join(0.05)  # time to return too early
    start_it.set()
    stopper.join(10)
    reporter.join(10)
    assert seen == [1]


def test_a_thread_that_has_begun_without_having_said_so_is_not_started_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Thread.start() sets `ident` before it sets what is_alive() reads; another report may come
    # in between.
    reports = Reports(None)
    started = []
    alive = threading.Thread.is_alive

    def is_alive(thread: threading.Thread) -> bool:
        return thread.name != "asyncnb reports" and alive(thread)

    start = threading.Thread.start

    def count(thread: threading.Thread) -> None:
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", count)
    reports.start()
    monkeypatch.setattr(threading.Thread, "is_alive", is_alive)
    reports.start()
    monkeypatch.undo()
    reports.stop(10)
    assert len(started) == 1
