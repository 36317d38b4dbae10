"""A client that openapi-python-client generates from a description of the endpoint: httpx and attrs models."""

from __future__ import annotations

import asyncio
import datetime
import importlib
from collections.abc import Sequence

import httpx

from benchmarks.clients import KEY, Tally
from benchmarks.openapi_generator import PACKAGE


async def read_all(url: str, dates: Sequence[datetime.date], in_flight: int, tally: Tally) -> None:
    """Read all pages with `in_flight` workers."""
    # Imported here, since the package exists only after `generate`.
    package = importlib.import_module(PACKAGE)
    endpoint = importlib.import_module(f"{PACKAGE}.api.default.clicks_by_group")
    left = iter(dates)
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with package.AuthenticatedClient(
        base_url=url, token=KEY, prefix="APIKey", httpx_args={"limits": limits}
    ) as client:

        async def worker() -> None:
            for date in left:
                number = 1
                while True:
                    envelope = await endpoint.asyncio(client=client, ymd=date, pages=number)
                    result = envelope.result
                    tally.add(len(result.list_), sum(record.aces_cnt for record in result.list_))
                    if result.extra.next_yn != "Y":
                        break
                    number = result.extra.next_pages

        await asyncio.gather(*(worker() for _ in range(in_flight)))
