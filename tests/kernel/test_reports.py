"""The thread that tells how tasks ended: nothing is left untold, and no thread is left over."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from asyncnb._kernel._reports import Reports


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
