"""A real HTTP service that limits, fails, hangs and cuts connections, in a seeded order."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter, deque
from typing import Any

from aiohttp import web

#: What goes wrong with a request, and how often.
FAULTS = {"error": 0.06, "cut": 0.04, "hang": 0.01}
#: With which it goes wrong at most so many times for one item.
MOST_FAULTS = 3


class Service:
    """Answers ``/square/N`` with ``{"square": N * N}``, on 127.0.0.1, in a separate thread.

    More than ``limit`` requests in ``period`` seconds, in a sliding window, are refused with status
    429 and that period as ``Retry-After``. Which requests for an item fail with status 500, are cut
    in the middle of their body, or get no answer at all, is drawn from ``seed`` and the item,
    whatever their order.
    Requests say in ``X-Started`` when they began, by this machine's monotonic clock.
    """

    def __init__(self, limit: int, period: int, seed: int | None) -> None:
        self.limit = limit
        self.period = period
        self.seed = seed
        self.url = ""
        #: When each request began, and for which item.
        self.started: list[tuple[float, int]] = []
        #: How many requests had which outcome: ok, refused, error, cut, hang.
        self.counts: Counter[str] = Counter()
        self._arrived: deque[float] = deque()
        self._tried: Counter[int] = Counter()
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="service")

    def __enter__(self) -> Service:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None and self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def faults(self, item: int) -> list[str]:
        """What goes wrong with the first requests for ``item``."""
        if self.seed is None:
            return []
        drawn = random.Random(f"{self.seed} {item}")
        found: list[str] = []
        while len(found) < MOST_FAULTS:
            (fault,) = drawn.choices([*FAULTS, ""], [*FAULTS.values(), 1 - sum(FAULTS.values())])
            if not fault:
                break
            found.append(fault)
        return found

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_get("/square/{item}", self._answer)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        try:
            await self._stop.wait()
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        item = int(request.match_info["item"])
        self.started.append((float(request.headers["X-Started"]), item))
        if self._over_limit():
            self.counts["refused"] += 1
            return web.Response(status=429, headers={"Retry-After": str(self.period)})
        faults, tried = self.faults(item), self._tried[item]
        self._tried[item] += 1
        fault = faults[tried] if tried < len(faults) else "ok"
        self.counts[fault] += 1
        if fault == "error":
            return web.Response(status=500)
        if fault == "cut":
            response = web.StreamResponse(headers={"Content-Length": "100"})
            await response.prepare(request)
            await response.write(b'{"square": ')
            assert request.transport is not None
            request.transport.abort()
            return response
        if fault == "hang":
            await asyncio.get_running_loop().create_future()
        return web.json_response({"square": item * item})

    def _over_limit(self) -> bool:
        now, arrived = time.monotonic(), self._arrived
        while arrived and arrived[0] <= now - self.period:
            arrived.popleft()
        if len(arrived) >= self.limit:
            return True
        arrived.append(now)
        return False


def stamp() -> dict[str, str]:
    """The header of a request that begins now."""
    return {"X-Started": repr(time.monotonic())}


async def get_with_httpx(client: Any, url: str) -> int:
    """The result of one request with httpx."""
    response = await client.get(url, headers=stamp())
    response.raise_for_status()
    found: int = response.json()["square"]
    return found


async def get_with_aiohttp(client: Any, url: str) -> int:
    """The result of one request with aiohttp."""
    async with client.get(url, headers=stamp()) as response:
        response.raise_for_status()
        found: int = (await response.json())["square"]
        return found
