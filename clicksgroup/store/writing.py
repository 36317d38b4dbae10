"""Dates into the tables, each in one transaction."""

from __future__ import annotations

import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from clicksgroup.errors import ClicksGroupError
from clicksgroup.models import Day
from clicksgroup.store.coverage import equals_any
from clicksgroup.store.engine import Database
from clicksgroup.store.rows import RowsById, rows_by_id
from clicksgroup.store.schema import storable

_CHECK_DATE = datetime.date.min


class Writer:
    """What is written for one account. Of two writers of one date one waits for the other."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._tables = database.tables
        self._account = account

    async def put(self, day: Day) -> None:
        """Store a date; what was fetched later stays."""
        rows = rows_by_id(day, self._account)

        async def write(connection: AsyncConnection) -> None:
            if day.groups is None:
                await self._replace_date(connection, day, rows)
            else:
                await self._replace_groups(connection, day, rows)
            failed = self._tables.click_date_failures
            await connection.execute(failed.delete().where(*self._of(failed, day.date)))

        await self._database.write(write, self._lock(day.date))

    async def put_failure(self, date: datetime.date, error: ClicksGroupError, at: datetime.datetime) -> None:
        """Remember why a date could not be had."""
        table = self._tables.click_date_failures
        row = {
            "account": self._account,
            "date": date,
            "failed_at": at,
            "error": storable(f"{type(error).__name__}: {error}"),
        }

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(table.delete().where(*self._of(table, date)))
            await connection.execute(table.insert(), row)

        await self._database.write(write, self._lock(date))

    async def check_writable(self, now: datetime.datetime) -> None:
        """Write a row into each table and take it away again: leave to write, and room for it, are there."""
        key = {"account": self._account, "date": _CHECK_DATE}
        tables = self._tables
        rows = (
            (tables.group_clicks, {"group_id": 0, "group_name": "", "clicks": 0, "unique_users": 0}),
            (tables.click_dates, {"total_count": 0, "fetched_at": now}),
            (tables.click_date_groups, {"group_id": 0, "fetched_at": now}),
            (tables.click_date_failures, {"failed_at": now, "error": ""}),
        )

        async def write(connection: AsyncConnection) -> None:
            for table, row in rows:
                await connection.execute(table.insert(), {**key, **row})
                await connection.execute(table.delete().where(*self._of(table, _CHECK_DATE)))

        await self._database.write(write, self._lock(_CHECK_DATE))

    async def _replace_date(self, connection: AsyncConnection, day: Day, rows: RowsById) -> None:
        clicks, whole, parts = self._tables.group_clicks, self._tables.click_dates, self._tables.click_date_groups
        fetched_at = (
            await connection.execute(sa.select(whole.c.fetched_at).where(*self._of(whole, day.date)))
        ).scalar()
        if fetched_at is not None and fetched_at > day.fetched_at:
            return
        older = sa.and_(*self._of(parts, day.date), parts.c.fetched_at <= day.fetched_at)
        await connection.execute(parts.delete().where(older))
        newer = set((await connection.execute(sa.select(parts.c.group_id).where(*self._of(parts, day.date)))).scalars())
        kept = clicks.c.group_id.in_(sa.select(parts.c.group_id).where(*self._of(parts, day.date)))
        await connection.execute(clicks.delete().where(*self._of(clicks, day.date), ~kept))
        total_count = day.total_count
        if newer:
            listed = sa.select(sa.func.count()).select_from(clicks).where(*self._of(clicks, day.date))
            total_count += ((await connection.execute(listed)).scalar() or 0) - len(newer & rows.keys())
        await connection.execute(whole.delete().where(*self._of(whole, day.date)))
        await connection.execute(
            whole.insert(),
            {
                "account": self._account,
                "date": day.date,
                "total_count": total_count,
                "fetched_at": day.fetched_at,
                "problems": day.problems,
            },
        )
        if fresh := [row for group_id, row in rows.items() if group_id not in newer]:
            await connection.execute(clicks.insert(), fresh)

    async def _replace_groups(self, connection: AsyncConnection, day: Day, rows: RowsById) -> None:
        clicks, whole, parts = self._tables.group_clicks, self._tables.click_dates, self._tables.click_date_groups
        fetched_at = (
            await connection.execute(sa.select(whole.c.fetched_at).where(*self._of(whole, day.date)))
        ).scalar()
        if fetched_at is not None and fetched_at > day.fetched_at:
            return
        newer = sa.select(parts.c.group_id).where(*self._of(parts, day.date), parts.c.fetched_at > day.fetched_at)
        asked = dict.fromkeys((*(day.groups or ()), *rows))
        for group_id in (await connection.execute(newer)).scalars():
            asked.pop(group_id, None)
        groups = tuple(asked)
        if not groups:
            return
        await connection.execute(parts.delete().where(*self._of(parts, day.date), equals_any(parts.c.group_id, groups)))
        gone = await connection.execute(
            clicks.delete().where(*self._of(clicks, day.date), equals_any(clicks.c.group_id, groups))
        )
        listed = [rows[group_id] for group_id in groups if group_id in rows]
        if fetched_at is not None and len(listed) != gone.rowcount:
            total_count = whole.c.total_count + len(listed) - gone.rowcount
            await connection.execute(whole.update().where(*self._of(whole, day.date)).values(total_count=total_count))
        key = {"account": self._account, "date": day.date, "fetched_at": day.fetched_at, "problems": day.problems}
        await connection.execute(parts.insert(), [{**key, "group_id": group_id} for group_id in groups])
        if listed:
            await connection.execute(clicks.insert(), listed)

    def _of(self, table: sa.Table, date: datetime.date) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
        return table.c.account == self._account, table.c.date == date

    def _lock(self, date: datetime.date) -> str:
        return f"clicksgroup {self._account} {date}"
