"""Paths, URLs and the other arguments: what they mean, and how wrong ones are refused."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from clicksgroup.dates import date_range
from clicksgroup.errors import ConfigurationError, StoreError
from clicksgroup.store import ClickStore
from tests.store.databases import POSTGRES_URL, TempDatabase, assert_one_line, make_day

JAN_1 = datetime.date(2025, 1, 1)
DATES = date_range("2025-01-01", "2025-01-10")

TLS_REQUEST = (80877103).to_bytes(4)
"""How a client of PostgreSQL asks for TLS."""


async def test_path_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is a SQLite file, and `~` is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    async with ClickStore("~/clicks.db") as store:
        await store.put(make_day(JAN_1, {1: 1}))
    async with ClickStore(tmp_path / "clicks.db") as store:
        assert (await store.coverage(JAN_1, JAN_1)).final == [JAN_1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"port": 1}, ("Connect call failed", "does the server run")),
        ({"database": "nowhere"}, ("does not exist", "create the database first")),
        ({"username": "nobody_here"}, ("nobody_here",)),
    ],
)
@pytest.mark.postgres
async def test_postgresql_refuses(postgres: TempDatabase, change: dict[str, object], words: tuple[str, ...]) -> None:
    """The error says why PostgreSQL refuses the connection, and does not show the password."""
    url = make_url(POSTGRES_URL).set(password="s3cr3t-word", **change)  # type: ignore[arg-type]
    store = ClickStore(url)
    with pytest.raises(StoreError) as caught:
        await store.__aenter__()
    assert_one_line(caught.value, "cannot be opened", *words)
    assert "s3cr3t" not in str(caught.value) + repr(store)


async def test_wrong_password() -> None:
    """The error says so and does not show the password. A fake server refuses it, as PostgreSQL does."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while length := int.from_bytes(await reader.readexactly(4)):
            if (await reader.readexactly(length - 4))[:4] != TLS_REQUEST:
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


async def test_sslmode_require() -> None:
    """With `sslmode=require`, as hosts of PostgreSQL write it, nothing is sent to a server without TLS."""
    asked: list[bytes] = []

    async def refuse_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readexactly(8))
        writer.write(b"N")
        asked.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(refuse_tls, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(StoreError, match="SSL"):
            await ClickStore(f"postgresql://anna@127.0.0.1:{port}/clicks?sslmode=require").__aenter__()
    assert asked[0][4:] == TLS_REQUEST
    assert b"".join(asked[1:]) == b""


@pytest.mark.postgres
async def test_sslmode_disable(postgres: TempDatabase) -> None:
    """`sslmode=disable` connects without TLS."""
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
async def test_unknown_option_in_url(url: str) -> None:
    """An option that the driver does not take is refused in one line, without the password."""
    with pytest.raises(ConfigurationError, match="url: the driver refuses an option") as caught:
        await ClickStore(url).__aenter__()
    assert "\n" not in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "postgresql+psycopg2", "sqlite+pysqlite"])
def test_other_driver(driver: str) -> None:
    """The error names the drivers that are supported."""
    with pytest.raises(ConfigurationError, match=r"use sqlite\+aiosqlite or postgresql\+asyncpg"):
        ClickStore(f"{driver}:///clicks")


@pytest.mark.parametrize("url", ["mysql://root@localhost/x", "://", "sqlite+nope:///x"])
def test_wrong_url(url: str) -> None:
    """A URL that is malformed, or of another database, is refused."""
    with pytest.raises(ConfigurationError):
        ClickStore(url)


def test_schema_with_sqlite(tmp_path: Path) -> None:
    """SQLite has no schemas."""
    with pytest.raises(ConfigurationError, match="schema"):
        ClickStore(tmp_path / "clicks.db", schema="clicks")


@pytest.mark.parametrize("options", [{"account": ""}, {"account": "a\0"}, {"settle": datetime.timedelta(-1)}])
def test_wrong_arguments(options: dict[str, object]) -> None:
    """An account without a name, or with NUL, and a negative `settle` are refused."""
    with pytest.raises(ConfigurationError):
        ClickStore(":memory:", **options)  # type: ignore[arg-type]
