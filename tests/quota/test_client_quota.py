"""The client's quota, checked by a server that enforces it.

The windows are short, so that the tests are fast; `CLICKSGROUP_JUDGED=full` runs 20 windows of 3 s, as the README says.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import os
import random
from collections.abc import Iterator

import pytest

from clicksgroup import ClicksClient, Quota, RetryPolicy
from tests.quota_server import Counting, QuotaServer

FULL = os.environ.get("CLICKSGROUP_JUDGED") == "full"
WINDOW = 3.0 if FULL else 0.75
WINDOWS = 20 if FULL else 4
FIRST = datetime.date(2025, 1, 1)
COUNTINGS: tuple[Counting, ...] = ("sliding", "fixed")


def client_of(server: QuotaServer, *, timeout: float = 30.0, retry: RetryPolicy | None = None) -> ClicksClient:
    return ClicksClient(
        "key", plan="business", quota=server.quota, base_url=server.url, timeout=timeout, retry=retry or RetryPolicy()
    )


def dates() -> Iterator[datetime.date]:
    return (FIRST + datetime.timedelta(number) for number in itertools.count())


async def work(server: QuotaServer, windows: int = WINDOWS) -> None:
    """Read one date after the other, as fast as the client may, for this many windows of the first limit."""
    count, _ = server.quota.limits[0]
    async with server, client_of(server) as client:
        days = itertools.islice(dates(), windows * count + 1)
        got = [day.date async for day in client.days(days)]
        assert got == list(itertools.islice(dates(), windows * count + 1))
        assert client.stats.requests == len(server.arrivals) == len(got)


def check(server: QuotaServer) -> None:
    assert server.rejected == []
    assert server.violations() == []
    assert server.most_in_flight == server.quota.in_flight


@pytest.mark.slow
async def test_quota_is_kept_and_used() -> None:
    """Business and Personal, at 5 ms, however the server counts: no 429, and nearly all of the quota is used."""
    business, personal = Quota((24, WINDOW), in_flight=2), Quota((9, WINDOW), in_flight=1)
    servers = [QuotaServer(quota, counting) for quota in (business, personal) for counting in COUNTINGS]
    await asyncio.gather(*map(work, servers))
    for server in servers:
        check(server)
        print(f"{server}: {server.used():.4f} used")
        assert server.used() >= (0.985 if FULL else 0.95)


@pytest.mark.slow
async def test_share_used_at_latency() -> None:
    """A slot comes back one window after its response, so W/(W+L) is the most that can be used."""
    servers = [QuotaServer(Quota((24, WINDOW), in_flight=24), latency=latency) for latency in (0.05, 0.2)]
    await asyncio.gather(*map(work, servers))
    for server, latency in zip(servers, (0.05, 0.2), strict=True):
        assert server.rejected == server.violations() == []
        print(f"{latency} s: {server.used():.4f} used, ideal {WINDOW / (WINDOW + latency):.4f}")
        assert server.used() >= WINDOW / (WINDOW + latency) - (0.01 if FULL else 0.04)


@pytest.mark.slow
async def test_jitter() -> None:
    """There is no 429 with up to 100 ms of jitter either."""
    business, personal = Quota((24, WINDOW), in_flight=4), Quota((5, WINDOW), in_flight=1)
    servers = [QuotaServer(quota, counting, delay=0.1) for quota in (business, personal) for counting in COUNTINGS]
    await asyncio.gather(*map(work, servers))
    for server in servers:
        check(server)
        print(f"{server}: {server.used():.4f} used with jitter")


@pytest.mark.slow
async def test_two_windows() -> None:
    """Two windows hold at once."""
    server = QuotaServer(Quota((20, WINDOW), (5, WINDOW / 6), in_flight=2))
    await work(server)
    check(server)
    print(f"{server}: {server.used():.4f} used")
    assert server.used() >= 0.9


async def test_first_requests() -> None:
    """The first requests, up to the quota, start at once."""
    server = QuotaServer(Quota((24, 3600), in_flight=2))
    async with server, client_of(server) as client:
        days = [day async for day in client.days(itertools.islice(dates(), 24))]
        assert (len(days), server.rejected) == (24, [])
        assert client.stats.waited < 24


@pytest.mark.slow
async def test_aborted_requests() -> None:
    """Aborted requests keep their slots: the server still works on them, and never sees more than the quota."""
    rng = random.Random(7)
    server = QuotaServer(Quota((24, WINDOW), in_flight=3), latency=0.03)
    aborted = 0

    async def ask(client: ClicksClient, date: datetime.date) -> None:
        nonlocal aborted
        asking = asyncio.create_task(client.page(date))
        if rng.random() < 0.3:
            await asyncio.sleep(rng.random() * 0.05)
            aborted += asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking

    async def worker(client: ClicksClient, days: Iterator[datetime.date]) -> None:
        for date in days:
            await ask(client, date)

    async with server, client_of(server) as client:
        days = itertools.islice(dates(), 24 * WINDOWS)
        await asyncio.gather(*(worker(client, days) for _ in range(6)))
    assert aborted > 10
    assert server.rejected == []
    assert server.violations() == []
    assert server.most_in_flight <= 3


@pytest.mark.slow
async def test_wait_for_quota() -> None:
    """A wait for quota counts for neither the timeout nor the deadline."""
    server = QuotaServer(Quota((1, 0.6), in_flight=1))
    async with server, client_of(server, timeout=0.2, retry=RetryPolicy(attempts=1, deadline=0.3)) as client:
        days = [day async for day in client.days(itertools.islice(dates(), 4))]
        assert (len(days), client.stats.requests, server.rejected) == (4, 4, [])
        assert client.stats.waited > 0.6


@pytest.mark.slow
async def test_throttled() -> None:
    """A 429 pauses all clients for as long as it says; then one request goes first, and no date is lost."""
    server = QuotaServer(Quota((100, 10), in_flight=4), latency=0.02, throttle=(9, 1.0))
    async with server, client_of(server) as client, client_of(server) as other:
        reading = asyncio.gather(
            *(each.page(date) for each, date in zip(itertools.cycle([client, other]), itertools.islice(dates(), 40)))
        )
        pages = await reading
        assert [page.date for page in pages] == list(itertools.islice(dates(), 40))
        assert client.stats.throttled + other.stats.throttled == 1
    assert len(server.times) == 41
    throttled_at = server.times[8]
    before = [at for at in server.times if at <= throttled_at + 0.02]
    after = server.times[len(before) :]
    assert len(before) <= 8 + 4
    assert after[0] >= throttled_at + 1.0
    assert after[1] >= after[0] + 0.02


async def test_throttled_stream() -> None:
    """A stream that meets a 429 is complete and in order."""
    server = QuotaServer(Quota((100, 10), in_flight=2), throttle=(5, 0.5))
    async with server, client_of(server) as client:
        got = [day.date async for day in client.days(itertools.islice(dates(), 12))]
    assert got == list(itertools.islice(dates(), 12))
    assert len(server.arrivals) == 13
