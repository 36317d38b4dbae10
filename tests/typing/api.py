"""The types of the public interface: every public call. mypy and pyright check this file; it is never run."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import assert_type

import aiohttp

from clicksgroup import (
    APIError,
    ClicksClient,
    ClicksGroupError,
    ClientClosedError,
    ConfigurationError,
    DateLike,
    DateRange,
    DatesLike,
    Day,
    DecodeError,
    Estimate,
    Group,
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
from clicksgroup.exports import write_csv, write_ndjson, write_parquet
from clicksgroup.quota import FileQuota
from clicksgroup.redis import RedisQuota
from clicksgroup.sandbox import Fault, Sandbox
from clicksgroup.store import BackfillReport, ClickStore


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


async def opened() -> None:
    client = await ClicksClient("key").open()
    assert_type(client, ClicksClient)
    assert_type(client.origin, str)
    await client.aclose()


async def link_groups(client: ClicksClient) -> None:
    assert_type(client.groups(name="Coffee"), Stream[Group])
    async for group in client.groups():
        assert_type((group.id, group.name, group.memo, group.link_count), tuple[int, str, str, int])


async def resumed(client: ClicksClient, wanted: DatesLike) -> None:
    failed: dict[datetime.date, ClicksGroupError] = {}
    assert_type([day async for day in client.days(wanted, failed=failed)], list[Day])
    one: DateLike = "2025-01-01"
    assert_type(await client.day(one), Day)

    def fatal(date: datetime.date, error: ClicksGroupError) -> bool:
        return error.stops_all

    async for date, outcome in client.day_outcomes(wanted, fatal=fatal):
        assert_type((date, outcome), tuple[datetime.date, Day | ClicksGroupError])


async def stored(client: ClicksClient) -> None:
    async with ClickStore("clicks.sqlite", settle=datetime.timedelta(days=3)) as store:
        report = await store.backfill(client, "2025-01-01", progress=lambda progress: print(progress.eta))
        assert_type(report, BackfillReport)
        assert_type(report.failed, dict[datetime.date, ClicksGroupError])
        coverage = await store.coverage("2025-01-01", "2025-01-31")
        assert_type(coverage.missing, list[datetime.date])
        async for record in store.clicks("2025-01-01", "2025-01-31", groups=[151]):
            assert_type(record, GroupClicks)
        async for day in store.days("2025-01-01", "2025-01-31"):
            await store.put(day)


async def played() -> None:
    async with Sandbox(groups=40, plan="business", faults=[Fault(status=503)]) as sandbox, sandbox.client() as client:
        assert_type(client, ClicksClient)
        assert_type(sandbox.truth("2025-01-03"), list[GroupClicks])
        assert_type(sandbox.truth_groups("Coffee"), list[Group])
        assert_type(sandbox.requests[0].page, int | None)


async def written(client: ClicksClient) -> None:
    with Path("clicks.csv").open("wb") as file:
        assert_type(await write_csv(client.clicks("2025-01-01"), file), int)
        assert_type(await write_ndjson(client.clicks("2025-01-01"), file), int)
        assert_type(await write_parquet(await client.day("2025-01-01"), file), int)


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
    assert_type((list(day), len(day), bool(day)), tuple[list[GroupClicks], int, bool])
    assert_type((list(page), len(page)), tuple[list[GroupClicks], int])
    day.__arrow_c_stream__()
    assert_type((totals.start, totals.end, totals.clicks), tuple[datetime.date, datetime.date, int])
    assert_type((estimate.requests, estimate.seconds), tuple[int, float])
    assert_type((stats.requests, stats.waited), tuple[int, float])


def ranges() -> None:
    span: Sequence[datetime.date] = date_range("2025-01-01", "2025-01-31")
    assert_type(span[0], datetime.date)
    assert_type(date_range("2025-01-01", "2025-01-31")[0], datetime.date)
    assert_type(date_range("2025-01-01", "2025-01-31"), DateRange)


async def clients(session: aiohttp.ClientSession) -> None:
    quota = Quota((24, 60), (1250, 3600.0), in_flight=2)
    assert_type((quota.limits, quota.in_flight), tuple[tuple[tuple[int, float], ...], int])
    assert_type(Quota.of("business"), Quota)
    shared: SharedQuota = FileQuota("quota.json", quota, outage_timeout=5.0)
    shared = RedisQuota("redis://localhost", quota, name="clicks", outage_timeout=5.0)
    async with shared as entered:
        assert_type(entered.quota, Quota)
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
        case _:
            assert_type((error.retryable, error.stops_all), tuple[bool, bool])
    del base, also
