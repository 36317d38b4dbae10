"""A store that cannot be used is refused in one line that says what to do, before a request is spent."""

from __future__ import annotations

import asyncio
import datetime
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from clicksgroup.dates import date_range
from clicksgroup.errors import StoreError
from clicksgroup.store import ClickStore
from tests.store.databases import TempDatabase, assert_one_line, make_day
from tests.store.fake_client import FakeClient, complete

JAN_1 = datetime.date(2025, 1, 1)
DATES = date_range("2025-01-01", "2025-01-10")


async def test_missing_folder(tmp_path: Path) -> None:
    """The error names the folder that is missing."""
    with pytest.raises(StoreError) as caught:
        await ClickStore(tmp_path / "no" / "clicks.db").__aenter__()
    assert_one_line(caught.value, "clicks.db cannot be opened", f"there is no folder {tmp_path / 'no'}")


async def test_folder(tmp_path: Path) -> None:
    """The error says that the path is a folder."""
    with pytest.raises(StoreError, match="it is a folder"):
        await ClickStore(tmp_path).__aenter__()


async def test_other_file(tmp_path: Path) -> None:
    """The error says that the file is not a database."""
    path = tmp_path / "clicks.db"
    path.write_text("date,clicks\n" * 1000)
    with pytest.raises(StoreError) as caught:
        await ClickStore(path).__aenter__()
    assert_one_line(caught.value, "not a database", "name another file")


async def test_other_table(database: TempDatabase) -> None:
    """A table of the same name that is not clicksgroup's is left alone."""
    if database.schema:
        await database.sql(f"CREATE SCHEMA {database.schema}")
    await database.sql(f"CREATE TABLE {database.table('group_clicks')} (id int)")
    with pytest.raises(StoreError, match=r"table .*group_clicks exists already and is not clicksgroup's"):
        await database.store().__aenter__()


async def test_newer_schema(database: TempDatabase) -> None:
    """A store of a newer clicksgroup is refused, with the advice to upgrade."""
    async with database.store():
        pass
    await database.sql(f"UPDATE {database.table('clicksgroup_schema')} SET version = 3")
    with pytest.raises(StoreError) as caught:
        await database.store().__aenter__()
    assert_one_line(caught.value, "newer clicksgroup", "schema 3", "upgrade")


async def test_read_only_connection(database: TempDatabase, tmp_path: Path) -> None:
    """A store whose connection is read-only is read, and a backfill is refused before a request."""
    async with database.store() as store:
        await store.put(make_day(JAN_1, {1: 1}))
    if database.dialect == "sqlite":
        url = f"sqlite+aiosqlite:///file:{tmp_path / 'clicks.db'}?mode=ro&uri=true"
        read_only = ClickStore(url)
    else:
        settings = {"server_settings": {"default_transaction_read_only": "on"}}
        engine = create_async_engine(database.url, connect_args=settings)
        read_only = ClickStore(engine, schema=database.schema)
    client = FakeClient()
    async with read_only as store:
        assert [record.clicks async for record in store.clicks(JAN_1, JAN_1)] == [1]
        with pytest.raises(StoreError) as caught:
            await store.backfill(client, DATES)
        assert_one_line(caught.value, "written", "read")
    if database.dialect == "postgresql":
        await engine.dispose()
    assert client.asked == []


