"""One backfill of an account runs at a time, in whichever process, and an account has one origin."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from clicksgroup.client import ClicksClient
from clicksgroup.dates import date_range
from clicksgroup.errors import StoreError
from clicksgroup.plans import Quota
from clicksgroup.sandbox import Sandbox
from clicksgroup.store import ClickStore
from tests.store.databases import TempDatabase, make_day
from tests.store.fake_client import FakeClient
from tests.store.processes import DATES as PROCESS_DATES
from tests.store.processes import PAGES_PER_DATE, start_worker

DATES = date_range("2025-01-01", "2025-01-10")


class Blocked:
    """A client that stops before its second answer until it is `released`."""

    def __init__(self) -> None:
        self.client = FakeClient()
        self.client.before_answer = self._block
        self.reached = asyncio.Event()
        self.released = asyncio.Event()

    async def _block(self) -> None:
        if len(self.client.asked) == 2:
            self.reached.set()
            await self.released.wait()


async def test_second_backfill_waits(
    database: TempDatabase, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says for which process it waits, and then asks only for what the first one did not fetch."""
    monkeypatch.setattr("clicksgroup.store.backfill.LOCK_INTERVAL", 0.001)
    caplog.set_level(logging.INFO, "clicksgroup")
    said = asyncio.Event()
    monkeypatch.setattr(caplog.handler, "emit", _then(caplog.handler.emit, said))
    blocked, second = Blocked(), FakeClient()
    async with database.store() as a, database.store() as b:
        first = asyncio.ensure_future(a.backfill(blocked.client, DATES[:5]))
        await blocked.reached.wait()
        waiting = asyncio.ensure_future(b.backfill(second, DATES))
        await said.wait()
        assert second.asked == []
        blocked.released.set()
        assert (await first).fetched == 5
        assert (await waiting).skipped == 5
    assert second.asked == list(DATES[5:])
    assert f"waiting for the backfill that runs in process {os.getpid()} on" in caplog.text
    assert "the other backfill has ended" in caplog.text


def _then(emit: Callable[[logging.LogRecord], None], event: asyncio.Event) -> Callable[[logging.LogRecord], None]:
    def emit_and_set(record: logging.LogRecord) -> None:
        emit(record)
        event.set()

    return emit_and_set


@pytest.mark.parametrize("url", ["database", ":memory:"])
async def test_interrupted_while_waiting(database: TempDatabase, url: str) -> None:
    """A backfill that waits can be cancelled, in one store object too; the first one goes on."""
    blocked, second = Blocked(), FakeClient()
    async with ClickStore(url) if url == ":memory:" else database.store() as store:
        first = asyncio.ensure_future(store.backfill(blocked.client, DATES))
        await blocked.reached.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await store.backfill(second, DATES)
        blocked.released.set()
        assert (await first).fetched == 10
        assert (await store.backfill(second, DATES)).skipped == 10
    assert second.asked == []


async def test_accounts_do_not_wait(database: TempDatabase) -> None:
    """Different accounts of one store are filled at the same time."""
    blocked = Blocked()
    async with database.store(account="a") as a, database.store(account="b") as b:
        first = asyncio.ensure_future(a.backfill(blocked.client, DATES))
        await blocked.reached.wait()
        assert (await b.backfill(FakeClient(), DATES)).fetched == 10
        blocked.released.set()
        assert (await first).fetched == 10


@pytest.mark.postgres
async def test_lost_lock(postgres: TempDatabase) -> None:
    """A lock whose connection is lost is taken again; where another backfill took it meanwhile, the job ends."""
    cut = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND (classid::bigint << 32 | objid::bigint) = "
        f"hashtextextended('clicksgroup backfill {postgres.schema} default', 0)"
    )
    blocked, other = Blocked(), Blocked()
    async with postgres.store() as a, postgres.store() as b:
        first = asyncio.ensure_future(a.backfill(blocked.client, DATES))
        await blocked.reached.wait()
        assert await postgres.sql(cut) == [(True,)]
        blocked.released.set()
        assert (await first).fetched == 10

        blocked = Blocked()
        first = asyncio.ensure_future(a.backfill(blocked.client, DATES, refresh=True))
        await blocked.reached.wait()
        await postgres.sql(cut)
        second = asyncio.ensure_future(b.backfill(other.client, DATES, refresh=True))
        await other.reached.wait()
        blocked.released.set()
        with pytest.raises(StoreError, match=r"account 'default' .*another backfill has begun meanwhile"):
            await first
        other.released.set()
        assert (await second).fetched == 10


@pytest.mark.postgres
async def test_small_pool(postgres: TempDatabase) -> None:
    """The lock needs no connection of a pool that has only one."""
    engine = create_async_engine(postgres.url, pool_size=1, max_overflow=0)
    async with ClickStore(engine, schema=postgres.schema) as store:
        assert (await store.backfill(FakeClient(), DATES)).fetched == 10
    await engine.dispose()


@pytest.mark.slow
async def test_three_processes(database: TempDatabase) -> None:
    """Three backfills at once send the requests of one."""
    async with Sandbox(groups=95, quota=Quota(in_flight=9)) as sandbox:
        processes = [await start_worker(sandbox, database) for _ in range(3)]
        assert [await process.wait() for process in processes] == [0, 0, 0]
        assert len(sandbox.requests) == len(PROCESS_DATES) * PAGES_PER_DATE


@pytest.mark.slow
async def test_killed_holder(database: TempDatabase) -> None:
    """When the process that holds the lock is killed, the next one goes on."""
    async with Sandbox(groups=95, quota=Quota(in_flight=9), latency=0.02) as sandbox:
        first = await start_worker(sandbox, database)
        await sandbox.wait_for_requests(5)
        second = await start_worker(sandbox, database)
        await sandbox.wait_for_requests(40)
        first.send_signal(signal.SIGKILL)
        await first.wait()
        assert await second.wait() == 0
        async with database.store() as store:
            assert (await store.coverage(PROCESS_DATES[0], PROCESS_DATES[-1])).missing == []


async def test_other_origin(database: TempDatabase) -> None:
    """A client of another origin is refused before a request, with what to do; other accounts are not affected."""
    async with database.store() as store:
        await store.backfill(FakeClient(), DATES[:2])
        other = FakeClient()
        other.origin = "http://127.0.0.1:8080"
        with pytest.raises(StoreError, match=r"come from https://vivoldi.com:443, .*127.0.0.1:8080; .*--account NAME"):
            await store.backfill(other, DATES)
        assert other.asked == []
    async with database.store(account="other") as store:
        assert (await store.backfill(other, DATES)).fetched == 10


async def test_days_that_were_put(store: ClickStore) -> None:
    """Clicks that were put by hand have no known origin: the next backfill sets it."""
    await store.put(make_day(DATES[0], {1: 1}))
    assert (await store.backfill(FakeClient(), DATES[:2])).fetched == 1


async def test_sandbox_and_real_clicks(store: ClickStore) -> None:
    """A sandbox fills a store again on another port, and never the account of real clicks, nor the other way round."""
    for requests in (4, 0):
        async with Sandbox() as sandbox, sandbox.client() as client:
            assert (await store.backfill(client, DATES[0])).requests == requests
    async with ClicksClient("key", base_url="http://127.0.0.1:1") as real:
        with pytest.raises(StoreError, match="come from a sandbox"):
            await store.backfill(real, DATES)
