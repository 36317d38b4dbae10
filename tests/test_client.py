"""The client against a real server: what it gives is the truth."""

from __future__ import annotations

import datetime
from typing import Any

import attrs
import pytest

from clicksgroup import (
    AuthenticationError,
    ClicksClient,
    ClicksGroupError,
    Day,
    Quota,
    RetryPolicy,
    ServerError,
    Stats,
    date_range,
)
from clicksgroup.sandbox import Fault, Sandbox, SeenRequest
from tests.dates_of_all_sizes import DATES, FAST, SIZES, costs, pages, size

HARD_NAMES = [
    "",
    " ",
    "봄 세일 🌸",
    "quoted \"x\", 'y'",
    "a,b;c\td",
    "two\nlines\r\n",
    "\u0000\u2028\ufeff\\",
    "👩‍👩‍👧 é e\u0301",
]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("ordered", [True, False])
async def test_many_dates(version: Any, ordered: bool) -> None:
    """Nothing twice, nothing missing, each date in one piece, and never more in flight than allowed, nor fewer."""
    async with Sandbox(size, quota=FAST, latency=0.001) as sandbox, sandbox.client(api_version=version) as client:
        truth = [record for date in DATES for record in sandbox.truth(date)]
        got = [record async for record in client.clicks(DATES, ordered=ordered)]
        stats = client.stats
    if ordered:
        assert got == truth
    else:
        assert sorted(got, key=lambda record: record.date) == truth
        seen = list(dict.fromkeys(record.date for record in got))
        assert [record.date for record in got] == [date for date in seen for _ in range(size(date))]
    assert costs(sandbox) == {date: pages(size(date)) for date in DATES}
    assert {request.path.split("/")[3] for request in sandbox.requests} == {version}
    assert {request.status for request in sandbox.requests} == {200}
    assert sandbox.in_flight_peak == 2
    asked = len(sandbox.requests)
    assert attrs.evolve(stats, bytes=0, waited=0) == Stats(requests=asked, pages=asked, records=len(truth))
    assert stats.bytes > 50 * len(truth)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("groups", SIZES)
async def test_one_date(groups: int, version: Any) -> None:
    """One date is the truth, whichever way it is asked for."""
    async with Sandbox(groups, quota=FAST) as sandbox, sandbox.client(api_version=version) as client:
        truth, date = sandbox.truth("2025-01-03"), datetime.date(2025, 1, 3)
        before = datetime.datetime.now(datetime.UTC)
        day = await client.day(date)
        assert (day.date, day.total_count, list(day), day.groups, day.problems) == (date, groups, truth, None, ())
        assert before <= day.fetched_at <= datetime.datetime.now(datetime.UTC)
        assert day.fetched_at.tzinfo is datetime.UTC
        assert len(day) == groups
        all_pages = [page async for page in client.pages(date)]
        assert [record for page in all_pages for record in page.records] == truth
        assert [page.number for page in all_pages] == list(range(1, pages(groups) + 1))
        assert [page.next_number for page in all_pages] == [*range(2, pages(groups) + 1), None]
        assert {page.total_count for page in all_pages} == {groups}
        assert [page.count for page in all_pages] == [len(page.records) for page in all_pages]
        assert [record async for record in client.clicks("2025-01-03")] == truth
        assert [item.records async for item in client.days([date])] == [tuple(truth)]
        assert await client.page(date, pages(groups)) == all_pages[-1]
        assert len(sandbox.requests) == 4 * pages(groups) + 1


@pytest.mark.parametrize("ordered", [True, False])
async def test_days(client: ClicksClient, sandbox: Sandbox, ordered: bool) -> None:
    """Days are whole dates."""
    days = [day async for day in client.days(DATES, ordered=ordered)]
    if ordered:
        assert [day.date for day in days] == list(DATES)
    assert {day.date: list(day) for day in days} == {date: sandbox.truth(date) for date in DATES}


async def test_names() -> None:
    """Names come as they are."""

    def rename(envelope: dict[str, Any]) -> dict[str, Any]:
        for record, name in zip(envelope["result"]["list"], HARD_NAMES, strict=True):
            record["grpNm"] = name
        return envelope

    async with Sandbox(len(HARD_NAMES), faults=[Fault(change=rename)]) as sandbox, sandbox.client() as client:
        assert [record.group_name async for record in client.clicks("2025-01-03")] == HARD_NAMES


