"""SQLite and PostgreSQL: opening, transactions, and connections that drop."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import uuid
import weakref
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from clicksgroup.errors import ConfigurationError, StoreError
from clicksgroup.store.database_errors import DRIVER_ERRORS, is_transient, no_store, store_error
from clicksgroup.store.locations import Location, describe, is_in_memory, parse_location
from clicksgroup.store.schema import SCHEMA_LOCK, SCHEMA_VERSION, create_tables, read_version

T = TypeVar("T")
Work: TypeAlias = Callable[[AsyncConnection], Awaitable[T]]

BUSY_TIMEOUT = 30.0
"""Seconds for which SQLite waits for another writer. One of ours holds the file for milliseconds."""

COMMAND_TIMEOUT = 60.0
"""Seconds after which a statement on PostgreSQL fails: a network that drops packets must not hang a job."""

RECONNECT_DELAYS = (0.0, 0.5, 2.0, 5.0)
"""Seconds before a transaction whose connection was lost is tried again: enough for PostgreSQL to restart."""

CANCEL_GRACE = 1.0
"""Seconds that a transaction has to end by itself after its caller was cancelled, and then to abort."""


class Database:
    """The store's own engine or a borrowed one, and how to use it: `read`, `rows` and `write`."""

    def __init__(self, location: Location, schema: str | None, *, read_only: bool = False) -> None:
        self._url = parse_location(location)
        # Where the store is, for messages.
        self.name = describe(self._url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        if schema is not None and self.is_sqlite:
            raise ConfigurationError(f"schema: {schema!r}: SQLite has no schemas; leave it out, or use PostgreSQL")
        self.schema = schema
        # Of a database in memory.
        self.accounts_in_backfill: set[str] = set()
        self._read_only = read_only
        self._borrowed = location if isinstance(location, AsyncEngine) else None
        # None unless the store is open.
        self._engine: AsyncEngine | None = None
        # The connections of asyncpg in our own engine.
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()

    async def open(self) -> None:
        """Connect, refuse a newer schema, and create the tables where there are none, unless it is read-only."""
        if self._engine is not None:
            raise StoreError(f"the store {self.name} is open already; use the one that is open")
        try:
            # At once, so that a second `open` is refused from now on.
            self._engine = self._make_engine()
            await self.shield(self._open())
        except BaseException as error:
            await self.close()
            if isinstance(error, DRIVER_ERRORS):
                raise store_error(error, self._url, "opened") from error
            if type(error) in (TypeError, ValueError) and self._borrowed is None and self._url.query:
                raise ConfigurationError(f"url: the driver refuses an option in it: {error}") from None
            raise

    async def close(self) -> None:
        """Close the connections of our own engine; a borrowed one is left open."""
        engine, self._engine = self._engine, None
        if engine is not None and self._borrowed is None:
            timer = asyncio.get_running_loop().call_later(CANCEL_GRACE, self._terminate_connections)
            try:
                await self.shield(engine.dispose())
            finally:
                timer.cancel()

    async def read(self, work: Work[T]) -> T:
        """Return what `work` returns. All that it reads is of one moment."""
        return await self.retry(lambda: self._transact(work, None), "read")

    async def rows(self, query: sa.Executable) -> Sequence[sa.Row[Any]]:
        """Return the rows of one query."""

        async def work(connection: AsyncConnection) -> Sequence[sa.Row[Any]]:
            return (await connection.execute(query)).all()

        return await self.read(work)

    async def write(self, work: Work[T], lock: str) -> T:
        """Run `work` in a transaction. Those with the same `lock` run one after the other.

        A lost connection starts it again, even if the commit had succeeded. So `work` must have the same effect twice
        as once.
        """
        if self._read_only:
            raise StoreError(f"the store {self.name} was opened with read_only=True; open it without, to write to it")
        return await self.retry(lambda: self._transact(work, lock), "written")

    async def connect_apart(self) -> AsyncConnection:
        """A connection that does not count in the pool, which may be as small as one connection."""
        connection = await self._connect().start()
        await connection.run_sync(lambda sync_connection: sync_connection.detach())
        return connection

    async def retry(self, attempt: Callable[[], Awaitable[T]], verb: str) -> T:
        """What `attempt` returns. A lost connection starts it again."""
        delays = iter(RECONNECT_DELAYS)
        while True:
            try:
                return await self.shield(attempt())
            except DRIVER_ERRORS as error:
                delay = next(delays, None)
                if delay is None or not is_transient(error):
                    raise store_error(error, self._url, verb) from error
            await asyncio.sleep(delay)

    async def shield(self, work: Awaitable[T]) -> T:
        """Await `work`. If the caller is cancelled, it ends first, so that no connection is left in mid-statement."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # On PostgreSQL the first cancel waits for the server; the second aborts the connection.
            for _ in range(1 if self.is_sqlite else 2):
                await asyncio.wait([task], timeout=CANCEL_GRACE)
                task.cancel()
            await asyncio.wait([task])
            # Mark the exception as retrieved, or asyncio logs it.
            if not task.cancelled():
                task.exception()
            raise

    async def _open(self) -> None:
        version = await self._transact(read_version, None)
        if version is None:
            if self._read_only:
                raise no_store(self._url)
            if self.is_sqlite:
                await self._use_wal()
            version = await self._transact(create_tables, SCHEMA_LOCK)
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"the store {self.name} was made by a newer clicksgroup: it has schema {version}, and this version "
                f"knows {SCHEMA_VERSION}; upgrade clicksgroup"
            )

    def _terminate_connections(self) -> None:
        """Abort the connections to a server that does not answer."""
        for connection in tuple(self._connections):
            connection.terminate()

    async def _transact(self, work: Work[T], lock: str | None) -> T:
        async with self._connect() as connection:
            if self.is_sqlite:
                if self._borrowed is not None:
                    await connection.exec_driver_sql(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT * 1000)}")
                await connection.exec_driver_sql("BEGIN" if lock is None else "BEGIN IMMEDIATE")
                result = await work(connection)
                await connection.exec_driver_sql("COMMIT")
                return result
            level = "REPEATABLE READ" if lock is None else "READ COMMITTED"
            await connection.execution_options(isolation_level=level)
            async with connection.begin():
                if lock is None:
                    # A table that was just filled has no statistics yet. PostgreSQL would then take a range of dates
                    # for a few rows, and sort all of them for each chunk.
                    await connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
                else:
                    statement = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:lock, 0))")
                    await connection.execute(statement, {"lock": lock})
                return await work(connection)

    def _connect(self) -> AsyncConnection:
        if self._engine is None:
            raise StoreError(f"the store {self.name} is not open; use it inside `async with`")
        return self._engine.connect()

    async def _use_wal(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + BUSY_TIMEOUT
        async with self._connect() as connection:
            while True:
                try:
                    await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                    return
                except DBAPIError as error:
                    # Where two processes switch at once, SQLite refuses one of them without waiting.
                    if "locked" not in str(error.orig) or loop.time() >= deadline:
                        raise
                await asyncio.sleep(0.01)

    def _make_engine(self) -> AsyncEngine:
        engine = self._borrowed or self._own_engine()
        if self.schema is not None:
            engine = engine.execution_options(schema_translate_map={None: self.schema})
        if self.is_sqlite and self._borrowed is not None:
            engine = engine.execution_options(isolation_level=_SQLITE_LEVEL)
        return engine

    def _own_engine(self) -> AsyncEngine:
        url = self._url
        if self.is_sqlite:
            url = self._check_file()
            options: dict[str, Any] = {
                "connect_args": {"timeout": BUSY_TIMEOUT},
                "poolclass": AsyncAdaptedQueuePool,
                "isolation_level": _SQLITE_LEVEL,
            }
            if is_in_memory(url):
                # Each connection is a database of its own, so there is only one.
                options |= {"pool_size": 1, "max_overflow": 0}
        else:
            # What the URL says wins.
            ours = {name: value for name, value in _POSTGRES_OPTIONS.items() if name not in url.query}
            options = {"connect_args": ours}
        try:
            engine = create_async_engine(url, **options)
        except ImportError as error:
            raise ImportError('a store on PostgreSQL needs an extra: pip install "clicksgroup[postgres]"') from error
        if not self.is_sqlite:
            sa.event.listen(engine.sync_engine, "connect", lambda c, _: self._connections.add(c.driver_connection))
        return engine

    def _check_file(self) -> URL:
        """Refuse a path that cannot be opened, and return the URL to connect to."""
        file = self._url.database
        if is_in_memory(self._url) or file is None or file.startswith("file:"):
            return self._url
        path = Path(file)
        if self._read_only and not path.exists():
            raise no_store(self._url, is_missing=True)
        if path.is_dir():
            raise StoreError(f"the store {self.name} cannot be opened: it is a folder; name a file in it")
        if not path.parent.is_dir():
            raise StoreError(
                f"the store {self.name} cannot be opened: there is no folder {path.parent}; create it first"
            )
        # Not left to aiosqlite: the thread of a connection that fails lives on, and may report to a closed event loop.
        with contextlib.closing(sqlite3.connect(file, timeout=0)) as connection:
            if not _needs_immutable(connection, path):
                return self._url
        return self._url.set(database=path.absolute().as_uri()).update_query_dict({"immutable": "1", "uri": "true"})


_SQLITE_LEVEL = "AUTOCOMMIT"
"""The driver begins its own transactions too late: they read first, and fail beside another writer."""

_POSTGRES_OPTIONS = {
    "timeout": BUSY_TIMEOUT,
    "command_timeout": COMMAND_TIMEOUT,
    # PgBouncer in transaction mode gives each transaction another server connection, which does not know the statements
    # that were prepared on the last one, but may know others of the same name.
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: f"clicksgroup_{uuid.uuid4().hex}",
}


def _needs_immutable(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether SQLite cannot read the file because it may not create its files in WAL mode beside it."""
    try:
        connection.execute("SELECT 1 FROM sqlite_master")
    except sqlite3.Error as error:
        # The lower byte, since extended error codes add to the others.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        # If there is a WAL file, it may hold commits that an immutable connection would not see.
        return code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) and not Path(f"{path}-wal").exists()
    return False
