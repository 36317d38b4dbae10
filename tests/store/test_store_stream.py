"""A stream from the store ends, fails and is given up as one from the client is."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from clicksgroup.dates import date_range
from clicksgroup.errors import ConfigurationError
from clicksgroup.store import ClickStore
from clicksgroup.store.stream import StoreStream
from tests.store.databases import LONG_AFTER, Database, make_day

DATES = date_range("2025-01-01", "2025-01-30")


@pytest.fixture
async def filled(store: ClickStore, monkeypatch: pytest.MonkeyPatch) -> ClickStore:
    """Thirty dates of three groups, of which a chunk holds two."""
    monkeypatch.setattr("clicksgroup.store.reading.CHUNK_ROWS", 5)
    for date in DATES:
        await store.put(make_day(date, {1: 1, 2: 2, 3: 3}))
    return store


async def test_every_record_comes_once_in_order(filled: ClickStore) -> None:
    records = [record async for record in filled.clicks(DATES[0], DATES[-1])]
    assert [(record.date, record.group_id) for record in records] == [(date, n) for date in DATES for n in (1, 2, 3)]
    records = [record async for record in filled.clicks(DATES[3], DATES[9], groups=[2])]
    assert [record.date for record in records] == list(DATES[3:10])
    assert [day.date async for day in filled.days(DATES[0], DATES[-1])] == list(DATES)
    assert [len(day) async for day in filled.days(DATES[3], DATES[9], groups=[3, 2, 9])] == [2] * 7


async def test_it_is_a_generator_that_can_be_closed(filled: ClickStore) -> None:
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


async def test_the_end_stays_the_end(filled: ClickStore) -> None:
    stream = filled.clicks(DATES[0], DATES[0])
    assert len([record async for record in stream]) == 3
    assert [record async for record in stream] == []


async def test_after_an_error_it_keeps_raising_it() -> None:
    asked = 0

    async def broken(after: object) -> tuple[list[int], object]:
        nonlocal asked
        asked += 1
        if after is None:
            return [1], 1
        raise ZeroDivisionError

    stream: StoreStream[int] = StoreStream(broken)
    assert await anext(stream) == 1
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await anext(stream)
    assert asked == 2


async def test_a_cancelled_read_loses_nothing_and_two_readers_are_refused() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow(after: object) -> tuple[list[int], object]:
        began.set()
        await go_on.wait()
        return ([1, 2], 2) if after is None else ([3], None)

    stream: StoreStream[int] = StoreStream(slow)
    reading = asyncio.ensure_future(anext(stream))
    await began.wait()
    with pytest.raises(RuntimeError, match="another task"):
        await anext(stream)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    go_on.set()
    assert [number async for number in stream] == [1, 2, 3]


async def test_a_date_that_is_replaced_meanwhile_is_never_mixed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read as it was or as it is, though a chunk would end in its middle."""
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


async def test_ends_that_cannot_be_right_are_refused_at_the_call(store: ClickStore) -> None:
    with pytest.raises(ConfigurationError):
        store.clicks("2025-01-02", "2025-01-01")
    with pytest.raises(ConfigurationError):
        store.days("2025-01-01", "2025-13-01")