async def test_start(client: ClicksClient, sandbox: Sandbox) -> None:
    """A single date can be resumed in the middle."""
    date = next(date for date in DATES if size(date) == 95)
    got = [page async for page in client.pages([date], start=3)]
    assert [page.number for page in got] == [3, 4]
    assert [record for page in got for record in page.records] == sandbox.truth(date)[60:]


async def test_totals(sandbox: Sandbox, client: ClicksClient) -> None:
    """Totals are asked for from v2, page by page."""
    truth = sandbox.truth_totals("2025-01-01", "2025-01-31")
    assert [record async for record in client.totals("2025-01-01", "2025-01-31")] == truth
    assert {request.path.split("/")[3] for request in sandbox.requests} == {"v2"}
    assert len(sandbox.requests) == pages(len(truth))


async def test_dates(sandbox: Sandbox, client: ClicksClient) -> None:
    """A date may be written in all its ways."""
    date = datetime.date(2025, 1, 4)
    for written in (date, "2025-01-04", datetime.datetime(2025, 1, 4), [date], iter(["2025-01-04"]), {date: 1}):
        assert [record async for record in client.clicks(written)] == sandbox.truth(date)


async def test_date_fails() -> None:
    """A date that fails ends the stream, after all that came before."""
    faults = [Fault(date="2025-01-03", page=2, attempts=None, status=500)]
    async with (
        Sandbox(95, quota=FAST, faults=faults) as sandbox,
        sandbox.client(retry=RetryPolicy(attempts=2, backoff=0)) as client,
    ):
        stream = client.clicks(date_range("2025-01-01", "2025-01-31"))
        got = [await anext(stream) for _ in range(95 + 95 + 30)]
        for _ in range(2):
            with pytest.raises(ServerError) as raised:
                await anext(stream)
            assert (raised.value.date, raised.value.page, raised.value.attempts) == (datetime.date(2025, 1, 3), 2, 2)
            assert isinstance(raised.value, ClicksGroupError)
        truth = [record for day in ("2025-01-01", "2025-01-02", "2025-01-03") for record in sandbox.truth(day)]
        assert got == truth[: len(got)]


@pytest.mark.parametrize("stops", [True, False])
async def test_day_outcomes(stops: bool) -> None:
    """What a backfill builds on: dates as they complete, failures among them, until one of them stops it."""
    faults = [Fault(date=date, attempts=None, status=401) for date in ("2025-01-02", "2025-01-05")]
    async with (
        Sandbox(3, quota=Quota(in_flight=1), faults=faults) as sandbox,
        sandbox.client() as client,
    ):
        asked: list[datetime.date] = []

        def fatal(date: datetime.date, error: ClicksGroupError) -> bool:
            assert isinstance(error, AuthenticationError)
            asked.append(date)
            return stops

        stream = client.day_outcomes(date_range("2025-01-01", "2025-01-09"), fatal=fatal)
        if stops:
            assert (await anext(stream))[0] == datetime.date(2025, 1, 1)
            with pytest.raises(AuthenticationError):
                await anext(stream)
        else:
            got = [(date, type(outcome)) async for date, outcome in stream]
            assert got == [
                (date, AuthenticationError if date.day in (2, 5) else Day)
                for date in date_range("2025-01-01", "2025-01-09")
            ]
        assert len(sandbox.requests) == (2 if stops else 9)
        assert [date.day for date in asked] == ([2] if stops else [2, 5])


async def test_part_moves() -> None:
    """A date that moves in one part of a split list costs that part again."""

    def moved(envelope: dict[str, Any]) -> dict[str, Any]:
        envelope["result"]["extra"]["totalCount"] += 1
        return envelope

    def fault(seen: SeenRequest) -> Fault | None:
        return Fault(change=moved) if seen.groups == tuple(ids[-5:]) and seen.attempt == 1 else None

    async with Sandbox(100, "premium", quota=FAST, faults=fault) as sandbox, sandbox.client() as client:
        ids = [record.group_id for record in sandbox.truth("2025-01-02")]
        day = await client.day("2025-01-02", groups=ids)
        assert sorted(day, key=lambda record: record.group_id) == sorted(
            sandbox.truth("2025-01-02"), key=lambda record: record.group_id
        )
        assert (day.total_count, client.stats.requests) == (100, 21)
