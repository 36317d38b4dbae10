"""Databases as people have them: PgBouncer, engines with pools of all kinds, and SQLite in memory."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AssertionPool, AsyncAdaptedQueuePool, NullPool, Pool, StaticPool

from clicksgroup.dates import date_range
from clicksgroup.errors import ConfigurationError
from clicksgroup.store import ClickStore
from tests.store.databases import TempDatabase, make_day
from tests.store.fake_client import FakeClient, complete

DATES = date_range("2025-01-01", "2025-01-10")


async def use_at_once(store: ClickStore) -> None:
    """Write and read at the same time, and fill two accounts' worth of dates."""
    async with asyncio.TaskGroup() as group:
        for date in DATES:
            group.create_task(store.put(complete(date, None)))
            group.create_task(store.coverage(DATES[0], DATES[-1]))
    assert [day async for day in store.days(DATES[0], DATES[-1])] == [complete(date, None) for date in DATES]
    assert (await store.backfill(FakeClient(), DATES, refresh=True)).fetched == 10


@pytest.mark.parametrize(
    "options",
    [{}, {"poolclass": NullPool}, {"poolclass": AsyncAdaptedQueuePool, "pool_size": 1, "max_overflow": 0}],
    ids=["default", "NullPool", "one connection"],
)
async def test_pool(database: TempDatabase, options: dict[str, object]) -> None:
    """An engine with a usual pool works under concurrent reads and writes."""
    engine = create_async_engine(database.url, **options)
    async with ClickStore(engine, schema=database.schema) as store:
        await use_at_once(store)
    await engine.dispose()


@pytest.mark.parametrize("pool", [StaticPool, AssertionPool])
async def test_refused_pool(database: TempDatabase, pool: type[Pool]) -> None:
    """An engine whose pool has one connection for all is refused, with the pools that work."""
    engine = create_async_engine(database.url, poolclass=pool)
    with pytest.raises(ConfigurationError, match=rf"url: the engine has a {pool.__name__}, .*AsyncAdaptedQueuePool"):
        ClickStore(engine)


async def test_refused_engines() -> None:
    """An engine on SQLite in memory is refused, with what to give instead."""
    with pytest.raises(ConfigurationError, match="in memory cannot be shared; give ':memory:'"):
        ClickStore(create_async_engine("sqlite+aiosqlite://"))


@pytest.mark.parametrize(
    "url",
    [
        "sqlite+aiosqlite:///file:clicks?mode=memory&cache=shared&uri=true",
        "sqlite:///file::memory:?cache=shared&uri=true",
        "sqlite:///clicks.db?cache=shared",
    ],
)
def test_shared_cache(url: str) -> None:
    """SQLite with a shared cache, which does not wait for a lock, is refused."""
    with pytest.raises(ConfigurationError, match="shared cache"):
        ClickStore(url)


@pytest.mark.parametrize("url", [":memory:", "sqlite://", "sqlite:///:memory:"])
async def test_in_memory(url: str) -> None:
    """SQLite in memory works under concurrent reads and writes."""
    async with ClickStore(url) as store:
        await use_at_once(store)


@pytest.mark.parametrize("url", ["sqlite:///clicks?.db", "sqlite:///clicks.db?", "sqlite:///clicks.db?timeout"])
def test_question_mark(url: str) -> None:
    """A URL whose '?' begins no option is refused: it would open another file."""
    with pytest.raises(ConfigurationError, match=r"a '\?' in it begins options such as timeout=5"):
        ClickStore(url)


@pytest.fixture
async def pgbouncer(postgres: TempDatabase, unused_tcp_port: int) -> AsyncIterator[TempDatabase]:
    """The same database through a PgBouncer in transaction mode that has few server connections."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("no PgBouncer is installed")
    url = make_url(postgres.url)
    # It does not run as root, and other users may not enter the folders that pytest makes.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "users.txt").write_text(f'"{url.username}" "{url.password or ""}"\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n{url.database} = host={url.host} port={url.port or 5432} dbname={url.database}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {unused_tcp_port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {folder}/users.txt\npool_mode = transaction\ndefault_pool_size = 3\n"
        )
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        process = await asyncio.create_subprocess_exec(
            program, *user, str(folder / "pgbouncer.ini"), stderr=asyncio.subprocess.PIPE
        )
        assert process.stderr is not None
        try:
            while b"process up" not in (line := await process.stderr.readline()):
                assert line, "PgBouncer has ended"
            through = url.set(host="127.0.0.1", port=unused_tcp_port)
            yield TempDatabase("postgresql", through.render_as_string(hide_password=False), postgres.schema)
        finally:
            process.terminate()
            await process.communicate()


@pytest.mark.postgres
async def test_pgbouncer(pgbouncer: TempDatabase) -> None:
    """PgBouncer in transaction mode works by its URL: several stores at once, and one backfill at a time."""
    async with pgbouncer.store() as a, pgbouncer.store() as b:
        await asyncio.gather(use_at_once(a), use_at_once(b))
    clients = [FakeClient(), FakeClient()]
    async with pgbouncer.store(account="other") as a, pgbouncer.store(account="other") as b:
        await asyncio.gather(a.backfill(clients[0], DATES), b.backfill(clients[1], DATES))
        await a.put(make_day(DATES[0], {1: 1}))
    assert sorted(len(client.asked) for client in clients) == [0, 10]
