"""httpx and pydantic, the usual choice; pydantic reads bytes, which is its fastest way."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Sequence

import httpx

from benchmarks.clients import KEY, PATH, Tally
from benchmarks.decoders.pydantic_lax import Envelope


async def read_all(url: str, dates: Sequence[datetime.date], in_flight: int, tally: Tally) -> None:
    """Read all pages with `in_flight` workers."""
    left = iter(dates)
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    headers = {"Authorization": f"APIKey {KEY}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=30) as client:

        async def worker() -> None:
            for date in left:
                number = 1
                while True:
                    response = await client.get(PATH, params={"ymd": str(date), "pages": number})
                    response.raise_for_status()
                    result = Envelope.model_validate_json(response.content).result
                    tally.add(len(result.list), sum(record.acesCnt for record in result.list))
                    if result.extra.nextYn != "Y":
                        break
                    number = result.extra.nextPages

        await asyncio.gather(*(worker() for _ in range(in_flight)))
