"""Dates out of the tables, in chunks of whole dates."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from clicksgroup.dates import DateRange, date_range
from clicksgroup.models import Day, GroupClicks
from clicksgroup.store.coverage import Knowledge, equals_any, read_knowledge
from clicksgroup.store.engine import Database
from clicksgroup.store.stream import StoreStream

CHUNK_ROWS = 2000
"""Rows that a stream reads at a time, rounded up to whole dates: a date that is replaced meanwhile is never mixed."""

Groups = tuple[int, ...] | None


class Reader:
    """What is read of one account. `start` and `end` are both included; `groups` is None for all."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._tables = database.tables
        self._account = account

    def clicks(self, start: datetime.date, end: datetime.date, groups: Groups) -> StoreStream[GroupClicks]:
        """The records, by date and group id."""
        table = self._tables.group_clicks
        columns = (table.c.date, table.c.group_id, table.c.group_name, table.c.clicks, table.c.unique_users)

        async def chunk(after: datetime.date | None) -> tuple[list[GroupClicks], datetime.date | None]:
            where = [table.c.account == self._account, table.c.date <= end]
            where.append(table.c.date >= start if after is None else table.c.date > after)
            if groups is not None:
                where.append(equals_any(table.c.group_id, groups))
            order = (table.c.date, table.c.group_id)
            bound = sa.select(table.c.date).where(*where).order_by(*order).limit(1).offset(CHUNK_ROWS)

            async def read(connection: AsyncConnection) -> tuple[list[GroupClicks], datetime.date | None]:
                until = (await connection.execute(bound)).scalar()
                upto = where if until is None else [*where, table.c.date <= until]
                rows = await connection.execute(sa.select(*columns).where(*upto).order_by(*order))
                return [GroupClicks(*row) for row in rows], until

            return await self._database.read(read)

        return StoreStream(chunk)

    def days(self, start: datetime.date, end: datetime.date, groups: Groups) -> StoreStream[Day]:
        """The dates that are known, by date."""

        async def chunk(after: datetime.date | None) -> tuple[list[Day], datetime.date | None]:
            first = start if after is None else after + datetime.timedelta(days=1)
            return await self._database.read(lambda connection: self._read_days(connection, first, end, groups))

        return StoreStream(chunk)

    async def knowledge(
        self, start: datetime.date, end: datetime.date, groups: Groups
    ) -> dict[datetime.date, Knowledge]:
        """What is known of which dates."""
        return await self._database.read(
            lambda connection: read_knowledge(connection, self._tables, self._account, start, end, groups)
        )

    async def span(self) -> DateRange | None:
        """From the first date that anything is known of to the last."""
        tables = (self._tables.click_dates, self._tables.click_date_groups)

        async def read(connection: AsyncConnection) -> list[datetime.date]:
            found: list[datetime.date] = []
            for table in tables:
                ends = sa.select(sa.func.min(table.c.date), sa.func.max(table.c.date))
                for row in await connection.execute(ends.where(table.c.account == self._account)):
                    found += [date for date in row if date is not None]
            return found

        found = await self._database.read(read)
        return date_range(min(found), max(found)) if found else None

    async def failures(self, start: datetime.date, end: datetime.date) -> dict[datetime.date, str]:
        """The dates that could not be had when they were last asked for."""
        table = self._tables.click_date_failures

        async def read(connection: AsyncConnection) -> dict[datetime.date, str]:
            rows = await connection.execute(
                sa.select(table.c.date, table.c.error)
                .where(table.c.account == self._account, table.c.date.between(start, end))
                .order_by(table.c.date)
            )
            return {row[0]: row[1] for row in rows}

        return await self._database.read(read)

    async def _read_days(
        self,
        connection: AsyncConnection,
        start: datetime.date,
        end: datetime.date,
        groups: Groups,
    ) -> tuple[list[Day], datetime.date | None]:
        """As many days as hold `CHUNK_ROWS` records, one at the least, and the date that they end with."""
        clicks = self._tables.group_clicks
        dates, more = await self._next_dates(connection, start, end, groups)
        if not dates:
            return [], None
        known = await read_knowledge(connection, self._tables, self._account, dates[0], dates[-1], groups)
        columns = (clicks.c.date, clicks.c.group_id, clicks.c.group_name, clicks.c.clicks, clicks.c.unique_users)
        where = [clicks.c.account == self._account, clicks.c.date.between(dates[0], dates[-1])]
        if groups is not None:
            where.append(equals_any(clicks.c.group_id, groups))
        records: dict[datetime.date, list[GroupClicks]] = {date: [] for date in known}
        query = sa.select(*columns).where(*where).order_by(clicks.c.date, clicks.c.group_id)
        for row in await connection.execute(query):
            if row[0] in records:
                records[row[0]].append(GroupClicks(*row))
        total_counts = await self._total_counts(connection, dates) if groups is None else {}
        days = [
            Day(
                date,
                total_counts.get(date, len(records[date])),
                tuple(records[date]),
                known[date].fetched_at,
                groups,
                known[date].problems,
            )
            for date in sorted(known)
        ]
        return days, dates[-1] if more else None

    async def _next_dates(
        self,
        connection: AsyncConnection,
        start: datetime.date,
        end: datetime.date,
        groups: Groups,
    ) -> tuple[list[datetime.date], bool]:
        """The next dates that may be known, not too many, and whether there are more."""
        whole, parts = self._tables.click_dates, self._tables.click_date_groups
        if groups is None:
            query = self._between(whole, start, end, whole.c.date, whole.c.total_count).order_by(whole.c.date)
            rows = [(date, count) for date, count in await connection.execute(query.limit(CHUNK_ROWS))]
        else:
            either = self._between(whole, start, end, whole.c.date).union(
                self._between(parts, start, end, parts.c.date).where(equals_any(parts.c.group_id, groups))
            )
            ordered = either.order_by(either.selected_columns.date).limit(CHUNK_ROWS)
            rows = [(date, len(groups)) for (date,) in await connection.execute(ordered)]
        dates: list[datetime.date] = []
        records = 0
        for date, count in rows:
            records += count
            if dates and records > CHUNK_ROWS:
                break
            dates.append(date)
        return dates, len(dates) < len(rows) or len(rows) == CHUNK_ROWS

    async def _total_counts(
        self, connection: AsyncConnection, dates: Sequence[datetime.date]
    ) -> dict[datetime.date, int]:
        whole = self._tables.click_dates
        query = self._between(whole, dates[0], dates[-1], whole.c.date, whole.c.total_count)
        return {row[0]: row[1] for row in await connection.execute(query)}

    def _between(
        self, table: sa.Table, start: datetime.date, end: datetime.date, *columns: sa.ColumnElement[Any]
    ) -> sa.Select[Any]:
        return sa.select(*columns).where(table.c.account == self._account, table.c.date.between(start, end))
