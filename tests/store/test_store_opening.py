"""A store that cannot serve is said in one line, before a request is spent; one that was cut off goes on."""

from __future__ import annotations

import asyncio
import datetime
import gc
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from clicksgroup.dates import date_range
from clicksgroup.errors import ConfigurationError, StoreError
from clicksgroup.models import Day
from clicksgroup.store import ClickStore
from tests.store.databases import POSTGRES_URL, Database, FakeClient, make_day

JAN_1 = datetime.date(2025, 1, 1)
DATES = date_range("2025-01-01", "2025-01-10")


def complete(date: datetime.date, groups: tuple[int, ...] | None) -> Day:
    return make_day(date, {group: date.day * group for group in range(1, 96)}, groups=groups)


def assert_one_line(error: StoreError, *words: str) -> None:
    assert "\n" not in str(error)
    for word in words:
        assert word in str(error)


async def test_a_file_is_a_store_and_so_is_a_path_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with ClickStore("~/clicks.db") as store:
        await store.put(make_day(JAN_1, {1: 1}))
    async with ClickStore(tmp_path / "clicks.db") as store:
        assert (await store.coverage(JAN_1, JAN_1)).final == [JAN_1]


async def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        await ClickStore(tmp_path / "no" / "clicks.db").__aenter__()
    assert_one_line(caught.value, "clicks.db cannot be opened", f"there is no folder {tmp_path / 'no'}")


async def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="it is a folder"):
        await ClickStore(tmp_path).__aenter__()


async def test_a_file_that_is_something_else_is_said(tmp_path: Path) -> None:
    path = tmp_path / "clicks.db"
    path.write_text("date,clicks\n" * 1000)
    with pytest.raises(StoreError) as caught:
        await ClickStore(path).__aenter__()
    assert_one_line(caught.value, "not a database", "name another file")


async def test_somebody_elses_table_is_left_alone(database: Database) -> None:
    if database.schema:
        await database.sql(f"CREATE SCHEMA {database.schema}")
    await database.sql(f"CREATE TABLE {database.table('group_clicks')} (id int)")
    with pytest.raises(StoreError, match="has a table group_clicks that is not clicksgroup's"):
        await database.store().__aenter__()


async def test_a_newer_schema_is_refused(database: Database) -> None:
    async with database.store():
        pass
    await database.sql(f"UPDATE {database.table('clicksgroup_schema')} SET version = 2")
    with pytest.raises(StoreError) as caught:
        await database.store().__aenter__()
    assert_one_line(caught.value, "newer clicksgroup", "schema 2", "upgrade")


async def test_a_store_that_can_only_be_read_is_read_and_no_request_is_spent(
    database: Database, tmp_path: Path
) -> None:
    async with database.store() as store:
        await store.put(make_day(JAN_1, {1: 1}))
    if database.dialect == "sqlite":
        url = f"sqlite+aiosqlite:///file:{tmp_path / 'clicks.db'}?mode=ro&uri=true"
        readonly = ClickStore(url)
    else:
        settings = {"server_settings": {"default_transaction_read_only": "on"}}
        engine = create_async_engine(database.url, connect_args=settings)
        readonly = ClickStore(engine, schema=database.schema)
    client = FakeClient(complete)
    async with readonly as store:
        assert [record.clicks async for record in store.clicks(JAN_1, JAN_1)] == [1]
        with pytest.raises(StoreError) as caught:
            await store.backfill(client, DATES)  # type: ignore[arg-type]
        assert_one_line(caught.value, "written", "read")
    if database.dialect == "postgresql":
        await engine.dispose()
    assert client.asked == []


