"""Groups, plans and quotas: what a job costs is what it must cost."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import aiohttp
import attrs
import pytest

from clicksgroup import (
    ClicksClient,
    ConfigurationError,
    Estimate,
    Quota,
    RetryPolicy,
    Stats,
    date_range,
)
from clicksgroup.sandbox import Fault, Sandbox
from tests.dates_of_all_sizes import FAST


async def test_premium() -> None:
    """Premium lists are split by five and merged."""
    async with Sandbox(95, plan="premium", quota=FAST) as sandbox, sandbox.client() as client:
        truth = sandbox.truth("2025-01-03")
        ids = [record.group_id for record in truth[::7]]
        day = await client.day("2025-01-03", groups=[*ids, *ids])
        assert list(day) == truth[::7]
        assert (day.groups, day.total_count) == (tuple(ids), len(ids))
        assert [request.groups for request in sandbox.requests] == [tuple(ids[i : i + 5]) for i in range(0, 14, 5)]
        assert [page.groups async for page in client.pages("2025-01-03", groups=ids)] == [
            tuple(ids[i : i + 5]) for i in range(0, 14, 5)
        ]
        assert [record async for record in client.clicks("2025-01-03", groups=ids)] == truth[::7]


async def test_3000_ids() -> None:
    """3,000 ids cost exactly 100 requests, and no URL has more than 4,000 characters."""
    longest = 0

    async def measure(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        nonlocal longest
        longest = max(longest, len(str(request.url)))
        return await handler(request)

    async with (
        Sandbox(3000, quota=FAST) as sandbox,
        aiohttp.ClientSession(middlewares=[measure]) as session,
        sandbox.client(session=session) as client,
    ):
        truth = sandbox.truth("2025-01-03")
        ids = [record.group_id for record in truth]
        assert client.estimate("2025-01-03", groups=ids).requests == 100
        assert [record async for record in client.clicks("2025-01-03", groups=ids)] == truth
        assert len(sandbox.requests) == 100
        assert 3000 < longest <= 4000


async def test_list_that_fits(sandbox: Sandbox, client: ClicksClient) -> None:
    """A list that fits into a URL is asked for whole."""
    await client.page("2025-01-03", groups=range(1, 101))
    assert sandbox.requests[0].groups == tuple(range(1, 101))


@pytest.mark.parametrize(
    ("plan", "days"), [("personal", 7), ("premium", 14), ("business", 31), ("business_plus", 31), ("enterprise", 31)]
)
async def test_totals_span(plan: str, days: int) -> None:
    """A range of totals beyond the plan's span is refused, never split."""
    async with Sandbox(3, plan=plan, quota=FAST) as sandbox, sandbox.client() as client:
        start = datetime.date(2025, 1, 1)
        groups = [record.group_id for record in sandbox.truth(start)]
        end = start + datetime.timedelta(days)
        with pytest.raises(ConfigurationError, match=rf"^end: .* are {days + 1} days, but .* allows {days}"):
            client.totals(start, end, groups=groups)
        assert not sandbox.requests
        end -= datetime.timedelta(1)
        assert [record async for record in client.totals(start, end, groups=groups)]


@pytest.mark.parametrize(
    ("plan", "how", "requests", "seconds"),
    [
        ("business", {"dates": date_range("2025-01-01", "2025-12-31"), "group_count": 100}, 1460, 3600),
        ("business", {"dates": date_range("2025-01-01", "2025-01-24")}, 24, 0),
        ("business", {"dates": ["2025-01-01"], "group_count": 0}, 1, 0),
        ("business", {"dates": "2025-01-01", "groups": range(1, 3001)}, 100, 240),
        ("personal", {"dates": date_range("2025-01-01", "2025-12-31"), "group_count": 100}, 1460, 9720),
        ("premium", {"dates": date_range("2025-01-01", "2025-01-10"), "groups": range(1, 13)}, 30, 60),
        ("premium", {"dates": date_range("2025-01-01", "2025-01-10"), "group_count": 12}, 30, 60),
        ("premium", {"dates": iter(["2025-01-01", "2025-01-02"])}, 2, 0),
    ],
)
def test_estimate(plan: str, how: dict[str, Any], requests: int, seconds: float) -> None:
    """An estimate counts without a request."""
    assert ClicksClient("key", plan=plan).estimate(**how) == Estimate(requests, seconds)


async def test_estimate_is_true() -> None:
    """An estimate says what then happens."""
    async with Sandbox(95, quota=FAST) as sandbox, sandbox.client() as client:
        dates = date_range("2025-01-01", "2025-01-10")
        estimate = client.estimate(dates, group_count=95)
        await asyncio.gather(*(client.day(date) for date in dates))
        assert client.stats.requests == len(sandbox.requests) == estimate.requests == 40


async def test_stats() -> None:
    """Stats are a frozen snapshot, which counts retries and 429s."""
    faults = [Fault(date="2025-01-03", status=503), Fault(date="2025-01-04", retry_after=0)]
    async with (
        Sandbox(3, quota=FAST, faults=faults) as sandbox,
        sandbox.client(retry=RetryPolicy(backoff=0)) as client,
    ):
        before = client.stats
        await client.day("2025-01-03")
        await client.day("2025-01-04")
        stats = client.stats
        assert before == Stats()
        assert attrs.evolve(stats, bytes=0, waited=0) == Stats(requests=4, retries=2, throttled=1, pages=2, records=6)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            stats.requests = 0  # type: ignore[misc]


async def test_burst() -> None:
    """The first requests, up to the quota, go at once."""
    async with Sandbox(1, plan="business") as sandbox, sandbox.client() as client:
        dates = date_range("2025-01-01", "2025-01-24")
        assert len([day async for day in client.days(dates)]) == 24
        assert client.stats.waited < 1
        assert {request.status for request in sandbox.requests} == {200}


async def test_one_key() -> None:
    """Clients of one key share a quota, and may not differ in it."""
    async with Sandbox(3, quota=Quota((100, 60), in_flight=1)) as sandbox, sandbox.client() as first:
        async with sandbox.client() as second:
            dates = date_range("2025-01-01", "2025-01-10")
            await asyncio.gather(*(client.day(date) for date in dates for client in (first, second)))
            assert {request.status for request in sandbox.requests} == {200}
        with pytest.raises(ConfigurationError, match=r"^quota: "):
            await sandbox.client(quota=Quota((99, 60))).__aenter__()
        async with sandbox.client(api_key="another", quota=Quota((99, 60))):
            pass
