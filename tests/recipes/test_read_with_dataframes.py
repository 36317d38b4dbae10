"""Reading a store with pandas, polars and DuckDB."""

from __future__ import annotations

import datetime
from collections import Counter

import duckdb
import polars
import pyarrow  # type: ignore[import-untyped]

from clicksgroup import ClicksClient, date_range
from clicksgroup.sandbox import Sandbox
from clicksgroup.store import ClickStore
from tests.recipes import read_with_dataframes as recipe

DATES = date_range("2025-01-01", "2025-01-05")


async def test_same_clicks(sandbox: Sandbox) -> None:
    """Pandas, polars and DuckDB read the clicks that the service counted, with dates as dates."""
    async with ClicksClient() as client, ClickStore("clicks.db") as store:
        await store.backfill(client, DATES)
    truth = [record for date in DATES for record in sandbox.truth(date)]
    by_group: Counter[str] = Counter()
    for record in truth:
        by_group[record.group_name] += record.clicks

    with_pandas = recipe.read_with_pandas("clicks.db")
    arrow = await recipe.read_arrow("clicks.db", "2025-01-01", "2025-12-31")
    with_polars = recipe.read_with_polars(arrow)

    assert with_pandas["clicks"].sum() == with_polars["clicks"].sum() == by_group.total()
    assert len(with_pandas) == len(with_polars) == len(truth)
    assert set(with_pandas["date"].dt.date) == set(with_polars["date"]) == set(DATES)
    assert dict(recipe.clicks_by_group(arrow)) == by_group


async def test_day(sandbox: Sandbox) -> None:
    """Four libraries take a day as it is, in the lines of the README: dates are dates, integers have 64 bits."""
    async with ClicksClient() as client:
        day = await client.day("2025-01-31")
    rows = [(r.date, r.group_id, r.group_name, r.clicks, r.unique_users) for r in sandbox.truth("2025-01-31")]

    with_polars = polars.DataFrame(day)
    assert with_polars.dtypes == [polars.Date, polars.Int64, polars.String, polars.Int64, polars.Int64]
    assert with_polars.rows() == rows

    with duckdb.connect() as connection:
        with_duckdb = connection.sql("SELECT * FROM day")
        assert [str(name) for name in with_duckdb.types] == ["DATE", "BIGINT", "VARCHAR", "BIGINT", "BIGINT"]
        assert with_duckdb.fetchall() == rows

    with_pyarrow = pyarrow.table(day)
    assert [str(name) for name in with_pyarrow.schema.types] == ["date32[day]", "int64", "string", "int64", "int64"]
    assert [tuple(row.values()) for row in with_pyarrow.to_pylist()] == rows

    with_pandas = with_pyarrow.to_pandas(date_as_object=False)
    assert with_pandas["date"].dt.date.unique().tolist() == [datetime.date(2025, 1, 31)]
    assert {str(with_pandas[name].dtype) for name in ("group_id", "clicks", "unique_users")} == {"int64"}
    assert list(with_pandas["clicks"]) == [row[3] for row in rows]
