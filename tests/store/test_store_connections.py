"""Connections that are lost, cancelled or left hanging cost no stored date and leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import Pool

from clicksgroup.dates import date_range
from clicksgroup.errors import StoreError
from clicksgroup.store import ClickStore
from tests.store.databases import TempDatabase, make_day
from tests.store.fake_client import FakeClient, complete

DATES = date_range("2025-01-01", "2025-01-10")


class ConnectionCutter:
    """Has PostgreSQL terminate connections of an engine: on request, or before commits."""

    def __init__(self, postgres: TempDatabase, engine: AsyncEngine) -> None:
        self.cuts = 0
        self.pids: list[int] = []
        self.cuts_commit: Callable[[], bool] = lambda: False
        self._postgres = postgres
        event.listen(engine.sync_engine, "commit", self._before_commit)

    async def cut(self) -> None:
        self.cuts += 1
        await self._postgres.sql(f"SELECT pg_terminate_backend({self.pids[-1]}, 5000)")

    def _before_commit(self, connection: Connection) -> None:
        dbapi_connection: Any = connection.connection
        self.pids.append(dbapi_connection.driver_connection.get_server_pid())
        if self.cuts_commit():
            dbapi_connection.run_async(lambda _: self.cut())


@pytest.mark.postgres
@pytest.mark.parametrize("moment", ["between", "within"])
async def test_lost_connection(postgres: TempDatabase, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that PostgreSQL ends between two transactions, or within one, costs nothing."""
    monkeypatch.setattr("clicksgroup.store.database.RECONNECT_DELAYS", (0.0,) * 4)
    engine = create_async_engine(postgres.url)
    async with ClickStore(engine, schema=postgres.schema) as store:
        client, cutter = FakeClient(), ConnectionCutter(postgres, engine)

        async def cut_between() -> None:
            if len(client.asked) > 1 and cutter.cuts < 3:
                await cutter.cut()

        if moment == "between":
            client.before_answer = cut_between
        else:
            cutter.cuts_commit = lambda: len(client.asked) > 0 and cutter.cuts < 3
        report = await store.backfill(client, DATES)
        assert cutter.cuts == 3
        # The first one became the connection of the lock.
        assert len(set(cutter.pids)) == 1 + 4
        assert (report.fetched, report.failed) == (10, {})
        assert [day async for day in store.days(DATES[0], DATES[-1])] == [complete(date, None) for date in DATES]
    await engine.dispose()


@pytest.mark.slow
@pytest.mark.postgres
async def test_database_stays_away(postgres: TempDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """If each attempt is cut, the error says that what was stored is safe, and running it again goes on."""
    monkeypatch.setattr("clicksgroup.store.database.RECONNECT_DELAYS", (0.0, 0.0))
    engine = create_async_engine(postgres.url)
    async with ClickStore(engine, schema=postgres.schema) as store:
        client, cutter = FakeClient(), ConnectionCutter(postgres, engine)
        cutter.cuts_commit = lambda: len(client.asked) == 5
        with pytest.raises(StoreError, match=r"cannot be written: [^\n]*; what was stored is safe$"):
            await store.backfill(client, DATES)
        cutter.cuts_commit = lambda: False
        assert (await store.coverage(DATES[0], DATES[-1])).final == list(DATES[:4])
        assert (await store.backfill(FakeClient(), DATES)).fetched == 6
    await engine.dispose()


async def test_nothing_is_left_behind(database: TempDatabase) -> None:
    """No connection, no task, no warning, whether a stream was read to its end, left early or cancelled."""
    checked_out: set[int] = set()

    def check_out(connection: object, *_: object) -> None:
        checked_out.add(id(connection))

    def check_in(connection: object, *_: object) -> None:
        checked_out.discard(id(connection))

    event.listen(Pool, "checkout", check_out)
    event.listen(Pool, "checkin", check_in)
    try:
        async with database.store() as store:
            for date in DATES:
                await store.put(make_day(date, {1: 1}))
            async for _ in store.clicks(DATES[0], DATES[-1]):
                break
            task = asyncio.ensure_future(anext(store.days(DATES[0], DATES[-1])))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert checked_out == set()
    finally:
        event.remove(Pool, "checkout", check_out)
        event.remove(Pool, "checkin", check_in)
    gc.collect()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


class Proxy:
    """Forwards bytes between a store and PostgreSQL, and drops them once it is `silent`."""

    def __init__(self, database: TempDatabase) -> None:
        self._url = make_url(database.url)
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []
        self.silent = False
        self.dropped = asyncio.Event()

    async def __aenter__(self) -> URL:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._url.set(host="127.0.0.1", port=self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(self._url.host, self._url.port or 5432)
        self._writers += [writer, to_server]
        for source, target in ((reader, to_server), (from_server, writer)):
            self._tasks.append(asyncio.create_task(self._forward(source, target)))

    async def _forward(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if self.silent:
                self.dropped.set()
            else:
                target.write(data)
        target.close()


@pytest.mark.postgres
async def test_cancelled_while_the_server_is_silent(postgres: TempDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer holds up no caller who is cancelled, in a transaction or while it closes."""
    monkeypatch.setattr("clicksgroup.store.database.CANCEL_GRACE", 0.05)
    proxy = Proxy(postgres)

    async def fill(url: URL) -> None:
        async with ClickStore(url, schema=postgres.schema) as store:
            await asyncio.gather(*(store.put(make_day(date, {1: 1})) for date in DATES[:3]))
            proxy.silent = True
            await store.put(make_day(DATES[4], {1: 1}))

    async with proxy as url:
        task = asyncio.create_task(fill(url))
        await proxy.dropped.wait()
        task.cancel()
        ended, _ = await asyncio.wait([task], timeout=30)
    assert ended
    assert task.cancelled()
