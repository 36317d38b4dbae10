"""For any web framework: a date from the store, fetched and kept when it is not there."""

import asyncio
import datetime
from collections import Counter

from clicksgroup import ClicksClient, Day
from clicksgroup.store import ClickStore

FRESH = datetime.timedelta(minutes=10)  # for so long a date that may still change is not asked for again


class StoredDays:
    """Dates from the store; one that is not there, or may have changed, is fetched and kept."""

    def __init__(self, client: ClicksClient, store: ClickStore) -> None:
        self.client = client
        self.store = store
        self.under_way: dict[datetime.date, asyncio.Task[Day]] = {}
        self.waiting = Counter[datetime.date]()

    async def get(self, date: datetime.date) -> Day:
        """All who ask for a date while it is on its way share the work. When the last of them leaves, it ends."""
        if date not in self.under_way:
            self.under_way[date] = asyncio.create_task(self.find(date))
        self.waiting[date] += 1
        try:
            return await asyncio.shield(self.under_way[date])
        finally:
            self.waiting[date] -= 1
            if not self.waiting[date]:
                del self.waiting[date]
                self.under_way.pop(date).cancel()

    async def find(self, date: datetime.date) -> Day:
        known = await anext(self.store.days(date, date), None)
        if known is not None:
            coverage = await self.store.coverage(date, date)
            if coverage.final or datetime.datetime.now(datetime.UTC) - known.fetched_at < FRESH:
                return known
        day = await self.client.day(date)
        await self.store.put(day)
        return day
