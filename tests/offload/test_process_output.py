"""Worker processes of `on="process"`, from plain Python."""

from __future__ import annotations

import os
import select
import sys
from types import SimpleNamespace
from typing import Any

import pytest

import asyncnb
from asyncnb._offload.engines import process


@pytest.mark.skipif(sys.platform == "win32", reason="only one thread reads there")
def test_a_job_ends_although_another_thread_has_read_its_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = process.process_engine()

    def message_first(reads: list[int], *others: Any) -> Any:
        ready = select.select(reads, *others)
        if len(others) == 2:  # it waited for output, which the thread with the message now reads
            for worker in engine._workers.copy():
                worker._drain_errors()
        return ready

    monkeypatch.setattr(process, "select", SimpleNamespace(select=message_first))
    try:
        assert asyncnb.offload(os.write, 2, b"said\n", on="process").join(20) == 5
        assert asyncnb.offload(os.getpid, on="process").join(20)  # which writes nothing
    finally:
        process.close()
