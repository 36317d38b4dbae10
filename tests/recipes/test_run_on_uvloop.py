"""Client and store on uvloop."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from clicksgroup import ClicksClient, date_range
from clicksgroup.sandbox import Sandbox
from clicksgroup.store import ClickStore
from tests.recipes.run_on_uvloop import count_groups


def test_client_and_store(environment: pytest.MonkeyPatch) -> None:
    """A stream that is left, a whole date and a backfill work on uvloop as they do on asyncio's own loop."""

    async def main() -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        async with Sandbox(40, "enterprise") as sandbox:
            environment.setenv("CLICKSGROUP_API_KEY", sandbox.api_key)
            environment.setenv("CLICKSGROUP_BASE_URL", sandbox.url)
            assert await count_groups("2025-01-31") == 40
            dates = date_range("2025-01-01", "2025-01-10")
            async with ClicksClient() as client, ClickStore("clicks.db") as store:
                async for _ in client.clicks(dates):
                    break
                await store.backfill(client, dates)
                stored = {record async for record in store.clicks(dates[0], dates[-1])}
            assert stored == {record for date in dates for record in sandbox.truth(date)}

    uvloop.run(main())
