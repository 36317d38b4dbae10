"""The floor: sqlite3 in a loop, one transaction a date, nothing checked."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Self

from benchmarks.stores import Days


class Place:
    """A file."""

    def __init__(self, folder: Path, _url: str) -> None:
        self._connection = sqlite3.connect(folder / "bare.db")
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute(
            "CREATE TABLE group_clicks (date TEXT, group_id INTEGER, group_name TEXT, clicks INTEGER,"
            " unique_users INTEGER, PRIMARY KEY (date, group_id)) WITHOUT ROWID"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def land(self, days: Days) -> None:
        for date, rows in days:
            text = str(date)
            with self._connection:
                self._connection.execute("DELETE FROM group_clicks WHERE date = ?", (text,))
                self._connection.executemany(
                    "INSERT INTO group_clicks VALUES (?, ?, ?, ?, ?)", [(text, *row) for row in rows]
                )

    def read(self) -> tuple[int, int]:
        records = clicks = 0
        for row in self._connection.execute("SELECT * FROM group_clicks ORDER BY date, group_id"):
            records += 1
            clicks += row[3]
        return records, clicks