async def test_a_full_disk_is_said_before_a_request_and_loses_nothing(tmp_path: Path) -> None:
    """`max_page_count` fails as a full disk does."""
    path = tmp_path / "clicks.db"
    async with ClickStore(path) as store:
        await store.put(make_day(JAN_1, {1: 1}))
        pages = (await Database("sqlite", f"sqlite+aiosqlite:///{path}", None).sql("PRAGMA page_count"))[0][0]
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    limit = pages

    @event.listens_for(engine.sync_engine, "checkout")
    def fill(connection: sqlite3.Connection, *_: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA max_page_count={limit}")
        cursor.close()

    client = FakeClient(complete)
    async with ClickStore(engine) as store:
        limit = pages + 4
        with pytest.raises(StoreError) as caught:
            await store.backfill(client, date_range("2025-01-01", "2025-03-31"))  # type: ignore[arg-type]
        assert_one_line(caught.value, "disk is full", "make room")
        final = (await store.coverage("2025-01-01", "2025-03-31")).final
        assert final == [JAN_1, *client.asked[:-1]]
        days = [day async for day in store.days("2025-01-01", "2025-03-31")]
        assert days[1:] == [complete(date, None) for date in client.asked[:-1]]
        limit = 10_000
        report = await store.backfill(FakeClient(complete), date_range("2025-01-01", "2025-03-31"))  # type: ignore[arg-type]
        assert report.fetched == 90 - len(final)
    await engine.dispose()


async def test_a_disk_without_room_is_found_before_a_request(tmp_path: Path) -> None:
    """No file may grow, as on a full disk: in a process of its own, since the limit holds for all files."""
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


async def test_a_folder_without_leave_to_write_is_said(tmp_path: Path) -> None:
    folder = tmp_path
    folder.chmod(0o500)
    if os.geteuid() == 0:  # root may write everywhere but where the kernel says no
        folder = Path("/proc")
    with pytest.raises(StoreError) as caught:
        await ClickStore(folder / "clicks.db").__aenter__()
    assert_one_line(caught.value, "unable to open", "may you write")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"port": 1}, ("Connect call failed", "does the server run")),
        ({"database": "nowhere"}, ("does not exist", "create the database first")),
        ({"username": "nobody_here"}, ("nobody_here",)),
    ],
)
async def test_postgresql_that_cannot_be_had_is_said_without_the_password(
    postgres: Database, change: dict[str, object], words: tuple[str, ...]
) -> None:
    url = make_url(POSTGRES_URL).set(password="s3cr3t-word", **change)  # type: ignore[arg-type]
    store = ClickStore(url)
    with pytest.raises(StoreError) as caught:
        await store.__aenter__()
    assert_one_line(caught.value, "cannot be opened", *words)
    assert "s3cr3t" not in str(caught.value) + repr(store)


