"""The lower bound on PostgreSQL: asyncpg in a loop, one transaction and one COPY a date, nothing checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, Self

import asyncpg  # type: ignore[import-untyped]

from benchmarks.stores import CHUNK_ROWS, Days, as_columns
from clicksgroup.exports import Columns


class Target:
    """A schema of the PostgreSQL database at `url`."""

    def __init__(self, _folder: Path, url: str, schema: str) -> None:
        self._url = url.replace("+asyncpg", "")
        self._schema = schema
        self._select = (
            f"SELECT date, group_id, group_name, clicks, unique_users FROM {schema}.bare ORDER BY date, group_id"
        )
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self.run(self._connect())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._connection.close())
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, object]) -> Any:
        return self._runner.run(work)

    async def _connect(self) -> None:
        self._connection = await asyncpg.connect(self._url)
        await self._connection.execute(
            f"CREATE SCHEMA IF NOT EXISTS {self._schema}; CREATE TABLE IF NOT EXISTS {self._schema}.bare (date date,"
            " group_id bigint, group_name text, clicks bigint, unique_users bigint, PRIMARY KEY (date, group_id))"
        )

    def prepare(self, days: Days) -> Any:
        return [(date, [(date, *row) for row in rows]) for date, rows in days]

    def write(self, days: Any) -> None:
        self.run(self._write(days))

    def read(self) -> Any:
        return self.run(self._read())

    async def _write(self, days: Any) -> None:
        for date, rows in days:
            async with self._connection.transaction():
                await self._connection.execute(f"DELETE FROM {self._schema}.bare WHERE date = $1", date)
                await self._connection.copy_records_to_table("bare", records=rows, schema_name=self._schema)

    async def _read(self) -> tuple[int, int]:
        records = clicks = 0
        async with self._connection.transaction():
            async for row in self._connection.cursor(self._select, prefetch=CHUNK_ROWS):
                records += 1
                clicks += row[3]
        return records, clicks

    async def columns(self) -> AsyncIterator[Columns]:
        async with self._connection.transaction():
            cursor = await self._connection.cursor(self._select)
            while rows := await cursor.fetch(CHUNK_ROWS):
                yield as_columns(rows)
