"""aiohttp and orjson in the plainest loop: dicts, nothing checked. No client on aiohttp can be cheaper."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Sequence

import aiohttp
import orjson

from benchmarks.clients import KEY, PATH, Tally


async def read_all(url: str, dates: Sequence[datetime.date], in_flight: int, tally: Tally) -> None:
    """Read all pages with `in_flight` workers."""
    headers = {"Authorization": f"APIKey {KEY}"}
    left = iter(dates)
    async with aiohttp.ClientSession() as session:

        async def worker() -> None:
            for date in left:
                number = 1
                while True:
                    async with session.get(f"{url}{PATH}?ymd={date}&pages={number}", headers=headers) as response:
                        result = orjson.loads(await response.read())["result"]
                    records = clicks = 0
                    for row in result["list"]:
                        records += 1
                        clicks += row["acesCnt"]
                    tally.add(records, clicks)
                    if result["extra"]["nextYn"] != "Y":
                        break
                    number = result["extra"]["nextPages"]

        await asyncio.gather(*(worker() for _ in range(in_flight)))