async def test_a_wrong_password_is_said(tmp_path: Path) -> None:
    """By a server that answers as PostgreSQL does then."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while length := int.from_bytes(await reader.readexactly(4)):
            if (await reader.readexactly(length - 4))[:4] != (80877103).to_bytes(4):  # a request for TLS
                break
            writer.write(b"N")
        fields = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "anna"\0\0'
        writer.write(b"E" + (len(fields) + 4).to_bytes(4) + fields)
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(StoreError) as caught:
            await ClickStore(f"postgresql://anna:s3cr3t-word@127.0.0.1:{port}/clicks").__aenter__()
    assert_one_line(caught.value, "anna:***@", 'failed for user "anna"', "check user and password")
    assert "s3cr3t" not in str(caught.value)


async def test_sslmode_is_understood_as_elsewhere() -> None:
    """Hosts of PostgreSQL hand out such URLs: TLS is asked for, and nothing is said without it."""
    asked: list[bytes] = []

    async def have_no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readexactly(8))
        writer.write(b"N")
        asked.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(have_no_tls, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(StoreError, match="SSL"):
            await ClickStore(f"postgresql://anna@127.0.0.1:{port}/clicks?sslmode=require").__aenter__()
    assert asked[0][4:] == (80877103).to_bytes(4)
    assert b"".join(asked[1:]) == b""


async def test_sslmode_disable_opens(postgres: Database) -> None:
    url = make_url(postgres.url).update_query_dict({"sslmode": "disable"})
    async with ClickStore(url, schema=postgres.schema) as store:
        await store.put(make_day(JAN_1, {1: 1}))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://anna:s3cr3t@127.0.0.1:1/x?channel_binding=require",
        "postgresql://anna:s3cr3t@127.0.0.1:1/x?statement_cache_size=many",
        "sqlite:///:memory:?timeout=long",
    ],
)
async def test_an_option_that_the_driver_does_not_take_is_said_in_one_line(url: str) -> None:
    with pytest.raises(ConfigurationError, match="url: the driver refuses an option") as caught:
        await ClickStore(url).__aenter__()
    assert "\n" not in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "postgresql+psycopg2", "sqlite+pysqlite"])
def test_another_driver_is_refused_with_those_that_serve(driver: str) -> None:
    with pytest.raises(ConfigurationError, match=r"use sqlite\+aiosqlite or postgresql\+asyncpg"):
        ClickStore(f"{driver}:///clicks")


async def test_opening_to_read_makes_nothing(database: Database) -> None:
    with pytest.raises(StoreError, match="holds no clicksgroup store; fill it: clicksgroup backfill START END"):
        async with database.store()._open_to_read():
            pass
    if database.dialect == "sqlite":
        assert not Path(make_url(database.url).database or "").exists()
    else:
        assert await database.sql(f"SELECT 1 FROM pg_namespace WHERE nspname = '{database.schema}'") == []
    async with database.store() as store:
        await store.put(make_day(JAN_1, {1: 1}))
    async with database.store()._open_to_read() as store:
        assert [record.clicks async for record in store.clicks(JAN_1, JAN_1)] == [1]


async def test_opening_to_read_leaves_somebody_elses_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (id int)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="holds no clicksgroup store"):
        async with ClickStore(path)._open_to_read():
            pass
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("url", ["mysql://root@localhost/x", "://", "sqlite+nope:///x"])
def test_a_url_that_cannot_be_right_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        ClickStore(url)


def test_a_schema_is_for_postgresql(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="schema"):
        ClickStore(tmp_path / "clicks.db", schema="clicks")


@pytest.mark.parametrize("options", [{"account": ""}, {"account": "a\0"}, {"settle": datetime.timedelta(-1)}])
def test_arguments_that_cannot_be_right_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        ClickStore(":memory:", **options)  # type: ignore[arg-type]


async def test_stores_that_are_opened_at_once_make_the_tables_once(database: Database) -> None:
    stores = [database.store() for _ in range(8)]
    await asyncio.gather(*(store.__aenter__() for store in stores))
    await asyncio.gather(*(store.put(make_day(date, {1: 1})) for store, date in zip(stores, DATES, strict=False)))
    assert len((await stores[0].coverage(DATES[0], DATES[-1])).final) == 8
    await asyncio.gather(*(store.__aexit__(None, None, None) for store in stores))


async def test_an_engine_that_was_lent_is_left_open(database: Database) -> None:
    engine = create_async_engine(database.url)
    for _ in range(2):
        async with ClickStore(engine, schema=database.schema) as store:
            await store.put(make_day(JAN_1, {1: 1}))
    async with engine.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT 1")).scalar() == 1
    await engine.dispose()


async def test_a_store_that_is_not_open_says_so(database: Database) -> None:
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


@pytest.mark.parametrize("moment", ["between", "within"])
async def test_a_connection_that_is_cut_costs_nothing(
    postgres: Database, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends it between two dates, or in the middle of one."""
    monkeypatch.setattr("clicksgroup.store.engine.RECONNECT_DELAYS", (0.0,) * 4)
    async with postgres.store() as store:
        replace, backends, cuts = store._writer._replace_date, [0], 0

        async def cut() -> None:
            nonlocal cuts
            if backends[-1] and cuts < 3:
                cuts += 1
                await postgres.sql(f"SELECT pg_terminate_backend({backends[-1]}, 5000)")

        async def replace_and_cut(connection: AsyncConnection, day: object, records: object) -> None:
            await replace(connection, day, records)  # type: ignore[arg-type]
            backends.append((await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar() or 0)
            if moment == "within":
                await cut()

        store._writer._replace_date = replace_and_cut  # type: ignore[assignment, method-assign]
        client = FakeClient(complete)
        if moment == "between":
            client.before = cut
        report = await store.backfill(client, DATES)  # type: ignore[arg-type]
        assert cuts == 3
        assert len(set(backends)) == 5
        assert (report.fetched, report.failed) == (10, {})
        assert [day async for day in store.days(DATES[0], DATES[-1])] == [complete(date, None) for date in DATES]


async def test_a_database_that_stays_away_ends_the_job_with_what_was_stored(
    postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt is cut; then the error says that what was stored is safe, and running it again goes on."""
    monkeypatch.setattr("clicksgroup.store.engine.RECONNECT_DELAYS", (0.0, 0.0))
    async with postgres.store() as store:
        replace = store._writer._replace_date

        async def cut(connection: AsyncConnection, day: Day, records: object) -> None:
            await replace(connection, day, records)  # type: ignore[arg-type]
            if day.date == DATES[4]:
                backend = (await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar()
                await postgres.sql(f"SELECT pg_terminate_backend({backend}, 5000)")

        store._writer._replace_date = cut  # type: ignore[assignment, method-assign]
        with pytest.raises(StoreError) as caught:
            await store.backfill(FakeClient(complete), DATES)  # type: ignore[arg-type]
        assert_one_line(caught.value, "cannot be written", "what was stored is safe")
        store._writer._replace_date = replace  # type: ignore[method-assign]
        assert (await store.coverage(DATES[0], DATES[-1])).final == list(DATES[:4])
        assert (await store.backfill(FakeClient(complete), DATES)).fetched == 6  # type: ignore[arg-type]


async def test_nothing_is_left_behind(database: Database) -> None:
    """No connection, no thread, no warning: whether the stream was read to its end, broken off or forgotten."""
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
        assert store._database._engine is not None
        assert store._database._engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    gc.collect()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_a_store_in_a_folder_that_may_only_be_read_is_read() -> None:
    """SQLite wants to write beside a file in WAL mode even to read it."""
    with tempfile.TemporaryDirectory() as name:  # others may not enter those that pytest makes
        folder = Path(name)
        path = folder / "clicks #1?.db"
        async with ClickStore(path) as store:
            await store.put(make_day(JAN_1, {1: 1}))
        path.chmod(0o444)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:  # root may write everywhere
            os.seteuid(65534)
        try:
            async with ClickStore(path)._open_to_read() as store:
                assert [record.clicks async for record in store.clicks(JAN_1, JAN_1)] == [1]
                assert str(path) in repr(store)
        finally:
            os.seteuid(user)
            folder.chmod(0o755)


class Wire:
    """Lies between the store and PostgreSQL, until it swallows everything."""

    def __init__(self, database: Database) -> None:
        self._url = make_url(database.url)
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []
        self.dead = False
        self.swallowed = asyncio.Event()

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
            self._tasks.append(asyncio.create_task(self._carry(source, target)))

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if self.dead:
                self.swallowed.set()
            else:
                target.write(data)
        target.close()


async def test_a_server_that_does_not_answer_holds_up_nobody_who_is_cancelled(
    postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the transaction nor the connections that lie idle, though no leave can be taken of either."""
    monkeypatch.setattr("clicksgroup.store.engine.CANCEL_GRACE", 0.05)
    wire = Wire(postgres)

    async def fill(url: URL) -> None:
        async with ClickStore(url, schema=postgres.schema) as store:
            await asyncio.gather(*(store.put(make_day(date, {1: 1})) for date in DATES[:3]))
            wire.dead = True
            await store.put(make_day(DATES[4], {1: 1}))

    async with wire as url:
        task = asyncio.create_task(fill(url))
        await wire.swallowed.wait()
        task.cancel()
        ended, _ = await asyncio.wait([task], timeout=30)
    assert ended
    assert task.cancelled()
