"""A stream from the store gives every record once, and ends, fails and closes as one from the client does."""

from __future__ import annotations

import asyncio
import datetime
import io
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from clicksgroup import exports
from clicksgroup.dates import date_range
from clicksgroup.errors import ConfigurationError
from clicksgroup.models import GroupClicks
from clicksgroup.store import ClickStore
from clicksgroup.store.reading import StoreStream
from tests.store.databases import LONG_AFTER, TempDatabase, make_day

DATES = date_range("2025-01-01", "2025-01-30")


@pytest.fixture
async def filled(store: ClickStore, monkeypatch: pytest.MonkeyPatch) -> ClickStore:
    """Thirty dates of three groups, two dates in a chunk."""
    monkeypatch.setattr("clicksgroup.store.reading.CHUNK_ROWS", 5)
    for date in DATES:
        await store.put(make_day(date, {1: 1, 2: 2, 3: 3}))
    return store


async def test_order(filled: ClickStore) -> None:
    """Every record and day comes once, in order, across chunks."""
    records = [record async for record in filled.clicks(DATES[0], DATES[-1])]
    assert [(record.date, record.group_id) for record in records] == [(date, n) for date in DATES for n in (1, 2, 3)]
    records = [record async for record in filled.clicks(DATES[3], DATES[9], groups=[2])]
    assert [record.date for record in records] == list(DATES[3:10])
    assert [day.date async for day in filled.days(DATES[0], DATES[-1])] == list(DATES)
    assert [len(day) async for day in filled.days(DATES[3], DATES[9], groups=[3, 2, 9])] == [2] * 7


async def test_columns(filled: ClickStore) -> None:
    """Exports take the same records as columns, without a `GroupClicks` for each, and Arrow has them all."""
    pytest.importorskip("arro3.core")
    records = [record async for record in filled.clicks(DATES[0], DATES[-1])]
    stream = filled.clicks(DATES[0], DATES[-1])
    chunks = [chunk async for chunk in stream.columns()]
    assert len(chunks) == 15
    assert [GroupClicks(*row) for chunk in chunks for row in zip(*chunk, strict=True)] == records
    table = await filled.to_arrow(DATES[0], DATES[-1], groups=[2])
    assert table.column("date").to_pylist() == list(DATES)
    file = io.BytesIO()
    assert await exports.write_csv(filled.clicks("2024-01-01", "2024-01-02"), file) == 0
    assert file.getvalue().count(b"\n") == 1


async def test_closing(filled: ClickStore) -> None:
    """It is an asynchronous generator: `aclosing`, `async with` and `athrow` end it."""
    stream = filled.clicks(DATES[0], DATES[-1])
    assert isinstance(stream, AsyncGenerator)
    async with aclosing(stream):
        assert (await anext(stream)).group_id == 1
        assert (await stream.asend(None)).group_id == 2
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    async with filled.days(DATES[0], DATES[-1]) as days:
        await anext(days)
        with pytest.raises(ZeroDivisionError):
            await days.athrow(ZeroDivisionError())
        with pytest.raises(StopAsyncIteration):
            await anext(days)


async def test_read_again_after_the_end(filled: ClickStore) -> None:
    """After its end a stream stays at its end."""
    stream = filled.clicks(DATES[0], DATES[0])
    assert len([record async for record in stream]) == 3
    assert [record async for record in stream] == []


async def test_error_is_raised_again() -> None:
    """After an error, the stream raises it again and reads nothing more."""
    reads = 0

    async def read_chunk(position: int) -> tuple[list[int], int | None]:
        nonlocal reads
        reads += 1
        if position == 0:
            return [1], 1
        raise ZeroDivisionError

    stream = StoreStream(read_chunk, 0)
    assert await anext(stream) == 1
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await anext(stream)
    assert reads == 2


async def test_cancelled_read_and_second_reader() -> None:
    """A cancelled read loses no item, and a second reader at the same time is refused."""
    started, released = asyncio.Event(), asyncio.Event()

    async def read_chunk(position: int) -> tuple[list[int], int | None]:
        started.set()
        await released.wait()
        return ([1, 2], 1) if position == 0 else ([3], None)

    stream = StoreStream(read_chunk, 0)
    reading = asyncio.ensure_future(anext(stream))
    await started.wait()
    with pytest.raises(RuntimeError, match="one reader"):
        await anext(stream)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    released.set()
    assert [number async for number in stream] == [1, 2, 3]


async def test_date_replaced_while_reading(database: TempDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A date that is replaced while a stream is read is read as it was or as it is, never as a mixture."""
    monkeypatch.setattr("clicksgroup.store.reading.CHUNK_ROWS", 5)
    async with database.store() as reader, database.store() as writer:
        for date in DATES[:4]:
            await writer.put(make_day(date, dict.fromkeys(range(1, 5), 1)))
        seen: dict[datetime.date, set[int]] = {}
        async for record in reader.clicks(DATES[0], DATES[3]):
            seen.setdefault(record.date, set()).add(record.clicks)
            later = LONG_AFTER + datetime.timedelta(seconds=sum(map(len, seen.values())))
            for date in DATES[:4]:
                await writer.put(make_day(date, dict.fromkeys(range(1, 5), 2), fetched_at=later))
        assert list(seen.values()) == [{1}, {1}, {2}, {2}]


async def test_wrong_dates(store: ClickStore) -> None:
    """Dates that are wrong are refused at the call, not when the stream is read."""
    with pytest.raises(ConfigurationError):
        store.clicks("2025-01-02", "2025-01-01")
    with pytest.raises(ConfigurationError):
        store.days("2025-01-01", "2025-13-01")
