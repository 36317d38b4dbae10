"""The job that fills a store: which dates it asks for, what stops it, and how far it is."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from clicksgroup.dates import DatesLike, date_range, parse_dates, require_begun
from clicksgroup.errors import ClicksGroupError, StoreError
from clicksgroup.models import Day
from clicksgroup.store.locks import AccountLock
from clicksgroup.store.reading import Reader
from clicksgroup.store.writing import Writer

if TYPE_CHECKING:
    from clicksgroup.client import ClicksClient

logger = logging.getLogger("clicksgroup")

LOCK_INTERVAL = 0.25
"""Seconds between two attempts to take the lock of a backfill that runs already."""

SAME_FAILURE_LIMIT = 3
"""Consecutive dates that fail in the same way and so end the job: all the others would fail too."""


@attrs.frozen
class BackfillProgress:
    """How far a backfill is. Provisional.

    Args:
        date: the date that was just stored, or failed.
        done: dates that need nothing more from this job: final already, stored, or failed.
        total: dates of the job.
        requests: requests spent so far.
        seconds: since the job began.
        eta: seconds that the job will still take, or None as long as nothing was fetched.
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
        fetched: of these, fetched and stored.
        skipped: of these, not asked for because the store had them already, final.
        failed: of these, those that could not be fetched, with the error of each.
        requests: requests spent.
        seconds: how long it took.
    """

    dates: int
    fetched: int
    skipped: int
    failed: dict[datetime.date, ClicksGroupError]
    requests: int
    seconds: float


@attrs.frozen
class Clock:
    """The time that a store uses: `now` is aware, in UTC. Tests give their own."""

    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC)
    monotonic: Callable[[], float] = time.monotonic


@attrs.define(eq=False)
class Backfill:
    """One run of the job."""

    _client: ClicksClient
    _reader: Reader
    _writer: Writer
    _lock: AccountLock
    _groups: tuple[int, ...] | None
    _settle: datetime.timedelta
    _progress: Callable[[BackfillProgress], object] | None
    _clock: Clock
    _started_at: float = attrs.field(init=False)
    _requests_before: int = attrs.field(init=False)
    _asked: list[datetime.date] = attrs.field(init=False)
    # Which failure a date met: dates that fail in the same way are of one kind.
    _kinds: dict[datetime.date, object] = attrs.field(factory=dict, init=False)
    _total: int = attrs.field(default=0, init=False)
    _skipped: int = attrs.field(default=0, init=False)
    _fetched: int = attrs.field(default=0, init=False)
    _records: int = attrs.field(default=0, init=False)
    _failed: dict[datetime.date, ClicksGroupError] = attrs.field(factory=dict, init=False)

    async def run(self, dates: DatesLike, *, refresh: bool) -> BackfillReport:
        """Fetch and store the dates that are missing or not final; with `refresh`, all of them."""
        now = self._clock.now()
        wanted: dict[datetime.date, None] = {}
        for date in parse_dates(dates):
            require_begun(date, now, "dates")
            wanted[date] = None
        await self._writer.claim(self._client.origin, now)
        try:
            await self._acquire_lock()
            return await self._run(list(wanted), refresh=refresh)
        finally:
            await self._lock.release()

    async def _acquire_lock(self) -> None:
        """Wait until no other backfill of the account runs, and say so."""
        began = self._clock.monotonic()
        attempts = 0
        while not await self._lock.try_acquire():
            attempts += 1
            # At the first attempt, the other one may not have said yet which process it is.
            if attempts == 2:
                process = await self._reader.backfill_process()
                logger.warning("%s: waiting for the backfill that runs in process %s", self._lock.name, process)
            await asyncio.sleep(LOCK_INTERVAL)
        await self._writer.put_process(f"{os.getpid()} on {socket.gethostname()}")
        if attempts:
            waited = self._clock.monotonic() - began
            logger.info("%s: the other backfill has ended; waited %.0f s for it", self._lock.name, waited)

    async def _run(self, wanted: Sequence[datetime.date], *, refresh: bool) -> BackfillReport:
        self._started_at = self._clock.monotonic()
        self._requests_before = self._client.stats.requests
        final = set() if refresh else set((await self._reader.coverage(wanted, self._groups, self._settle)).final)
        self._total, self._skipped = len(wanted), len(final)
        self._asked = [date for date in wanted if date not in final]
        if self._asked:
            days = self._client.day_outcomes(self._asked, groups=self._groups, fatal=self._is_fatal)
            async with days as stream:
                async for date, outcome in stream:
                    await self._lock.confirm()
                    await self._store(date, outcome)
                    if self._progress is not None:
                        self._progress(self._progress_at(date))
        return BackfillReport(
            self._total, self._fetched, self._skipped, self._failed, self._requests(), self._seconds()
        )

    async def _store(self, date: datetime.date, outcome: Day | ClicksGroupError) -> None:
        if isinstance(outcome, Day):
            try:
                await self._writer.put(outcome)
            except StoreError as error:
                if error.stops_all:
                    raise
                outcome = error
        if isinstance(outcome, Day):
            self._fetched += 1
            self._records += len(outcome)
        else:
            self._failed[date] = outcome
            await self._writer.put_failure(date, outcome, self._clock.now())

    def _requests(self) -> int:
        return self._client.stats.requests - self._requests_before

    def _seconds(self) -> float:
        return self._clock.monotonic() - self._started_at

    def _progress_at(self, date: datetime.date) -> BackfillProgress:
        done = self._skipped + self._fetched + len(self._failed)
        seconds = self._seconds()
        eta = self._eta(self._total - done, seconds)
        return BackfillProgress(date, done, self._total, self._requests(), seconds, eta)

    def _eta(self, dates_left: int, seconds: float) -> float | None:
        """The pace so far, or what the quota allows if that is slower: at first the quota lets a burst pass."""
        if not dates_left:
            return 0.0
        if not self._fetched:
            return None
        at_pace = seconds / (self._fetched + len(self._failed)) * dates_left
        some_dates = date_range(datetime.date.min, datetime.date.fromordinal(dates_left))
        estimate = self._client.estimate(some_dates, group_count=math.ceil(self._records / self._fetched))
        return max(at_pace, estimate.seconds)

    def _is_fatal(self, date: datetime.date, error: ClicksGroupError) -> bool:
        """Whether all dates would meet this failure. The client calls it before it sends another request.

        Dates are consecutive in the order in which they are asked for. The order in which they end does not count: with
        many requests in flight, a date that fails at its first page overtakes those that succeed.
        """
        self._kinds[date] = type(error), getattr(error, "status", None), getattr(error, "code", None)
        position = self._asked.index(date)
        near = self._asked[max(position - SAME_FAILURE_LIMIT + 1, 0) : position + SAME_FAILURE_LIMIT]
        runs = itertools.groupby(near, self._kinds.get)
        return error.stops_all or any(kind and len(list(run)) >= SAME_FAILURE_LIMIT for kind, run in runs)
