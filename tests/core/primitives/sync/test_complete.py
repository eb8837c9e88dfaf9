"""Every public name of asyncio is in asyncnb, or the page on differences says why not."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import asyncnb

PAGE = Path(__file__).parents[4] / "notebooks" / "reference" / "parity.md"
#: Of older Pythons, removed in 3.14: child watchers; and what only Windows has.
ELSEWHERE = re.compile(r"\w*(ChildWatcher|child_watcher|Policy|Proactor\w*)|DefaultEventLoop\w*")


def test_each_name_of_asyncio_is_here_or_left_out_for_a_reason() -> None:
    kept, left = PAGE.read_text(encoding="utf-8").split("## What asyncnb leaves out")
    rows = [row.split("|") for row in left.splitlines() if row.startswith("|")]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row[1])}
    for name in asyncio.__all__:
        if name[0] == "_" or ELSEWHERE.fullmatch(name):
            continue
        has = hasattr(asyncnb, name)
        assert has != (name in listed), name
        assert not has or f"`{name}" in kept, name


def test_names_that_older_pythons_lack_are_here_too() -> None:
    assert "QueueShutDown" in asyncnb.__all__
    assert issubclass(asyncnb.QueueShutDown, Exception)
    assert asyncnb.QueueShutDown is getattr(asyncio, "QueueShutDown", asyncnb.QueueShutDown)
