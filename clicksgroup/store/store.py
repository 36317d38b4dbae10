"""`ClickStore`: fetched clicks, kept in SQLite or PostgreSQL."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Hashable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from clicksgroup import exports
from clicksgroup.arguments import instance, parse_groups
from clicksgroup.dates import DateLike, DateRange, DatesLike, date_range, parse_date, require_begun
from clicksgroup.errors import ConfigurationError
from clicksgroup.models import Day
from clicksgroup.store.backfill import Backfill, BackfillProgress, BackfillReport, Clock
from clicksgroup.store.database import Database
from clicksgroup.store.locations import Location
from clicksgroup.store.locks import account_lock
from clicksgroup.store.reading import Coverage, Groups, Reader, RecordStream, StoreStream, is_final
from clicksgroup.store.schema import storable
from clicksgroup.store.writing import Writer
from clicksgroup.streams import SharedAnswer, share

if TYPE_CHECKING:
    from arro3.core import Table

    from clicksgroup.client import ClicksClient


class ClickStore:
    """Fetched clicks in SQLite or PostgreSQL. Provisional, except for the tables `group_clicks` and `click_dates`.

    Each date is written in one transaction, so each date in the store is complete, whatever ended the process. Several
    processes may read and fill one store at the same time. The store knows which groups of a date were fetched: a date
    fetched for some groups is not fetched whole, a date fetched whole answers for every group, and a group that was
    asked for and not listed has no clicks.

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
            `AsyncEngine`, which is left open.
        account: separates the dates of several keys in one store.
        settle: how long after a date has ended everywhere on Earth its counts may still change.
        schema: the PostgreSQL schema that holds the tables; created where it is missing.
        read_only: create nothing where there is no store, and refuse to write. Both raise `StoreError`.
        clock: for tests, the time that `backfill` and `fetch_day` use.

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
        read_only: bool = False,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        instance("account", account, str, example="account='shop'")
        if not account or account != storable(account):
            raise ConfigurationError(f"account: {account!r}: expected a name without NUL, such as 'shop'")
        instance("settle", settle, datetime.timedelta, example="settle=timedelta(days=3)")
        if settle < datetime.timedelta(0):
            raise ConfigurationError(f"settle: {settle!r} is negative; give one such as timedelta(days=3)")
        self.account = account
        self.settle = settle
        self._database = Database(url, schema, read_only=read_only)
        self._reader = Reader(self._database, account)
        self._writer = Writer(self._database, account)
        self._clock = clock
        # The dates that `fetch_day` works on.
        self._pending: dict[Hashable, SharedAnswer[Any]] = {}

    async def __aenter__(self) -> Self:
        await self._database.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._database.close()

    def __repr__(self) -> str:
        return f"<ClickStore {self._database.name} account={self.account!r}>"

    async def backfill(
        self,
        client: ClicksClient,
        dates: DatesLike,
        *,
        groups: Iterable[int] | None = None,
        progress: Callable[[BackfillProgress], object] | None = None,
        refresh: bool = False,
    ) -> BackfillReport:
        """Fetch the dates that are missing or not final, at the quota's full rate; run it again to go on.

        One backfill of an account runs at a time: another one, in whichever process, waits for it, says so in a log
        record, and then asks only for what is still missing. The lock dies with its process.

        The store remembers the client's origin, and refuses another one for the same account: the clicks of a sandbox
        are no clicks of yours.

        A date that fails is reported and does not stop the others. A failure that all dates would meet is raised, with
        everything fetched so far stored: a 401 or 403, `RateLimitError`, a refused configuration, a certificate,
        `QuotaUnavailableError`, `StoreError`, and any failure that three consecutive dates have met.

        Args:
            client: fetches the dates. `requests` in the report counts all that it sent meanwhile.
            dates: a date or a finite iterable of dates.
            groups: the ids to ask for, or None for all groups.
            progress: called after each date that was asked for. An exception that it raises stops the job.
            refresh: ask for final dates too.

        Raises:
            ConfigurationError: a date that has not begun anywhere on Earth, or what the client refuses.
            StoreError: the store cannot be written, or the account's clicks come from another origin; found before a
                request is spent where it can be.
            ClicksGroupError: the failure that stopped the job.
        """
        job = Backfill(
            client,
            self._reader,
            self._writer,
            await account_lock(self._database, self.account),
            groups=parse_groups(groups),
            settle=self.settle,
            progress=progress,
            clock=self._clock,
        )
        return await job.run(dates, refresh=refresh)

    async def fetch_day(
        self,
        client: ClicksClient,
        date: DateLike,
        *,
        groups: Iterable[int] | None = None,
        max_age: datetime.timedelta | None = None,
    ) -> Day:
        """A date from the store, fetched and stored first if that is needed: for a web backend.

        All who ask for the same date at the same time share the work. It ends when the last of them is cancelled. The
        records are in the order of their group ids.

        Args:
            client: fetches the date. Its origin must be that of the account's clicks.
            date: the date.
            groups: the ids to ask for, or None for all groups.
            max_age: how old a date that is not final may be, such as `timedelta(minutes=5)`. None: it is always
                fetched again.

        Raises:
            ConfigurationError: a date that has not begun anywhere on Earth, or what the client refuses.
            StoreError: the store cannot be written, or the account's clicks come from another origin.
            RequestError: the date cannot be fetched.
        """
        instance("max_age", max_age, datetime.timedelta, type(None), example="timedelta(minutes=5)")
        wanted, ids = parse_date(date), parse_groups(groups)
        query = (id(client), wanted, ids, max_age)
        return await share(query, self._pending, lambda: self._fetch_day(client, wanted, ids, max_age))

    def clicks(self, start: DateLike, end: DateLike, *, groups: Iterable[int] | None = None) -> RecordStream:
        """The stored records from `start` to `end`, both included, by date and group id; no request.

        This includes dates that were fetched for some groups only: `coverage` tells which dates are complete. The
        records of a date are of one moment, even if it is replaced meanwhile.
        """
        return self._reader.clicks(date_range(start, end), parse_groups(groups))

    def days(self, start: DateLike, end: DateLike, *, groups: Iterable[int] | None = None) -> StoreStream[Day]:
        """The dates from `start` to `end` that were fetched whole or, with `groups`, for all of these; no request.

        Other dates are left out: see `coverage`. The records are in the order of their group ids. Where groups of a
        date were fetched at different times, `fetched_at` is the earliest, and `problems` are those of all.
        """
        return self._reader.days(date_range(start, end), parse_groups(groups))

    async def to_arrow(self, start: DateLike, end: DateLike, *, groups: Iterable[int] | None = None) -> Table:
        """The stored records from `start` to `end`, both included, as an Arrow table: see `exports.to_arrow`.

        Raises:
            ImportError: the extra `arrow` is missing.
        """
        return await exports.to_arrow(self.clicks(start, end, groups=groups))

    async def coverage(self, start: DateLike, end: DateLike, *, groups: Iterable[int] | None = None) -> Coverage:
        """Which of the dates from `start` to `end` are final, provisional and missing, for all groups or for these."""
        return await self._reader.coverage(date_range(start, end), parse_groups(groups), self.settle)

    async def span(self) -> DateRange | None:
        """All dates from the first that was fetched to the last, or None in an empty store."""
        return await self._reader.span()

    async def failures(self, start: DateLike, end: DateLike) -> dict[datetime.date, str]:
        """The dates that a backfill could not fetch and that were not fetched since, with the text of the error."""
        return await self._reader.failures(date_range(start, end))

    async def put(self, day: Day) -> None:
        """Store a date, in one transaction.

        A date fetched whole replaces all that the store has of it; one fetched for some groups replaces these groups.
        Data that was fetched later stays: of two writers the one that fetched last wins, in whichever order they write.
        Of a group listed twice (`check="warn"`) the last record counts. NUL and lone surrogates in names become U+FFFD.

        Raises:
            StoreError: the store cannot be written, or a number does not fit 64 bits.
        """
        await self._writer.put(day)

    async def _fetch_day(
        self, client: ClicksClient, date: datetime.date, groups: Groups, max_age: datetime.timedelta | None
    ) -> Day:
        dates = date_range(date, date)
        stored = await anext(self._reader.days(dates, groups), None)
        now = self._clock.now()
        if stored is not None and (
            is_final(stored, self.settle) or (max_age is not None and now - stored.fetched_at <= max_age)
        ):
            return stored
        require_begun(date, now, "date")
        await self._writer.claim(client.origin, now)
        fetched = await client.day(date, groups=groups)
        await self._writer.put(fetched)
        # As it will be read the next time. Only another program can have deleted it meanwhile.
        return await anext(self._reader.days(dates, groups), fetched)
