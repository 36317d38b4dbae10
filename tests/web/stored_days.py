"""Whole dates for any web framework: from the store, or fetched and stored where the store lacks them.

Callers that ask for the same date while it is being fetched share the requests: two hundred callers for five dates
cost the requests for five dates. When the last caller of a date leaves, its requests end.
"""

import asyncio
import datetime
from collections import Counter

from clicksgroup import ClicksClient, Day
from clicksgroup.store import ClickStore

MAX_AGE = datetime.timedelta(minutes=10)
"""A date that is not final is asked for again when the stored one is older than this."""


class StoredDays:
    """Gives whole dates.

    Args:
        client: asked for what the store lacks.
        store: keeps every date that was fetched.
    """

    def __init__(self, client: ClicksClient, store: ClickStore) -> None:
        self._client = client
        self._store = store
        self._tasks: dict[datetime.date, asyncio.Task[Day]] = {}
        self._callers = Counter[datetime.date]()

    async def get(self, date: datetime.date) -> Day:
        """The date. A caller that is cancelled does not disturb the others."""
        if date not in self._tasks:
            self._tasks[date] = asyncio.create_task(self._find(date))
        self._callers[date] += 1
        try:
            return await asyncio.shield(self._tasks[date])
        finally:
            self._callers[date] -= 1
            if not self._callers[date]:
                del self._callers[date]
                self._tasks.pop(date).cancel()

    async def _find(self, date: datetime.date) -> Day:
        stored = await anext(self._store.days(date, date), None)
        if stored is not None:
            coverage = await self._store.coverage(date, date)
            if coverage.final or datetime.datetime.now(datetime.UTC) - stored.fetched_at < MAX_AGE:
                return stored
        day = await self._client.day(date)
        await self._store.put(day)
        return day
