"""Reads dates from the tables, in chunks of whole dates."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar, cast

import attrs
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from clicksgroup.dates import DateRange, date_range
from clicksgroup.exports import Columns
from clicksgroup.models import Day, GroupClicks
from clicksgroup.store.database import Database
from clicksgroup.store.schema import (
    any_of,
    click_accounts,
    click_date_failures,
    click_date_groups,
    click_dates,
    group_clicks,
)
from clicksgroup.streams import ItemStream

T = TypeVar("T")
P = TypeVar("P")

Groups: TypeAlias = tuple[int, ...] | None

CHUNK_ROWS = 5000
"""Rows that a stream reads at a time, rounded up to whole dates: a date that is replaced meanwhile is never mixed."""

LAST_END = datetime.timedelta(hours=36)
"""Time from midnight in UTC, when a date begins there, until it has ended everywhere on Earth: last at UTC-12."""


@attrs.frozen
class Coverage:
    """Which dates the store has, for the groups that were asked about. Provisional.

    Args:
        final: fetched after they had ended everywhere on Earth (plus `settle`), and without problems.
        provisional: fetched earlier than that, or with problems; a backfill asks for them again.
        missing: not fetched, or not for all the groups asked about.
    """

    final: list[datetime.date]
    provisional: list[datetime.date]
    missing: list[datetime.date]


def is_final(day: Day, settle: datetime.timedelta) -> bool:
    """Whether the counts of a day could no longer change when they were fetched."""
    midnight = datetime.datetime.combine(day.date, datetime.time(), datetime.UTC)
    return not day.problems and day.fetched_at - midnight - LAST_END >= settle


class StoreStream(ItemStream[T]):
    """Items from the store. `break` leaves nothing behind. Provisional; for the rest see `ItemStream`.

    Args:
        read_chunk: given a position, returns the items from there and the position after them, or None at the end.
            Each call is a short transaction, so that no reader leaves one open.
        start: the first position.
    """

    __slots__ = ("_error", "_position", "_read_chunk")

    def __init__(self, read_chunk: Callable[[P], Awaitable[tuple[Sequence[T], P | None]]], start: P) -> None:
        super().__init__()
        self._read_chunk: Callable[[Any], Awaitable[tuple[Sequence[T], Any]]] = read_chunk
        self._position: P | None = start
        self._error: Exception | None = None

    async def next_item(self) -> T:
        """The first item of the next chunk."""
        while not self._items:
            if self._position is None:
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            try:
                items, position = await self._read_chunk(self._position)
            except Exception as error:
                self._error = error
                raise
            # It may have been closed meanwhile.
            if self._position is not None:
                self._items.extend(items)
                self._position = position
        return self._items.popleft()

    async def aclose(self) -> None:
        """End the stream: nothing more is read, and nothing more is given."""
        self._items.clear()
        self._position = None


class RecordStream(StoreStream[GroupClicks]):
    """Records from the store, which `clicksgroup.exports` takes as columns. Provisional."""

    __slots__ = ("_read_columns", "_start")

    def __init__(self, read_columns: Callable[[P], Awaitable[tuple[Columns, P | None]]], start: P) -> None:
        async def read_chunk(position: P) -> tuple[Sequence[GroupClicks], P | None]:
            columns, after = await read_columns(position)
            return list(map(GroupClicks, *columns)), after

        super().__init__(read_chunk, start)
        self._read_columns: Callable[[Any], Awaitable[tuple[Columns, Any]]] = read_columns
        self._start = start

    async def columns(self) -> AsyncIterator[Columns]:
        """All records of the stream in chunks of columns, none of them empty, whether some were read before or not."""
        position: Any = self._start
        while position is not None:
            columns, position = await self._read_columns(position)
            if columns[0]:
                yield columns


class Reader:
    """Reads the dates of one account; for its methods see `ClickStore`. `groups` is None for all groups."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._account = account

    def clicks(self, dates: DateRange, groups: Groups) -> RecordStream:
        return RecordStream(lambda rest: self._database.read(partial(self._columns, dates=rest, groups=groups)), dates)

    def days(self, dates: DateRange, groups: Groups) -> StoreStream[Day]:
        return StoreStream(lambda rest: self._database.read(partial(self._days, dates=rest, groups=groups)), dates)

    async def coverage(self, dates: Sequence[datetime.date], groups: Groups, settle: datetime.timedelta) -> Coverage:
        coverage = Coverage([], [], [])
        if not dates:
            return coverage
        span = date_range(min(dates), max(dates))
        fetched = await self._database.read(partial(self._fetched, dates=span, groups=groups))
        for date in dates:
            if date not in fetched:
                coverage.missing.append(date)
            elif is_final(fetched[date], settle):
                coverage.final.append(date)
            else:
                coverage.provisional.append(date)
        return coverage

    async def span(self) -> DateRange | None:
        query = sa.union_all(
            *(
                sa.select(sa.func.min(table.c.date), sa.func.max(table.c.date)).where(table.c.account == self._account)
                for table in (click_dates, click_date_groups)
            )
        )
        dates = [date for row in await self._database.rows(query) for date in row if date is not None]
        return date_range(min(dates), max(dates)) if dates else None

    async def failures(self, dates: DateRange) -> dict[datetime.date, str]:
        table = click_date_failures
        query = self._select(table, dates, table.c.date, table.c.error).order_by(table.c.date)
        return {row.date: row.error for row in await self._database.rows(query)}

    async def backfill_process(self) -> str:
        """The process that runs, or ran last, a backfill of the account."""
        query = sa.select(click_accounts.c.backfill_process).where(click_accounts.c.account == self._account)
        processes = [process for (process,) in await self._database.rows(query) if process]
        return processes[0] if processes else "(unknown)"

    async def _columns(
        self, connection: AsyncConnection, *, dates: DateRange, groups: Groups
    ) -> tuple[Columns, DateRange | None]:
        """The records of the first dates, whole, `CHUNK_ROWS` or some more, and the dates that are left."""
        _, date, group_id, *others = group_clicks.c
        # As text, so that SQLite's dates are not parsed row by row.
        columns = (sa.type_coerce(date, sa.Text), group_id, *others)
        query = self._select(group_clicks, dates, *columns, groups=groups).order_by(date, group_id)
        rows = await _fetch(connection, query.limit(CHUNK_ROWS))
        if len(rows) < CHUNK_ROWS:
            return _columns_of(rows), None
        last = dates.index(_date(rows[-1][0]))
        query = self._select(group_clicks, dates[last : last + 1], *columns, groups=groups).order_by(date, group_id)
        rows += await _fetch(connection, query.where(group_id > rows[-1][1]))
        return _columns_of(rows), dates[last + 1 :] or None

    async def _days(
        self, connection: AsyncConnection, *, dates: DateRange, groups: Groups
    ) -> tuple[list[Day], DateRange | None]:
        """The first dates, of those that were fetched, and the dates that are left."""
        columns, rest = await self._columns(connection, dates=dates, groups=groups)
        by_date = groupby(map(GroupClicks, *columns), attrgetter("date"))
        records = {date: tuple(same_date) for date, same_date in by_date}
        fetched = await self._fetched(connection, dates=dates[: len(dates) - len(rest or ())], groups=groups)
        days = []
        for date in sorted(fetched):
            found = records.get(date, ())
            total_count = fetched[date].total_count if groups is None else len(found)
            days.append(attrs.evolve(fetched[date], records=found, total_count=total_count))
        return days, rest

    async def _fetched(
        self, connection: AsyncConnection, *, dates: DateRange, groups: Groups
    ) -> dict[datetime.date, Day]:
        """The dates that were fetched whole or, with `groups`, for all of these: as days without their records."""
        table = click_date_groups
        of_groups = table.c
        problems: dict[datetime.date, tuple[str, ...]] = {}
        query = self._select(table, dates, of_groups.date, of_groups.problems, groups=groups)
        query = query.where(of_groups.problems.is_not(None))
        for date, more in await connection.execute(query.distinct()):
            problems[date] = (*problems.get(date, ()), *more)
        of_dates = click_dates.c
        query = self._select(
            click_dates, dates, of_dates.date, of_dates.total_count, of_dates.fetched_at, of_dates.problems
        )
        fetched = {
            date: Day(date, total_count, (), fetched_at, groups, (*first, *problems.get(date, ())))
            for date, total_count, fetched_at, first in await connection.execute(query)
        }
        if groups is not None:
            # A group in this table is never older than the whole date (see `Writer.put`). So where all the groups are
            # in it, they alone count.
            query = self._select(table, dates, of_groups.date, sa.func.min(of_groups.fetched_at), groups=groups)
            query = query.group_by(of_groups.date)
            for date, fetched_at in await connection.execute(query.having(sa.func.count() == len(groups))):
                fetched[date] = Day(date, 0, (), fetched_at, groups, problems.get(date, ()))
        return fetched

    def _select(
        self, table: sa.Table, dates: DateRange, *columns: sa.ColumnElement[Any], groups: Groups = None
    ) -> sa.Select[Any]:
        query = sa.select(*columns).where(table.c.account == self._account)
        query = query.where(table.c.date.between(dates[0], dates[-1]))
        return query if groups is None else query.where(any_of(table.c.group_id, groups))


async def _fetch(connection: AsyncConnection, query: sa.Select[Any]) -> list[tuple[Any, ...]]:
    """All rows as the driver's tuples: to make a `Row` of each takes longer than to read it."""
    cursor = (await connection.execute(query)).cursor
    assert cursor is not None
    return list(cursor.fetchall())


def _columns_of(rows: Sequence[tuple[Any, ...]]) -> Columns:
    if not rows:
        return (), (), (), (), ()
    dates, *others = zip(*rows, strict=True)
    parsed = {date: _date(date) for date in set(dates)}
    return cast("Columns", (tuple(map(parsed.__getitem__, dates)), *others))


def _date(value: datetime.date | str) -> datetime.date:
    """A date as the driver gives it: in SQLite it is a text."""
    return datetime.date.fromisoformat(value) if isinstance(value, str) else value
