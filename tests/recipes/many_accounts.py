"""Fill one store from many accounts at once, each with its own key and quota.

The quota belongs to the key, so the accounts do not wait for each other. `account` keeps their dates apart.
"""

import asyncio

from sqlalchemy.ext.asyncio import create_async_engine

from clicksgroup import ClicksClient, date_range
from clicksgroup.store import BackfillReport, ClickStore


async def fill_all(keys: dict[str, str], url: str, start: str, end: str) -> dict[str, BackfillReport | BaseException]:
    """Fill the dates from `start` to `end` of all accounts.

    Args:
        keys: the API key of each account, by the account's name.
        url: the store, such as `postgresql+asyncpg://user:password@host/clicks`.
        start: the first date.
        end: the last date.

    Returns:
        For each account its report, or the error that stopped it. An error of one account does not stop the others.
    """
    # One pool of connections for all accounts.
    engine = create_async_engine(url)

    async def fill(account: str, key: str) -> BackfillReport:
        async with ClicksClient(key) as client, ClickStore(engine, account=account) as store:
            return await store.backfill(client, date_range(start, end))

    try:
        reports = await asyncio.gather(*(fill(*item) for item in keys.items()), return_exceptions=True)
        return dict(zip(keys, reports, strict=True))
    finally:
        await engine.dispose()
