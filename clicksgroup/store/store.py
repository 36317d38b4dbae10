"""`ClickStore`: what was fetched, in SQLite or PostgreSQL."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from clicksgroup.arguments import parse_groups
from clicksgroup.dates import DateLike, DateRange, DatesLike, date_range
from clicksgroup.errors import ConfigurationError
from clicksgroup.models import Day, GroupClicks
from clicksgroup.store import backfill as _backfill
from clicksgroup.store.coverage import Coverage
from clicksgroup.store.engine import Database, Location
from clicksgroup.store.reading import Reader
from clicksgroup.store.schema import storable
from clicksgroup.store.stream import StoreStream
from clicksgroup.store.writing import Writer

if TYPE_CHECKING:
    from clicksgroup.client import ClicksClient


class ClickStore:
    """Clicks that were fetched once, kept for good. Provisional, but for the tables `group_clicks` and `click_dates`.

    One transaction a date: whatever ends the process, each date in the store is whole and true. Several processes may
    read and fill one store at the same time. What is known is known per date and group: a date fetched for some groups
    is not a date fetched whole, a date fetched whole answers for every group, and a group that was asked for and not
    listed is known to have no clicks.

    >>> import asyncio, datetime
    >>> from clicksgroup import Day, GroupClicks
    >>> async def main():
    ...     date = datetime.date(2025, 1, 31)
    ...     fetched_at = datetime.datetime(2025, 2, 2, tzinfo=datetime.UTC)
    ...     day = Day(date, 1, (GroupClicks(date, 151, "Electronics", 181, 164),), fetched_at, None, ())
    ...     async with ClickStore(":memory:") as store:
    ...         await store.put(day)
    ...         async for record in store.clicks("2025-01-01", "2025-01-31"):
    ...             print(record.group_name, record.clicks)
    ...         print(len((await store.coverage("2025-01-01", "2025-01-31")).missing), "dates missing")
    >>> asyncio.run(main())
    Electronics 181
    30 dates missing

    Args:
        url: the path of a file (SQLite), a SQLAlchemy URL (`sqlite+aiosqlite`, `postgresql+asyncpg`), or an
            `AsyncEngine`, which is not disposed of.
        account: keeps the dates of several keys apart in one store.
        settle: how long after a date has ended everywhere on Earth its counts may still change.
        schema: the PostgreSQL schema that holds the tables; made where it is missing.

    Raises:
        ConfigurationError: an argument that cannot be right.
        StoreError: on entering, a store that cannot be opened, or one of a newer clicksgroup.
    """

    def __init__(
        self,
        url: Location,
        *,
        account: str = "default",
        settle: datetime.timedelta = datetime.timedelta(0),
        schema: str | None = None,
    ) -> None:
        if not isinstance(account, str):
            raise TypeError(f"account: expected a string, got {type(account).__name__}")
        if not account or account != storable(account):
            raise ConfigurationError(f"account: {account!r}: expected a name, without NUL")
        if not isinstance(settle, datetime.timedelta):
            raise TypeError(f"settle: expected a timedelta, got {type(settle).__name__}")
        if settle < datetime.timedelta(0):
            raise ConfigurationError(f"settle: {settle} is negative")
        self.account = account
        self.settle = settle
        self._database = Database(url, schema)
        self._reader = Reader(self._database, account)
        self._writer = Writer(self._database, account)
        self._now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC)
        self._clock: Callable[[], float] = time.monotonic

    async def __aenter__(self) -> Self:
        await self._database.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._database.close()

    @contextlib.asynccontextmanager
    async def _open_to_read(self) -> AsyncIterator[Self]:
        """As `async with` the store itself, but where there is none nothing is made: `StoreError`."""
        await self._database.open(create=False)
        try:
            yield self
        finally:
            await self._database.close()

    def __repr__(self) -> str:
        return f"<ClickStore {self._database.name} account={self.account!r}>"

    async def backfill(
        self,
        client: ClicksClient,
        dates: DatesLike,
        *,
        groups: Iterable[int] | None = None,
        progress: Callable[[_backfill.BackfillProgress], object] | None = None,
        refresh: bool = False,
    ) -> _backfill.BackfillReport:
        """Fetch the dates that are missing or not final, at the quota's full rate; run it again to go on.

        A date that fails is reported and leaves the others alone. What would meet them all stops the job, with
        everything fetched so far stored: a 401 or 403, `RateLimitError`, a refused configuration, a certificate,
        `QuotaUnavailableError`, `StoreError`, and any failure that three dates running have met.

        Args:
            client: who is asked. `requests` in the report are all that it made meanwhile.
            dates: a date or a finite iterable of dates.
            groups: the ids to ask for, or None for all groups.
            progress: called after each date that was asked for. What it raises stops the job.
            refresh: ask for final dates too.

        Raises:
            ConfigurationError: a date that has not begun anywhere on Earth, or what the client refuses.
            StoreError: the store cannot be written; found before a request is spent where it can be.
            ClicksGroupError: what stopped the job.
        """
        job = _backfill.Backfill(self, client, parse_groups(groups), progress)
        return await job.run(dates, refresh=refresh)

    def clicks(
        self, start: DateLike, end: DateLike, *, groups: Iterable[int] | None = None
    ) -> StoreStream[GroupClicks]:
        """The stored records from `start` to `end`, both included, by date and group id; no request.

        It gives what is stored, dates that were fetched for some groups only included: `coverage` tells which are
        whole. Each date is of one moment.
        """
        return self._reader.clicks(*_ends(start, end), parse_groups(groups))

    def days(self, start: DateLike, end: DateLike, *, groups: Iterable[int] | None = None) -> StoreStream[Day]:
        """The dates from `start` to `end` that are known whole or, with `groups`, for all of these; no request.

        Dates that are not known are left out: see `coverage`. The records are in the order of their group ids.
        Where groups of a date were fetched at different times, `fetched_at` is the earliest, and `problems` are those
        of all.
        """
        return self._reader.days(*_ends(start, end), parse_groups(groups))

    async def coverage(self, start: DateLike, end: DateLike, *, groups: Iterable[int] | None = None) -> Coverage:
        """Which of the dates from `start` to `end` are final, provisional and missing, for all groups or for these."""
        return await self._coverage(date_range(start, end), parse_groups(groups))

    async def span(self) -> DateRange | None:
        """All dates from the first that anything is known of to the last, or None in an empty store."""
        return await self._reader.span()

    async def failures(self, start: DateLike, end: DateLike) -> dict[datetime.date, str]:
        """The dates that a backfill could not get and that were not fetched since, with the error's text."""
        return await self._reader.failures(*_ends(start, end))

    async def put(self, day: Day) -> None:
        """Store a date, in one transaction.

        A date fetched whole replaces all that is known of it; one fetched for some groups replaces what is known of
        these. What was fetched later stays: of two writers the one that asked last is right, in whichever order they
        come. A group listed twice (`check="warn"`) counts as last listed. NUL and lone surrogates in names become
        U+FFFD.

        Raises:
            StoreError: the store cannot be written, or a number does not fit 64 bits.
        """
        await self._writer.put(day)

    async def _coverage(self, dates: Sequence[datetime.date], groups: tuple[int, ...] | None) -> Coverage:
        coverage = Coverage([], [], [])
        if not dates:
            return coverage
        known = await self._reader.knowledge(min(dates), max(dates), groups)
        for date in dates:
            if date not in known:
                coverage.missing.append(date)
            elif known[date].is_final(date, self.settle):
                coverage.final.append(date)
            else:
                coverage.provisional.append(date)
        return coverage


def _ends(start: DateLike, end: DateLike) -> tuple[datetime.date, datetime.date]:
    dates = date_range(start, end)
    return dates[0], dates[-1]
