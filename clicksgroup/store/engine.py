"""SQLite and PostgreSQL: opening, transactions, connections that drop, and what went wrong in one line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from clicksgroup.errors import ConfigurationError, StoreError
from clicksgroup.store.schema import SCHEMA_VERSION, Tables

try:
    import asyncpg  # type: ignore[import-untyped]
except ImportError:  # pragma: no cover - needs an environment without the extra
    _ASYNCPG_ERRORS: tuple[type[BaseException], ...] = ()
else:
    _ASYNCPG_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError)

T = TypeVar("T")
Work: TypeAlias = Callable[[AsyncConnection], Awaitable[T]]
Location: TypeAlias = str | os.PathLike[str] | URL | AsyncEngine

BUSY_TIMEOUT = 30.0
"""Seconds for which SQLite waits for another writer. One of ours holds the file for milliseconds."""

COMMAND_TIMEOUT = 60.0
"""Seconds after which a statement is given up on PostgreSQL: a network that swallows packets must not hang a job."""

RECONNECT_DELAYS = (0.0, 0.5, 2.0, 5.0)
"""Seconds before a transaction whose connection was lost is tried again: enough for PostgreSQL to restart."""

CANCEL_GRACE = 1.0
"""Seconds that a transaction has to end by itself when whoever waits for it is cancelled, and then to break off."""

_DRIVER_ERRORS: tuple[type[BaseException], ...] = (SQLAlchemyError, OSError, sqlite3.Error, *_ASYNCPG_ERRORS)

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}

# SQLSTATEs of connections that are lost or refused for now, and of transactions that lost a race.
_TRANSIENT_STATES = ("08", "57P01", "57P02", "57P03", "53300", "40001", "40P01")

# Failures that running the job again does not mend: a user, a password, a database, rights, a file of another kind.
_PERMANENT_STATES = ("28", "3D000", "42501")
_PERMANENT_TEXTS = ("readonly database", "not a database", "malformed")


class Database:
    """An engine that is ours, or one that was lent, and the two ways to use it: `read` and `write`."""

    def __init__(self, location: Location, schema: str | None) -> None:
        self._lent = location if isinstance(location, AsyncEngine) else None
        self._engine = self._lent
        self._url = location.url if isinstance(location, AsyncEngine) else _parse(location)
        self.dialect = self._url.get_backend_name()
        if self.dialect not in ("sqlite", "postgresql"):
            raise ConfigurationError(f"url: {self.dialect!r} is no engine of the store's; use sqlite or postgresql")
        if schema is not None and self.dialect == "sqlite":
            raise ConfigurationError("schema: SQLite has none; it is for PostgreSQL")
        self.tables = Tables.of(schema)
        self._schema = schema
        self._open = False
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()  # of asyncpg, in an engine that is ours

    @property
    def name(self) -> str:
        """Where the store is, as messages say it: a path, or the URL without password and query."""
        if self.dialect == "sqlite":
            return self._url.database or ":memory:"
        return self._url.set(query={}).render_as_string(hide_password=True)

    async def open(self, *, create: bool = True) -> None:
        """Connect, refuse a newer schema, make the tables where there are none if `create`.

        Raises:
            ConfigurationError: the URL has an option that the driver does not know.
            StoreError: the store cannot be opened, or there is none and it is not to be made.
        """
        if self._open:
            raise StoreError(f"the store {self.name} is open already")
        try:
            self._engine = self._lent or self._make_engine(create=create)
            self._open = True
            version = await self._guarded(self._version, "opened")
            if version is None:
                if not create:
                    raise self._missing()
                version = await self._create()
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"the store {self.name} was made by a newer clicksgroup (schema {version}, this one knows "
                    f"{SCHEMA_VERSION}): upgrade clicksgroup"
                )
        except BaseException as error:
            await self.close()
            if type(error) in (TypeError, ValueError) and self._lent is None and self._url.query:
                raise ConfigurationError(f"url: the driver refuses an option in it: {error}") from None
            raise

    async def close(self) -> None:
        """Give the connections back, and end them where they are ours."""
        self._open = False
        if self._engine is not None and self._lent is None:
            engine, self._engine = self._engine, None
            hung = asyncio.get_running_loop().call_later(CANCEL_GRACE, self._terminate_connections)
            try:
                await self._shield(engine.dispose())
            finally:
                hung.cancel()

    async def read(self, work: Work[T]) -> T:
        """What `work` returns; all that it reads is of one moment."""
        return await self._retry(lambda: self._transact(work, None), "read")

    async def write(self, work: Work[T], lock: str) -> T:
        """Do `work` in one transaction, alone among those with the same `lock`.

        A connection that is lost starts it anew, so it must not matter whether it was done before.
        """
        return await self._retry(lambda: self._transact(work, lock), "written")

    async def _retry(self, attempt: Callable[[], Awaitable[T]], verb: str) -> T:
        for delay in RECONNECT_DELAYS:
            try:
                return await self._shield(attempt())
            except _DRIVER_ERRORS as error:
                if not _is_transient(error):
                    raise self._explained(error, verb) from error
            await asyncio.sleep(delay)
        return await self._guarded(attempt, verb)

    async def _guarded(self, attempt: Callable[[], Awaitable[T]], verb: str) -> T:
        try:
            return await self._shield(attempt())
        except _DRIVER_ERRORS as error:
            raise self._explained(error, verb) from error

    async def _shield(self, work: Awaitable[T]) -> T:
        """Await `work`; if that is cancelled, let it end first: no connection is left in the middle of anything."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            for _ in range(2 if self.dialect == "postgresql" else 1):
                if not task.done():
                    await asyncio.wait([task], timeout=CANCEL_GRACE)
                if not task.done():
                    task.cancel()  # on PostgreSQL the first waits for the server to take its leave, the second does not
            if not task.done():
                await asyncio.wait([task])
            if not task.cancelled():
                task.exception()
            raise

    def _terminate_connections(self) -> None:
        """Drop what a server that does not answer would keep open."""
        for connection in tuple(self._connections):
            connection.terminate()

    async def _transact(self, work: Work[T], lock: str | None) -> T:
        async with self._connected() as connection:
            if self.dialect == "sqlite":
                # The driver's own transactions begin too late and read first, which fails beside another writer.
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                await connection.exec_driver_sql(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT * 1000)}")
                await connection.exec_driver_sql("BEGIN" if lock is None else "BEGIN IMMEDIATE")
                result = await work(connection)
                await connection.exec_driver_sql("COMMIT")
                return result
            level = "REPEATABLE READ" if lock is None else "READ COMMITTED"
            await connection.execution_options(isolation_level=level)
            async with connection.begin():
                if lock is not None:
                    await connection.execute(
                        sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:lock, 0))"), {"lock": lock}
                    )
                return await work(connection)

    def _connected(self) -> AsyncConnection:
        if not self._open or self._engine is None:
            raise StoreError(f"the store {self.name} is not open: use it inside `async with`")
        return self._engine.connect()

    async def _version(self) -> int | None:
        async with self._connected() as connection:
            if not await connection.run_sync(self._has_table, self.tables.version.name):
                return None
            return await self._stored_version(connection)

    async def _stored_version(self, connection: AsyncConnection) -> int | None:
        version: int | None = (await connection.execute(sa.select(sa.func.max(self.tables.version.c.version)))).scalar()
        return version

    def _has_table(self, connection: sa.Connection, name: str) -> bool:
        return sa.inspect(connection).has_table(name, schema=self._schema)

    async def _create(self) -> int:
        if self.dialect == "sqlite":
            await self._retry(self._use_wal, "opened")
        return await self._retry(lambda: self._transact(self._make_tables, "clicksgroup schema"), "opened")

    async def _use_wal(self) -> None:
        async with self._connected() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.exec_driver_sql(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT * 1000)}")
            until = asyncio.get_running_loop().time() + BUSY_TIMEOUT
            while True:
                try:
                    await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                    return
                except DBAPIError as error:  # of two that switch at once SQLite refuses one without waiting
                    if "locked" not in str(error.orig) or asyncio.get_running_loop().time() >= until:
                        raise
                await asyncio.sleep(0.01)

    async def _make_tables(self, connection: AsyncConnection) -> int:
        if await connection.run_sync(self._has_table, self.tables.version.name):
            version = await self._stored_version(connection)  # another process was faster
            if version is not None:
                return version
        for table in (self.tables.group_clicks, self.tables.click_dates):
            if await connection.run_sync(self._has_table, table.name):
                raise StoreError(
                    f"the store {self.name} has a table {table.name} that is not clicksgroup's: use another"
                )
        schema = self._schema
        if schema is not None and not await connection.run_sync(lambda c: sa.inspect(c).has_schema(schema)):
            await connection.execute(sa.schema.CreateSchema(schema))
        await connection.run_sync(self.tables.metadata.create_all)
        await connection.execute(self.tables.version.insert(), {"version": SCHEMA_VERSION})
        return SCHEMA_VERSION

    def _make_engine(self, *, create: bool) -> AsyncEngine:
        if self.dialect == "sqlite":
            self._check_file(create=create)
            options: dict[str, Any] = {
                "connect_args": {"timeout": BUSY_TIMEOUT},
                "poolclass": AsyncAdaptedQueuePool,
            }
            if self._url.database in (None, "", ":memory:"):  # one connection is one database
                options |= {"pool_size": 1, "max_overflow": 0}
        else:
            options = {"connect_args": {"timeout": BUSY_TIMEOUT, "command_timeout": COMMAND_TIMEOUT}}
        try:
            engine = create_async_engine(self._address(create=create), **options)
        except ImportError as error:
            raise ImportError('a store on PostgreSQL needs an extra: pip install "clicksgroup[postgres]"') from error
        except SQLAlchemyError as error:
            raise self._explained(error, "opened") from error
        if self.dialect == "postgresql":
            sa.event.listen(engine.sync_engine, "connect", lambda c, _: self._connections.add(c.driver_connection))
        return engine

    def _check_file(self, *, create: bool) -> None:
        database = self._url.database
        if not database or database == ":memory:" or database.startswith("file:"):
            return
        path = Path(database)
        if not create and not path.exists():
            raise self._missing()
        if path.is_dir():
            raise StoreError(f"the store {self.name} cannot be opened: it is a folder; name a file in it")
        if not path.parent.is_dir():
            raise StoreError(
                f"the store {self.name} cannot be opened: there is no folder {path.parent}; create it first"
            )
        try:  # aiosqlite's thread outlives a connection that fails, and may then report to a loop that is closed
            sqlite3.connect(database).close()
        except sqlite3.Error as error:
            raise self._explained(error, "opened") from error

    def _address(self, *, create: bool) -> URL:
        """The URL to connect to: one that is to be read where SQLite may not keep its notes beside it says so."""
        file = Path(self._url.database or "")
        if create or self.dialect != "sqlite" or self._url.query or not file.is_file() or Path(f"{file}-wal").exists():
            return self._url
        with contextlib.closing(sqlite3.connect(file)) as connection:
            try:
                connection.execute("SELECT 1 FROM sqlite_master")
            except sqlite3.Error as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what an extended code adds
                if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):  # the folder's rights; its mount
                    return self._url.set(database=file.absolute().as_uri(), query={"immutable": "1", "uri": "true"})
        return self._url

    def _missing(self) -> StoreError:
        return StoreError(f"{self.name} holds no clicksgroup store; fill it: clicksgroup backfill START END")

    def _explained(self, error: BaseException, verb: str) -> StoreError:
        origin: BaseException = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        text = " ".join(str(origin).split()) or type(origin).__name__
        text = text.removeprefix(f"{type(origin)}: ")
        password = self._url.password
        if password and len(password) > 3:
            text = text.replace(password, "***")
        permanent = _sqlstate(error).startswith(_PERMANENT_STATES) or any(words in text for words in _PERMANENT_TEXTS)
        return StoreError(
            f"the store {self.name} cannot be {verb}: {text}{_advice(error, text)}",
            retryable=verb != "opened" and not permanent,
        )


