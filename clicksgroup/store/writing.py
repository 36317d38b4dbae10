"""Writes dates into the tables, each in one transaction."""

from __future__ import annotations

import datetime
import operator
from collections.abc import Callable, Sequence
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from clicksgroup.arguments import MAX_COUNT
from clicksgroup.errors import ClicksGroupError, StoreError
from clicksgroup.models import Day, GroupClicks
from clicksgroup.store.database import Database
from clicksgroup.store.schema import (
    SCHEMA_LOCK,
    any_of,
    click_accounts,
    click_date_failures,
    click_date_groups,
    click_dates,
    group_clicks,
    storable,
    upgrade_tables,
)

_CHECK_DATE = datetime.date.min
"""The date of the rows that `claim` writes. No client asks for it."""

MIN_COUNT = -MAX_COUNT - 1

Row: TypeAlias = tuple[int, str, int, int]
"""Id and name of a group, its clicks and its unique users."""

RowsById: TypeAlias = dict[int, Row]

_values: Callable[[GroupClicks], Row] = operator.attrgetter("group_id", "group_name", "clicks", "unique_users")

_STATE = sa.select(
    sa.select(click_dates.c.fetched_at)
    .where(click_dates.c.account == sa.bindparam("account"), click_dates.c.date == sa.bindparam("date"))
    .scalar_subquery(),
    *(
        sa.exists().where(table.c.account == sa.bindparam("account"), table.c.date == sa.bindparam("date"))
        for table in (group_clicks, click_date_groups, click_date_failures)
    ),
)
"""When a date was fetched whole, and whether there are clicks, groups and a failure of it."""


