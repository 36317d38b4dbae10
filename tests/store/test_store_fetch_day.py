"""A date on demand: from the store if it is there and fresh enough, else fetched once for all who ask."""

from __future__ import annotations

import asyncio
import datetime

import pytest

from clicksgroup.errors import ConfigurationError, ServerError, StoreError
from clicksgroup.store import ClickStore
from clicksgroup.store.backfill import Clock
from tests.store.databases import TempDatabase, make_day
from tests.store.fake_client import FakeClient, complete, failing

JAN_1 = datetime.date(2025, 1, 1)
MINUTE = datetime.timedelta(minutes=1)


async def test_kept(store: ClickStore) -> None:
    """A date is fetched once, and then read from the store, as equal days."""
    client = FakeClient()
    days = [await store.fetch_day(client, "2025-01-01") for _ in range(3)]
    assert days == [complete(JAN_1, None)] * 3
    assert client.asked == [JAN_1]
    assert (await store.coverage(JAN_1, JAN_1)).final == [JAN_1]


async def test_groups(store: ClickStore) -> None:
    """A date fetched for some groups answers for these, and a date fetched whole for all."""
    client = FakeClient()
    assert (await store.fetch_day(client, JAN_1, groups=[1, 2])).groups == (1, 2)
    await store.fetch_day(client, JAN_1, groups=[2])
    assert len(client.asked) == 1
    await store.fetch_day(client, JAN_1)
    await store.fetch_day(client, JAN_1, groups=[3])
    assert len(client.asked) == 2


@pytest.mark.parametrize(("max_age", "requests"), [(None, 1), (MINUTE, 0), (MINUTE / 2, 1)])
async def test_max_age(database: TempDatabase, max_age: datetime.timedelta | None, requests: int) -> None:
    """A date that is not final is fetched again if it is older than `max_age`; without one, always."""
    fetched_at = datetime.datetime(2025, 1, 1, 15, tzinfo=datetime.UTC)
    async with database.store(clock=Clock(now=lambda: fetched_at + MINUTE)) as store:
        await store.put(make_day(JAN_1, {1: 1}, fetched_at=fetched_at))
        client = FakeClient()
        await store.fetch_day(client, JAN_1, max_age=max_age)
        assert len(client.asked) == requests


async def test_shared(store: ClickStore) -> None:
    """All who ask meanwhile share the work, and one who leaves does not disturb the others."""
    client, asked, released = FakeClient(), asyncio.Event(), asyncio.Event()

    async def block() -> None:
        asked.set()
        await released.wait()

    client.before_answer = block
    tasks = [asyncio.ensure_future(store.fetch_day(client, JAN_1)) for _ in range(5)]
    await asked.wait()
    tasks[0].cancel()
    released.set()
    assert await asyncio.gather(*tasks[1:]) == [complete(JAN_1, None)] * 4
    assert client.asked == [JAN_1]


async def test_last_caller_leaves(store: ClickStore) -> None:
    """When the last caller leaves, the work ends; the next one begins anew."""
    client, asked, cancelled = FakeClient(), asyncio.Event(), asyncio.Event()

    async def block() -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    client.before_answer = block
    tasks = [asyncio.ensure_future(store.fetch_day(client, JAN_1)) for _ in range(2)]
    await asked.wait()
    for task in tasks:
        task.cancel()
    await cancelled.wait()
    client.before_answer = None
    assert await store.fetch_day(client, JAN_1) == complete(JAN_1, None)


async def test_failure(store: ClickStore) -> None:
    """A failure is raised for all who asked, and the next one asks again."""
    error = ServerError("page 1", status=500, date=JAN_1, page=1)
    client = FakeClient(failing({1: error}))
    caught = await asyncio.gather(*(store.fetch_day(client, JAN_1) for _ in range(2)), return_exceptions=True)
    assert caught == [error, error]
    assert client.asked == [JAN_1]
    assert await store.fetch_day(FakeClient(), JAN_1) == complete(JAN_1, None)


async def test_refused(store: ClickStore) -> None:
    """A future date, and a client of another origin, are refused before a request."""
    client = FakeClient()
    with pytest.raises(ConfigurationError, match="has not begun"):
        await store.fetch_day(client, "2999-01-01")
    await store.fetch_day(client, JAN_1)
    client.origin = "a sandbox"
    with pytest.raises(StoreError, match="these would come from a sandbox"):
        await store.fetch_day(client, "2025-01-02")
    assert client.asked == [JAN_1]
