"""A dashboard late in a long session: after a million finished tasks it is as fast as after few.

One dashboard is open all the time, so the two cannot take turns: this is measured twice.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import asyncnb
from asyncnb._core.launched.registry import registry
from asyncnb.widgets._commands import Commands
from asyncnb.widgets._feed import Feed
from tests.benchmarks import Result, Row, describe_machine, show, write_report

LIVING = 100
AT_ONCE = 10_000
FEW, MANY = 10_000, 1_000_000


async def _nothing() -> None:
    pass


async def _finish(count: int) -> None:
    await asyncio.gather(*[asyncnb.launch(_nothing()) for _ in range(count)])


class Session:
    """Tasks that wait, tasks that have finished, and a dashboard."""

    def __init__(self) -> None:
        asyncnb.embedded_loop()
        self.bytes = 0
        self.finished = 0
        self.feed = Feed(registry, Commands())
        self.subscription = self.feed.subscribe(self._take)
        self.feed.take(self.subscription, {"c": "sync"})
        living = [asyncnb.launch(asyncio.Event().wait()) for _ in range(LIVING)]
        self.living: list[Any] = [task._record for task in living]

    def _take(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        self.bytes += len(json.dumps(message)) + sum(map(len, buffers))

    def go_on(self, until: int) -> None:
        """Let tasks finish until there were so many, with the dashboard open."""
        while self.finished < until:
            asyncnb.run(_finish(AT_ONCE))
            self.finished += AT_ONCE
            self.feed.tick()

    def opened(self) -> float:
        """Open it anew: all rows are looked up and sent."""
        started = time.thread_time()
        self.feed.take(self.subscription, {"c": "sync"})
        return time.thread_time() - started

    def ticked(self) -> float:
        """A tenth of a second in which a hundred tasks have changed."""
        started = time.thread_time()
        for record in self.living:
            record.progress = (time.perf_counter_ns(), None)
            record.changed()
        self.feed.tick()
        return time.thread_time() - started

    def sent(self) -> float:
        """The bytes of a snapshot."""
        self.bytes = 0
        self.feed.take(self.subscription, {"c": "sync"})
        return self.bytes

    def close(self) -> None:
        self.feed.close()
        for record in self.living:
            record.task.cancel()


def run(rounds: int, only: str = "") -> None:
    """Measure, print and write the topic; ``only`` is a part of the name of a row."""
    print(f"\nmillion: {describe_machine()}")
    session = Session()
    ways: dict[str, tuple[Callable[[], float], str]] = {
        "open a dashboard": (session.opened, "us"),
        "a tick with 100 changes": (session.ticked, "us"),
        "a snapshot": (session.sent, "bytes"),
    }
    results = {
        name: Result(Row(name, {}, goal=1.1, unit=unit))
        for name, (_, unit) in ways.items()
        if only in name
    }
    for finished in (FEW, MANY):
        session.go_on(finished)
        for name, result in results.items():
            values = [ways[name][0]() for _ in range(rounds + 1)][1:]  # the first one warms up
            result.seconds[f"{finished:,}"] = values
    for result in results.values():
        few, many = result.seconds.values()
        pairs = zip(sorted(many), sorted(few), strict=True)
        result.ratios[f"{MANY:,}"] = [one / other for one, other in pairs]
        show(result)
    session.close()
    rows = [result.as_json() for result in results.values()]
    write_report("million", rounds, rows, only)
