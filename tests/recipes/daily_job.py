"""Fill a store once a day, in a task of a program that runs anyway, such as a web backend.

Start `keep_filled` where the program starts (`lifespan` in FastAPI, `cleanup_ctx` in aiohttp.web) and cancel it there.
This file is also a program of its own, with key and plan in the environment.
"""

import asyncio
import datetime
import logging

from clicksgroup import ClicksClient, ClicksGroupError, date_range
from clicksgroup.store import ClickStore

logger = logging.getLogger("daily clicks")

RUN_AT = datetime.time(12, 15)
"""UTC. Yesterday ends everywhere on Earth at 12:00 UTC."""


async def keep_filled(client: ClicksClient, store: ClickStore, first: str) -> None:
    """Fill the store from the date `first` to yesterday: now, and then every day at `RUN_AT`.

    A date that was missed or failed is asked for again on the next day.
    """
    while True:
        yesterday = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=1)
        try:
            report = await store.backfill(client, date_range(first, yesterday))
            logger.info("%s", report)
        except ClicksGroupError as error:
            logger.error("%s", error)
        await asyncio.sleep(seconds_until(RUN_AT))


def seconds_until(time: datetime.time) -> float:
    """The seconds from now until it is next `time`, in UTC."""
    now = datetime.datetime.now(datetime.UTC)
    wait = datetime.datetime.combine(now, time, datetime.UTC) - now
    return (wait % datetime.timedelta(days=1)).total_seconds()


async def main() -> None:
    """Count dates as provisional for three days: the vendor may still correct them."""
    settle = datetime.timedelta(days=3)
    async with ClicksClient() as client, ClickStore("clicks.db", settle=settle) as store:
        await keep_filled(client, store, "2025-01-01")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main())
