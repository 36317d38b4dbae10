"""The floor with records: what any client must pay that gives objects rather than dicts. Nothing is checked."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Sequence

import aiohttp
import orjson

from benchmarks.walkers import KEY, PATH, Tally
from benchmarks.walkers.rows import Row


async def walk(url: str, dates: Sequence[datetime.date], in_flight: int, tally: Tally) -> None:
    """Read all pages with so many workers."""
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
                        record = Row(date, row["grpIdx"], row["grpNm"], row["acesCnt"], row["pernCnt"])
                        records += 1
                        clicks += record.clicks
                    tally.add(records, clicks)
                    if result["extra"]["nextYn"] != "Y":
                        break
                    number = result["extra"]["nextPages"]

        await asyncio.gather(*(worker() for _ in range(in_flight)))
