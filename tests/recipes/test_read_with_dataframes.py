"""Reading a store with pandas, polars and DuckDB."""

from __future__ import annotations

from collections import Counter

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
