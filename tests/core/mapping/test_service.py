"""map with rate, retry and timeout, against a real service that limits, fails, hangs and cuts."""

from __future__ import annotations

import asyncio
from collections import Counter

import aiohttp
import httpx
import pytest

import asyncnb
from tests.core.mapping.service import Service, get_with_aiohttp, get_with_httpx

#: httpx takes several times the CPU time of aiohttp.
WITH_HTTPX, ITEMS, RATE = 200, 1000, 500
RETRY = asyncnb.Retry(6, first=0.05, longest=0.5)


def most_in_a_second(times: list[float]) -> int:
    """The most of ``times`` in any half-open interval of one second."""
    times, first, most = sorted(times), 0, 0
    for last, time in enumerate(times):
        while times[first] <= time - 1:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.slow
def test_two_runs_that_share_a_rate_get_all_results_within_the_limit() -> None:
    """Some items with httpx and the others with aiohttp, at the same time."""

    async def main(service: Service) -> None:
        rate = asyncnb.Rate(f"{RATE}/s")

        async def with_httpx(item: int) -> int:
            return await get_with_httpx(modern, f"{service.url}/square/{item}")

        async def with_aiohttp(item: int) -> int:
            return await get_with_aiohttp(session, f"{service.url}/square/{item}")

        async with httpx.AsyncClient() as modern, aiohttp.ClientSession() as session:
            runs = [
                asyncnb.map(f, items, limit=20, rate=rate, retry=RETRY, timeout=1)
                for f, items in [
                    (with_httpx, range(WITH_HTTPX)),
                    (with_aiohttp, range(WITH_HTTPX, ITEMS)),
                ]
            ]
            found = await asyncio.gather(*runs)
        assert found[0] + found[1] == [item * item for item in range(ITEMS)]
        counts = [run.counts() for run in runs]
        # On a busy machine a request may time out before it has reached the service.
        assert sum(each.retried for each in counts) >= len(service.started) - ITEMS
        assert rate.waiting == 0

    with Service(RATE, 1, seed=20) as service:
        asyncio.run(main(service))
    assert most_in_a_second([time for time, _ in service.started]) <= RATE
    drawn = Counter(fault for item in range(ITEMS) for fault in service.faults(item))
    assert {fault: service.counts[fault] for fault in drawn} == drawn
    assert min(drawn["error"], drawn["cut"], drawn["hang"]) >= 5


def test_a_run_without_a_rate_waits_as_long_as_the_service_asks_for() -> None:
    async def main(service: Service) -> None:
        async def get(item: int) -> int:
            return await get_with_aiohttp(client, f"{service.url}/square/{item}")

        async with aiohttp.ClientSession() as client:
            run = asyncnb.map(get, range(75), limit=10, retry=asyncnb.Retry(3, first=0.01))
            assert await run == [item * item for item in range(75)]
        assert run.rate is None

    with Service(30, 2, seed=None) as service:
        asyncio.run(main(service))
    # 30 get through in each of three rounds. What is refused was on its way: the other items are
    # not tried before the time is over.
    assert 0 < service.counts["refused"] <= 2 * 10
