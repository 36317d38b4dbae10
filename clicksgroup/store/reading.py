"""Reads dates from the tables, in chunks of whole dates."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Any, TypeAlias, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from clicksgroup.dates import DateRange, date_range
from clicksgroup.exports import Columns
from clicksgroup.models import Day, GroupClicks
from clicksgroup.store.coverage import ONE_DAY, Coverage, FetchedDate
from clicksgroup.store.database import Database
from clicksgroup.store.schema import any_of
from clicksgroup.store.stream import RecordStream, StoreStream

CHUNK_ROWS = 5000
"""Rows that a stream reads at a time, rounded up to whole dates: a date that is replaced meanwhile is never mixed."""

Groups: TypeAlias = tuple[int, ...] | None

Rows: TypeAlias = Sequence[tuple[Any, ...]]
"""Date, group id, group name, clicks and unique users, as the driver gives them: in SQLite a date is a text."""


class Reader:
    """Reads the dates of one account. `start` and `end` are both included; `groups` is None for all groups."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._tables = database.tables
        self._account = account

    def clicks(self, start: datetime.date, end: datetime.date, groups: Groups) -> RecordStream:
        """The records, by date and group id."""
        return RecordStream(
            lambda first: self._database.read(partial(self._chunk_of_clicks, start=first, end=end, groups=groups)),
            start,
        )

    def days(self, start: datetime.date, end: datetime.date, groups: Groups) -> StoreStream[Day]:
        """The dates that were fetched whole or, with `groups`, for all of these, by date."""
        return StoreStream(
            lambda first: self._database.read(partial(self._chunk_of_days, start=first, end=end, groups=groups)), start
        )

    async def coverage(self, dates: Sequence[datetime.date], groups: Groups, settle: datetime.timedelta) -> Coverage:
        """Sort dates into final, provisional and missing ones."""
        coverage = Coverage([], [], [])
        if not dates:
            return coverage
        fetched = await self._database.read(
            partial(self._fetched_dates, start=min(dates), end=max(dates), groups=groups)
        )
        for date in dates:
            if date not in fetched:
                coverage.missing.append(date)
            elif fetched[date].is_final(settle):
                coverage.final.append(date)
            else:
                coverage.provisional.append(date)
        return coverage

    async def span(self) -> DateRange | None:
        """All dates from the first that was fetched to the last, or None where there is none."""
        query = sa.union_all(
            *(
                sa.select(sa.func.min(table.c.date), sa.func.max(table.c.date)).where(table.c.account == self._account)
                for table in (self._tables.click_dates, self._tables.click_date_groups)
            )
        )

        async def read(connection: AsyncConnection) -> list[datetime.date]:
            return [date for row in await connection.execute(query) for date in row if date is not None]

        dates = await self._database.read(read)
        return date_range(min(dates), max(dates)) if dates else None

    async def failures(self, start: datetime.date, end: datetime.date) -> dict[datetime.date, str]:
        """The dates that could not be fetched when they were last asked for, with the text of the error."""
        table = self._tables.click_date_failures
        query = self._select(table, start, end, table.c.date, table.c.error).order_by(table.c.date)

        async def read(connection: AsyncConnection) -> dict[datetime.date, str]:
            return {row.date: row.error for row in await connection.execute(query)}

        return await self._database.read(read)

    async def backfill_process(self) -> str:
        """The process that runs, or ran last, a backfill of the account."""
        table = self._tables.click_accounts
        query = sa.select(table.c.backfill_process).where(table.c.account == self._account)

        async def read(connection: AsyncConnection) -> str | None:
            return (await connection.execute(query)).scalar()

        return await self._database.read(read) or "(unknown)"

    async def _chunk_of_clicks(
        self, connection: AsyncConnection, *, start: datetime.date, end: datetime.date, groups: Groups
    ) -> tuple[Columns, datetime.date | None]:
        """The records of whole dates, `CHUNK_ROWS` or some more, and the date after them."""
        clicks = self._tables.group_clicks
        query = self._select_records(start, end, groups)
        rows = await _fetch(connection, query.limit(CHUNK_ROWS))
        after = None
        if len(rows) == CHUNK_ROWS:
            last = _date(rows[-1][0])
            after = _after(last, end)
            rows += await _fetch(
                connection, self._select_records(last, last, groups).where(clicks.c.group_id > rows[-1][1])
            )
        return _columns(rows), after

    async def _chunk_of_days(
        self, connection: AsyncConnection, *, start: datetime.date, end: datetime.date, groups: Groups
    ) -> tuple[list[Day], datetime.date | None]:
        """As many days as hold `CHUNK_ROWS` records, at least one, and the date after them."""
        dates = await self._dates_of_chunk(connection, start, end, groups)
        if not dates:
            return [], None
        fetched = await self._fetched_dates(connection, start=dates[0], end=dates[-1], groups=groups)
        columns = _columns(await _fetch(connection, self._select_records(dates[0], dates[-1], groups)))
        records = {date: tuple(of_date) for date, of_date in groupby(map(GroupClicks, *columns), lambda r: r.date)}
        days = []
        for date in sorted(fetched):
            found = records.get(date, ())
            total_count = fetched[date].total_count if groups is None else None
            if total_count is None:
                total_count = len(found)
            days.append(Day(date, total_count, found, fetched[date].fetched_at, groups, fetched[date].problems))
        return days, _after(dates[-1], end)

    async def _dates_of_chunk(
        self, connection: AsyncConnection, start: datetime.date, end: datetime.date, groups: Groups
    ) -> list[datetime.date]:
        """The next dates that may have been fetched, about as many as hold `CHUNK_ROWS` records."""
        dates, date_groups = self._tables.click_dates, self._tables.click_date_groups
        if groups is None:
            query = self._select(dates, start, end, dates.c.date, dates.c.total_count).order_by(dates.c.date)
        else:
            whole = self._select(dates, start, end, dates.c.date)
            either = whole.union(self._select(date_groups, start, end, date_groups.c.date, groups=groups)).subquery()
            query = sa.select(either.c.date, sa.literal(len(groups))).order_by(either.c.date)
        chunk: list[datetime.date] = []
        records = 0
        for date, count in await connection.execute(query.limit(CHUNK_ROWS)):
            records += count
            if chunk and records > CHUNK_ROWS:
                break
            chunk.append(date)
        return chunk

    def _select_records(self, start: datetime.date, end: datetime.date, groups: Groups) -> sa.Select[Any]:
        table = self._tables.group_clicks
        # As text, so that SQLite's dates are not parsed row by row.
        date = sa.type_coerce(table.c.date, sa.Text)
        columns = (date, table.c.group_id, table.c.group_name, table.c.clicks, table.c.unique_users)
        return self._select(table, start, end, *columns, groups=groups).order_by(table.c.date, table.c.group_id)

    async def _fetched_dates(
        self, connection: AsyncConnection, *, start: datetime.date, end: datetime.date, groups: Groups
    ) -> dict[datetime.date, FetchedDate]:
        """The dates that were fetched whole or, with `groups`, for all of these."""
        dates, date_groups = self._tables.click_dates, self._tables.click_date_groups
        problems: dict[datetime.date, tuple[str, ...]] = {}
        query = self._select(date_groups, start, end, date_groups.c.date, date_groups.c.problems, groups=groups)
        for date, more in await connection.execute(query.where(date_groups.c.problems.is_not(None)).distinct()):
            problems[date] = (*problems.get(date, ()), *more)
        query = self._select(dates, start, end, dates.c.date, dates.c.fetched_at, dates.c.problems, dates.c.total_count)
        fetched = {
            date: FetchedDate(date, fetched_at, (*own, *problems.get(date, ())), total_count)
            for date, fetched_at, own, total_count in await connection.execute(query)
        }
        if groups is not None:
            # A group in this table is never older than the whole date (see `Writer.put`). So where all the groups are
            # in it, they alone count.
            query = self._select(
                date_groups, start, end, date_groups.c.date, sa.func.min(date_groups.c.fetched_at), groups=groups
            ).group_by(date_groups.c.date)
            for date, fetched_at in await connection.execute(query.having(sa.func.count() == len(groups))):
                fetched[date] = FetchedDate(date, fetched_at, problems.get(date, ()))
        return fetched

    def _select(
        self,
        table: sa.Table,
        start: datetime.date,
        end: datetime.date,
        *columns: sa.ColumnElement[Any],
        groups: Groups = None,
    ) -> sa.Select[Any]:
        query = sa.select(*columns).where(table.c.account == self._account, table.c.date.between(start, end))
        return query if groups is None else query.where(any_of(table.c.group_id, groups))


def _after(last: datetime.date, end: datetime.date) -> datetime.date | None:
    """The start of the next chunk, or None where there is none."""
    return None if last >= end else last + ONE_DAY


async def _fetch(connection: AsyncConnection, query: sa.Select[Any]) -> list[tuple[Any, ...]]:
    """All rows as the driver's tuples: to make a `Row` of each takes longer than to read it."""
    cursor = (await connection.execute(query)).cursor
    assert cursor is not None
    return list(cursor.fetchall())


def _columns(rows: Rows) -> Columns:
    if not rows:
        return (), (), (), (), ()
    dates, *others = zip(*rows, strict=True)
    parsed = {date: _date(date) for date in set(dates)}
    return cast("Columns", (tuple(map(parsed.__getitem__, dates)), *others))


def _date(value: datetime.date | str) -> datetime.date:
    return datetime.date.fromisoformat(value) if isinstance(value, str) else value
