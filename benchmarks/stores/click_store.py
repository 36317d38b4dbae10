"""`ClickStore`, in a file or in a PostgreSQL schema of its own that is dropped at the end."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from pathlib import Path
from typing import Self

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.stores import FIRST_DATE, Days
from clicksgroup.models import Day, GroupClicks
from clicksgroup.store import ClickStore


class Target:
    """A SQLite file, or a schema of the PostgreSQL database at `url`."""

    def __init__(self, folder: Path, url: str) -> None:
        self._url = url
        self._schema = f"benchmark_{uuid.uuid4().hex}" if url else None
        self._runner = asyncio.Runner()
        self._store = ClickStore(url or str(folder / "store.db"), schema=self._schema)
        self._last_date = FIRST_DATE

    def __enter__(self) -> Self:
        self._runner.run(self._store.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._store.__aexit__(None, None, None))
        if self._schema is not None:
            self._runner.run(self._drop())
        self._runner.close()

    def prepare(self, days: Days) -> list[Day]:
        fetched_at = datetime.datetime.now(datetime.UTC)
        return [
            Day(date, len(rows), tuple(GroupClicks(date, *row) for row in rows), fetched_at, None, ())
            for date, rows in days
        ]

    def write(self, days: list[Day]) -> None:
        self._runner.run(self._put(days))

    def read(self) -> tuple[int, int]:
        return self._runner.run(self._read())

    async def _put(self, days: list[Day]) -> None:
        for day in days:
            await self._store.put(day)
        self._last_date = days[-1].date

    async def _read(self) -> tuple[int, int]:
        records = clicks = 0
        async for record in self._store.clicks(FIRST_DATE, self._last_date):
            records += 1
            clicks += record.clicks
        return records, clicks

    async def _drop(self) -> None:
        engine = create_async_engine(self._url)
        async with engine.begin() as connection:
            await connection.execute(sa.schema.DropSchema(self._schema or "", cascade=True))
        await engine.dispose()
