"""A daily job as a task of a program that runs anyway."""

import asyncio
import datetime
import logging

from clicksgroup import ClicksClient, ClicksGroupError, date_range
from clicksgroup.store import ClickStore

logger = logging.getLogger("daily clicks")


async def keep_filled(client: ClicksClient, store: ClickStore, first: str) -> None:
    """Fill the store once a day, at 12:15 UTC, when yesterday has ended everywhere on Earth.

    What was missed or failed is made up for at the next time.
    """
    while True:
        yesterday = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=1)
        try:
            report = await store.backfill(client, date_range(first, yesterday))
            logger.info("%s", report)
        except ClicksGroupError as error:
            logger.error("%s", error)
        await asyncio.sleep(seconds_until(datetime.time(12, 15)))


def seconds_until(time: datetime.time) -> float:
    now = datetime.datetime.now(datetime.UTC)
    wait = datetime.datetime.combine(now, time, datetime.UTC) - now
    return (wait % datetime.timedelta(days=1)).total_seconds()
