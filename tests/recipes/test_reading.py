"""Reading the store with pandas, polars and DuckDB, in the README's own lines."""

from __future__ import annotations

import ast
from typing import Any

from clicksgroup import ClicksClient, date_range
from clicksgroup.sandbox import Sandbox
from clicksgroup.store import ClickStore
from tests.recipes.test_readme import blocks


async def test_pandas_polars_and_duckdb_read_the_same(sandbox: Sandbox) -> None:
    dates = date_range("2025-01-01", "2025-01-05")
    async with ClicksClient() as client, ClickStore("clicks.db") as store:
        await store.backfill(client, dates)
    truth = [record for date in dates for record in sandbox.truth(date)]
    [block] = [block for block in blocks("Read the store with pandas, polars, DuckDB") if "duckdb" in block]
    names: dict[str, Any] = {}
    await eval(compile(block, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True), names)
    total = sum(record.clicks for record in truth)
    assert names["with_pandas"]["clicks"].sum() == names["with_polars"]["clicks"].sum() == total
    assert len(names["with_pandas"]) == len(names["with_polars"]) == len(truth)
    assert sum(clicks for _, clicks in names["with_duckdb"].fetchall()) == total
