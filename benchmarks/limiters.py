"""Runs one limiter in a process of its own: `python -m benchmarks.limiters ARGUMENTS`, with arguments as JSON.

A limiter sends a number of requests, a few at a time, as fast as it permits.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import aiohttp

Acquire: TypeAlias = Callable[[], Awaitable[object]]


async def clicksgroup(url: str, count: int, window: float, in_flight: int, requests: int) -> None:
    from clicksgroup import ClicksClient, Quota, date_range

    first = datetime.date(2020, 1, 1)
    dates = date_range(first, first + datetime.timedelta(requests - 1))
    quota = Quota((count, window), in_flight=in_flight)
    async with ClicksClient("key", plan="business", base_url=url, quota=quota) as client:
        async for _ in client.days(dates):
            pass


def aiolimiter(count: int, window: float) -> Acquire:
    import aiolimiter

    return aiolimiter.AsyncLimiter(count, window).acquire


def limits(count: int, window: float) -> Acquire:
    from limits import RateLimitItemPerSecond
    from limits.aio.storage import MemoryStorage
    from limits.aio.strategies import MovingWindowRateLimiter

    limiter, item = MovingWindowRateLimiter(MemoryStorage()), RateLimitItemPerSecond(count, int(window))

    async def acquire() -> None:
        while not await limiter.hit(item, "key"):
            stats = await limiter.get_window_stats(item, "key")
            await asyncio.sleep(max(stats.reset_time - time.time(), 0.001))

    return acquire


def pyrate_limiter(count: int, window: float) -> Acquire:
    from pyrate_limiter import Limiter, Rate

    return Limiter(Rate(count, int(window * 1000))).try_acquire_async


async def work(acquire: Acquire, url: str, in_flight: int, requests: int) -> None:
    """Send the requests, `in_flight` at a time."""
    left = iter(range(requests))

    async def worker(session: aiohttp.ClientSession) -> None:
        for _ in left:
            await acquire()
            async with session.get(url) as response:
                await response.read()

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(worker(session) for _ in range(in_flight)))


LIMITERS: dict[str, Callable[[int, float], Acquire]] = {
    "aiolimiter": aiolimiter,
    "limits": limits,
    "pyrate_limiter": pyrate_limiter,
}


async def main(side: str, url: str, count: int, window: float, in_flight: int, requests: int) -> None:
    """Run one side."""
    if side in LIMITERS:
        await work(LIMITERS[side](count, window), f"{url}/{side}/?pages=1", in_flight, requests)
    else:
        await clicksgroup(f"{url}/{side}", count, window, in_flight, requests)


if __name__ == "__main__":
    arguments: dict[str, Any] = json.loads(sys.argv[1])
    asyncio.run(main(**arguments))
    print(json.dumps({"done": arguments["side"]}))
