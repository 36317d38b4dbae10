"""The dlt resource, loaded into DuckDB."""

from __future__ import annotations

import asyncio

import duckdb
import pytest

from clicksgroup import GroupClicks, Quota, date_range
from clicksgroup.sandbox import Sandbox
from tests.recipes.dlt_resource import load


def loaded() -> set[GroupClicks]:
    """The records in the warehouse, each of them there once."""
    with duckdb.connect("warehouse.duckdb", read_only=True) as warehouse:
        query = "SELECT date, group_id, group_name, clicks, unique_users FROM clicks.group_clicks"
        rows = warehouse.sql(query).fetchall()
    records = {GroupClicks(*row) for row in rows}
    assert len(records) == len(rows)
    return records


async def test_load(sandbox: Sandbox) -> None:
    """All records of all dates are in DuckDB, each once."""
    await asyncio.to_thread(load, "2025-01-01", "2025-01-03")
    assert loaded() == {record for date in date_range("2025-01-01", "2025-01-03") for record in sandbox.truth(date)}


@pytest.mark.slow
async def test_load_again(environment: pytest.MonkeyPatch) -> None:
    """A date that is loaded again loses the groups that the service does not list any more."""
    groups = 40
    async with Sandbox(lambda date: groups, "enterprise", quota=Quota(in_flight=10)) as sandbox:
        environment.setenv("CLICKSGROUP_API_KEY", sandbox.api_key)
        environment.setenv("CLICKSGROUP_BASE_URL", sandbox.url)
        await asyncio.to_thread(load, "2025-01-01", "2025-01-02")
        before = sandbox.truth("2025-01-01")
        groups = 35
        await asyncio.to_thread(load, "2025-01-02", "2025-01-03")
        assert loaded() == {*before, *sandbox.truth("2025-01-02"), *sandbox.truth("2025-01-03")}
