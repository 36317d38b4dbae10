"""clicksgroup as its README shows it: pages are checked, dates are in order, and records are read one by one."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from benchmarks.clients import KEY, Tally
from clicksgroup import ClicksClient, Quota


async def read_all(url: str, dates: Sequence[datetime.date], in_flight: int, tally: Tally) -> None:
    """Read all records through one stream."""
    async with ClicksClient(KEY, base_url=url, quota=Quota(in_flight=in_flight)) as client:
        stream = client.clicks(dates)
        tally.add(1, (await anext(stream)).clicks)
        records = clicks = 0
        async for record in stream:
            records += 1
            clicks += record.clicks
        tally.add(records, clicks)
