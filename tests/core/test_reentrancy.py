"""Public calls that come in the middle of others: from finalisers, signal handlers, threads.

``reentrant.py`` makes all of them, for ``tests/faults/test_stress.py``.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

import asyncnb
from asyncnb._core.launched import open_group as _open_groups
from asyncnb._core.launched.registry import registry
from asyncnb._core.loop.current import shutdown
from asyncnb.testing import clear_ended


@pytest.fixture
def hurried() -> Iterator[None]:
    before = sys.getswitchinterval()
    asyncnb.embedded_loop()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
    shutdown()
    clear_ended()


def test_a_wait_that_the_interrupted_call_could_block_is_refused() -> None:
    task = asyncnb.launch(asyncio.sleep(60))
    work = asyncio.sleep(0)
    try:
        with _open_groups.lock:  # as a finaliser finds it in the middle of open_group()
            with pytest.raises(asyncnb.EmbeddedLoopError, match=r"asyncnb\.launch\("):
                task.join()
            with pytest.raises(asyncnb.EmbeddedLoopError, match=r"asyncnb\.launch\("):
                asyncnb.run(work)
            asyncnb.launch(asyncio.sleep(0))
        assert work.cr_frame is None, "the coroutine was closed"
        assert asyncnb.run(asyncio.sleep(0, "free")) == "free"
    finally:
        shutdown()
        clear_ended()


def test_a_task_that_is_ending_is_in_the_registry_all_the_time(hurried: None) -> None:
    missing = 0
    records: list[object] = [None]
    stopped = threading.Event()

    def look() -> None:
        nonlocal missing
        while not stopped.is_set():
            record = records[0]
            if record is not None and not registry.holds(record):
                missing += 1
            if record is not None and registry.get(record.id) is None:
                missing += 1

    async def many() -> None:
        for _ in range(50):
            task = asyncnb.launch(asyncio.sleep(0))
            records[0] = task._record
            await task

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            asyncnb.run(many())
    finally:
        stopped.set()
        for thread in threads:
            thread.join(10)
    assert missing == 0


@pytest.mark.parametrize("named", ["asyncnb loop", "asyncnb watchdog"])
@pytest.mark.parametrize("call", ["launch", "watch"])
def test_a_finaliser_on_a_starting_thread_does_not_deadlock(
    monkeypatch: pytest.MonkeyPatch, named: str, call: str
) -> None:
    """Starting a thread waits until it reports that it runs, and it may collect garbage before."""
    begin: Callable[[threading.Thread], None] = threading.Thread._set_ident  # type: ignore[attr-defined]
    came: list[str] = []

    def interrupted(thread: threading.Thread) -> None:
        begin(thread)
        if thread.name.startswith(named) and not came:
            came.append(thread.name)
            calls[call]()

    calls = {
        "launch": lambda: asyncnb.launch(asyncio.sleep(0)),
        "watch": lambda: asyncnb.embedded_loop().watch(0.3),
    }
    shutdown()
    monkeypatch.setattr(threading.Thread, "_set_ident", interrupted)
    starter = threading.Thread(target=calls[call], daemon=True)
    starter.start()
    starter.join(10)
    assert not starter.is_alive()
    assert len(came) == 1
    monkeypatch.undo()
    shutdown()
    clear_ended()
