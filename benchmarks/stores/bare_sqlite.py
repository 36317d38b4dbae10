"""The lower bound: sqlite3 in a loop, one transaction a date, nothing checked."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, Self, TypeAlias

from benchmarks.stores import CHUNK_ROWS, Days, as_columns
from clicksgroup.exports import Columns

Parameters: TypeAlias = list[tuple[str, list[tuple[str, int, str, int, int]]]]
"""The dates, and for each the parameters of its INSERT statements."""

SELECT = "SELECT date, group_id, group_name, clicks, unique_users FROM group_clicks ORDER BY date, group_id"


class Target:
    """A SQLite file."""

    def __init__(self, folder: Path, _url: str, _schema: str) -> None:
        self._connection = sqlite3.connect(folder / "bare.db")
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS group_clicks (date TEXT, group_id INTEGER, group_name TEXT, clicks INTEGER,"
            " unique_users INTEGER, PRIMARY KEY (date, group_id)) WITHOUT ROWID"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def prepare(self, days: Days) -> Parameters:
        return [(str(date), [(str(date), *row) for row in rows]) for date, rows in days]

    def write(self, days: Parameters) -> None:
        for date, rows in days:
            with self._connection:
                self._connection.execute("DELETE FROM group_clicks WHERE date = ?", (date,))
                self._connection.executemany("INSERT INTO group_clicks VALUES (?, ?, ?, ?, ?)", rows)

    def read(self) -> tuple[int, int]:
        records = clicks = 0
        for row in self._connection.execute(SELECT):
            records += 1
            clicks += row[3]
        return records, clicks

    async def columns(self) -> AsyncIterator[Columns]:
        cursor = self._connection.execute(SELECT)
        while rows := cursor.fetchmany(CHUNK_ROWS):
            yield as_columns(rows)

    def run(self, export: Coroutine[Any, Any, object]) -> None:
        asyncio.run(export)
