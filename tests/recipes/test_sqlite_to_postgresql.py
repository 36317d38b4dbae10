"""Moving a store from SQLite to PostgreSQL."""

from __future__ import annotations

import pytest

from clicksgroup import ClicksClient, date_range
from clicksgroup.sandbox import Sandbox
from clicksgroup.store import ClickStore
from tests.recipes.sqlite_to_postgresql import copy_days

DATES = date_range("2025-01-01", "2025-01-05")


@pytest.mark.slow
@pytest.mark.postgres
async def test_no_request(sandbox: Sandbox, postgres: str) -> None:
    """Dates that were final in the file are final in PostgreSQL: a backfill there sends no request."""
    async with ClicksClient() as client, ClickStore("clicks.db") as store:
        await store.backfill(client, DATES)
    spent = len(sandbox.requests)
    await copy_days("clicks.db", postgres, "2025-01-01", "2025-12-31")
    async with ClicksClient() as client, ClickStore(postgres) as store:
        report = await store.backfill(client, DATES)
        assert (report.skipped, report.requests, len(sandbox.requests)) == (5, 0, spent)
        stored = {record async for record in store.clicks(DATES[0], DATES[-1])}
    assert stored == {record for date in DATES for record in sandbox.truth(date)}
