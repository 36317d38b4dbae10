"""Writes dates into the tables, each in one transaction."""

from __future__ import annotations

import datetime
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from clicksgroup.arguments import MAX_COUNT
from clicksgroup.errors import ClicksGroupError, StoreError
from clicksgroup.models import Day
from clicksgroup.store.database import Database
from clicksgroup.store.schema import any_of, storable

RowsById: TypeAlias = dict[int, dict[str, Any]]
"""Rows of `group_clicks` by group id."""

_CHECK_DATE = datetime.date.min
"""The date of the rows that `check_writable` writes. No client asks for it."""


class Writer:
    """Writes the dates of one account. Two writers of the same date wait for each other."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._tables = database.tables
        self._account = account

    async def put(self, day: Day) -> None:
        """Store a date; what was fetched later stays.

        Raises:
            StoreError: it cannot be stored. `stops_all` is False where the reason is in the day itself.
        """
        rows = _rows_by_id(day, self._account)
        dates, failures = self._tables.click_dates, self._tables.click_date_failures

        async def write(connection: AsyncConnection) -> None:
            stored_at = (
                await connection.execute(sa.select(dates.c.fetched_at).where(self._on(dates, day.date)))
            ).scalar()
            if stored_at is None or stored_at <= day.fetched_at:
                if day.groups is None:
                    await self._replace_date(connection, day, rows)
                else:
                    await self._replace_groups(connection, day, rows, whole=stored_at is not None)
            await connection.execute(failures.delete().where(self._on(failures, day.date)))

        await self._database.write(write, self._lock(day.date))

    async def put_failure(self, date: datetime.date, error: ClicksGroupError, failed_at: datetime.datetime) -> None:
        """Remember why a date could not be fetched."""
        table = self._tables.click_date_failures
        text = storable(f"{type(error).__name__}: {error}")

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(table.delete().where(self._on(table, date)))
            await connection.execute(
                table.insert(), {"account": self._account, "date": date, "failed_at": failed_at, "error": text}
            )

        await self._database.write(write, self._lock(date))

    async def check_writable(self, now: datetime.datetime) -> None:
        """Write a row into each table and delete it again, which shows that there are the rights and the space.

        Raises:
            StoreError: the store cannot be written.
        """
        tables = self._tables
        rows = (
            (tables.group_clicks, {"group_id": 0, "group_name": "", "clicks": 0, "unique_users": 0}),
            (tables.click_dates, {"total_count": 0, "fetched_at": now}),
            (tables.click_date_groups, {"group_id": 0, "fetched_at": now}),
            (tables.click_date_failures, {"failed_at": now, "error": ""}),
        )

        async def write(connection: AsyncConnection) -> None:
            for table, row in rows:
                await connection.execute(table.insert(), {"account": self._account, "date": _CHECK_DATE, **row})
                await connection.execute(table.delete().where(self._on(table, _CHECK_DATE)))

        await self._database.write(write, self._lock(_CHECK_DATE))

    async def _replace_date(self, connection: AsyncConnection, day: Day, rows: RowsById) -> None:
        """Replace the whole date, but for groups that were fetched later than `day`."""
        clicks, dates, groups = self._tables.group_clicks, self._tables.click_dates, self._tables.click_date_groups
        older = groups.c.fetched_at <= day.fetched_at
        await connection.execute(groups.delete().where(self._on(groups, day.date), older))
        newer_ids = sa.select(groups.c.group_id).where(self._on(groups, day.date))
        newer = set((await connection.execute(newer_ids)).scalars())
        await connection.execute(clicks.delete().where(self._on(clicks, day.date), clicks.c.group_id.not_in(newer_ids)))
        total_count = day.total_count
        if newer:
            kept = sa.select(sa.func.count()).select_from(clicks).where(self._on(clicks, day.date))
            total_count += ((await connection.execute(kept)).scalar() or 0) - len(newer & rows.keys())
        await connection.execute(dates.delete().where(self._on(dates, day.date)))
        await connection.execute(
            dates.insert(),
            {
                "account": self._account,
                "date": day.date,
                "total_count": total_count,
                "fetched_at": day.fetched_at,
                "problems": day.problems,
            },
        )
        if inserted := [row for group_id, row in rows.items() if group_id not in newer]:
            await connection.execute(clicks.insert(), inserted)

    async def _replace_groups(self, connection: AsyncConnection, day: Day, rows: RowsById, *, whole: bool) -> None:
        """Replace the groups of `day`, but for those that were fetched later; `whole` dates stay whole."""
        clicks, dates, groups = self._tables.group_clicks, self._tables.click_dates, self._tables.click_date_groups
        newer_ids = sa.select(groups.c.group_id).where(self._on(groups, day.date), groups.c.fetched_at > day.fetched_at)
        newer = set((await connection.execute(newer_ids)).scalars())
        asked = [group_id for group_id in dict.fromkeys((*(day.groups or ()), *rows)) if group_id not in newer]
        if not asked:
            return
        await connection.execute(groups.delete().where(self._on(groups, day.date), any_of(groups.c.group_id, asked)))
        deleted = await connection.execute(
            clicks.delete().where(self._on(clicks, day.date), any_of(clicks.c.group_id, asked))
        )
        inserted = [rows[group_id] for group_id in asked if group_id in rows]
        if whole and len(inserted) != deleted.rowcount:
            total_count = dates.c.total_count + len(inserted) - deleted.rowcount
            await connection.execute(dates.update().where(self._on(dates, day.date)).values(total_count=total_count))
        key = {"account": self._account, "date": day.date, "fetched_at": day.fetched_at, "problems": day.problems}
        await connection.execute(groups.insert(), [{**key, "group_id": group_id} for group_id in asked])
        if inserted:
            await connection.execute(clicks.insert(), inserted)

    def _on(self, table: sa.Table, date: datetime.date) -> sa.ColumnElement[bool]:
        return sa.and_(table.c.account == self._account, table.c.date == date)

    def _lock(self, date: datetime.date) -> str:
        return f"clicksgroup {self._account} {date}"


def _rows_by_id(day: Day, account: str) -> RowsById:
    """Return the rows of `group_clicks` by group id; of a group that is listed twice, the last one."""
    rows = {}
    for record in day.records:
        if record.date != day.date:
            raise StoreError(
                f"{day.date}: the day holds a record of {record.date}; each record must be of the day's own date",
                stops_all=False,
            )
        for name in ("group_id", "clicks", "unique_users"):
            if not -MAX_COUNT <= getattr(record, name) <= MAX_COUNT:
                raise StoreError(f"{day.date}: {name} {getattr(record, name)} does not fit 64 bits", stops_all=False)
        rows[record.group_id] = {
            "account": account,
            "date": day.date,
            "group_id": record.group_id,
            "group_name": storable(record.group_name),
            "clicks": record.clicks,
            "unique_users": record.unique_users,
        }
    return rows
