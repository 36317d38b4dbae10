"""The types of the public interface. mypy checks this file; it is never run."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import assert_type

import aiohttp

from clicksgroup import (
    APIError,
    ClicksClient,
    ClicksGroupError,
    ClientClosedError,
    ConfigurationError,
    Day,
    DecodeError,
    Estimate,
    GroupClicks,
    GroupTotals,
    Page,
    Plan,
    Quota,
    RateLimitError,
    RequestError,
    RetryPolicy,
    SharedQuota,
    Stats,
    StatusError,
    Stream,
    date_range,
)
from clicksgroup.quota import FileQuota


def dates() -> Iterator[datetime.date]:
    yield datetime.date(2025, 1, 1)


async def streams(client: ClicksClient) -> None:
    assert_type(client.clicks("2025-01-01"), Stream[GroupClicks])
    assert_type(client.pages(dates(), groups={1, 2}, ordered=False), Stream[Page])
    assert_type(client.pages(datetime.date(2025, 1, 1), start=2), Stream[Page])
    assert_type(client.days(["2025-01-01", datetime.datetime(2025, 1, 1)], groups=range(1, 9)), Stream[Day])
    assert_type(client.totals("2025-01-01", datetime.date(2025, 1, 31), groups=[1]), Stream[GroupTotals])
    generator: AsyncGenerator[GroupClicks, None] = client.clicks(date_range("2025-01-01", "2025-01-31"))
    async for record in generator:
        assert_type(record, GroupClicks)
    async with client.days("2025-01-01") as days:
        assert_type(days, Stream[Day])
        assert_type(await anext(days), Day)
    async with aclosing(client.pages("2025-01-01")) as pages:
        assert_type([page async for page in pages], list[Page])


async def answers(client: ClicksClient) -> None:
    assert_type(await client.day("2025-01-01", groups=[1]), Day)
    assert_type(await client.page("2025-01-01", 2), Page)
    assert_type(client.estimate(dates(), group_count=100), Estimate)
    assert_type(client.stats, Stats)
    first, second = await asyncio.gather(client.day("2025-01-01"), client.page("2025-01-01"))
    assert_type(first, Day)
    assert_type(second, Page)


def values(record: GroupClicks, page: Page, day: Day, totals: GroupTotals, estimate: Estimate, stats: Stats) -> None:
    assert_type((record.date, record.group_id, record.group_name), tuple[datetime.date, int, str])
    assert_type((record.clicks, record.unique_users), tuple[int, int])
    assert_type((page.number, page.next_number, page.count, page.total_count), tuple[int, int | None, int, int])
    assert_type((page.records, page.groups), tuple[tuple[GroupClicks, ...], tuple[int, ...] | None])
    assert_type(
        (day.records, day.fetched_at, day.problems), tuple[tuple[GroupClicks, ...], datetime.datetime, tuple[str, ...]]
    )
    assert_type(list(day), list[GroupClicks])
    assert_type((totals.start, totals.end, totals.clicks), tuple[datetime.date, datetime.date, int])
    assert_type((estimate.requests, estimate.seconds), tuple[int, float])
    assert_type((stats.requests, stats.waited), tuple[int, float])


def ranges() -> None:
    span: Sequence[datetime.date] = date_range("2025-01-01", "2025-01-31")
    assert_type(span[0], datetime.date)
    assert_type(date_range("2025-01-01", "2025-01-31")[0], datetime.date)


async def clients(session: aiohttp.ClientSession) -> None:
    quota = Quota((24, 60), (1250, 3600.0), in_flight=2)
    assert_type((quota.limits, quota.in_flight), tuple[tuple[tuple[int, float], ...], int])
    assert_type(Quota.of("business"), Quota)
    shared: SharedQuota = FileQuota("quota.json", quota)
    retry = RetryPolicy(attempts=3, backoff=0.1, max_backoff=1.0, deadline=60)
    async with ClicksClient(
        "key", plan=Plan.BUSINESS, quota=shared, base_url="http://localhost", user_agent="Acme", language="ko",
        session=session, timeout=10, retry=retry, check="warn", api_version="v2", allow_http=True,
    ) as client:  # fmt: skip
        assert_type(client, ClicksClient)
    async with ClicksClient(plan="business", quota=quota):
        pass
    ClicksClient("key", check="lax")  # type: ignore[arg-type]
    ClicksClient("key", api_version="v3")  # type: ignore[arg-type]
    ClicksClient("key", "business")  # type: ignore[call-arg]


def errors(error: RequestError) -> None:
    base: ClicksGroupError = error
    also: tuple[type[ValueError], type[RuntimeError]] = (ConfigurationError, ClientClosedError)
    assert_type((error.date, error.page, error.attempts), tuple[datetime.date, int, int])
    match error:
        case RateLimitError():
            assert_type((error.status, error.retry_after), tuple[int, float | None])
        case StatusError():
            assert_type(error.status, int)
        case APIError():
            assert_type((error.code, error.message), tuple[int, str])
        case DecodeError():
            assert_type((error.field, error.snippet), tuple[str, str])
    del base, also