def _parse(location: str | os.PathLike[str] | URL) -> URL:
    if isinstance(location, str) and "://" in location:
        try:
            url = make_url(location)
        except (SQLAlchemyError, ValueError):
            raise ConfigurationError(
                "url: it is no SQLAlchemy URL, such as postgresql+asyncpg://user@host/db"
            ) from None
    elif isinstance(location, URL):
        url = location
    elif isinstance(location, (str, os.PathLike)):
        path = os.fspath(location)
        if not isinstance(path, str) or not path:
            raise ConfigurationError("url: expected a URL, an AsyncEngine or the path of a file")
        return URL.create("sqlite+aiosqlite", database=path if path == ":memory:" else str(Path(path).expanduser()))
    else:
        raise TypeError(f"url: expected a URL, an AsyncEngine or a path, got {type(location).__name__}")
    if url.drivername not in _DRIVERS:
        raise ConfigurationError(
            f"url: {url.drivername!r} is no engine of the store's; use sqlite+aiosqlite or postgresql+asyncpg"
        )
    url = url.set(drivername=_DRIVERS[url.drivername])
    if url.get_backend_name() == "postgresql" and "sslmode" in url.query:  # libpq's name; the driver takes its words
        query = dict(url.query)
        query.setdefault("ssl", query.pop("sslmode"))
        url = url.set(query=query)
    return url


