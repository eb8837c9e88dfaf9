"""What an open dashboard costs the kernel: each launched task, and each tenth of a second."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import asyncnb
from asyncnb._core.introspection.info import CellRef
from asyncnb._core.launched.record import Origin
from asyncnb._core.launched.registry import registry
from asyncnb._core.listing.rows import row_of
from asyncnb.widgets._commands import Commands
from asyncnb.widgets._feed import Feed
from tests.benchmarks import Row


class Open:
    """A feed with one dashboard that is open, and takes what it is sent as ipykernel would."""

    def __init__(self) -> None:
        self.sent = 0
        self.feed = Feed(registry, Commands())
        self.subscription = self.feed.subscribe(self.take)
        self.feed.take(self.subscription, {"c": "sync"})

    def take(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        self.sent += len(json.dumps(message)) + sum(map(len, buffers))

    def close(self) -> None:
        self.feed.close()


async def _nothing() -> None:
    pass


def _launched(clock: Callable[[], float], count: int) -> float:
    async def main() -> float:
        started = clock()
        tasks = [asyncnb.launch(_nothing()) for _ in range(count)]
        await asyncio.gather(*tasks)
        return clock() - started

    asyncnb.embedded_loop()  # so that it runs there, and what it launches, too
    return asyncnb.run(main())


def _launched_while_open(clock: Callable[[], float], count: int) -> float:
    dashboard = Open()
    try:
        seconds = _launched(clock, count)
        dashboard.feed.tick()
        return seconds
    finally:
        dashboard.close()


class Many:
    """Ten thousand tasks that wait, and a dashboard, made when first asked for."""

    def __init__(self) -> None:
        self._records: list[Any] = []

    def records(self) -> list[Any]:
        if not self._records:
            asyncnb.embedded_loop()
            tasks = [asyncnb.launch(asyncio.Event().wait()) for _ in range(10_000)]
            self._records = [task._record for task in tasks]
            self.dashboard = Open()
        return self._records

    def close(self) -> None:
        """Close it: without ticks, its feed would keep every later task alive."""
        if self._records:
            self.dashboard.close()

    def rows_alone(self, clock: Callable[[], float], count: int) -> float:
        records, now = self.records(), time.time()
        started = clock()
        for round in range(count):
            for record in records[100 * (round % 100) :][:100]:
                record.progress = (round, None)
                json.dumps(row_of(record, now))
        return clock() - started

    def feed(self, clock: Callable[[], float], count: int) -> float:
        records = self.records()
        started = clock()
        for round in range(count):
            for record in records[100 * (round % 100) :][:100]:
                record.progress = (time.time(), None)
                record.changed()
            self.dashboard.feed.tick()
        return clock() - started


class Hidden:
    """A thousand pages of a crawl in each of two cells, and a panel that shows only a badge."""

    def __init__(self) -> None:
        self.now = 0.0
        self._records: list[Any] = []

    def records(self) -> list[Any]:
        if not self._records:
            asyncnb.embedded_loop()
            cells = [Origin(CellRef(number, f"cell {number}")) for number in (1, 2)]
            for number in range(2000):
                record: Any = asyncnb.launch(asyncio.Event().wait())._record
                record.origin = cells[number % 2]
                self._records.append(record)
        return self._records

    def _progress(self, clock: Callable[[], float], count: int, tick: Any) -> float:
        records = self.records()
        started = clock()
        for round in range(count):
            for record in records:
                record.progress = (round, 100)
                record.changed()
            tick()
        return clock() - started

    def alone(self, clock: Callable[[], float], count: int) -> float:
        return self._progress(clock, count, bool)

    def counted(self, clock: Callable[[], float], count: int) -> float:
        self.records()
        feed = Feed(registry, Commands(), clock=lambda: self.now)
        page = feed.subscribe(lambda message, _: json.dumps(message), show="summary")
        feed.take(page, {"c": "sync"})
        try:
            return self._progress(clock, count, feed._summaries.tick)
        finally:
            feed.close()

    def close(self) -> None:
        for record in self._records:
            record.task.cancel()


class Unfolded:
    """A task with children that wait, unfolded in a dashboard; it lives for one round.

    A look is at all tasks there are, so those of one contender must not be there for the other.
    A second of the feed's own clock is ten of its ticks; two of them look at what is on the screen.
    """

    def __init__(self, children: int) -> None:
        self.children = children

    def open(self) -> None:
        asyncnb.embedded_loop()
        self.now = 0.0
        self.task = asyncnb.launch(self.crawl(), name="crawl")
        asyncnb.run(asyncio.sleep(0))  # all children are created,
        asyncnb.run(asyncio.sleep(0))  # and wait
        self.feed = Feed(registry, Commands(), clock=lambda: self.now)
        self.page = self.feed.subscribe(self.take)
        self.feed.take(self.page, {"c": "sync"})
        self.sent = 0
        id = self.task.info().id
        self.feed.take(self.page, {"c": "unfold", "ids": [id]})
        self.shown: list[int] = []
        self.feed.take(self.page, {"c": "view", "ids": [id]})
        self.feed.tick()
        self.feed.take(self.page, {"c": "view", "ids": [id, *self.shown]})
        self.feed.tick()

    async def crawl(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self.children):
                group.create_task(asyncio.Event().wait(), name=f"page {number}")

    def take(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        self.sent += len(json.dumps(message)) + sum(map(len, buffers))
        for _, _, named in message.get("inner", {}).get("lists", ()):
            self.shown = named[:22:2]  # as many rows as a dashboard has

    def pass_seconds(self, count: int) -> None:
        for _ in range(10 * count):
            self.now += 0.1
            self.feed.tick()

    def seconds(self, clock: Callable[[], float], count: int) -> float:
        self.open()
        started = clock()
        self.pass_seconds(count)
        took = clock() - started
        self.close()
        return took

    def bytes(self, clock: Callable[[], float], count: int) -> float:
        self.open()
        self.pass_seconds(count)
        self.close()
        return self.sent

    def close(self) -> None:
        self.feed.close()
        self.task.cancel()
        asyncnb.run(asyncnb.wait([self.task]))


def rows() -> Iterable[Row]:
    yield Row(
        "launch a task and see it end",
        {"no dashboard": _launched, "a dashboard is open": _launched_while_open},
        goal=1.2,
    )
    few, full = Unfolded(20), Unfolded(10_000)
    yield Row(
        "a second of a dashboard with a task unfolded",
        {"20 tasks inside, waiting": few.seconds, "10,000": full.seconds},
        count=20,
    )
    yield Row(
        "sent for unfolding it, and in the second after that",
        {"20 tasks inside, waiting": few.bytes, "10,000": full.bytes},
        count=1,
        unit="bytes",
    )
    hidden = Hidden()
    yield Row(
        "a second of 2,000 tasks that make progress",
        {"no page": hidden.alone, "a hidden panel": hidden.counted},
        count=20,
    )
    hidden.close()
    many = Many()
    yield Row(
        "100 changes of 10,000 tasks, as ten times a second",
        {"their rows as JSON": many.rows_alone, "the feed, whole": many.feed},
        count=100,
        goal=2.0,
    )
    many.close()
    for task in asyncnb.tasks():
        task.cancel()
