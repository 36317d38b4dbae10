"""Many accounts into one store at once, each with its own key and quota."""

import asyncio

from sqlalchemy.ext.asyncio import create_async_engine

from clicksgroup import ClicksClient, date_range
from clicksgroup.store import BackfillReport, ClickStore


async def fill_all(keys: dict[str, str], url: str, start: str, end: str) -> dict[str, BackfillReport | BaseException]:
    """Fill the dates of all accounts; what stops one leaves the others alone."""
    engine = create_async_engine(url)  # one pool of connections for all

    async def fill(account: str, key: str) -> BackfillReport:
        async with ClicksClient(key) as client, ClickStore(engine, account=account) as store:
            return await store.backfill(client, date_range(start, end))

    try:
        reports = await asyncio.gather(*(fill(*item) for item in keys.items()), return_exceptions=True)
        return dict(zip(keys, reports, strict=True))
    finally:
        await engine.dispose()
