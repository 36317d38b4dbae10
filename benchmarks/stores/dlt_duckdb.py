"""dlt into DuckDB, as its documentation starts: a resource that yields the days, one load for all of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self, TypeAlias

# It sends usage data by default.
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"

import dlt
import duckdb

from benchmarks.stores import Days

Rows: TypeAlias = list[list[dict[str, Any]]]
"""Records as dlt takes them, by date."""


class Target:
    """A DuckDB file."""

    def __init__(self, folder: Path, _url: str, _schema: str) -> None:
        self._file = folder / "dlt.duckdb"
        self._pipeline = dlt.pipeline(
            "clicks",
            pipelines_dir=str(folder / "pipelines"),
            destination=dlt.destinations.duckdb(str(self._file)),
            dataset_name="clicks",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def prepare(self, days: Days) -> Rows:
        return [
            [
                {"date": date, "group_id": group, "group_name": name, "clicks": clicks, "unique_users": users}
                for group, name, clicks, users in rows
            ]
            for date, rows in days
        ]

    def write(self, days: Rows) -> None:
        self._pipeline.run(dlt.resource(days, name="group_clicks", write_disposition="append"))

    def read(self) -> tuple[int, int]:
        records = clicks = 0
        with duckdb.connect(str(self._file), read_only=True) as connection:
            found = connection.execute(
                "SELECT date, group_id, group_name, clicks, unique_users FROM clicks.group_clicks ORDER BY 1, 2"
            )
            while rows := found.fetchmany(1000):
                records += len(rows)
                clicks += sum(row[3] for row in rows)
        return records, clicks
