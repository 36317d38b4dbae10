"""The job that fills a store: what is asked for, what stops it, and what it tells on the way."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

from clicksgroup.dates import DatesLike, date_range, parse_dates
from clicksgroup.errors import APIError, ClicksGroupError, ConfigurationError, StatusError, StoreError
from clicksgroup.models import Day
from clicksgroup.store.coverage import has_begun
from clicksgroup.store.rows import rows_by_id

if TYPE_CHECKING:
    from clicksgroup.client import ClicksClient
    from clicksgroup.store.store import ClickStore

SAME_FAILURE_LIMIT = 3
"""So many dates, asked for one after the other, that fail alike mean that all will."""


@attrs.frozen
class BackfillProgress:
    """How far a backfill is. Provisional.

    Args:
        date: the date that was just stored, or failed.
        done: dates that need nothing more from this job: final already, stored, or failed.
        total: dates of the job.
        requests: requests spent so far.
        seconds: since the job began.
        eta: seconds that it will still take, or None as long as nothing was fetched.
    """

    date: datetime.date
    done: int
    total: int
    requests: int
    seconds: float
    eta: float | None


@attrs.frozen
class BackfillReport:
    """What a backfill did. Provisional.

    Args:
        dates: dates of the job, each counted once.
        fetched: of these, asked for and stored.
        skipped: of these, not asked for because the store has them already, final.
        failed: of these, asked for in vain, with the error of each.
        requests: requests spent.
        seconds: how long it took.
    """

    dates: int
    fetched: int
    skipped: int
    failed: dict[datetime.date, ClicksGroupError]
    requests: int
    seconds: float


class Backfill:
    """One run of the job."""

    def __init__(
        self,
        store: ClickStore,
        client: ClicksClient,
        groups: tuple[int, ...] | None,
        progress: Callable[[BackfillProgress], object] | None,
    ) -> None:
        self._store = store
        self._client = client
        self._groups = groups
        self._progress = progress
        self._clock = store._clock
        self._began_at = self._clock()
        self._requests_before = client.stats.requests
        self._fetched = 0
        self._listed = 0
        self._failed: dict[datetime.date, ClicksGroupError] = {}

    async def run(self, dates: DatesLike, *, refresh: bool) -> BackfillReport:
        """Do it."""
        wanted = self._wanted(parse_dates(dates))
        await self._store._writer.check_writable(self._store._now())
        coverage = await self._store._coverage(wanted, self._groups)
        final = set() if refresh else set(coverage.final)
        asked = [date for date in wanted if date not in final]
        if asked:
            async with self._client.day_outcomes(asked, groups=self._groups, fatal=Failures(asked).stop) as stream:
                async for date, outcome in stream:
                    await self._land(date, outcome)
                    if self._progress is not None:
                        self._progress(self._state(date, len(wanted), len(final)))
        return BackfillReport(
            len(wanted), self._fetched, len(final), self._failed, self._requests(), self._clock() - self._began_at
        )

    def _wanted(self, dates: Iterable[datetime.date]) -> list[datetime.date]:
        now = self._store._now()
        wanted: dict[datetime.date, None] = {}
        for date in dates:
            if not has_begun(date, now):
                raise ConfigurationError(f"dates: {date} has not begun anywhere on Earth")
            wanted[date] = None
        return list(wanted)

    async def _land(self, date: datetime.date, outcome: Day | ClicksGroupError) -> None:
        if isinstance(outcome, Day):
            try:
                rows_by_id(outcome, self._store.account)
            except StoreError as error:  # of this date alone: the store is well
                outcome = error
        if isinstance(outcome, ClicksGroupError):
            self._failed[date] = outcome
            await self._store._writer.put_failure(date, outcome, self._store._now())
            return
        await self._store.put(outcome)
        self._fetched += 1
        self._listed += len(outcome)

    def _requests(self) -> int:
        return self._client.stats.requests - self._requests_before

    def _state(self, date: datetime.date, total: int, skipped: int) -> BackfillProgress:
        landed = self._fetched + len(self._failed)
        seconds = self._clock() - self._began_at
        return BackfillProgress(
            date, skipped + landed, total, self._requests(), seconds, self._eta(total - skipped - landed, seconds)
        )

    def _eta(self, left: int, seconds: float) -> float | None:
        """The pace so far, or what the quota allows if that is longer: at first it lets a burst pass."""
        if not left:
            return 0.0
        if not self._fetched:
            return None
        pace = seconds / (self._fetched + len(self._failed)) * left
        some_dates = date_range(datetime.date.min, datetime.date.fromordinal(left))
        estimate = self._client.estimate(some_dates, group_count=math.ceil(self._listed / self._fetched))
        return max(pace, estimate.seconds)


class Failures:
    """Tells a failure that all dates would meet from one date's own.

    Dates are running if they were asked for one after the other. The order in which they end says nothing: where many
    are in flight, one that fails at its first page overtakes those that are well.
    """

    def __init__(self, asked: Sequence[datetime.date]) -> None:
        self._positions = {date: position for position, date in enumerate(asked)}
        self._kinds: dict[int, object] = {}

    def stop(self, date: datetime.date, error: ClicksGroupError) -> bool:
        """Whether this failure ends the job; asked before another request goes out."""
        if error.stops_all:
            return True
        position, kind = self._positions[date], _kind(error)
        self._kinds[position] = kind
        first = last = position
        while self._kinds.get(first - 1) == kind:
            first -= 1
        while self._kinds.get(last + 1) == kind:
            last += 1
        return last - first + 1 >= SAME_FAILURE_LIMIT


def _kind(error: ClicksGroupError) -> object:
    if isinstance(error, APIError):
        return type(error), error.code
    return type(error), error.status if isinstance(error, StatusError) else None