def _is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed on a new connection, or a little later."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if _sqlstate(error).startswith(_TRANSIENT_STATES):
        return True
    return isinstance(error, OSError) and not isinstance(error, TimeoutError)


def _sqlstate(error: BaseException | None) -> str:
    while error is not None:
        state = getattr(error, "sqlstate", None)
        if isinstance(state, str):
            return state
        error = getattr(error, "orig", None) or error.__cause__
    return ""


_ADVICE = {
    "unable to open database file": "is the folder there, and may you write to it?",
    "readonly database": "it can only be read; give yourself leave to write to the file and its folder",
    "disk is full": "make room; what was stored is safe",
    "disk I/O error": "look at the disk; what was stored is safe",
    "database is locked": "another program holds it; end that one, or run it again later",
    "not a database": "name another file",
    "Connect call failed": "does the server run, and are host and port right?",
    "Name or service not known": "is the host right?",
}


def _advice(error: BaseException, text: str) -> str:
    state = _sqlstate(error)
    if state in ("28P01", "28000"):
        return "; check user and password in the URL"
    if state == "3D000":
        return "; create the database first, or name another"
    if state == "42501":
        return "; let the user create and write tables there"
    if state.startswith("53"):
        return "; give the server room; what was stored is safe"
    for words, advice in _ADVICE.items():
        if words in text:
            return f"; {advice}"
    return "; what was stored is safe"
