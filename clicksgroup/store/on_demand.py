"""One date, from the store if it is there and fresh enough, else from the API: what a web backend asks for."""

from __future__ import annotations

import datetime
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from clicksgroup.dates import require_begun
from clicksgroup.models import Day
from clicksgroup.store.coverage import FetchedDate
from clicksgroup.store.reading import Groups, Reader
from clicksgroup.store.stream import StoreStream
from clicksgroup.store.writing import Writer
from clicksgroup.streams import SharedAnswer

if TYPE_CHECKING:
    from clicksgroup.client import ClicksClient
    from clicksgroup.store.backfill import Clock


class OnDemand:
    """Gives dates of one account. All who ask for the same date at the same time share the work."""

    def __init__(self, reader: Reader, writer: Writer, settle: datetime.timedelta, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._settle = settle
        self._clock = clock
        self._pending: dict[Hashable, SharedAnswer[Any]] = {}

    async def day(
        self, client: ClicksClient, date: datetime.date, groups: Groups, max_age: datetime.timedelta | None
    ) -> Day:
        """The date: for `max_age` see `ClickStore.fetch_day`."""

        async def read_chunk(_: int) -> tuple[list[Day], None]:
            return [await self._day(client, date, groups, max_age)], None

        query = (id(client), date, groups, max_age)
        shared: SharedAnswer[Day] = self._pending.get(query) or SharedAnswer(
            StoreStream(read_chunk, 0), query, self._pending
        )
        return await shared.get()

    async def _day(
        self, client: ClicksClient, date: datetime.date, groups: Groups, max_age: datetime.timedelta | None
    ) -> Day:
        stored = await self._stored(date, groups)
        if stored is not None and self._is_fresh(stored, max_age):
            return stored
        now = self._clock.now()
        require_begun(date, now, "date")
        await self._writer.claim(client.origin, now)
        fetched = await client.day(date, groups=groups)
        await self._writer.put(fetched)
        # As it will be read the next time. Only another program can have deleted it meanwhile.
        return await self._stored(date, groups) or fetched

    async def _stored(self, date: datetime.date, groups: Groups) -> Day | None:
        return await anext(self._reader.days(date, date, groups), None)

    def _is_fresh(self, day: Day, max_age: datetime.timedelta | None) -> bool:
        if FetchedDate(day.date, day.fetched_at, day.problems).is_final(self._settle):
            return True
        return max_age is not None and self._clock.now() - day.fetched_at <= max_age
