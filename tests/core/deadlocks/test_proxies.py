"""The search for deadlocks runs no code of the objects that it passes."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.core.deadlocks.test_deadlocks import reports, start
from tests.core.introspection.test_kinds import Proxy


class Client:
    request = Proxy()

    def __init__(self, q: asyncio.Queue[int]) -> None:
        self.request_of_this = Proxy()
        self.q = q

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no such call")

    async def put(self, lock: asyncio.Lock) -> None:
        with self:
            async with lock:
                await self.q.put(1)


async def gets(lock: asyncio.Lock, client: Client) -> None:
    proxy = Proxy()
    async with lock:
        await client.q.get()
    del proxy


def proxies_on_the_way() -> None:
    client, lock = Client(asyncio.Queue[int]()), asyncio.Lock()
    start(gets(lock, client), "a")
    start(client.put(lock), "b")


def test_proxies_that_fail_when_asked_are_passed_by() -> None:
    (text,) = reports(proxies_on_the_way)
    assert "`a` holds lock `lock` (" in text and "waits for queue `client.q`" in text
    assert "only `b` puts into it" in text
