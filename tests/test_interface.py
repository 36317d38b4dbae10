"""The parts of the interface that stand beside the streams: opening, link groups, dates that fail, pages as data."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import AsyncIterator
from typing import Any, get_args

import pytest

import clicksgroup
from clicksgroup import (
    ClicksClient,
    ClicksGroupError,
    ClientClosedError,
    Day,
    ForbiddenError,
    Group,
    GroupClicks,
    Page,
    Quota,
    RequestError,
    RetryPolicy,
    ServerError,
    date_range,
)
from clicksgroup.sandbox import Fault, Sandbox

DATE = "2025-01-03"
FAST = Quota(in_flight=2)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(95, quota=FAST) as sandbox:
        yield sandbox


# Opening and closing


async def test_open(sandbox: Sandbox) -> None:
    """A notebook opens the client, and closes it, more than once if it likes."""
    client = await sandbox.client().open()
    assert list(await client.day(DATE)) == sandbox.truth(DATE)
    stream = client.clicks(DATE)
    await anext(stream)
    await client.aclose()
    await client.aclose()
    for ask in (client.day(DATE), anext(stream)):
        with pytest.raises(ClientClosedError):
            await ask
    with pytest.raises(ClientClosedError, match="opened once"):
        await client.open()


async def test_open_twice(sandbox: Sandbox) -> None:
    """It is opened once, and a second attempt leaves it open."""
    client = await sandbox.client().open()
    with pytest.raises(ClientClosedError, match="opened once"):
        await client.open()
    assert len(await client.day(DATE)) == 95
    await client.aclose()


async def test_open_and_enter(sandbox: Sandbox) -> None:
    """`async with` opens it too."""
    client = await sandbox.client().open()
    with pytest.raises(ClientClosedError, match="opened once"):
        await client.__aenter__()
    await client.aclose()


async def test_close_without_open(sandbox: Sandbox) -> None:
    """Closing one that was never opened is fine, and it stays closed."""
    client = sandbox.client()
    await client.aclose()
    with pytest.raises(ClientClosedError):
        await client.open()
    assert not sandbox.requests


async def test_close_within_the_block(sandbox: Sandbox) -> None:
    """So is closing it before its block ends."""
    async with sandbox.client() as client:
        await client.day(DATE)
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await client.day(DATE)


# Link groups


@pytest.mark.parametrize("name", [None, "Coffee", "커피 원두", '"Buy 2, get 1"', "100%&=#", "no such name"])
async def test_groups(sandbox: Sandbox, client: ClicksClient, name: str | None) -> None:
    """The account's groups, or those whose name contains a text, page by page, each request counted."""
    truth = sandbox.truth_groups(name)
    assert [group async for group in client.groups(name=name)] == truth
    assert client.stats.requests == len(sandbox.requests) == max(1, -(-len(truth) // 30))
    assert client.stats.records == len(truth)


async def test_groups_are_those_of_clicks(client: ClicksClient) -> None:
    """Their ids and names are those that clicks list; a memo that is null or absent is an empty text."""
    names = {group.id: group.name async for group in client.groups()}
    async for record in client.clicks(DATE):
        assert names[record.group_id] == record.group_name
    memos = [group.memo async for group in client.groups()]
    assert "" in memos
    assert all(isinstance(memo, str) for memo in memos)
    assert any(memos)


async def test_groups_of_premium() -> None:
    """Premium lists its groups, and can then ask for them."""
    async with Sandbox(12, "premium", quota=FAST) as sandbox, sandbox.client() as client:
        ids = [group.id async for group in client.groups()]
        listed = {record.group_id for record in sandbox.truth(DATE)}
        assert {record.group_id for record in await client.day(DATE, groups=ids)} == listed


async def test_groups_fail() -> None:
    """Its errors say where, without a date that nobody asked for."""
    faults = [Fault(attempts=None, status=500)]
    async with Sandbox(3, quota=FAST, faults=faults) as sandbox, sandbox.client(retry=RetryPolicy(1)) as client:
        with pytest.raises(ServerError, match=r"^list of groups page 1: ") as caught:
            await anext(client.groups())
    assert isinstance(caught.value.date, datetime.date)


# Dates that fail


async def test_failed() -> None:
    """A date that fails is noted with its error and left out; the others come."""
    faults = [Fault(date=date, page=2, attempts=None, status=500) for date in ("2025-01-02", "2025-01-05")]
    dates = date_range("2025-01-01", "2025-01-06")
    for ordered in (True, False):
        failed: dict[datetime.date, ClicksGroupError] = {}
        async with (
            Sandbox(95, quota=FAST, faults=faults) as faulty,
            faulty.client(retry=RetryPolicy(attempts=2, backoff=0)) as client,
        ):
            days = [day async for day in client.days(dates, ordered=ordered, failed=failed)]
        assert [day.date.day for day in sorted(days, key=lambda day: day.date)] == [1, 3, 4, 6]
        assert not ordered or [day.date.day for day in days] == [1, 3, 4, 6]
        assert {date.day: type(error) for date, error in failed.items()} == {2: ServerError, 5: ServerError}
        assert all(isinstance(error, RequestError) and error.date == date for date, error in failed.items())


async def test_failed_altogether() -> None:
    """An error that every date would meet ends the stream all the same."""
    faults = [Fault(attempts=None, status=403)]
    failed: dict[datetime.date, ClicksGroupError] = {}
    async with Sandbox(3, quota=FAST, faults=faults) as sandbox, sandbox.client() as client:
        stream = client.days(date_range("2025-01-01", "2025-01-31"), failed=failed)
        for _ in range(2):
            with pytest.raises(ForbiddenError):
                await anext(stream)
        assert len(sandbox.requests) <= 2
    assert not failed


async def test_failed_client_is_closed(sandbox: Sandbox) -> None:
    """So does leaving the client."""
    failed: dict[datetime.date, ClicksGroupError] = {}
    async with sandbox.client() as client:
        stream = client.days(date_range("2025-01-01", "2025-12-31"), failed=failed)
        await anext(stream)
    with pytest.raises(ClientClosedError):
        await anext(stream)
    assert not failed


async def test_failed_dates_that_cannot_be(client: ClicksClient) -> None:
    """A value that is not a date is an error of the caller's, never noted."""
    failed: dict[datetime.date, ClicksGroupError] = {}
    stream = client.days(iter([DATE, "2025-02-30"]), failed=failed)
    assert (await anext(stream)).date == datetime.date(2025, 1, 3)
    with pytest.raises(clicksgroup.ConfigurationError):
        await anext(stream)
    assert not failed


async def test_resume() -> None:
    """After an error in order, the dates that were not given are that of the error and those after it."""
    faults = [Fault(date="2025-01-04", page=1, status=400)]
    dates = date_range("2025-01-01", "2025-01-08")
    async with Sandbox(95, quota=FAST, faults=faults) as faulty, faulty.client() as client:
        stream = client.days(dates)
        days = [await anext(stream) for _ in range(3)]
        with pytest.raises(RequestError) as caught:
            await anext(stream)
        rest = [date for date in dates if date >= caught.value.date]
        days += [day async for day in client.days(rest)]
    assert [day.date for day in days] == list(dates)


# Pages and days as data


async def test_containers(sandbox: Sandbox, client: ClicksClient) -> None:
    """`len` and iteration go over the records; an answer without any is true all the same."""
    page, day = await client.page(DATE, 2), await client.day(DATE)
    truth = sandbox.truth(DATE)
    assert (len(page), list(page)) == (30, truth[30:60])
    assert (len(day), list(day)) == (95, truth)
    assert day.records[0] in day
    empty = Page(page.date, 1, None, 0, 0, (), None)
    assert (len(empty), list(empty), bool(empty)) == (0, [], True)
    assert bool(Day(day.date, 0, (), day.fetched_at, None, ()))


async def test_short_reprs(client: ClicksClient) -> None:
    """A log line stays a line: the records are counted."""
    page, day = await client.page(DATE, 4), await client.day(DATE)
    assert "records=<5 records>" in repr(page)
    assert "records=<95 records>" in repr(day)
    assert "total_count=95" in repr(day)
    assert max(len(repr(page)), len(repr(day))) < 250


def of_polars(data: Any) -> Any:
    return pytest.importorskip("polars").DataFrame(data).rows(named=True)


def of_pyarrow(data: Any) -> Any:
    return pytest.importorskip("pyarrow").table(data).to_pylist()


def of_pandas(data: Any) -> Any:
    return pytest.importorskip("pandas", "3.0").DataFrame.from_arrow(data).to_dict("records")


def of_duckdb(data: Any) -> Any:
    duckdb = pytest.importorskip("duckdb")
    found = duckdb.sql("select * from data")
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


@pytest.mark.parametrize("read", [of_polars, of_pyarrow, of_pandas, of_duckdb])
async def test_arrow(sandbox: Sandbox, client: ClicksClient, read: Any) -> None:
    """polars, pyarrow, pandas and DuckDB take a date and a page as they are."""
    pytest.importorskip("arro3.core")
    truth = sandbox.truth(DATE)
    for data, records in ((await client.day(DATE), truth), (await client.page(DATE, 4), truth[90:])):
        assert [GroupClicks(**row) for row in read(data)] == records


@pytest.mark.parametrize("read", [of_polars, of_pyarrow, of_pandas, of_duckdb])
async def test_arrow_empty(read: Any) -> None:
    """So they do without records."""
    pytest.importorskip("arro3.core")
    async with Sandbox(0, quota=FAST) as sandbox, sandbox.client() as client:
        assert read(await client.day(DATE)) == []


# Names


def test_errors_need_date_and_page() -> None:
    """A `RequestError` never goes without its date and page."""
    for cls in (getattr(clicksgroup, name) for name in clicksgroup.__all__):
        if isinstance(cls, type) and issubclass(cls, RequestError):
            with pytest.raises(TypeError, match=r"date|page"):
                cls("text")  # type: ignore[call-arg]
            error = cls("text", date=datetime.date(2025, 1, 3), page=2)
            assert (error.date, error.page) == (datetime.date(2025, 1, 3), 2)


def test_exports() -> None:
    """Users can annotate their own functions with what the calls take and give."""
    assert {"DateLike", "DatesLike", "DateRange", "Group"} <= set(clicksgroup.__all__)
    assert isinstance(date_range("2025-01-01", "2025-01-02"), clicksgroup.DateRange)
    assert set(get_args(clicksgroup.DateLike)) == {datetime.date, str}
    assert Group(1, "name", "", 2) == Group(id=1, name="name", memo="", link_count=2)
    assert list(inspect.signature(ClicksClient.groups).parameters) == ["self", "name"]