async def test_full_disk(tmp_path: Path) -> None:
    """A disk that fills up ends the backfill and loses nothing: `max_page_count` fails as a full disk does."""
    path = tmp_path / "clicks.db"
    async with ClickStore(path) as store:
        await store.put(make_day(JAN_1, {1: 1}))
        pages = (await TempDatabase("sqlite", f"sqlite+aiosqlite:///{path}", None).sql("PRAGMA page_count"))[0][0]
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    limit = pages

    @event.listens_for(engine.sync_engine, "checkout")
    def fill(connection: sqlite3.Connection, *_: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA max_page_count={limit}")
        cursor.close()

    client = FakeClient()
    async with ClickStore(engine) as store:
        limit = pages + 4
        with pytest.raises(StoreError) as caught:
            await store.backfill(client, date_range("2025-01-01", "2025-03-31"))
        assert_one_line(caught.value, "disk is full", "make room")
        final = (await store.coverage("2025-01-01", "2025-03-31")).final
        assert final == [JAN_1, *client.asked[:-1]]
        days = [day async for day in store.days("2025-01-01", "2025-03-31")]
        assert days[1:] == [complete(date, None) for date in client.asked[:-1]]
        limit = 10_000
        report = await store.backfill(FakeClient(), date_range("2025-01-01", "2025-03-31"))
        assert report.fetched == 90 - len(final)
    await engine.dispose()


@pytest.mark.slow
async def test_no_space_at_all(tmp_path: Path) -> None:
    """A full disk is found before a request.

    No file may grow, in a process of its own, since the limit holds for all files.
    """
    path = tmp_path / "clicks.db"
    async with ClickStore(path) as store:
        await store.put(make_day(JAN_1, {1: 1}))
    code = f"""
import asyncio, resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({path.stat().st_size}, resource.RLIM_INFINITY))
from clicksgroup.errors import StoreError
from clicksgroup.models import Day
from clicksgroup.store import ClickStore

class Client:
    origin = "https://vivoldi.com:443"
    class stats: requests = 0
    def day_outcomes(self, *args, **kwargs): raise SystemExit("a request was spent")

async def main():
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        async with ClickStore({str(path)!r}) as store:
            await store.backfill(Client(), "2025-01-02")
    except StoreError as error:
        print(error)
asyncio.run(main())
"""
    result = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "clicks.db cannot be" in result.stdout
    async with ClickStore(path) as store:
        assert (await store.coverage(JAN_1, JAN_1)).final == [JAN_1]


async def test_folder_without_write_permission(tmp_path: Path) -> None:
    """The error asks whether the user may write there."""
    folder = tmp_path
    folder.chmod(0o500)
    if os.geteuid() == 0:
        # Root may write everywhere, except where the kernel refuses it.
        folder = Path("/proc")
    with pytest.raises(StoreError) as caught:
        await ClickStore(folder / "clicks.db").__aenter__()
    assert_one_line(caught.value, "unable to open", "may you write")


async def test_read_only(database: TempDatabase) -> None:
    """With `read_only=True`, no store is created, a store is read, and every write is refused before a request."""
    with pytest.raises(StoreError, match="holds no clicksgroup store; fill it: clicksgroup backfill START END"):
        await database.store(read_only=True).__aenter__()
    if database.dialect == "sqlite":
        assert not Path(make_url(database.url).database or "").exists()
    else:
        assert await database.sql(f"SELECT 1 FROM pg_namespace WHERE nspname = '{database.schema}'") == []
    async with database.store() as store:
        await store.put(make_day(JAN_1, {1: 1}))
    client = FakeClient()
    async with database.store(read_only=True) as store:
        assert [record.clicks async for record in store.clicks(JAN_1, JAN_1)] == [1]
        with pytest.raises(StoreError, match="opened with read_only=True"):
            await store.put(make_day(JAN_1, {1: 2}))
        with pytest.raises(StoreError, match="opened with read_only=True"):
            await store.backfill(client, DATES)
        assert [record.clicks async for record in store.clicks(JAN_1, JAN_1)] == [1]
    assert client.asked == []


@pytest.mark.parametrize("read_only", [True, False])
async def test_read_only_folder(read_only: bool) -> None:
    """A store in a folder without write permission is read, with and without `read_only`.

    SQLite writes beside a file in WAL mode even to read it.
    """
    # Other users may not enter the folders that pytest makes.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "clicks #1?.db"
        async with ClickStore(path) as store:
            await store.put(make_day(JAN_1, {1: 1}))
        path.chmod(0o444)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            # Root may write everywhere.
            os.seteuid(65534)
        try:
            async with ClickStore(path, read_only=read_only) as store:
                assert [record.clicks async for record in store.clicks(JAN_1, JAN_1)] == [1]
                assert str(path) in repr(store)
                with pytest.raises(StoreError, match="read"):
                    await store.put(make_day(JAN_1, {1: 2}))
        finally:
            os.seteuid(user)
            folder.chmod(0o755)


async def test_read_only_other_file(tmp_path: Path) -> None:
    """With `read_only=True`, a database that is not a store is left as it was."""
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (id int)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="holds no clicksgroup store"):
        await ClickStore(path, read_only=True).__aenter__()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


async def test_opened_at_once(database: TempDatabase) -> None:
    """Of several stores that are opened at the same time, one creates the tables."""
    stores = [database.store() for _ in range(8)]
    await asyncio.gather(*(store.__aenter__() for store in stores))
    await asyncio.gather(*(store.put(make_day(date, {1: 1})) for store, date in zip(stores, DATES, strict=False)))
    assert len((await stores[0].coverage(DATES[0], DATES[-1])).final) == 8
    await asyncio.gather(*(store.__aexit__(None, None, None) for store in stores))


async def test_borrowed_engine(database: TempDatabase) -> None:
    """An engine that the user gives is left open."""
    engine = create_async_engine(database.url)
    for _ in range(2):
        async with ClickStore(engine, schema=database.schema) as store:
            await store.put(make_day(JAN_1, {1: 1}))
    async with engine.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT 1")).scalar() == 1
    await engine.dispose()


async def test_opened_twice_at_once(database: TempDatabase) -> None:
    """Of two tasks that open one store at the same time, the second is refused before the first has connected."""
    store = database.store()
    opened = await asyncio.gather(store.__aenter__(), store.__aenter__(), return_exceptions=True)
    assert [type(one) for one in opened] in ([ClickStore, StoreError], [StoreError, ClickStore])
    await store.__aexit__(None, None, None)


async def test_not_open(database: TempDatabase) -> None:
    """A store is used inside `async with`, opened once at a time, and can be opened again."""
    store = database.store()
    with pytest.raises(StoreError, match="async with"):
        await store.put(make_day(JAN_1, {}))
    async with store:
        stream = store.clicks(JAN_1, JAN_1)
        with pytest.raises(StoreError, match="open already"):
            await store.__aenter__()
    with pytest.raises(StoreError, match="async with"):
        await anext(stream)
    async with store:
        await store.put(make_day(JAN_1, {}))