class Writer:
    """Writes the dates of one account. Two writers of the same date wait for each other."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._account = account

    async def put(self, day: Day) -> None:
        """Store a date; what was fetched later stays.

        Raises:
            StoreError: it cannot be stored. `stops_all` is False where the reason is in the day itself.
        """
        rows = _rows_by_id(day)
        key = {"account": self._account, "date": day.date}

        async def write(connection: AsyncConnection) -> None:
            stored_at, has_clicks, has_groups, has_failed = (await connection.execute(_STATE, key)).one()
            if stored_at is None or stored_at <= day.fetched_at:
                if day.groups is not None:
                    await self._replace_groups(connection, day, rows, whole=stored_at is not None)
                elif stored_at or has_clicks or has_groups:
                    await self._replace_date(connection, day, rows)
                else:
                    await self._insert_date(connection, day, rows, day.total_count)
            if has_failed:
                await self._delete(connection, click_date_failures, day.date)

        await self._database.write(write, self._lock(day.date))

    async def put_failure(self, date: datetime.date, error: ClicksGroupError, failed_at: datetime.datetime) -> None:
        """Remember why a date could not be fetched."""
        row = {"failed_at": failed_at, "error": storable(f"{type(error).__name__}: {error}")}

        async def write(connection: AsyncConnection) -> None:
            await self._delete(connection, click_date_failures, date)
            await connection.execute(click_date_failures.insert(), {"account": self._account, "date": date, **row})

        await self._database.write(write, self._lock(date))

    async def claim(self, origin: str, now: datetime.datetime) -> None:
        """Prepare the account for clicks of that origin, and show that there are the rights and the space to write.

        For that a row is written into each table and deleted again. A store of an older version is upgraded.
        """
        origins = sa.select(click_accounts.c.origin).where(click_accounts.c.account == self._account)
        rows = (
            (group_clicks, {"group_id": 0, "group_name": "", "clicks": 0, "unique_users": 0}),
            (click_dates, {"total_count": 0, "fetched_at": now}),
            (click_date_groups, {"group_id": 0, "fetched_at": now}),
            (click_date_failures, {"failed_at": now, "error": ""}),
        )

        async def write(connection: AsyncConnection) -> None:
            await upgrade_tables(connection)
            known = (await connection.execute(origins)).scalar()
            if known is None:
                await connection.execute(click_accounts.insert(), {"account": self._account, "origin": origin})
            elif known != origin:
                raise StoreError(
                    f"the store {self._database.name}: the clicks of the account {self._account!r} come from {known}, "
                    f"and these would come from {origin}; name another account (--account NAME) or another store"
                )
            for table, row in rows:
                await connection.execute(table.insert(), {"account": self._account, "date": _CHECK_DATE, **row})
                await self._delete(connection, table, _CHECK_DATE)

        await self._database.write(write, SCHEMA_LOCK)

    async def put_process(self, process: str) -> None:
        """Remember the process that runs the account's backfill, for those that wait for it."""
        own = click_accounts.c.account == self._account

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(click_accounts.update().where(own).values(backfill_process=process))

        await self._database.write(write, SCHEMA_LOCK)

    async def _replace_date(self, connection: AsyncConnection, day: Day, rows: RowsById) -> None:
        """Replace the whole date, but for groups that were fetched later than `day`."""
        await self._delete(connection, click_date_groups, day.date, click_date_groups.c.fetched_at <= day.fetched_at)
        newer_ids = sa.select(click_date_groups.c.group_id).where(self._on(click_date_groups, day.date))
        newer = set((await connection.execute(newer_ids)).scalars())
        await self._delete(connection, group_clicks, day.date, group_clicks.c.group_id.not_in(newer_ids))
        total_count = day.total_count
        if newer:
            kept = sa.select(sa.func.count()).select_from(group_clicks).where(self._on(group_clicks, day.date))
            total_count += ((await connection.execute(kept)).scalar() or 0) - len(newer & rows.keys())
        await self._delete(connection, click_dates, day.date)
        older_rows = {group_id: row for group_id, row in rows.items() if group_id not in newer}
        await self._insert_date(connection, day, older_rows, total_count)

    async def _insert_date(self, connection: AsyncConnection, day: Day, rows: RowsById, total_count: int) -> None:
        await connection.execute(click_dates.insert(), {**self._row_of(day), "total_count": total_count})
        await self._insert_clicks(connection, day.date, list(rows.values()))

    async def _replace_groups(self, connection: AsyncConnection, day: Day, rows: RowsById, *, whole: bool) -> None:
        """Replace the groups of `day`, but for those that were fetched later; `whole` dates stay whole."""
        newer_ids = sa.select(click_date_groups.c.group_id).where(
            self._on(click_date_groups, day.date), click_date_groups.c.fetched_at > day.fetched_at
        )
        newer = set((await connection.execute(newer_ids)).scalars())
        asked = [group_id for group_id in dict.fromkeys((*(day.groups or ()), *rows)) if group_id not in newer]
        if not asked:
            return
        await self._delete(connection, click_date_groups, day.date, any_of(click_date_groups.c.group_id, asked))
        deleted = await self._delete(connection, group_clicks, day.date, any_of(group_clicks.c.group_id, asked))
        inserted = [rows[group_id] for group_id in asked if group_id in rows]
        if whole and len(inserted) != deleted:
            total_count = click_dates.c.total_count + len(inserted) - deleted
            update = click_dates.update().where(self._on(click_dates, day.date))
            await connection.execute(update.values(total_count=total_count))
        fetched = self._row_of(day)
        await connection.execute(click_date_groups.insert(), [{**fetched, "group_id": group_id} for group_id in asked])
        await self._insert_clicks(connection, day.date, inserted)

    async def _insert_clicks(self, connection: AsyncConnection, date: datetime.date, rows: Sequence[Row]) -> None:
        """Insert rows in one statement. SQLAlchemy's own way, a dictionary for each row, takes twice as long."""
        if not rows:
            return
        names = group_clicks.c.keys()
        if connection.dialect.name == "sqlite":
            key = self._account, date.isoformat()
            insert = f"INSERT INTO {group_clicks.name} ({', '.join(names)}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608
            await connection.exec_driver_sql(insert, [key + row for row in rows])
            return
        columns = zip(group_clicks.c.values()[2:], zip(*rows, strict=True), strict=True)
        unnested = [sa.func.unnest(sa.literal(values, ARRAY(column.type))) for column, values in columns]
        selected = sa.select(sa.literal(self._account), sa.literal(date), *unnested)
        await connection.execute(group_clicks.insert().from_select(names, selected))

    async def _delete(
        self, connection: AsyncConnection, table: sa.Table, date: datetime.date, *conditions: sa.ColumnElement[bool]
    ) -> int:
        """Delete rows of a date, and return how many they were."""
        return (await connection.execute(table.delete().where(self._on(table, date), *conditions))).rowcount

    def _on(self, table: sa.Table, date: datetime.date) -> sa.ColumnElement[bool]:
        return sa.and_(table.c.account == self._account, table.c.date == date)

    def _row_of(self, day: Day) -> dict[str, object]:
        """What is stored of the date as a whole, and of each of its groups that were asked for by id."""
        return {"account": self._account, "date": day.date, "fetched_at": day.fetched_at, "problems": day.problems}

    def _lock(self, date: datetime.date) -> str:
        return f"clicksgroup {self._account} {date}"


def _rows_by_id(day: Day) -> RowsById:
    """The rows by group id, if all of them can be stored; of a group that is listed twice, the last one."""
    rows: RowsById = {}
    for record in day.records:
        if record.date != day.date:
            raise StoreError(
                f"{day.date}: the day holds a record of {record.date}; each record must be of the day's own date",
                stops_all=False,
            )
        row = _values(record)
        group_id, _, clicks, users = row
        if not (0 < group_id <= MAX_COUNT and MIN_COUNT <= clicks <= MAX_COUNT and MIN_COUNT <= users <= MAX_COUNT):
            raise StoreError(f"{day.date}: {_misfit(record)}", stops_all=False)
        rows[group_id] = row
    if storable(names := "".join(row[1] for row in rows.values())) != names:
        rows = {row[0]: (row[0], storable(row[1]), *row[2:]) for row in rows.values()}
    return rows


def _misfit(record: GroupClicks) -> str:
    for name in ("group_id", "clicks", "unique_users"):
        number = getattr(record, name)
        if not MIN_COUNT <= number <= MAX_COUNT:
            return f"{name} {number} does not fit 64 bits"
    return f"group_id {record.group_id} is not the id of a group; the smallest is 1"
