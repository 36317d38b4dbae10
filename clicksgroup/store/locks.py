"""Locks that let one backfill of an account run at a time, in whichever process. They die with their process."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import hashlib
import sqlite3
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from clicksgroup.errors import StoreError
from clicksgroup.store.database import CANCEL_GRACE, Database
from clicksgroup.store.database_errors import DRIVER_ERRORS


class AccountLock(abc.ABC):
    """A lock on the backfills of one account of one store; `name` says which, for messages."""

    def __init__(self, database: Database, account: str) -> None:
        self.name = f"account {account!r} of the store {database.name}"
        self._database = database
        self._account = account

    @abc.abstractmethod
    async def try_acquire(self) -> bool:
        """Take the lock, and return whether it was free."""

    async def confirm(self) -> None:  # noqa: B027 - only one that can be lost has something to do
        """Take the lock again if its connection was lost; raise `StoreError` if another process has it meanwhile."""

    @abc.abstractmethod
    async def release(self) -> None:
        """Give the lock back, if it is held."""


async def account_lock(database: Database, account: str) -> AccountLock:
    """The lock of an account, not yet taken."""
    if not database.is_sqlite:
        return _PostgresLock(database, account)
    query = sa.text("SELECT file FROM pragma_database_list WHERE name = 'main'")
    ((file,),) = await database.rows(query)
    return _FileLock(database, account, file) if file else _MemoryLock(database, account)


class _MemoryLock(AccountLock):
    """A database in memory has one store, in one process."""

    _held = False

    async def try_acquire(self) -> bool:
        self._held = self._account not in self._database.accounts_in_backfill
        self._database.accounts_in_backfill.add(self._account)
        return self._held

    async def release(self) -> None:
        if self._held:
            self._database.accounts_in_backfill.discard(self._account)


class _FileLock(AccountLock):
    """An empty SQLite file beside the store. Its lock works wherever the store itself does. The file is left there."""

    def __init__(self, database: Database, account: str, file: str) -> None:
        super().__init__(database, account)
        self._path = f"{file}-backfill-{hashlib.sha256(account.encode()).hexdigest()[:8]}"
        self._connection: sqlite3.Connection | None = None

    async def try_acquire(self) -> bool:
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if "locked" in str(error):
                return False
            raise StoreError(f"the file {self._path}, which locks the store, cannot be used: {error}") from error
        return True

    async def release(self) -> None:
        if self._connection is not None:
            self._connection.close()


class _PostgresLock(AccountLock):
    """An advisory lock on a connection of its own.

    The lock is a transaction's, not a session's: PgBouncer gives each transaction another session.
    """

    def __init__(self, database: Database, account: str) -> None:
        super().__init__(database, account)
        self._connection: AsyncConnection | None = None
        self._driver_connection: Any = None
        name = f"clicksgroup backfill {database.schema or ''} {account}"
        # Some servers end a transaction that is idle for minutes.
        self._lock: sa.Select[Any] = sa.select(
            sa.func.set_config("idle_in_transaction_session_timeout", "0", True),
            sa.func.pg_try_advisory_xact_lock(sa.func.hashtextextended(name, 0)).label("held"),
        )

    async def try_acquire(self) -> bool:
        return await self._database.retry(self._try_once, "written")

    async def confirm(self) -> None:
        assert self._connection is not None
        with contextlib.suppress(*DRIVER_ERRORS):
            await self._database.shield(self._connection.execute(sa.select(1)))
            return
        await self.release()
        if not await self.try_acquire():
            raise StoreError(
                f"{self.name}: the connection was lost, and another backfill has begun meanwhile; run this one again: "
                "it waits for the other"
            )

    async def release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._database.shield(self._close(connection))

    async def _try_once(self) -> bool:
        if self._connection is None:
            self._connection = await self._database.connect_apart()
            self._driver_connection = (await self._connection.get_raw_connection()).driver_connection
        try:
            held = bool((await self._connection.execute(self._lock)).one().held)
            if not held:
                await self._connection.rollback()
        except BaseException:
            await self.release()
            raise
        return held

    async def _close(self, connection: AsyncConnection) -> None:
        try:
            async with asyncio.timeout(CANCEL_GRACE):
                await connection.close()
        except DRIVER_ERRORS:
            # The server does not answer: a `TimeoutError` is an `OSError`.
            self._driver_connection.terminate()
