"""`ClickStore`, in a file or in a PostgreSQL schema of its own, which is dropped at the end."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from pathlib import Path
from typing import Self

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.stores import FIRST, Days
from clicksgroup.models import Day, GroupClicks
from clicksgroup.store import ClickStore


class Place:
    """A file, or a schema of the database at a URL."""

    def __init__(self, folder: Path, url: str) -> None:
        self._url = url
        self._schema = f"benchmark_{uuid.uuid4().hex}" if url else None
        self._runner = asyncio.Runner()
        self._store = ClickStore(url or str(folder / "store.db"), schema=self._schema)
        self._last = FIRST

    def __enter__(self) -> Self:
        self._runner.run(self._store.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._store.__aexit__(None, None, None))
        if self._schema is not None:
            self._runner.run(self._drop())
        self._runner.close()

    def land(self, days: Days) -> None:
        self._runner.run(self._put(days))

    def read(self) -> tuple[int, int]:
        return self._runner.run(self._stream())

    async def _put(self, days: Days) -> None:
        fetched_at = datetime.datetime.now(datetime.UTC)
        for date, rows in days:
            records = tuple(GroupClicks(date, *row) for row in rows)
            await self._store.put(Day(date, len(records), records, fetched_at, None, ()))
            self._last = date

    async def _stream(self) -> tuple[int, int]:
        records = clicks = 0
        async for record in self._store.clicks(FIRST, self._last):
            records += 1
            clicks += record.clicks
        return records, clicks

    async def _drop(self) -> None:
        engine = create_async_engine(self._url)
        async with engine.begin() as connection:
            await connection.execute(sa.schema.DropSchema(self._schema or "", cascade=True))
        await engine.dispose()
