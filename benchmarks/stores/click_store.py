"""`ClickStore`, in a file or in a PostgreSQL schema."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, Self

from benchmarks.stores import FIRST_DATE, LAST_DATE, Days
from clicksgroup.exports import Columns
from clicksgroup.models import Day, GroupClicks
from clicksgroup.store import ClickStore


class Target:
    """A SQLite file, or a schema of the PostgreSQL database at `url`."""

    def __init__(self, folder: Path, url: str, schema: str) -> None:
        self._runner = asyncio.Runner()
        self._store = ClickStore(url or str(folder / "store.db"), schema=schema or None)

    def __enter__(self) -> Self:
        self.run(self._store.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._store.__aexit__(None, None, None))
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, object]) -> Any:
        return self._runner.run(work)

    def prepare(self, days: Days) -> list[Day]:
        fetched_at = datetime.datetime.now(datetime.UTC)
        return [
            Day(date, len(rows), tuple(GroupClicks(date, *row) for row in rows), fetched_at, None, ())
            for date, rows in days
        ]

    def write(self, days: list[Day]) -> None:
        self.run(self._put(days))

    def read(self) -> Any:
        return self.run(self._read())

    def columns(self) -> AsyncIterator[Columns]:
        return self._store.clicks(FIRST_DATE, LAST_DATE).columns()

    async def _put(self, days: list[Day]) -> None:
        for day in days:
            await self._store.put(day)

    async def _read(self) -> tuple[int, int]:
        records = clicks = 0
        async for record in self._store.clicks(FIRST_DATE, LAST_DATE):
            records += 1
            clicks += record.clicks
        return records, clicks
